"""The bits of a solution are those of its tokens behind the prompt, whatever the batches, the context and the processes."""

import math
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from codeparrot.eval.likelihood import Solution, _windows, bits, solutions_of
from codeparrot.eval.problems.problem import Problem
from codeparrot.eval.problems.sets import load_problems
from codeparrot.loading import load_tokenizer
from codeparrot.model.families import build_model, model_config

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
    (found,) = solutions_of([problem("def f(x):\n", "    return x\n")], tokenizer)
    assert tokenizer.decode(found.ids) == "def f(x):\n    return x"
    counted = tokenizer.decode(found.ids[found.begin :])
    # This tokenizer has a token of the newline and the indentation behind it.
    assert counted == "\n    return x" and not counted.startswith("):")
    assert found.num_bytes == len("    return x")


@given(st.text(max_size=12), st.text(min_size=1, max_size=12).filter(str.rstrip))
@settings(deadline=None, max_examples=50)
def test_what_counts_holds_the_solution_and_not_one_token_more(tokenizer, prompt: str, solution: str) -> None:
    (found,) = solutions_of([problem(prompt, solution)], tokenizer)
    text = (prompt + solution.rstrip()).encode()
    sizes = [len(token) for token in tokenizer.convert_ids_to_tokens(found.ids)]  # a character a byte
    counted = sum(sizes[found.begin :])
    assert found.num_bytes == len(solution.rstrip().encode())
    assert counted >= found.num_bytes > counted - sizes[found.begin]
    assert 1 <= found.begin < len(found.ids)
    assert sum(sizes) - (0 if prompt else sizes[0]) in (len(text), len(text) + sizes[0])


def test_a_problem_without_a_solution_has_no_bits_and_one_without_a_prompt_begins_a_document(tokenizer) -> None:
    (found,) = solutions_of([problem("x", ""), problem("x", "\n"), problem("", "import os\n")], tokenizer)
    assert found.ids[0] == tokenizer.eos_token_id and found.begin == 1
    assert tokenizer.decode(found.ids[1:]) == "import os"


def test_bits_are_those_of_the_tokens_behind_the_prompt(model, tokenizer) -> None:
    solutions = [each for each in solutions_of(load_problems("codeparrot"), tokenizer) if len(each.ids) <= 64]
    assert len(solutions) > 5
    expected = [reference(model, each.ids, each.begin) for each in solutions]
    assert measured(model, solutions) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("batch_tokens", "world_size"), [(1, 1), (10**6, 1), (300, 2), (300, 7), (10**6, 64)])
def test_batches_and_processes_change_nothing(model, tokenizer, batch_tokens, world_size) -> None:
    solutions = solutions_of(load_problems("codeparrot").first(20), tokenizer)
    calls: list[list[int]] = [[] for _ in range(world_size)]
    options = {"batch_tokens": batch_tokens, "world_size": world_size}
    shares = [
        measured(model, solutions, rank=rank, progress=partial(own.append, 1), **options) for rank, own in enumerate(calls)
    ]
    together = [sum(values) for values in zip(*shares, strict=True)]
    assert together == pytest.approx(measured(model, solutions), rel=1e-5)
    assert len(set(map(len, calls))) == 1


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
    solutions, batches = solutions_of(load_problems("codeparrot"), tokenizer), []
    options: Any = {"progress": lambda: batches.append(1), "broken_off": lambda: len(batches) == 2}
    assert bits(model, solutions, context=64, batch_tokens=64, device=CPU, **options) is None
    assert len(batches) == 2 and model.training
