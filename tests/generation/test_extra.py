"""Other files in front of the prompt, cuts that stay the same for many keystrokes, and texts left as they are."""

from dataclasses import replace
from itertools import chain, pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codeparrot.generation.blocks import Block, less_indented
from codeparrot.generation.engine import Engine
from codeparrot.generation.infill import shares
from codeparrot.generation.prompts import TooLong, resolved
from codeparrot.generation.requests import Completion, Request
from codeparrot.generation.sampling import Nucleus
from codeparrot.generation.texts import cut, settled
from codeparrot.stream.sentinels import SENTINELS
from tests.conftest import python_sources

END = 0
CONTEXT = 256


def tokens(tokenizer: Any, text: str) -> list[int]:
    return tokenizer(text)["input_ids"]


# --- other files


def test_other_files_are_documents_in_front_of_the_prompt_nearest_last(filling) -> None:
    a, b, c = (tokens(filling, text) for text in ("import a\n", "b = 1\n", "def f("))
    asked = Request("def f(", extra=("import a\n", "", "b = 1\n"), heal=False)
    assert resolved(asked, filling, None).prompt == [*a, END, *b, END, *c]
    given_tokens = resolved(Request(c, extra=("import a\n",)), filling, None)
    assert given_tokens.prompt == [*a, END, *c]
    assert resolved(given_tokens, filling, None) == given_tokens, "they are there once"


@pytest.mark.parametrize("order", ["psm", "spm"])
def test_other_files_come_before_the_sentinels(filling, order) -> None:
    asked = Request("def f(", suffix="\n    return x", order=order, heal=False)
    with_files = Request("def f(", suffix="\n    return x", order=order, heal=False, extra=("import a\n",))
    alone, found = resolved(asked, filling, CONTEXT), resolved(with_files, filling, CONTEXT)
    assert found.prompt == [*tokens(filling, "import a\n"), END, *alone.prompt]
    assert found.max_new_tokens == alone.max_new_tokens


words = st.integers(0, 400)


@settings(max_examples=150, deadline=None)
@given(
    lengths=st.lists(words, max_size=4),
    before=words,
    behind=st.none() | words,
    new=st.sampled_from([0, 1, 32, 200, 999]),
    steady=st.booleans(),
    order=st.sampled_from(["psm", "spm"]),
)
def test_where_the_context_is_short_files_go_before_any_text(filling, lengths, before, behind, new, steady, order) -> None:
    text = python_sources(1)[0]
    files = tuple(text[number : number + length] for number, length in enumerate(lengths))
    suffix = None if behind is None else f"\n{text[:behind]}"
    options: Any = {"suffix": suffix, "order": order, "steady": steady}
    lost: list[TooLong] = []
    alone = resolved(Request(text[:before], max_new_tokens=new, **options), filling, CONTEXT, lost.append)
    kept_all = not lost
    found = resolved(Request(text[:before], max_new_tokens=new, extra=files, **options), filling, CONTEXT, lost.append)
    assert len(found.prompt) + found.max_new_tokens <= CONTEXT
    assert bool(found.max_new_tokens) == bool(new)
    # The prompt itself is what it is without files, whatever goes of them.
    assert list(found.prompt)[len(found.prompt) - len(alone.prompt) :] == list(alone.prompt)
    assert kept_all or len(found.prompt) == len(alone.prompt) or steady
    documents = list(found.prompt)[: len(found.prompt) - len(alone.prompt)]
    nearest = [[*tokens(filling, each), END] for each in files if each]
    assert any(documents == [*chain(*nearest[number:])] for number in range(len(nearest) + 1)), "whole files, nearest ones"
    if suffix is not None:
        own = filling.convert_tokens_to_ids(list(SENTINELS))
        assert sum(token in own for token in found.prompt) == 3


# --- steady cuts


@settings(max_examples=200)
@given(st.integers(0, 900), st.integers(0, 900), st.integers(8, 600), st.integers(1, 75))
def test_steady_shares_fit_and_lose_no_more_than_a_step_each(num_prefix: int, num_suffix: int, room: int, step: int) -> None:
    plain, found = shares(num_prefix, num_suffix, room), shares(num_prefix, num_suffix, room, step)
    assert sum(found) <= room and plain == shares(num_prefix, num_suffix, room, 1)
    assert all(0 <= each - other < step for each, other in zip(plain, found, strict=True))


@pytest.mark.parametrize("suffix", [None, "\n", "\nx = 1" * 300])
def test_prompts_of_successive_keystrokes_begin_alike(filling, suffix) -> None:
    """Of 200 keystrokes at a text beyond the context, only a few find a cache without their beginning."""
    text = "".join(f"value_{number} = {number}\n" for number in range(200))
    starts = []
    for length in range(len(text) - 200, len(text)):
        request = Request(text[:length], max_new_tokens=32, suffix=suffix, order="spm", steady=True, heal=False)
        warm = Request(text[:length], max_new_tokens=0, suffix=suffix, order="spm", steady=True, heal=False)
        prompt = resolved(request, filling, CONTEXT, lambda _: None).prompt
        starts.append(tuple(prompt[:100]))
        assert prompt == resolved(warm, filling, CONTEXT, lambda _: None).prompt, "a request that warms is cut alike"
    changes = sum(one != other for one, other in pairwise(starts))
    assert changes <= 200 // (CONTEXT // 8) + 1


