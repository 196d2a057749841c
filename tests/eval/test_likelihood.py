"""The bits of a solution are those of its tokens behind the prompt, whatever the batches, the context and the processes."""

import json
import math
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from codeparrot.errors import CodeparrotError
from codeparrot.eval.likelihood import Solution, _windows, bits, load_solved, solutions_of
from codeparrot.eval.problems.infilling import Gap
from codeparrot.eval.problems.problem import Problem
from codeparrot.eval.problems.sets import load_problems
from codeparrot.loading import load_tokenizer
from codeparrot.model.families import build_model, model_config
from codeparrot.stream.sentinels import FIM_MIDDLE, FIM_PREFIX, FIM_SUFFIX

SIZES = {"family": "gpt2", "vocab_size": 512, "n_positions": 64, "n_embd": 32, "n_layer": 2, "n_head": 2}
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def tokenizer(tokenizer_folder) -> Any:
    return load_tokenizer(str(tokenizer_folder))


@pytest.fixture(scope="module")
def model():
    return build_model(model_config(SIZES | {"initializer_range": 0.3}), seed=1).eval()


def problem(prompt: str, solution: str) -> Problem:
    return Problem("p", prompt, "f", "", solution)


def solved(problems: Any, tokenizer: Any) -> list[Solution]:
    return solutions_of(problems, tokenizer, None).found


def measured(model, solutions, **options) -> list[float]:
    options = {"context": 64, "batch_tokens": 256, "device": CPU, **options}
    found = bits(model, solutions, **options)
    assert found is not None
    return found


def reference(model, ids: list[int], begin: int) -> float:
    """The bits of the tokens from `begin` on, by transformers' own logits."""
    with torch.no_grad():
        logits = model.model(torch.tensor([ids])).logits[0].double().log_softmax(-1)
    return -sum(float(logits[index - 1, ids[index]]) for index in range(begin, len(ids))) / math.log(2)


def test_tokens_count_from_the_one_that_holds_the_first_byte_of_the_solution(tokenizer) -> None:
    (found,) = solved([problem("def f(x):\n", "    return x\n")], tokenizer)
    assert tokenizer.decode(found.ids) == "def f(x):\n    return x"
    counted = tokenizer.decode(found.ids[found.begin :])
    # This tokenizer has a token of the newline and the indentation behind it.
    assert counted == "\n    return x" and not counted.startswith("):")
    assert found.num_bytes == len("    return x")


@given(st.text(max_size=12), st.text(min_size=1, max_size=12).filter(str.rstrip))
@settings(deadline=None, max_examples=50)
def test_what_counts_holds_the_solution_and_not_one_token_more(tokenizer, prompt: str, solution: str) -> None:
    (found,) = solved([problem(prompt, solution)], tokenizer)
    text = (prompt + solution.rstrip()).encode()
    sizes = [len(token) for token in tokenizer.convert_ids_to_tokens(found.ids)]  # a character a byte
    counted = sum(sizes[found.begin :])
    assert found.num_bytes == len(solution.rstrip().encode())
    assert counted >= found.num_bytes > counted - sizes[found.begin]
    assert 1 <= found.begin < len(found.ids)
    assert sum(sizes) - (0 if prompt else sizes[0]) in (len(text), len(text) + sizes[0])


def test_a_problem_without_a_solution_has_no_bits_and_one_without_a_prompt_begins_a_document(tokenizer) -> None:
    (found,) = solved([problem("x", ""), problem("x", "\n"), problem("", "import os\n")], tokenizer)
    assert found.ids[0] == tokenizer.eos_token_id and found.begin == 1
    assert tokenizer.decode(found.ids[1:]) == "import os"


def test_bits_are_those_of_the_tokens_behind_the_prompt(model, tokenizer) -> None:
    solutions = [each for each in solved(load_problems("codeparrot"), tokenizer) if len(each.ids) <= 64]
    assert len(solutions) > 5
    expected = [reference(model, each.ids, each.begin) for each in solutions]
    assert measured(model, solutions) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("batch_tokens", "world_size"), [(1, 1), (10**6, 1), (300, 2), (300, 7), (10**6, 64)])
def test_batches_and_processes_change_nothing(model, tokenizer, batch_tokens, world_size) -> None:
    solutions = solved(load_problems("codeparrot").first(20), tokenizer)
    calls: list[list[int]] = [[] for _ in range(world_size)]
    options = {"batch_tokens": batch_tokens, "world_size": world_size}
    shares = [
        measured(model, solutions, rank=rank, progress=partial(own.append, 1), **options) for rank, own in enumerate(calls)
    ]
    together = [sum(values) for values in zip(*shares, strict=True)]
    assert together == pytest.approx(measured(model, solutions), rel=1e-5)
    assert len(set(map(len, calls))) == 1


