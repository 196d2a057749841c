"""Biases, penalties and cuts do what their servers document, to one row alone."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from codeparrot.generation.adjust import Adjust, adjust
from codeparrot.generation.engine import Engine
from codeparrot.generation.requests import Request
from codeparrot.generation.sampling import GREEDY, Nucleus

INF = math.inf


@pytest.mark.parametrize(
    ("wanted", "prompt", "ids", "expected"),
    [
        (Adjust(), [0], [1], [2.0, 1.0, -1.0, 0.5]),
        (Adjust(bias={0: -100, 3: 1.5, 1: -INF}), [], [], [-98.0, -INF, -1.0, 2.0]),
        (Adjust(presence=0.5), [0, 0], [1, 1, 2], [2.0, 0.5, -1.5, 0.5]),
        (Adjust(frequency=0.5), [0, 0], [1, 1, 2], [2.0, 0.0, -1.5, 0.5]),
        (Adjust(presence=1, frequency=0.5), [], [1, 1], [2.0, -1.0, -1.0, 0.5]),
        (Adjust(repeat=2.0), [0], [2], [1.0, 1.0, -2.0, 0.5]),
        (Adjust(repeat=2.0, repeat_last=1), [0], [2, 2], [2.0, 1.0, -2.0, 0.5]),
        (Adjust(repeat=2.0, repeat_last=2), [3, 0], [2], [1.0, 1.0, -2.0, 0.5]),
        (Adjust(repeat=2.0, repeat_last=-1), [3, 0], [2], [1.0, 1.0, -2.0, 0.25]),
        (Adjust(repeat=2.0, repeat_last=0), [3, 0], [2], [2.0, 1.0, -1.0, 0.5]),
        (Adjust(repeat=2.0, repeat_last=9), [], [], [2.0, 1.0, -1.0, 0.5]),
        (Adjust(top_k=2), [], [], [2.0, 1.0, -INF, -INF]),
        (Adjust(top_k=9), [], [], [2.0, 1.0, -1.0, 0.5]),
        (Adjust(min_p=0.3), [], [], [2.0, 1.0, -INF, -INF]),
        (Adjust(min_p=1.0), [], [], [2.0, -INF, -INF, -INF]),
        (Adjust(bias={0: -INF}, top_k=1), [], [], [-INF, 1.0, -INF, -INF]),
    ],
)
def test_logits_change_as_it_says(wanted, prompt, ids, expected) -> None:
    logits = torch.tensor([[9.0, 9.0, 9.0, 9.0], [2.0, 1.0, -1.0, 0.5]])
    adjust(logits[1], wanted, prompt, ids)
    assert logits[1].tolist() == pytest.approx(expected) and logits[0].tolist() == [9.0] * 4


@settings(max_examples=50)
@given(st.lists(st.integers(0, 9), max_size=20), st.lists(st.integers(0, 9), max_size=20), st.integers(1, 30))
def test_recent_tokens_are_the_last_of_prompt_and_new_ones(prompt: list[int], ids: list[int], last: int) -> None:
    logits = torch.ones(10)
    adjust(logits, Adjust(repeat=2.0, repeat_last=last), prompt, ids)
    assert {token for token in range(10) if logits[token] == 0.5} == set([*prompt, *ids][-last:])


def test_a_row_with_changes_leaves_its_neighbours_as_they_are(long_gpt2, filling) -> None:
    plain = [Request(f"def f{number}(", Nucleus(0.8, 0.9, (number,)), 16) for number in range(4)]
    biased = [Request("x", GREEDY, 16, heal=False, adjust=Adjust(bias={300: 90.0})), *plain]
    with Engine(long_gpt2, filling) as engine:
        alone = [engine.submit(each) for each in plain]
        list(engine.run())
        beside = [engine.submit(each) for each in biased]
        list(engine.run())
    assert beside[0].ids == [300] * 16 and [each.ids for each in alone] == [each.ids for each in beside[1:]]


def test_a_bias_keeps_a_greedy_completion_from_its_token(long_gpt2, filling) -> None:
    with Engine(long_gpt2, filling) as engine:
        free = engine.submit(Request("def f(", GREEDY, 8, heal=False))
        list(engine.run())
        bound = engine.submit(Request("def f(", GREEDY, 8, heal=False, adjust=Adjust(bias=dict.fromkeys(free.ids, -INF))))
        list(engine.run())
    assert free.ids and not set(free.ids) & set(bound.ids)
