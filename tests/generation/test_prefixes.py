"""A prefix cache is bounded, gives back what was put in, and changes no bit of any completion."""

import random
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from codeparrot.generation.engine import Engine
from codeparrot.generation.prefixes import BLOCK, PrefixCache
from codeparrot.generation.requests import Completion, Request
from codeparrot.generation.rows import ROWS
from codeparrot.generation.sampling import Nucleus

_DRAW = random.Random(0)
TREE = [_DRAW.randrange(1, 512) for _ in range(520)]


def prompt(length: int, fork: int) -> list[int]:
    """The beginning of a text that others share up to a token of their own."""
    ids = TREE[:length]
    return [*ids[:fork], *[1 + (each + fork) % 511 for each in ids[fork:]]]


def answer(completion: Completion) -> tuple[Any, ...]:
    return completion.ids, completion.ended, completion.likelihoods, completion.prompt_likelihoods


def alone(model: Any, tokenizer: Any, request: Request, multiple: int | None) -> Completion:
    with Engine(model, tokenizer, multiple=multiple, cache_tokens=BLOCK) as engine:
        completion = engine.submit(request)
        list(engine.run())
    return completion


@pytest.fixture(scope="module")
def known() -> dict[Any, Any]:
    """Answers of requests alone: a property asks for the same ones again."""
    return {}


asked = st.tuples(
    st.sampled_from([1, 16, 127, 128, 129, 255, 256, 257, 300, 513]),
    st.sampled_from([0, 100, 128, 200, 260, 513]),
    st.integers(0, 12),
    st.sampled_from([None, 0, 2]),
    st.booleans(),
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "multiple"), [("long_gpt2", ROWS), ("long_llama", ROWS), ("long_gpt2", None), ("long_llama", None)]
)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data())
def test_any_mix_of_requests_cancels_and_cache_sizes_gives_each_what_it_gets_alone(
    family, multiple, filling, known, request, data
) -> None:
    model = request.getfixturevalue(family)
    wanted = data.draw(st.lists(asked, min_size=1, max_size=6))
    leaving = data.draw(st.lists(st.booleans(), min_size=len(wanted), max_size=len(wanted)))
    cache_tokens, size = data.draw(st.sampled_from([1, BLOCK, 3 * BLOCK, 4096])), data.draw(st.sampled_from([1, 2, 16]))
    steps = data.draw(st.lists(st.integers(0, 3), min_size=len(wanted), max_size=len(wanted)))
    with Engine(model, filling, size, multiple, cache_tokens) as engine:
        found: list[tuple[Any, bool, Completion]] = []
        for name, leaves, between in zip(wanted, leaving, steps, strict=True):
            length, fork, new, num_likely, of_prompt = name
            sampler = Nucleus(0.8, 0.95, name)
            of_prompt = of_prompt and num_likely is not None
            made = Request(prompt(length, fork), sampler, new, num_likely=num_likely, of_prompt=of_prompt, heal=False)
            if (family, multiple, name) not in known:
                known[family, multiple, name] = answer(alone(model, filling, made, multiple))
            found.append((name, leaves, engine.submit(made)))
            for _ in range(between):
                engine.step()
            if leaves:
                found[-1][2].cancel()
        ended = list(engine.run())
    for name, leaves, completion in found:
        reference = known[family, multiple, name]
        if leaves and completion.ended == "cancelled":
            assert completion.ids == reference[0][: len(completion.ids)]
        else:
            assert answer(completion) == reference
    assert not engine.busy and len(ended) <= len(found)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=5), max_size=12), st.integers(0, 4))
