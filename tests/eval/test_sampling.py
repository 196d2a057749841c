"""Requests are the task's own, and samples are a function of seed, problem, number and temperature."""

from typing import Any

import pytest
import torch
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

from codeparrot.eval.problems.problem import Problem, ProblemSet
from codeparrot.eval.sampling import Key, Sample, Sampling, generate, wanted
from codeparrot.eval.scoring import report
from codeparrot.eval.tasks.humaneval import HumanEval

END: Any = {"bos_token_id": 0, "eos_token_id": 0}


@pytest.fixture(scope="module")
def tokenizer(tokenizer_folder) -> Any:
    return AutoTokenizer.from_pretrained(tokenizer_folder)


@pytest.fixture(scope="module")
def gpt2() -> Any:
    torch.manual_seed(0)
    shape: Any = {"vocab_size": 512, "n_positions": 192, "n_embd": 48, "n_layer": 2, "n_head": 3}
    return GPT2LMHeadModel(GPT2Config(**shape, initializer_range=0.3, **END)).eval()


def problem(prompt: str, name: str = "p") -> Problem:
    return Problem(name, prompt, "f", "")


def sampled(model: Any, tokenizer: Any, task: HumanEval, problems: list[Problem], *args: Any) -> list[Sample]:
    return list(generate(model, tokenizer, task, problems, wanted(problems, [0.0, 0.9], 3), *args))


def test_a_sample_depends_on_nothing_beside_its_own_numbers(gpt2, tokenizer) -> None:
    problems = [problem("x = 1\n" * count, f"p/{count}") for count in (1, 5, 9)]
    found = {each.key: each for each in sampled(gpt2, tokenizer, HumanEval(), problems, Sampling(max_new_tokens=12))}
    assert set(found) == {Key(f"p/{count}", t, s) for count in (1, 5, 9) for t, s in ((0.0, 0), (0.9, 0), (0.9, 1), (0.9, 2))}
    assert len({each.text for each in found.values()}) > 6
    for number in (0, 2):
        alone = sampled(gpt2, tokenizer, HumanEval(), [problems[number]], Sampling(max_new_tokens=12), 1)
        assert all(found[each.key] == each for each in alone)
    other = sampled(gpt2, tokenizer, HumanEval(), problems, Sampling(max_new_tokens=12, seed=1))
    assert sum(found[each.key].text != each.text for each in other) >= 6


def test_prompts_that_lose_their_beginning_are_counted_once(gpt2, tokenizer, caplog) -> None:
    problems = [problem("x = 1\n" * count, f"p/{count}") for count in (1, 200, 300)]
    found = sampled(gpt2, tokenizer, HumanEval(), problems, Sampling(max_new_tokens=12))
    assert {each.key.task_id for each in found if each.line().get("prompt_cut")} == {"p/200", "p/300"}
    (warning,) = caplog.messages
    assert "2 of 3 prompts are too long" in warning and "the context holds 192" in warning
    problem_set = ProblemSet.of("x", problems, "this test")
    rows = [{**each.line(), "passed": False, "outcome": "failed"} for each in found]
    shown = report(HumanEval(), problem_set, rows, {}, None)
    assert shown.data["prompts_cut"] == 2 and "The prompts of 2 problems were too long" in shown.text


@pytest.mark.parametrize(
    ("style", "left"),
    [("exact", "\ndef f():\n    "), ("stripped", "\ndef f():"), ("codeparrot", "<|endoftext|>def f():")],
)
def test_a_prompt_style_says_what_the_model_reads(gpt2, tokenizer, style, left) -> None:
    given: list[list[int]] = []
    hook = gpt2.register_forward_pre_hook(
        lambda _, args, kwargs: given.append(kwargs["input_ids"][0].tolist()), with_kwargs=True
    )
    task, key = HumanEval(prompt_style=style), Key("p", 0.0, 0)
    list(generate(gpt2, tokenizer, task, [problem("\ndef f():\n    ")], [key], Sampling(max_new_tokens=1)))
    hook.remove()
    ids = tokenizer(left)["input_ids"]
    assert given[0][: len(ids)] == ids and not any(given[0][len(ids) :])


@pytest.mark.parametrize(
    ("style", "healed"), [("healed", {"p/0"}), ("exact", set()), ("stripped", set()), ("codeparrot", set())]
)
def test_healed_problems_are_counted_and_the_style_is_said(gpt2, tokenizer, style, healed) -> None:
    problems = [problem("def f():\n", "p/0"), problem("def f():\n    x = (1)\n    return ~", "p/1")]
    task = HumanEval(prompt_style=style)
    found = sampled(gpt2, tokenizer, task, problems, Sampling(max_new_tokens=4))
    assert {each.key.task_id for each in found if each.line().get("healed")} == healed
    rows = [{**each.line(), "passed": False, "outcome": "failed"} for each in found]
    shown = report(task, ProblemSet.of("x", problems, "this test"), rows, {"settings": task.settings}, None)
    assert shown.data["prompts_healed"] == len(healed) and shown.data["settings"]["prompt_style"] == style
    words = "The first token was healed in 1 of 2 problems." if healed else f"(--prompt_style {style}): scores of other styles"
    assert words in shown.text


@pytest.mark.parametrize("prompt", ["def f(x):\n", 'def f(x):\n    """Double."""\n', "import math\n\n\ndef f(x):"])
def test_an_answer_in_a_conversation_follows_what_is_whole(prompt: str, gpt2, tokenizer_folder) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    tokenizer.chat_template = "{{ messages[0]['content'] }}"
    task, key = HumanEval(chat=True), Key("p", 0.0, 0)
    (found,) = generate(gpt2, tokenizer, task, [problem(prompt)], [key], Sampling(max_new_tokens=1))
    lead = found.text[: found.text.rindex("\n\n") + 2]
    names: dict[str, Any] = {}
    exec(f"{prompt}{lead}def f(x):\n    return 2 * x\n", names)
    assert names["f"](2) == 4 and ("pass" in lead) == ("Double" not in prompt)
