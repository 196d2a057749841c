"""Completions depend on nothing but the model, the prompt and the sample's own numbers, and end where they should."""

from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    FalconConfig,
    Gemma2Config,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoConfig,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
)

from codeparrot.errors import CodeparrotError
from codeparrot.eval.problems.problem import Problem
from codeparrot.generation.decoding import Decoder, cut
from codeparrot.generation.engine import Completion, Job, Sampling, generate
from codeparrot.generation.sampling import draw, stream
from tests.conftest import python_sources

END: Any = {"bos_token_id": 0, "eos_token_id": 0}


@pytest.fixture(scope="module")
def tokenizer(tokenizer_folder) -> Any:
    return AutoTokenizer.from_pretrained(tokenizer_folder)


@pytest.fixture(scope="module")
def gpt2() -> Any:
    torch.manual_seed(0)
    # Wide enough for attention to matter and sharp enough for no two tokens to be alike.
    shape: Any = {"vocab_size": 512, "n_positions": 192, "n_embd": 48, "n_layer": 2, "n_head": 3}
    return GPT2LMHeadModel(GPT2Config(**shape, initializer_range=0.3, **END)).eval()


@pytest.fixture(scope="module")
def llama() -> Any:
    torch.manual_seed(0)
    shape: Any = {"vocab_size": 512, "max_position_embeddings": 512, "hidden_size": 64, "intermediate_size": 100}
    heads: Any = {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    return LlamaForCausalLM(LlamaConfig(**shape, **heads, initializer_range=0.3, **END)).eval()


def problem(prompt: str, name: str = "p", stop: tuple[str, ...] = ("\n", "an", "(", "w")) -> Problem:
    return Problem(name, prompt, "f", "", stop=stop)


@pytest.fixture(scope="module")
def problems() -> list[Problem]:
    """Prompts of very different lengths, one beyond the context."""
    source = python_sources(3)[2]
    return [problem(source[: 7 * number**2 + 3], f"p/{number}") for number in (0, 1, 2, 3, 5, 7, 14)]


def jobs_of(problems: list[Problem], num_samples: int = 3, temperatures: tuple[float, ...] = (0.0, 0.3, 1.0)) -> list[Job]:
    return [Job(p, t, s) for p in problems for t in temperatures for s in range(num_samples if t else 1)]


def completed(model, tokenizer, jobs, *args, **options) -> dict[tuple[str, float, int], Completion]:
    found = generate(model, tokenizer, jobs, *args, **options)
    return {(each.job.problem.task_id, each.job.temperature, each.job.sample): each for each in found}


@pytest.mark.slow
@pytest.mark.parametrize("family", ["gpt2", "llama"])
@pytest.mark.parametrize("top_p", [0.9, 1.0])
def test_samples_are_bit_equal_for_every_batch_size_order_and_share(family, top_p, tokenizer, problems, request) -> None:
    model, jobs = request.getfixturevalue(family), jobs_of(problems)
    sampling = Sampling(top_p=top_p, max_new_tokens=24, seed=7)
    reference = completed(model, tokenizer, jobs, sampling, batch_size=64)
    assert len(reference) == len(jobs)
    assert len({each.text for each in reference.values()}) > len(jobs) / 2
    assert len({each.num_tokens for each in reference.values()}) > 2, "some leave the batch before others"
    for batch_size in (1, 2, 5, 16, 17, 33):
        assert completed(model, tokenizer, jobs, sampling, batch_size) == reference
    mixed = [jobs[index] for index in np.random.default_rng(0).permutation(len(jobs))]
    assert completed(model, tokenizer, mixed, sampling, 20) == reference
    shares = [completed(model, tokenizer, mixed[rank::3], sampling, 9) for rank in range(3)]
    assert shares[0] | shares[1] | shares[2] == reference
    other = completed(model, tokenizer, jobs, Sampling(top_p=top_p, max_new_tokens=24, seed=8), 64)
    assert all((other[key] == reference[key]) == (key[1] == 0) for key in reference if reference[key].num_tokens > 8)


def test_the_logits_of_a_sequence_have_the_same_bits_whatever_is_beside_it(gpt2, tokenizer, problems, monkeypatch) -> None:
    """Stronger than equal texts: those would hide a last bit that decides nothing today."""
    seen: dict[bytes, set[int]] = {}

    def look(logits: torch.Tensor, temperatures: Any, top_p: float, streams: Any) -> list[int]:
        tokens = draw(logits, temperatures, top_p, streams)
        for row, numbers in zip(logits, streams, strict=True):
            # The state of a sequence's random numbers tells which it is and where it stands.
            seen.setdefault(repr(numbers.getstate()).encode(), set()).add(hash(row.numpy().tobytes()))
        return tokens

    monkeypatch.setattr("codeparrot.generation.engine.draw", look)
    jobs = jobs_of(problems, 2, (0.7,))
    threads = torch.get_num_threads()
    try:
        for num_threads, batch_size in ((1, 64), (1, 1), (1, 4), (1, 15), (2, 64)):
            torch.set_num_threads(num_threads)
            assert len(completed(gpt2, tokenizer, jobs, Sampling(max_new_tokens=12), batch_size)) == len(jobs)
    finally:
        torch.set_num_threads(threads)
    assert len(seen) > 60 and all(len(bits) == 1 for bits in seen.values())


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_greedy_completions_are_those_of_transformers(family, tokenizer, problems, request) -> None:
    model = request.getfixturevalue(family)
    found = completed(model, tokenizer, jobs_of(problems[:6], 1, (0.0,)), Sampling(max_new_tokens=20), 4)
    for each in problems[:6]:
        ids = tokenizer(each.prompt, return_tensors="pt")["input_ids"][:, 20 - model.config.max_position_embeddings :]
        out = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=20, pad_token_id=0)
        text = Decoder(tokenizer, ids[0].tolist())(out[0, ids.shape[1] :].tolist())
        assert found[each.task_id, 0.0, 0].text == cut(text, each.stop)


