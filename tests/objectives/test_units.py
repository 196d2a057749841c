"""Identifiers are masked whole or not at all, wherever a window begins and ends; units are those of Python's tokenizer."""

import io
import token as kinds
import tokenize
from collections.abc import Callable, Iterator
from itertools import accumulate
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from transformers import AutoTokenizer, BertTokenizer

from codeparrot.errors import CodeparrotError
from codeparrot.model import IGNORED
from codeparrot.objectives.masked import Masked
from codeparrot.objectives.units import LONGEST_IDENTIFIER_BYTES, NO_UNIT, Unit, Units, units_of
from tests.conftest import python_sources

ROOT = Path(__file__).parents[2]
BYTES = [*(bytes([each]) for each in range(256)), None]
END = 256
"""Of a vocabulary that is the bytes themselves."""


def own_sources() -> list[str]:
    """Return this repository's Python files."""
    folders = ("codeparrot", "eval", "tokenizer", "tests", "benchmarks")
    files = sorted(file for folder in folders for file in (ROOT / folder).rglob("*.py"))
    return [file.read_text(encoding="utf-8") for file in files]


def tokens_of(text: str) -> Iterator[tuple[int, int, int]]:
    """Return kind, first byte and last byte of each token of Python's own tokenizer."""
    lines = [*io.StringIO(text), ""]
    places = [0, *accumulate(len(line.encode()) for line in lines)]

    def place(row: int, column: int) -> int:
        return places[row - 1] + len(lines[row - 1][:column].encode())

    for each in tokenize.generate_tokens(io.StringIO(text).readline):
        if each.string.strip():
            yield each.type, place(*each.start), place(*each.end)


def groups(numbers: np.ndarray) -> list[list[int]]:
    """Return the places of each unit's tokens."""
    found: list[list[int]] = [[] for _ in range(int(numbers.max(initial=NO_UNIT)) + 1)]
    for place, number in enumerate(numbers.tolist()):
        if number != NO_UNIT:
            found[number].append(place)
    return found


def cut(text: str | bytes, unit: Unit) -> list[bytes]:
    """Return the units of a text whose tokens are its bytes, one-byte ones left out."""
    data = text.encode() if isinstance(text, str) else text
    numbers = Units(BYTES, unit)(np.frombuffer(data, np.uint8).astype(np.int64))
    return [bytes(data[each] for each in group) for group in groups(numbers) if len(group) > 1]


@pytest.fixture(scope="module")
def tokenizer(tokenizer_folder):
    return AutoTokenizer.from_pretrained(tokenizer_folder)


@pytest.mark.slow
@pytest.mark.parametrize("unit", ["identifier", "python"])
@pytest.mark.parametrize("length", [64, 253])
def test_every_identifier_of_this_repository_is_whole_in_its_windows(tokenizer_json, tokenizer, unit, length) -> None:
    backend, units = Tokenizer.from_str(tokenizer_json), units_of(tokenizer, unit)
    backend.encode_special_tokens = True
    spelled = {index: len(data) for index, data in enumerate(units._spelled)}
    stream: list[int] = []
    names: list[tuple[int, int]] = []
    for text in own_sources()[::16]:
        ids = backend.encode(text).ids
        stops = np.cumsum([spelled[each] for each in ids])
        for kind, start, stop in tokens_of(text):
            if kind == tokenize.NAME:
                first, last = np.searchsorted(stops, [start, stop - 1], side="right")
                names.append((len(stream) + int(first), len(stream) + int(last) + 1))
        stream += [*ids, tokenizer.eos_token_id]
    windows = np.array(stream[: len(stream) // length * length]).reshape(-1, length)
    numbers = np.concatenate([units(window) for window in windows])
    assert len(names) > 5_000
    for start, stop in names:
        for first in range(start, min(stop, len(numbers))):
            same_window = first + 1 < stop and (first + 1) % length and first + 1 < len(numbers)
            assert not same_window or numbers[first] == numbers[first + 1] != NO_UNIT
    assert (numbers[np.array(stream[: len(numbers)]) == tokenizer.eos_token_id] == NO_UNIT).all()


@pytest.mark.slow
def test_python_units_are_the_tokens_of_pythons_own_tokenizer() -> None:
    """On all that are short; of one byte, or none, there is nothing to compare."""
    compared = 0
    for text in [*own_sources()[::9], *python_sources(12)]:
        expected = []
        for kind, start, stop in tokens_of(text):
            long = kind in (kinds.STRING, tokenize.COMMENT) and stop - start > 64
            if not long and kind < 60 and stop - start > 1:
                expected.append(text.encode()[start:stop])
        found = iter(cut(text, "python"))
        assert all(any(each == other for other in found) for each in expected), "in this order, others between them"
        compared += len(expected)
    assert compared > 20_000


def test_what_the_units_of_a_line_are() -> None:
    line = "self.maxRetries2 = HTTPServer_v1(rb'a b', 0x1F) ** 2.5e-3  # no_such thing"
    assert cut(line, "word") == b"self max Retries HTTP Server rb no such thing".split()
    assert cut(line, "identifier") == b"self maxRetries2 HTTPServer_v1 rb x1F no_such thing".split()
    assert cut(line, "python") == [
        *b"self maxRetries2 HTTPServer_v1".split(),
        b"rb'a b'",
        *b"0x1F ** 2.5e-3".split(),
        b"# no_such thing",
    ]
    assert cut(line, "token") == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("snake_case2", [b"snake", b"case"]),
        ("camelCase", [b"camel", b"Case"]),
        ("HTTPServer", [b"HTTP", b"Server"]),
        ("MAX_SIZE", [b"MAX", b"SIZE"]),
        ("__init__", [b"init"]),
        ("größeÄnderung", ["größeÄnderung".encode()]),
        ("utf16le", [b"utf", b"16", b"le"]),
    ],
)
def test_words_are_the_parts_of_an_identifier(text: str, expected: list[bytes]) -> None:
    assert cut(text, "word") == expected