@pytest.fixture(scope="module")
def with_sentinels(tokenizer_folder) -> Any:
    tokenizer = load_tokenizer(str(tokenizer_folder))
    tokenizer.add_special_tokens({"additional_special_tokens": [FIM_PREFIX, FIM_SUFFIX, FIM_MIDDLE]})
    return tokenizer


GAP = Gap("g", "def f(x):\n", "    return y\n", "    y = x + 1\n", "f", "assert f(1) == 2\n")


def test_a_middle_is_predicted_between_its_sides(with_sentinels) -> None:
    (found,) = solved([GAP], with_sentinels)
    assert with_sentinels.decode(found.ids) == f"{FIM_PREFIX}{GAP.prompt}{FIM_SUFFIX}{GAP.suffix}{FIM_MIDDLE}    y = x + 1\n"
    assert with_sentinels.decode(found.ids[found.begin :]) == GAP.canonical_solution
    assert (found.num_bytes, found.group) == (len(GAP.canonical_solution), 0)


def test_a_short_context_takes_the_head_of_the_prefix_then_the_tail_of_the_suffix_and_no_sentinel(with_sentinels) -> None:
    (whole,) = solved([GAP], with_sentinels)
    middle, special = whole.ids[whole.begin :], set(with_sentinels.all_special_ids)
    prefix, suffix = (with_sentinels(text, add_special_tokens=False)["input_ids"] for text in (GAP.prompt, GAP.suffix))
    for context in range(len(middle) + 3, len(whole.ids) + 2):
        (found,) = solutions_of([GAP], with_sentinels, context).found
        assert len(found.ids) == min(context, len(whole.ids)) and sum(each in special for each in found.ids) == 3
        assert found.ids[found.begin :] == middle
        kept = found.ids[1 : found.ids.index(with_sentinels.convert_tokens_to_ids(FIM_SUFFIX))]
        rest = found.ids[len(kept) + 2 : found.begin - 1]
        assert prefix[len(prefix) - len(kept) :] == kept and suffix[: len(rest)] == rest
        assert not kept or rest == suffix or len(kept) == (context - 3 - len(middle)) // 2
    left_out = solutions_of([GAP, replace(GAP, canonical_solution="")], with_sentinels, len(middle) + 2)
    assert left_out == ([], 1, 1)
    assert left_out.left_out() == [
        "problems with no reference solution are left out: 1",
        "problems longer than the model's context are left out: 1",
    ]


def test_middles_need_sentinels(tokenizer) -> None:
    with pytest.raises(CodeparrotError, match="the likelihood of middles needs a tokenizer with <fim_prefix>"):
        solved([GAP], tokenizer)


def test_sets_are_found_by_name(tmp_path: Path) -> None:
    assert load_solved("infilling").name == "infilling-own" and len(load_solved("infilling-own")) == 20
    assert load_solved("codeparrot").name == "codeparrot" and len(load_solved("infilling-single-line")) == 1033
    path = tmp_path / "gaps.jsonl"
    path.write_text(json.dumps(asdict(GAP)) + "\n")
    assert [gap.suffix for gap in load_solved(str(path))] == [GAP.suffix]
    with pytest.raises(CodeparrotError, match=r"there are no gaps 'singleline'; did you mean .single-line."):
        load_solved("infilling-singleline")
    with pytest.raises(CodeparrotError, match=r"'infiling'; did you mean .infilling.\?; .* infilling, infilling-single-line, "):
        load_solved("infiling")


@given(st.integers(1, 200), st.integers(1, 200), st.integers(2, 40))
def test_windows_predict_each_token_once_with_half_a_context_before_it(
    num_prompt: int, num_solution: int, context: int
) -> None:
    solution = Solution("p", list(range(num_prompt + num_solution)), num_prompt, 1)
    predicted: list[int] = []
    for window in _windows([solution], context):
        assert len(window.ids) <= context and window.begin >= 1
        predicted += window.ids[window.begin :]
        first = window.ids[window.begin]
        assert window.begin >= min(first, context // 2)
    assert predicted == solution.ids[num_prompt:]


def test_a_solution_longer_than_the_context_is_predicted_as_a_whole(model) -> None:
    ids = torch.randint(1, 512, (150,), generator=torch.Generator().manual_seed(0)).tolist()
    (found,) = measured(model, [Solution("p", ids, 20, 1)])
    expected = reference(model, ids[:64], 20) + reference(model, ids[32:96], 32) + reference(model, ids[64:128], 32)
    assert found == pytest.approx(expected + reference(model, ids[86:150], 42), rel=1e-4)


def test_a_measurement_that_is_broken_off_has_no_result_and_leaves_the_model_training(model, tokenizer) -> None:
    model.train()
    solutions, batches = solved(load_problems("codeparrot"), tokenizer), []
    options: Any = {"progress": lambda: batches.append(1), "broken_off": lambda: len(batches) == 2}
    assert bits(model, solutions, context=64, batch_tokens=64, device=CPU, **options) is None
    assert len(batches) == 2 and model.training