def test_a_steady_request_whose_text_is_cut_says_so_without_a_warning(long_gpt2, filling, caplog) -> None:
    with Engine(long_gpt2, filling) as engine:
        cuts = [engine.submit(Request("x = 1\n" * 900, max_new_tokens=1, steady=steady)) for steady in (True, False)]
        whole = engine.submit(Request("x", max_new_tokens=1))
    assert all("too long" in each.truncated for each in cuts) and not whole.truncated
    assert caplog.text.count("too long") == 1


@pytest.mark.parametrize("suffix", [None, "\nx"])
@pytest.mark.parametrize("new", [1, 16, 32])
def test_a_steady_text_that_fits_is_not_cut(filling, suffix, new) -> None:
    asked = Request("x = 1\n" * 300, max_new_tokens=new, suffix=suffix, heal=False)
    plain = resolved(asked, filling, 2000)
    found = resolved(replace(asked, steady=True), filling, len(plain.prompt) + new, fail_if_cut)
    assert found.prompt == plain.prompt and found.max_new_tokens == new


def fail_if_cut(found: TooLong) -> None:
    raise AssertionError(found.words)


def test_a_stop_text_whose_characters_are_several_tokens_ends_a_completion(filling) -> None:
    ids = tokens(filling, "a \u2192 b")
    assert all("\u2192" not in filling.decode([token]) for token in ids)
    completion = Completion(Request([5], stop=("b", "\u2192"), max_new_tokens=50), filling, frozenset(), lambda: None)
    for token in ids:
        if not completion.ended:
            completion.add(token, lambda one: filling.decode([one]))
    assert (completion.ended, completion.stopped_by, completion.text) == ("stop", "\u2192", "a")


@pytest.mark.parametrize(
    ("text", "least", "end"),
    [
        ("x\n    y\n  z", 4, len("x\n    y\n")),
        ("x\n    y\n\n \n  z", 4, len("x\n    y\n\n \n")),
        ("x\n    y\n    z", 4, None),
        ("x", 4, None),
        ("x\n", 4, None),
        ("x\n  ", 4, None),
        ("\nx", 1, 1),
        ("\n\tx", 1, None),
        ("\n\tx", 2, 1),
    ],
)
def test_a_line_indented_less_ends_what_is_before_it(text: str, least: int, end: int | None) -> None:
    assert less_indented(text, least) == end


@settings(max_examples=300)
@given(st.text("ab \n\t;", max_size=30), st.sampled_from([(), (";",), ("\na",), ("b;",)]), st.booleans(), st.integers(0, 3))
def test_what_is_certain_is_the_beginning_of_the_exact_text(
    text: str, stop: tuple[str, ...], by_lines: bool, least: int
) -> None:
    def end(part: str) -> str:
        return part[: less_indented(part, least)] if by_lines and least else part

    whole = cut(end(text), stop, between=True)
    for length in range(len(text) + 1):
        assert whole.startswith(settled(end(text[:length]), stop, exact=True, by_lines=by_lines))


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("least", [0, 2])
def test_pieces_of_an_exact_completion_join_to_its_text(long_gpt2, filling, exact, least) -> None:
    bias = {token: 6.0 for text in ("\n", " ", "  ", "x") for token in tokens(filling, text)[:1]}
    from codeparrot.generation.adjust import Adjust

    ends = set()
    with Engine(long_gpt2, filling) as engine:
        for number in range(24):
            options: Any = {"exact": exact, "min_indent": least, "adjust": Adjust(bias=bias), "block": None}
            completion = engine.submit(Request("def f():\n    x", Nucleus(1.0, 1.0, (number,)), 24, ("xx",), **options))
            assert "".join(completion) == completion.text
            assert exact or completion.text == completion.text.rstrip()
            assert (completion.stopped_by == "xx") == (completion.ended == "stop" and "xx" in completion._so_far())
            ends |= {completion.text[-1:].isspace()}
            lines = completion.text.split("\n")[1:]
            assert all(len(line) - len(line.lstrip()) >= least for line in lines if line.strip())
    assert (True in ends) == exact


def test_a_block_may_end_an_exact_completion(long_gpt2, filling) -> None:
    request = Request("def f():\n    x", block=Block.at("def f():\n    x"), exact=True, max_new_tokens=40)
    with Engine(long_gpt2, filling) as engine:
        completion = engine.submit(request)
        assert "".join(completion) == completion.text


def test_the_first_stop_text_is_the_one_that_ended_it(long_gpt2, filling) -> None:
    with Engine(long_gpt2, filling) as engine:
        text = engine.submit(Request("def f(", heal=False, max_new_tokens=12, exact=True))
        list(engine.run())
        middle = text.text[len(text.text) // 2 :][:2]
        found = engine.submit(Request("def f(", heal=False, max_new_tokens=12, exact=True, stop=("never", middle[0], middle)))
        list(engine.run())
    assert found.stopped_by in (middle, middle[0]) and found.text == text.text[: text.text.index(found.stopped_by)]
