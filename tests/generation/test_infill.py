"""In the middle of a text: the format, what goes when the context overflows, and a middle that joins both sides."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

from codeparrot.errors import CodeparrotError
from codeparrot.generation.blocks import Block
from codeparrot.generation.engine import Engine
from codeparrot.generation.infill import rest_of_word, shares
from codeparrot.generation.prompts import TooLong, resolved
from codeparrot.generation.requests import Completion, Request
from codeparrot.generation.sampling import Nucleus
from codeparrot.generation.texts import settled
from codeparrot.stream.sentinels import FIM_MIDDLE, FIM_PREFIX, FIM_SUFFIX, SENTINELS
from tests.conftest import python_sources

END: Any = {"bos_token_id": 0, "eos_token_id": 0}
CONTEXT = 192


@pytest.fixture(scope="module")
def plain(tokenizer_folder: Path) -> Any:
    return AutoTokenizer.from_pretrained(tokenizer_folder)


@pytest.fixture(scope="module")
def tokenizer(tokenizer_folder: Path) -> Any:
    """With sentinels, whose ids are 512 to 517."""
    made = AutoTokenizer.from_pretrained(tokenizer_folder)
    made.add_special_tokens({"additional_special_tokens": list(SENTINELS)})
    return made


def eager(bonus: float) -> Any:
    """A GPT-2 with random weights that is so much keener on the end token."""
    torch.manual_seed(0)
    shape: Any = {"vocab_size": 518, "n_positions": CONTEXT, "n_embd": 48, "n_layer": 2, "n_head": 3}
    model = GPT2LMHeadModel(GPT2Config(**shape, initializer_range=0.3, **END)).eval()
    ends = torch.zeros(518)
    ends[0] = bonus
    head: Any = model.lm_head
    head.register_forward_hook(lambda _, args, output: output + ends)
    return model


@pytest.fixture(scope="module")
def gpt2() -> Any:
    return eager(0.0)


@pytest.fixture(scope="module")
def ending() -> Any:
    return eager(1000.0)


def completed(model: Any, tokenizer: Any, requests: list[Request], batch_size: int = 64) -> list[Completion]:
    with Engine(model, tokenizer, batch_size) as engine:
        found = [engine.submit(request) for request in requests]
        list(engine.run())
    return found


# --- the prompt


def test_the_parts_of_a_prompt_are_in_the_order_of_training(tokenizer) -> None:
    prefix, suffix = tokenizer("x = 1\n")["input_ids"], tokenizer("\nprint(x)")["input_ids"]
    start, middle, behind = tokenizer.convert_tokens_to_ids([FIM_PREFIX, FIM_MIDDLE, FIM_SUFFIX])
    request = Request("x = 1\n", suffix="\nprint(x)", heal=False)
    assert resolved(request, tokenizer, None).prompt == [start, *prefix, behind, *suffix, middle]
    spm = Request("x = 1\n", suffix="\nprint(x)", heal=False, order="spm")
    assert resolved(spm, tokenizer, None).prompt == [start, behind, *suffix, middle, *prefix]
    nothing = Request("", suffix="", order="psm")
    assert resolved(nothing, tokenizer, None).prompt == [start, behind, middle]
    spelled = resolved(Request(FIM_PREFIX, suffix=FIM_MIDDLE, heal=False), tokenizer, None)
    assert sum(index >= 512 for index in spelled.prompt) == 3, "sentinels in a text are text"  # type: ignore[operator]


def test_a_model_without_sentinels_says_so(plain) -> None:
    with pytest.raises(CodeparrotError, match="completing with a suffix needs a tokenizer with <fim_prefix>") as error:
        resolved(Request("x", suffix="y"), plain, None)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("order", ["psm", "spm"])
def test_both_ends_are_healed(order: Any, tokenizer) -> None:
    found = resolved(Request("def s", suffix="um(x): pass", order=order), tokenizer, None)
    assert (found.begin, found.join) == (b" s", b"um")
    assert tokenizer.decode(found.prompt, skip_special_tokens=True) in ("def(x): pass", "(x): passdef")
    assert resolved(found, tokenizer, None) == found
    exact = resolved(Request("def s", suffix="um(x): pass", order=order, heal=False), tokenizer, None)
    assert (exact.begin, exact.join) == (b"", b"")


@pytest.mark.parametrize(
    ("prefix", "suffix", "rest"),
    [
        ("import nu", "mpy as np", "mpy"),
        ("x_", "1 + y", "1"),
        ("x", "_y", "_y"),
        ("x = ", "foo(y)", ""),
        ("x", " = 1", ""),
        ("x", "(y)", ""),
        ("", "foo", ""),
        ("x", "", ""),
        ("naï", "ve x", "ve"),
        ("'e", "\u0301' + x", "\u0301"),
        ("'👩", "\u200d👩'", "\u200d"),
        ("cafe", "\u0301s x", "\u0301s"),
    ],
)
def test_the_rest_of_a_word_is_found(prefix: str, suffix: str, rest: str) -> None:
    assert rest_of_word(prefix, suffix) == rest


def test_a_word_that_no_token_reaches_is_none(tokenizer) -> None:
    assert resolved(Request("x = 'aaaa", suffix="a" * 500 + "'"), tokenizer, None).join == b""


# --- overflow


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 60))
def test_the_prefix_loses_its_head_down_to_half_the_room_then_the_suffix_its_tail(prefix: int, suffix: int, room: int) -> None:
    left, right = shares(prefix, suffix, room)
    assert 0 <= left <= prefix and 0 <= right <= suffix and left + right == min(prefix + suffix, room)
    if right < suffix:
        assert left == min(prefix, room // 2)
    if left < prefix:
        assert left >= room // 2


@settings(deadline=None)
@given(
    num_prefix=st.integers(0, 60),
    num_suffix=st.integers(0, 60),
    num_new=st.integers(1, 60),
    context=st.integers(12, 80),
    order=st.sampled_from(["psm", "spm"]),
    heal=st.booleans(),
)
def test_a_prompt_fits_the_context_and_keeps_what_is_next_to_the_cursor(
    num_prefix: int, num_suffix: int, num_new: int, context: int, order: Any, heal: bool, tokenizer
) -> None:
    source = python_sources(1)[0].replace("_", " ")
    prefix, suffix = source[:num_prefix], source[1000 : 1000 + num_suffix]
    told: list[TooLong] = []
    request = Request(prefix, suffix=suffix, max_new_tokens=num_new, order=order, heal=heal)
    found = resolved(request, tokenizer, context, told.append)
    ids: Any = list(found.prompt)
    assert sorted(index for index in ids if index >= 512) == sorted(tokenizer.convert_tokens_to_ids(list(SENTINELS[:3])))
    assert found.max_new_tokens > 0 and len(ids) + found.max_new_tokens <= context
    start, middle, behind = (ids.index(tokenizer.convert_tokens_to_ids(name)) for name in (FIM_PREFIX, FIM_MIDDLE, FIM_SUFFIX))
    left, right = (ids[start + 1 : behind], ids[behind + 1 : middle]) if order == "psm" else (ids[middle + 1 :], ids[2:middle])
    assert (prefix + suffix.removeprefix(found.join.decode())) or not ids[3:]
    before, after = tokenizer.decode(left) + found.begin.decode(), found.join.decode() + tokenizer.decode(right)
    assert prefix.endswith(before) and suffix.startswith(after)
    cut_left, cut_right = len(before) < len(prefix), len(after) < len(suffix)
    assert bool(told) == (cut_left or cut_right)


def test_what_is_lost_is_said(gpt2, tokenizer, caplog) -> None:
    with Engine(gpt2, tokenizer) as engine:
        engine.submit(Request("x = 1\n" * 100, suffix="\ny = 2" * 100, max_new_tokens=20, heal=False))
    (line,) = caplog.messages
    assert line.startswith("the text is too long: the last 84 of 400 tokens before the cursor and the first 85 of 500")
    assert "the context holds 192, 20 of them new" in line


# --- the middle


@settings(deadline=None, max_examples=20)
@given(data=st.data())
def test_a_middle_that_ended_joins_the_suffix(data, ending, tokenizer) -> None:
    text = "def mean(values):\n    return sum(values) / len(values)\n"
    place = data.draw(st.integers(0, len(text)))
    sampler = Nucleus(data.draw(st.sampled_from([0.0, 1.0])), 1.0, (data.draw(st.integers(0, 99)),))
    order = data.draw(st.sampled_from(["psm", "spm"]))
    with Engine(ending, tokenizer) as engine:
        found = engine.submit(Request(text[:place], sampler, 90, suffix=text[place:], order=order))
        pieces = list(found)
    assert "".join(pieces) == found.text
    everything, join = tokenizer.decode(found.ids, skip_special_tokens=True), found.request.join.decode()
    if found.ended == "end":
        assert everything == found.request.begin.decode() + found.text + join
    else:
        assert everything.startswith(found.request.begin.decode()) and join and found.ended == "length"


def test_some_middles_reach_the_rest_of_the_word(ending, tokenizer) -> None:
    requests = [Request("x = a", Nucleus(1.0, 1.0, (number,)), 90, suffix="e + 1") for number in range(16)]
    found = completed(ending, tokenizer, requests)
    assert sum(each.ended == "end" for each in found) > 4
    assert all(each.request.join == b"e" and each.healed for each in found)


def test_the_prefix_cannot_be_taken_for_what_joins(ending, tokenizer) -> None:
    """The word begins with what it ends with: the middle has to write it once more."""
    (found,) = completed(ending, tokenizer, [Request("x = e", max_new_tokens=60, suffix="e + 1")])
    behind = tokenizer.decode(found.ids, skip_special_tokens=True)[len(found.request.begin) :]
    assert found.request.begin == b" e" and (found.ended == "length" or behind.endswith("e"))


def test_white_space_at_the_end_of_a_middle_stays(ending, tokenizer) -> None:
    prompt = Request("def f():", suffix="return 1", heal=False, order="psm")
    done = resolved(prompt, tokenizer, CONTEXT)
    completion = Completion(done, tokenizer, frozenset({0}), lambda: None)
    for token in [*tokenizer("\n    ")["input_ids"], 0]:
        completion.add(token, lambda token: tokenizer.decode([token]))
    assert (completion.text, completion.ended) == ("\n    ", "end")


@pytest.mark.parametrize(
    ("before", "behind", "text"),
    [
        ("if x:\n", "    return 1\n", "    y = 2\n"),
        ("if x:\n", "\n    return 1\n", "    y = 2"),
        ("if x:\n    y = 1", " + 1\n", "    y = 2"),
        ("if x:\n", "", "    y = 2"),
    ],
)
def test_lines_that_end_with_their_block_stay_lines(before: str, behind: str, text: str, tokenizer) -> None:
    request = Request(before, suffix=behind or None, heal=False, block=Block.at(before))
    completion = Completion(resolved(request, tokenizer, CONTEXT), tokenizer, frozenset({0}), lambda: None)
    shown = ""
    for token in tokenizer("    y = 2\n\n\ndef g():")["input_ids"]:
        completion.add(token, lambda token: tokenizer.decode([token]))
        shown += completion.take()
        if completion.ended:
            break
    assert (completion.text, completion.ended, shown) == (text, "stop", text)


@given(
    st.lists(st.sampled_from(["y", "mpy", "m", "p", " ", "\n", "x", "\n\n"]), max_size=10), st.sampled_from(["mpy", "y", "yy"])
)
def test_what_may_join_the_suffix_is_not_shown_before_it_is_certain(pieces: list[str], join: str) -> None:
    grown, shown = "", ""
    for piece in pieces:
        grown += piece
        now = settled(grown, ("\n\n",), join)
        assert now.startswith(shown)
        shown = now
        assert grown.removesuffix(join).split("\n\n")[0].startswith(shown)
        if "\n\n" in grown:
            break


# --- side by side


@pytest.mark.slow
def test_healed_exact_and_infilling_rows_are_bit_equal_for_every_batch_size_order_and_share(gpt2, tokenizer) -> None:
    source = python_sources(3)[2]
    kinds: tuple[dict[str, Any], ...] = ({}, {"heal": False}, {"suffix": source[500:600]}, {"suffix": "x)", "order": "spm"})
    requests = [
        Request(source[: 11 * number + 1], Nucleus(temperature, 0.95, (number, temperature)), 24, ("\n\n",), **kind)
        for number in range(9)
        for temperature in (0.0, 0.9)
        for kind in kinds
    ]

    def ran(chosen: list[int], batch_size: int = 64) -> dict[int, tuple[str, list[int], str]]:
        found = completed(gpt2, tokenizer, [requests[index] for index in chosen], batch_size)
        return {index: (each.text, each.ids, each.ended) for index, each in zip(chosen, found, strict=True)}

    everything = list(range(len(requests)))
    reference = ran(everything)
    threads = torch.get_num_threads()
    try:
        for num_threads, batch_size in ((1, 1), (1, 5), (2, 16), (1, 33)):
            torch.set_num_threads(num_threads)
            assert ran(everything, batch_size) == reference
    finally:
        torch.set_num_threads(threads)
    mixed = np.random.default_rng(0).permutation(everything).tolist()
    assert ran(mixed, 20) == reference
    assert ran(mixed[0::3], 9) | ran(mixed[1::3], 9) | ran(mixed[2::3], 9) == reference