class Scripted(torch.nn.Module):
    """Writes given tokens after any prompt: real batching and stopping around a model that says what the test wants."""

    def __init__(self, model: Any, script: list[int], num_prompt: int) -> None:
        super().__init__()
        self.model, self.script, self.num_prompt = model, script, num_prompt
        self.config, self.generation_config = model.config, model.generation_config
        self.device, self.num_forwards = model.device, 0
        self.set_attn_implementation = model.set_attn_implementation

    def forward(
        self,
        input_ids: Any,
        position_ids: Any,
        attention_mask: Any = None,
        past_key_values: Any = None,
        use_cache: bool = True,
        logits_to_keep: int = 0,
    ) -> Any:
        output = self.model(
            **{"input_ids": input_ids, "position_ids": position_ids, "attention_mask": attention_mask},
            **{"past_key_values": past_key_values, "use_cache": use_cache, "logits_to_keep": logits_to_keep},
        )
        self.num_forwards += 1
        logits = torch.full_like(output.logits, -50.0)
        for row, place in enumerate(position_ids[:, -logits.shape[1] :]):
            for column, position in enumerate(place.tolist()):
                said = position - self.num_prompt + 1
                logits[row, column, self.script[said] if 0 <= said < len(self.script) else 1] = 50.0
        output.logits = logits
        return output


def written(gpt2, tokenizer, prompt: str, text: str, stop: tuple[str, ...], ids: list[int] | None = None, **options) -> tuple:
    num_prompt = len(tokenizer(prompt)["input_ids"])
    model = Scripted(gpt2, [*tokenizer(text)["input_ids"], *(ids or [])], num_prompt)
    (found,) = generate(model, tokenizer, [Job(problem(prompt, stop=stop), 0.8, 0)], Sampling(**options))
    return found.text, found.ended, model.num_forwards


