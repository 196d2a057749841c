"""Units of a window: the tokens that are masked together.

    token        each token
    word         a run of letters of one case: the parts of snake_case and of camelCase; a run of digits
    identifier   a whole identifier, wherever it is, in strings and comments too
    python       a token of Python: an identifier, a number, an operator, a string, a comment

What is part of none (spaces, and of `identifier` and `word` all punctuation) is a unit a token. A token that overlaps two units
joins them. Special tokens, ends of documents among them, are in no unit.

Units are a function of the window alone. They are found in its bytes, with regular expressions, so a window may begin and end
anywhere, inside a character too, and its documents need not be Python. As in Python's own tokenizer, a byte from 0x80 is a
letter. Where a whole file tokenizes, the units of `python` are those of Python's tokenizer (a test compares them), on every
version of Python: that of the `tokenize` module depends on the version, and fails on half a file. Strings and comments above
`LONGEST_TEXT_BYTES` would be half of what may be masked: their identifiers, numbers and operators are units instead. An
"identifier" above `LONGEST_IDENTIFIER_BYTES` is data, such as a key in base64: its tokens are units.

A window that begins inside a string takes the end of the string for the beginning of one. Identifiers stay whole.

Cost: 0.1 to 0.3 ms a window of 256 tokens, 0.2% of the step of configs/nano.yaml (benchmarks/objectives.py).
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from codeparrot.errors import CodeparrotError
from codeparrot.stream.token_bytes import token_bytes

Unit = Literal["token", "word", "identifier", "python"]
Window = NDArray[np.int64]

NO_UNIT = -1
"""Of tokens that are never masked."""
LONGEST_TEXT_BYTES = 64
LONGEST_IDENTIFIER_BYTES = 128
_BETWEEN = b"\x00"
"""Stands for a special token. No unit contains it."""

_FIRST = rb"\A[0-9A-Za-z_\x80-\xff]+"
"""A window may begin before a digit inside of an identifier."""
_NAME = rb"[A-Za-z_\x80-\xff][0-9A-Za-z_\x80-\xff]*"
_WORD = rb"[A-Z]+(?=[A-Z][a-z\x80-\xff])|[A-Z]?[a-z\x80-\xff]+|[A-Z]+|[0-9]+"
_NUMBER = (
    rb"0[xX][0-9A-Fa-f_]+|0[oO][0-7_]+|0[bB][01_]+"
    rb"|(?:[0-9][0-9_]*(?:\.[0-9_]*)?|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9][0-9_]*)?[jJ]?"
)
_OPERATOR = rb"\*\*=|//=|>>=|<<=|\.\.\.|!=|->|:=|\*\*|//|>>|<<|[-+*/%&@|^=<>]=|[^\s\x00]"
_STRING = (
    rb"(?:[rR][bBfF]?|[bBfF][rR]?|[uU])?"
    rb"(?:'''(?:[^\\'\x00]|\\[^\x00]|'(?!''))*'''"
    rb'|"""(?:[^\\"\x00]|\\[^\x00]|"(?!""))*"""'
    rb"|'(?!'')(?:[^\\'\n\x00]|\\[^\x00])*'"
    rb'|"(?!"")(?:[^\\"\n\x00]|\\[^\x00])*")'
)
_COMMENT = rb"#[^\r\n\x00]*"
_PIECES = b"|".join([_NUMBER, _NAME, _OPERATOR])
_PATTERNS = {
    "word": re.compile(_WORD),
    "identifier": re.compile(_FIRST + b"|" + _NAME),
    "python": re.compile(b"|".join([_FIRST, _STRING, _COMMENT, _PIECES])),
}
_PIECE = re.compile(_PIECES)
_IDENTIFIER = re.compile(rb"[0-9A-Za-z_\x80-\xff]+")


def units_of(tokenizer: Any, unit: Unit) -> "Units":
    """Return what finds the units of windows: called with one, [length] token ids, it returns the numbers of its tokens' units.

    Numbers count from 0 in the order of the window; tokens of one unit are neighbours. NO_UNIT (-1): never masked.

    Raises:
        CodeparrotError: the tokenizer works on characters, so that the text of a token is not known.
    """
    known = token_bytes(tokenizer)
    if unit != "token" and known is None:
        raise CodeparrotError(f"objective.unit {unit} needs a tokenizer that works on bytes; set it to token")
    added = tokenizer.added_tokens_decoder
    special = {*tokenizer.all_special_ids, *(index for index, token in added.items() if token.special)}
    size = 1 + max(*tokenizer.get_vocab().values(), *special)
    spelled = [None if index in special else (known or {}).get(index, b"") for index in range(size)]
    return Units(spelled, unit)


class Units:
    """Finds the units of windows.

    Args:
        spelled: the bytes of each token; None: a special one.
        unit: what is masked together.
    """

    def __init__(self, spelled: Sequence[bytes | None], unit: Unit) -> None:
        self._spelled = [_BETWEEN if each is None else each for each in spelled]
        self._unit: Unit = unit
        self._lengths = np.array([len(each) for each in self._spelled], np.int64)
        self._special = np.array([each is None for each in spelled], np.bool_)

    def __call__(self, window: Window) -> Window:
        special = self._special[window]
        begins = ~special if self._unit == "token" else self._begins(window) & ~special
        return np.where(special, NO_UNIT, np.cumsum(begins) - 1)

    def _begins(self, window: Window) -> NDArray[np.bool_]:
        """Return which tokens begin a unit."""
        spelled = self._spelled
        text = b"".join([spelled[each] for each in window.tolist()])
        stops = np.cumsum(self._lengths[window])
        spans = np.array(list(_spans(text, self._unit)), np.int64).reshape(-1, 2)
        first = np.searchsorted(spans[:, 1], stops - self._lengths[window], side="right")
        last = np.searchsorted(spans[:, 0], stops, side="left") - 1
        # A token over the spans 3, 4 and 5 joins the last two to the one before.
        joined = np.zeros(len(spans) + 1, np.int64)
        across = last > first
        np.add.at(joined, first[across] + 1, 1)
        np.add.at(joined, last[across] + 1, -1)
        group = np.cumsum(np.cumsum(joined) == 0)
        inside = first <= last
        own = np.where(inside, group[first], NO_UNIT)
        begins = np.ones(len(window), np.bool_)
        begins[1:] = ~inside[1:] | (own[1:] != own[:-1])
        return begins


def _spans(text: bytes, unit: Unit) -> Iterator[tuple[int, int]]:
    """Return where the units of more than a token are in a text: start and stop, in order."""
    for match in _PATTERNS[unit].finditer(text):
        start, stop = match.span()
        if stop - start <= LONGEST_TEXT_BYTES:
            yield start, stop
        elif _IDENTIFIER.fullmatch(text, start, stop):
            if stop - start <= LONGEST_IDENTIFIER_BYTES:
                yield start, stop
        elif unit == "python":
            pieces = (piece.span() for piece in _PIECE.finditer(text, start, stop))
            yield from (span for span in pieces if span[1] - span[0] <= LONGEST_IDENTIFIER_BYTES)
