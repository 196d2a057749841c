"""One request fails alone: the others are what they would be without it."""

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch

from codeparrot.errors import CodeparrotError
from codeparrot.generation.adjust import Adjust
from codeparrot.generation.engine import Engine
from codeparrot.generation.failures import NoMemory, NotFinite, NothingLeft
from codeparrot.generation.requests import Completion, Request
from codeparrot.generation.sampling import Nucleus

LONG = "x = 1\n" * 40
SHORT = [Request(f"def f{number}(x):", Nucleus(0.8, 0.95, (number,)), 12, ends=frozenset()) for number in range(5)]


def changed(model: Any, monkeypatch: pytest.MonkeyPatch, change: Callable[[Any, Any], None]) -> None:
    """Run `change` with the arguments and the output of every pass of a model."""
    whole = model.forward

    def forward(*arguments: Any, **options: Any) -> Any:
        output = whole(*arguments, **options)
        change(options, output)
        return output

    forward.__signature__ = inspect.signature(whole)  # type: ignore[attr-defined]
    monkeypatch.setattr(model, "forward", forward)


def ended(engine: Engine) -> list[Completion]:
    found = []
    while engine.busy:
        found += engine.step()
    return found


def answers(completions: list[Completion]) -> list[tuple[str, list[int]]]:
    return [(each.text, each.ids) for each in completions]


@pytest.fixture
def reference(long_gpt2, filling) -> list[tuple[str, list[int]]]:
    with Engine(long_gpt2, filling, cache_tokens=4096) as engine:
        found = [engine.submit(each) for each in SHORT]
        list(engine.run())
    return answers(found)


def no_memory(*_: Any) -> None:
    torch.empty(1 << 60)  # torch's own error


def test_a_prompt_without_memory_for_it_fails_alone(long_gpt2, filling, monkeypatch, reference) -> None:
    def change(options: Any, output: Any) -> None:
        if options["position_ids"].max() >= 128:
            no_memory()

    changed(long_gpt2, monkeypatch, change)
    with Engine(long_gpt2, filling, cache_tokens=4096) as engine:
        found = [engine.submit(each) for each in SHORT[:2]]
        engine.step()
        long = engine.submit(Request(LONG, max_new_tokens=300))
        found += [engine.submit(each) for each in SHORT[2:]]
        done = ended(engine)
    assert long in done and long.ended == "failed" and isinstance(long.error, NoMemory) and not long.read
    assert "not enough memory" in str(long.error) and long.error.__traceback__ is None
    assert answers(found) == reference


def test_no_room_to_grow_for_a_long_sequence_fails_it_alone(long_gpt2, filling, monkeypatch, reference) -> None:
    from codeparrot.generation.slots import _SlotLayer

    room = _SlotLayer._room
    monkeypatch.setattr(
        _SlotLayer, "_room", lambda self, like, count, length: no_memory() if length > 256 else room(self, like, count, length)
    )
    with Engine(long_gpt2, filling, cache_tokens=4096) as engine:
        found = [engine.submit(each) for each in SHORT[:2]]
        engine.step()
        long = engine.submit(Request(LONG, max_new_tokens=400, ends=frozenset()))
        while not long.ended:
            engine.step()
        found += [engine.submit(each) for each in SHORT[2:]]
        ended(engine)
    assert isinstance(long.error, NoMemory) and answers(found) == reference


def test_a_step_without_memory_fails_those_that_run_and_the_engine_goes_on(long_gpt2, filling, monkeypatch, reference) -> None:
    broken = [False]
    changed(
        long_gpt2, monkeypatch, lambda options, _: no_memory() if broken[0] and options["input_ids"].shape[1] == 1 else None
    )
    with Engine(long_gpt2, filling, batch_size=3, cache_tokens=4096) as engine:
        lost = [engine.submit(each) for each in SHORT[:3]]
        while not all(each.ids for each in lost):
            engine.step()
        found = [engine.submit(each) for each in SHORT]
        broken[0] = True
        assert set(engine.step()) == set(lost)
        broken[0] = False
        ended(engine)
    assert all(isinstance(each.error, NoMemory) for each in lost) and answers(found) == reference


def test_any_other_error_of_a_model_is_a_defect(long_gpt2, filling, monkeypatch) -> None:
    def change(options: Any, output: Any) -> None:
        raise RuntimeError("shapes differ")

    changed(long_gpt2, monkeypatch, change)
    with Engine(long_gpt2, filling, cache_tokens=4096) as engine:
        engine.submit(SHORT[0])
        with pytest.raises(RuntimeError, match="shapes differ"):
            engine.step()


@pytest.mark.parametrize("cache_tokens", [0, 4096])
def test_logits_that_are_not_finite_fail_their_row_and_leave_nothing_behind(
    long_gpt2, filling, monkeypatch, reference, cache_tokens
) -> None:
    """What is not finite in a slot would reach the next sequence there through the mask: 0 times it is not 0."""
    broken = [False]

    def change(options: Any, output: Any) -> None:
        if broken[0] and options["input_ids"].shape[1] == 1:
            output.logits[1] = torch.nan
            for layer in options["past_key_values"].layers:
                layer.keys[1], layer.values[1] = torch.nan, torch.nan

    changed(long_gpt2, monkeypatch, change)
    with Engine(long_gpt2, filling, batch_size=3, cache_tokens=cache_tokens) as engine:
        found = [engine.submit(each) for each in SHORT]
        while sum(bool(each.ids) for each in found) < 3:
            engine.step()
        broken[0] = True
        (lost,) = [each for each in engine.step() if each.ended == "failed"]
        broken[0] = False
        number = found.index(lost)
        found[number] = engine.submit(SHORT[number])
        ended(engine)
    assert isinstance(lost.error, NotFinite) and "earlier checkpoint" in str(lost.error)
    assert answers(found) == reference


def test_biases_that_leave_no_token_fail_their_request(long_gpt2, filling, reference) -> None:
    nothing = Adjust(bias=dict.fromkeys(range(518), float("-inf")))
    with Engine(long_gpt2, filling, cache_tokens=4096) as engine:
        lost = engine.submit(Request("x", adjust=nothing, heal=False))
        found = [engine.submit(each) for each in SHORT]
        ended(engine)
    assert isinstance(lost.error, NothingLeft) and answers(found) == reference


def test_a_failure_is_raised_where_nobody_looks_for_it(long_gpt2, filling, monkeypatch) -> None:
    changed(long_gpt2, monkeypatch, no_memory)
    with Engine(long_gpt2, filling) as engine:
        completion = engine.submit(SHORT[0])
        with pytest.raises(CodeparrotError, match="not enough memory"):
            list(engine.run())
        with pytest.raises(CodeparrotError, match="not enough memory"):
            list(completion)


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (Request([1, 518]), "518 is no token of the model; its tokens are 0 to 517"),
        (Request([-1]), "-1 is no token"),
        (Request("x", adjust=Adjust(bias={900: 1.0})), "the biases: 900 is no token"),
        (Request("x\ud800"), "character 1 is half of a surrogate pair"),
        (Request("x", suffix="\udfff"), "half of a surrogate pair"),
        (Request("x", num_likely=1, of_prompt=True), "a prompt that is not healed"),
        (Request("x", of_prompt=True, heal=False), "need num_likely"),
    ],
)
def test_a_request_that_cannot_be_met_is_refused_before_it_waits(long_gpt2, filling, request_, words) -> None:
    with Engine(long_gpt2, filling) as engine:
        with pytest.raises(CodeparrotError, match=words):
            engine.submit(request_)
        assert not engine.busy
