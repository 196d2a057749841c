"""Other threads cancel completions and encode texts at any time: nothing is lost or changed by it."""

from typing import Any

from codeparrot.generation.engine import Engine
from codeparrot.generation.prompts import encode_prompt
from codeparrot.generation.requests import Completion, Request
from tests.generation.test_failures import SHORT, answers, changed, ended, reference  # noqa: F401 - a fixture


class CancelledMeanwhile(Completion):
    """A completion that is cancelled right after it was looked at."""

    looks = 0

    @property
    def ended(self) -> str:  # type: ignore[override]
        self.looks += 1
        return "" if self.looks == 1 else "cancelled"

    @ended.setter
    def ended(self, value: str) -> None: ...


def test_a_completion_that_is_cancelled_while_others_leave_the_line_is_returned(long_gpt2, filling) -> None:
    with Engine(long_gpt2, filling) as engine:
        left, leaving = engine.submit(SHORT[0]), engine.submit(SHORT[1])
        left.cancel()
        leaving.__class__ = CancelledMeanwhile
        assert set(ended(engine)) == {left, leaving}


def test_a_cancelled_completion_whose_logits_are_not_finite_leaves_nothing_behind(
    long_gpt2,
    filling,
    monkeypatch,
    reference,  # noqa: F811
) -> None:
    broken: list[Completion] = []

    def change(options: Any, output: Any) -> None:
        if broken and options["input_ids"].shape[1] == 1:
            broken.pop().cancel()
            output.logits[1] = float("nan")
            for layer in options["past_key_values"].layers:
                layer.keys[1], layer.values[1] = float("nan"), float("nan")

    changed(long_gpt2, monkeypatch, change)
    with Engine(long_gpt2, filling, batch_size=2, cache_tokens=4096) as engine:
        found = [engine.submit(SHORT[0]), engine.submit(Request("x", ends=frozenset()))]
        while not all(each.ids for each in found):
            engine.step()
        broken.append(found.pop())
        engine.step()
        found += [engine.submit(each) for each in SHORT[1:]]
        ended(engine)
    assert answers(found) == reference


def test_an_engine_leaves_the_tokenizer_as_prompts_are_encoded(long_gpt2, filling) -> None:
    """That special tokens are text is a state of it: where it changed, another thread's prompt would be read otherwise."""
    encode_prompt(filling, "x")
    assert filling.backend_tokenizer.encode_special_tokens
    Engine(long_gpt2, filling)
    assert filling.backend_tokenizer.encode_special_tokens