def test_a_completion_ends_before_the_first_stop_text_it_wrote_itself(gpt2, tokenizer) -> None:
    body = "\n    return 'é' + x  # def"
    text, ended, forwards = written(gpt2, tokenizer, "\ndef f(x):", f"{body}\n\ndef g(): pass", ("\ndef", "\nclass"))
    assert (text, ended) == (body, "stop")
    assert forwards < len(tokenizer(f"{body}\n\ndef g(): pass")["input_ids"]), "it left as soon as it had stopped"


def test_a_stop_text_that_begins_in_the_prompt_is_not_one(gpt2, tokenizer) -> None:
    text, _, _ = written(gpt2, tokenizer, "x = 1\n", "def f():\n    pass\ndef g", ("\ndef",))
    assert text == "def f():\n    pass"


def test_the_end_token_ends_a_completion(gpt2, tokenizer) -> None:
    assert written(gpt2, tokenizer, "x", " = 1", ("\n",), ids=[0, 5, 5])[:2] == (" = 1", "end")


def test_the_longest_length_ends_a_completion(gpt2, tokenizer) -> None:
    text, ended, forwards = written(gpt2, tokenizer, "x", " = 1 + 1 + 1 + 1 + 1 + 1", (), max_new_tokens=4)
    assert ended == "length" and forwards == 4 and len(tokenizer(text)["input_ids"]) == 4


def test_the_prompt_is_used_as_it_is_unless_its_end_is_to_be_stripped(gpt2, tokenizer) -> None:
    given: list[list[int]] = []
    hook = gpt2.register_forward_pre_hook(
        lambda _, args, kwargs: given.append(kwargs["input_ids"][0].tolist()), with_kwargs=True
    )
    for strip in (False, True):
        list(
            generate(gpt2, tokenizer, [Job(problem("def f():\n    "), 0.0, 0)], Sampling(max_new_tokens=1, strip_prompt=strip))
        )
    hook.remove()
    for ids, prompt in zip(given, ("def f():\n    ", "def f():"), strict=True):
        wanted = tokenizer(prompt)["input_ids"]
        assert ids[: len(wanted)] == wanted and not any(ids[len(wanted) :])


def test_breaking_off_keeps_what_is_done_and_leaves_the_model_as_it_was(gpt2, tokenizer, problems) -> None:
    jobs, tokens = jobs_of(problems), iter(range(1000))
    gpt2.train()
    before = gpt2.config._attn_implementation
    part = completed(gpt2, tokenizer, jobs, Sampling(max_new_tokens=24), 4, broken_off=lambda: next(tokens) > 40)
    assert gpt2.training and gpt2.config._attn_implementation == before
    gpt2.eval()
    whole = completed(gpt2, tokenizer, jobs, Sampling(max_new_tokens=24), 4)
    assert 0 < len(part) < len(whole) and all(whole[key] == value for key, value in part.items())


def test_a_model_that_remembers_otherwise_is_refused(tokenizer) -> None:
    model = MambaForCausalLM(MambaConfig(vocab_size=512, hidden_size=16, num_hidden_layers=1, state_size=4))
    with pytest.raises(CodeparrotError, match="mamba"):
        list(generate(model, tokenizer, [Job(problem("x"), 0.0, 0)], Sampling()))


SHAPE: Any = {"vocab_size": 512, "hidden_size": 32, "num_attention_heads": 2, **END}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            GPTNeoConfig(**SHAPE, num_layers=2, attention_types=[[["global", "local"], 1]], window_size=64),
            "attends to 64 tokens",
        ),
        (FalconConfig(**SHAPE, num_hidden_layers=1, alibi=True), "falcon can not be sampled here"),
        (
            Gemma2Config(**SHAPE, num_hidden_layers=1, intermediate_size=32, num_key_value_heads=1, head_dim=16),
            "gemma2 can not be sampled here",
        ),
    ],
    ids=["gpt_neo", "falcon", "gemma2"],
)
def test_attention_of_another_kind_is_refused(config: Any, message: str, tokenizer) -> None:
    model = AutoModelForCausalLM.from_config(config)
    with pytest.raises(CodeparrotError, match=message):
        list(generate(model, tokenizer, [Job(problem("x"), 0.0, 0)], Sampling(max_new_tokens=80)))