def test_a_token_over_two_units_joins_them() -> None:
    units = Units([b" ab", b"Cd", b"Ef_x", b".", b"a(b", None], "word")
    assert units(np.array([0, 1, 3, 2, 3, 3, 5, 0])).tolist() == [0, 1, 2, 3, 4, 5, -1, 6]
    joined = Units([b"foo", b"Bar baz", b"Qux", b" ", b"x"], "identifier")
    assert joined(np.array([0, 1, 2, 3, 4])).tolist() == [0, 0, 0, 1, 2], "fooBar and bazQux share a token"


def test_long_strings_fall_into_pieces_and_data_into_tokens() -> None:
    long = "'''one_name and\nanother_name " + "x " * 40 + "'''"
    assert cut(long, "python") == [b"one_name", b"and", b"another_name"]
    assert cut("'short one'", "python") == [b"'short one'"]
    for unit in ("identifier", "python"):
        assert cut("a" * LONGEST_IDENTIFIER_BYTES, unit) == [b"a" * LONGEST_IDENTIFIER_BYTES]
        assert cut("a" * (LONGEST_IDENTIFIER_BYTES + 1), unit) == []


@pytest.mark.parametrize("unit", ["word", "identifier", "python"])
def test_documents_do_not_share_a_unit(unit: Unit) -> None:
    window = np.array([*b"x = '", END, *b"ab' ab", END, END, *b"ab"])
    numbers = Units(BYTES, unit)(window)
    assert (numbers[window == END] == NO_UNIT).all()
    assert numbers[-1] == numbers[-2] != numbers[-6] == numbers[-5]
    before, after = numbers[: window.tolist().index(END)], numbers[window.tolist().index(END) + 1 :]
    assert not set(before) & set(after) - {NO_UNIT}


@settings(deadline=None)
@given(
    st.lists(st.one_of(st.integers(0, 256), st.sampled_from([*b"'\"\\#ab_ \n"])), max_size=60),
    st.sampled_from(["word", "identifier", "python", "token"]),
)
def test_any_bytes_have_units_that_are_neighbours_counted_in_order(window: list[int], unit: Unit) -> None:
    numbers = Units(BYTES, unit)(np.array(window, np.int64))
    assert ((numbers == NO_UNIT) == (np.array(window) == END)).all()
    own = numbers[numbers != NO_UNIT]
    assert own.tolist() == sorted(own) and set(own) == set(range(len(set(own))))
    assert all(group[-1] - group[0] == len(group) - 1 for group in groups(numbers)), "no special token inside"


@settings(deadline=None)
@given(st.text("aé日_ .(\n'", max_size=40), st.integers(0, 20), st.integers(0, 20), st.sampled_from(["identifier", "python"]))
def test_identifiers_cut_by_the_window_inside_a_character_are_whole(text: str, front: int, back: int, unit: Unit) -> None:
    data = text.encode()
    data = data[front : max(front, len(data) - back)]
    numbers = Units(BYTES, unit)(np.frombuffer(data, np.uint8).astype(np.int64))
    for place in range(len(data) - 1):
        letters = [byte >= 0x80 or chr(byte) in "a_" for byte in data[place : place + 2]]
        assert not all(letters) or numbers[place] == numbers[place + 1]


def test_the_window_alone_decides(tokenizer) -> None:
    window = np.array(tokenizer("def read_table(path):\n    return path\n")["input_ids"] * 3)
    first: Callable[[np.ndarray], np.ndarray] = units_of(tokenizer, "python")
    for other in (window[5:], window[::-1].copy()):
        first(other)
    assert (first(window) == units_of(tokenizer, "python")(window)).all()


def test_a_tokenizer_of_characters_has_tokens_only() -> None:
    tokenizer = BertTokenizer(vocab={"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4, "a": 5, "##b": 6})
    assert units_of(tokenizer, "token")(np.array([2, 5, 6, 3])).tolist() == [-1, 0, 1, -1]
    with pytest.raises(CodeparrotError, match=r"objective\.unit word needs a tokenizer that works on bytes; set it to token"):
        units_of(tokenizer, "word")


def test_sentinels_and_padding_are_in_no_unit(tokenizer_folder) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    size = len(tokenizer)
    tokenizer.add_special_tokens({"pad_token": "<pad>", "additional_special_tokens": ["<fim_prefix>"]})
    for unit in ("token", "word", "identifier", "python"):
        window = np.array([size, size + 1, tokenizer.eos_token_id])
        assert units_of(tokenizer, unit)(window).tolist() == [NO_UNIT] * 3


@pytest.mark.parametrize("unit", ["word", "identifier", "python"])
def test_the_objective_masks_them_whole_or_not_at_all(tokenizer_folder, unit: Unit) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    tokenizer.add_special_tokens({"mask_token": "<mask>"})
    ids = tokenizer("def read_the_table(path_of_table):\n    return open_table(path_of_table).readlines()\n" * 4)["input_ids"]
    windows = np.stack([np.array(ids, np.int64)] * 50)
    labels = Masked(rate=0.3, unit=unit).fitted(tokenizer).examples(windows, range(50), seed=0).labels
    numbers, several = units_of(tokenizer, unit)(windows[0]), 0
    for row in labels:
        hidden = row != IGNORED
        assert 0.3 * len(ids) <= hidden.sum() < 0.3 * len(ids) + 16, "up to the end of the last unit"
        for group in groups(numbers):
            assert hidden[group].all() or not hidden[group].any()
            several += len(group) > 1 and bool(hidden[group].all())
    assert several > 50