def test_it_is_bounded_and_holds_what_was_put_in(texts: list[list[int]], most: int) -> None:
    cache = PrefixCache(most * BLOCK)
    for text in texts:
        ids = [each for each in text for _ in range(BLOCK)]
        found = cache.find([*ids, 0])
        for number, block in enumerate(found):
            assert block.layers[0][0].tolist() == text[: number + 1]
        last = found[-1] if found else None
        for number in range(len(found), len(text)):
            if number and last is None:
                break
            layers = [(torch.tensor(text[: number + 1]), torch.tensor(0))]
            last = cache.add(last, ids[number * BLOCK :][:BLOCK], layers)
        assert cache.num_tokens <= most * BLOCK
        # A prompt's beginning stays when its end finds no room.
        assert len(cache.find([*ids, 0])) == min(most, len(text))


def test_the_prompt_of_a_keystroke_later_is_read_from_where_it_differs(long_gpt2, filling) -> None:
    with Engine(long_gpt2, filling, cache_tokens=4096) as engine:
        counts = []
        for length in (300, 301, 302, 400):
            completion = engine.submit(Request(TREE[:length], max_new_tokens=4))
            list(engine.run())
            counts.append(completion.cached)
        again = engine.submit(Request(TREE[:400], Nucleus(0.8, name=(1,)), max_new_tokens=4))
        list(engine.run())
    assert counts == [0, 256, 256, 256] and again.cached == 400


def test_a_request_for_no_tokens_warms_the_cache(long_gpt2, filling) -> None:
    with Engine(long_gpt2, filling, cache_tokens=4096) as engine:
        warm = engine.submit(Request(TREE[:300], max_new_tokens=0))
        assert list(engine.run()) == [warm]
        assert (warm.text, warm.ids, warm.ended, warm.read) == ("", [], "length", True)
        real = engine.submit(Request(TREE[:290], max_new_tokens=4))
        list(engine.run())
    assert real.cached == 256


def test_those_that_run_get_a_token_between_two_blocks_of_a_long_prompt(long_gpt2, filling) -> None:
    with Engine(long_gpt2, filling, cache_tokens=4096) as engine:
        first = engine.submit(Request(TREE[:20], Nucleus(0.8, name=(1,)), 64, ends=frozenset()))
        engine.step()
        late = engine.submit(Request(prompt(513, 0), max_new_tokens=4))
        before = len(first.ids)
        steps = 0
        while not late.read:
            engine.step()
            steps += 1
        assert steps == 5 and len(first.ids) == before + steps


def test_a_server_measures_before_its_first_request_and_reads_several_blocks_in_a_pass(long_gpt2, filling) -> None:
    with Engine(long_gpt2, filling, multiple=None, cache_tokens=4096) as engine:
        assert "forward" in vars(long_gpt2.transformer)
        first = engine.submit(Request(TREE[:20], Nucleus(0.8, name=(1,)), 64, ends=frozenset()))
        engine.step()
        late = engine.submit(Request(prompt(513, 0), max_new_tokens=4))
        before, steps = len(first.ids), 0
        while not late.read:
            engine.step()
            steps += 1
        assert steps == -(-513 // engine._slots._pass) and len(first.ids) == before + steps
    assert "forward" not in vars(long_gpt2.transformer)


def test_a_prompt_that_is_cancelled_while_it_is_read_is_read_no_further(long_gpt2, filling) -> None:
    with Engine(long_gpt2, filling, cache_tokens=4096) as engine:
        late, other = engine.submit(Request(TREE[:513])), engine.submit(Request(TREE[:20], max_new_tokens=3))
        engine.step()
        late.cancel()
        assert late in engine.step() and not late.read
        assert list(engine.run()) == [other] and other.ended


def test_without_a_cache_a_prompt_is_read_at_once(long_gpt2, filling, monkeypatch) -> None:
    lengths: list[int] = []
    whole = long_gpt2.transformer.forward
    monkeypatch.setattr(
        long_gpt2.transformer, "forward", lambda ids, **rest: lengths.append(ids.shape[1]) or whole(ids, **rest)
    )
    with Engine(long_gpt2, filling) as engine:
        completion = engine.submit(Request(TREE[:300], max_new_tokens=1))
        list(engine.run())
    assert lengths == [304] and completion.cached == 0
