"""A file to the pieces that have vectors.

A Python file gives each of its functions and classes, methods and nested ones too, and the lines that are in none of them. Any
other file, or one that does not parse, gives pieces of at most 40 lines, which end at an empty line where there is one in their
second half. Every line that is not blank lies in a piece. Chunks are a function of path and text.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import xxhash

from codeparrot.corpus.definitions import definitions
from codeparrot.search.tree import PYTHON

MOST_LINES = 40
_FIRST_LINES, _FIRST_CHARACTERS = 5, 400

Kind = Literal["function", "class", "lines"]


class Chunk(NamedTuple):
    """A piece of a file."""

    path: str
    kind: Kind
    name: str
    """With the classes and functions around it (Reader.read); empty for lines."""
    start: int
    """First line, from 1."""
    stop: int
    """Last line, included. Lines of definitions may lie between those of a piece that is not one."""
    text: str
    spans: tuple[tuple[int, int], ...]
    """Its own lines, first and last of each run; blank ones at the ends of a run are in none."""

    @property
    def key(self) -> bytes:
        """16 bytes that stand for the text: equal texts have one vector."""
        return xxhash.xxh3_128_digest(self.text.encode())

    @property
    def preview(self) -> str:
        """Its first lines."""
        lines = [line for line in self.text.split("\n") if line.strip()]
        return "\n".join(lines[:_FIRST_LINES])[:_FIRST_CHARACTERS]


def chunks(path: str, text: str) -> list[Chunk]:
    """Return the pieces of a file, in the order of their first lines.

    Args:
        path: says by its ending whether it is Python.
        text: its lines end with a newline alone.
    """
    lines = text.split("\n")
    found = (definitions(text) if path.endswith(PYTHON) else None) or []
    taken = {number for each in found for number in range(each.start, each.stop + 1)}
    pieces = [Chunk(path, each.kind, each.name, each.start, each.stop, each.text, ((each.start, each.stop),)) for each in found]
    rest = [number for number in range(1, len(lines) + 1) if number not in taken]
    for numbers in _cut(rest, lines):
        own = "\n".join(lines[number - 1] for number in numbers)
        pieces.append(Chunk(path, "lines", "", numbers[0], numbers[-1], own, _spans(numbers, lines)))
    return sorted(pieces, key=lambda each: (each.start, -each.stop, each.name))


def _spans(numbers: Sequence[int], lines: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """Return the runs of numbers that follow each other, without blank lines at their ends."""
    found: list[tuple[int, int]] = []
    filled = [number for number in numbers if lines[number - 1].strip()]
    own = set(numbers)
    for number in filled:
        if found and own.issuperset(range(found[-1][1], number)):
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return tuple(found)


def _cut(numbers: Sequence[int], lines: Sequence[str]) -> list[list[int]]:
    """Return the numbers of lines in pieces that begin and end with lines that are not blank."""
    found, start = [], 0
    while start < len(numbers):
        stop = min(start + MOST_LINES, len(numbers))
        if stop < len(numbers):
            blank = (each for each in range(stop, start + MOST_LINES // 2, -1) if not lines[numbers[each] - 1].strip())
            stop = next(blank, stop)
        piece = list(numbers[start:stop])
        while piece and not lines[piece[0] - 1].strip():
            piece.pop(0)
        while piece and not lines[piece[-1] - 1].strip():
            piece.pop()
        found += [piece] if piece else []
        start = stop
    return found