def test_local_attention_that_reaches_everything_is_attention(tokenizer) -> None:
    config = GPTNeoConfig(**SHAPE, num_layers=2, attention_types=[[["global", "local"], 1]], window_size=64)
    assert completed(
        AutoModelForCausalLM.from_config(config), tokenizer, [Job(problem("x"), 0.0, 0)], Sampling(max_new_tokens=8)
    )


@pytest.mark.parametrize("prompt", ["def f(x):\n", 'def f(x):\n    """Double."""\n', "import math\n\n\ndef f(x):"])
def test_an_answer_in_a_conversation_follows_what_is_whole(prompt: str, gpt2, tokenizer_folder) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    tokenizer.chat_template = "{{ messages[0]['content'] }}"
    (found,) = generate(gpt2, tokenizer, [Job(problem(prompt), 0.0, 0)], Sampling(max_new_tokens=1, chat=True))
    lead = found.text[: found.text.rindex("\n\n") + 2]
    names: dict[str, Any] = {}
    exec(f"{prompt}{lead}def f(x):\n    return 2 * x\n", names)
    assert names["f"](2) == 4 and ("pass" in lead) == ("Double" not in prompt)


# --- one token


def nucleus(logits: np.ndarray, temperature: float, top_p: float) -> np.ndarray:
    """The definition: sort, cut, scale."""
    scaled = np.exp((logits - logits.max()) / temperature)
    probabilities = scaled / scaled.sum()
    order = np.argsort(-probabilities, kind="stable")
    kept = order[: 1 + int((np.cumsum(probabilities[order]) < top_p).sum())]
    result = np.zeros_like(probabilities)
    result[kept] = probabilities[kept] / probabilities[kept].sum()
    return result


@pytest.mark.parametrize("top_p", [0.3, 0.8, 0.95, 1.0])
def test_tokens_have_the_frequencies_of_the_nucleus(top_p) -> None:
    logits = torch.from_numpy(np.random.default_rng(4).normal(0, 1.5, 150).astype(np.float32))
    count = 20_000
    tokens = draw(logits.expand(count, -1), [0.7] * count, top_p, [stream(1, number) for number in range(count)])
    wanted = nucleus(logits.double().numpy(), 0.7, top_p)
    found = np.bincount(tokens, minlength=150) / count
    assert not found[wanted == 0].any()
    # Total variation of 20,000 draws from at most 150 outcomes.
    assert np.abs(found - wanted).sum() / 2 < 0.03


def test_the_last_token_of_a_vocabulary_and_one_of_no_probability() -> None:
    class Fixed:
        def __init__(self, value: float) -> None:
            self.random = lambda: value

    logits = torch.full((1, 100), -torch.inf)
    logits[0, 99] = 0.0
    assert draw(logits, [1.0], 1.0, [Fixed(0.0)]) == draw(logits, [1.0], 1.0, [Fixed(1 - 2**-53)]) == [99]  # type: ignore[list-item]
    logits[0, 3] = 0.0
    assert draw(logits, [1.0], 1.0, [Fixed(0.0)]) == [3]  # type: ignore[list-item]


def test_random_numbers_belong_to_a_name() -> None:
    assert stream(0, "a", 1, 0.2).random() == stream(0, "a", 1, 0.2).random()
    names = [(0, "a", 1, 0.2), (1, "a", 1, 0.2), (0, "b", 1, 0.2), (0, "a", 2, 0.2), (0, "a", 1, 0.8)]
    assert len({stream(*name).random() for name in names}) == len(names)
