"""Blocks in another order: nothing is lost, none is cut, and none leaves its document."""

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, BertTokenizer

from codeparrot.errors import CodeparrotError
from codeparrot.model import IGNORED
from codeparrot.objectives import load_objective
from codeparrot.objectives.blocks import Blocks, blocks_of
from codeparrot.objectives.span import Span
from codeparrot.stream.sentinels import MASK

END = 0
SPELLED = [b"", b"def", b" x", b"\n", b"\n\n", b"    ", b"class", b"\n\n\n", b"#", b"\r\n", b")\n"]
DEF, X, LINE, EMPTY, INDENT, CLASS, EMPTIES, HASH, DOS, CLOSE = range(1, 11)

CODE = """import os
import sys


def read(path):
    with open(path) as file:

        return file.read()


class Table:
    rows = 1

    def first(self):
        return self.rows

# a remark
WIDTH = 3
"""
BLOCKS = ["import os\nimport sys\n\n\n", CODE[CODE.index("def read") : CODE.index("class")]]
BLOCKS += [CODE[CODE.index("class") : CODE.index("#")], "# a remark\nWIDTH = 3\n"]


@pytest.fixture(scope="module")
def tokenizer(tokenizer_folder) -> Any:
    loaded: Any = AutoTokenizer.from_pretrained(tokenizer_folder)
    loaded.add_special_tokens({"mask_token": MASK})
    return loaded


def pieces(window: np.ndarray, starts: np.ndarray) -> list[tuple[int, ...]]:
    return [tuple(piece.tolist()) for piece in np.split(window, np.flatnonzero(starts)[1:])]


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        ([DEF, X, EMPTY, CLASS, X], [0, 3]),
        ([DEF, X, LINE, LINE, CLASS, X], [0, 4]),
        ([DEF, X, LINE, CLASS, X], [0]),
        ([DEF, X, EMPTY, INDENT, X, CLOSE, LINE, HASH], [0, 7]),
        ([DEF, EMPTY, X, EMPTIES, HASH, DOS, DOS, DEF], [0, 4, 7]),
        ([DEF, END, CLASS, LINE, END, END, X], [0, 1, 2, 4, 5, 6]),
        ([LINE, DEF, EMPTY], [0]),
        ([EMPTY, DEF], [0, 1]),
    ],
)
def test_a_block_begins_with_a_line_that_is_not_indented_behind_an_empty_one(tokens: list[int], expected: list[int]) -> None:
    assert np.flatnonzero(Blocks(SPELLED, END).starts(np.array(tokens))).tolist() == expected


@settings(deadline=None)
@given(st.lists(st.integers(0, len(SPELLED) - 1), min_size=1, max_size=120), st.integers(0, 9))
def test_nothing_is_lost_no_block_is_cut_and_documents_stay(tokens: list[int], number: int) -> None:
    window, own = np.array(tokens, np.int64), Blocks(SPELLED, END)
    order = own.order(window, f"k/{number}")
    assert sorted(order.tolist()) == list(range(len(window)))
    moved = window[order]
    assert (moved[np.argsort(order)] == window).all()
    assert (np.flatnonzero(moved == END) == np.flatnonzero(window == END)).all()
    blocks = pieces(window, own.starts(window))
    firsts = np.isin(order, np.flatnonzero(own.starts(window)))
    assert Counter(pieces(moved, firsts)) == Counter(blocks)
    inside = ~firsts[1:]
    assert (np.diff(order)[inside] == 1).all(), "the tokens of a block stay in their order"
    document = np.cumsum(window == END)
    assert (document[order] == document).all()
    assert (own.order(window, f"k/{number}") == order).all()


def test_a_line_without_a_break_stays_last() -> None:
    window, own = np.array([DEF, EMPTY, CLASS, EMPTY, HASH, X, END, DEF, EMPTY, CLASS, X]), Blocks(SPELLED, END)
    for number in range(20):
        moved = window[own.order(window, str(number))].tolist()
        assert moved[4:] == window.tolist()[4:] and sorted(moved[:4:2]) == sorted([DEF, CLASS])


def test_blocks_of_python_are_its_top_level_statements(tokenizer: Any) -> None:
    window = np.array(tokenizer(CODE)["input_ids"])
    own = blocks_of(tokenizer)
    assert [tokenizer.decode(piece) for piece in pieces(window, own.starts(window))] == BLOCKS
    seen = {tokenizer.decode(window[own.order(window, str(number))]) for number in range(200)}
    assert len(seen) == 24, "all orders of four blocks"
    assert all(sorted(text) == sorted(CODE) for text in seen)


def test_the_encoder_reads_blocks_in_another_order_and_the_decoder_writes_them_in_theirs(tokenizer: Any) -> None:
    ids = [*tokenizer(CODE)["input_ids"], tokenizer.eos_token_id]
    windows = np.array([ids, ids])
    plain, permuted = (Span(rate=0.01, targets="text", permute=each).fitted(tokenizer) for each in (False, True))
    one, other = (own.examples(windows, [3, 4], seed=1) for own in (plain, permuted))
    assert (one.labels == other.labels).all() and one.input_ids.shape == other.input_ids.shape
    assert (one.input_ids != other.input_ids).any() and (other.input_ids[0] != other.input_ids[1]).any()
    again = permuted.examples(windows[1:], [4], seed=1)
    assert (again.input_ids[0] == other.input_ids[1]).all()
    inputs = Counter(other.input_ids[0].tolist())
    assert not inputs - Counter([*ids, tokenizer.mask_token_id, tokenizer.eos_token_id])
    assert (other.labels != IGNORED).all() and permuted.lengths(len(ids)) == plain.lengths(len(ids))
    first, second = permuted.of_validation(windows[0]), permuted.of_validation(windows[0].copy())
    assert (first[0] == second[0]).all() and first[1].tolist() == [*ids, tokenizer.eos_token_id]


def test_what_cannot_be_permuted_is_refused() -> None:
    with pytest.raises(CodeparrotError, match=r"objective\.permute needs objective\.targets text; set it so, or leave"):
        load_objective({"name": "span", "permute": True})

    of_characters = BertTokenizer(vocab={"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4, "a": 5})
    with pytest.raises(CodeparrotError, match=r"objective\.permute needs a tokenizer that works on bytes; leave it out"):
        Span(targets="text", permute=True).fitted(of_characters)
    assert Span(targets="text", permute=True).card().endswith("; top-level blocks in another order")
