"""Where the block of code that a cursor is in ends, told from the indentation of lines alone, in any language.

Guarantee: the end is known with the first character of the line that is behind it, and nothing that follows moves it: a
streamed completion is the beginning of the returned one. Strings and comments count as lines, like all else.
Cost: one pass over the lines of the completion, whatever pieces it comes in.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

_REST = re.compile(r"[ \t\f\r]*")


class Scan(Protocol):
    """A search for the end of something in text that arrives in pieces."""

    end: int | None
    """How many characters of the text lie in it; None: it has not ended yet."""

    def feed(self, text: str) -> int | None:
        """Take the next piece of the text, and return its end, if that is known."""
        ...


class _Written:
    """The lines of a text that arrives in pieces, as soon as a character in them is not blank."""

    def __init__(self) -> None:
        self._at, self._start, self._blank, self._indentation = 0, 0, True, ""

    def feed(self, text: str) -> Iterator[tuple[int, str, str]]:
        """Yield where each line begins, its indentation, and the character behind that."""
        place = 0
        while place < len(text):
            if self._blank:
                found = _REST.match(text, place)
                assert found is not None
                self._indentation, place = self._indentation + found[0], found.end()
                if place == len(text):
                    break
                if text[place] != "\n":
                    self._blank = False
                    yield self._start, self._indentation, text[place]
            place = text.find("\n", place) + 1
            if not place:
                break
            self._start, self._blank, self._indentation = self._at + place, True, ""
        self._at += len(text)


_BRACKETS = frozenset("{)]}")
"""A line that begins with one of them, no deeper than the line that opened the block, still belongs to that."""


@dataclass(frozen=True)
class Block:
    """The block that a cursor is in.

    The cursor's line says which: the one that it stands in, or, where nothing but white space is in front of it, the next line
    that is written. The block ends before the first line that is not blank and indented less. Where the line opens a block
    (the next line is deeper: `def f():`), that one is meant, and it ends before the first line that is not deeper, brackets
    that close it left aside. At the top level, where nothing can be indented less, a statement with its lines is a block.
    """

    line: str
    """The text in front of the cursor in its line."""

    @staticmethod
    def at(before: str) -> "Block":
        """Return the block of a cursor behind this text."""
        return Block(before.rpartition("\n")[2])

    def end(self, text: str) -> int | None:
        """Return how many characters of the text behind the cursor lie in the block, or None where it has not ended yet."""
        return self.scan().feed(text)

    def scan(self) -> "BlockScan":
        """Return a new search for its end, in the text behind the cursor."""
        return BlockScan(self.line)


class BlockScan:
    """Looks for the end of a block."""

    def __init__(self, line: str, opens: bool | None = None) -> None:
        """
        Args:
            line: the text in front of the cursor in its line.
            opens: whether the block is what that line begins; None: the next lines tell.
        """
        self.end: int | None = None
        self._opens = opens
        self._lines, self._num_before = _Written(), len(line)
        self._level: int | None = None
        self._opened: bool | None = None
        self._in_line = bool(line.strip())
        self.feed(line)

    def feed(self, text: str) -> int | None:
        """Take the next piece of the text, and return the block's end, if that is known."""
        if self.end is None:
            for start, indentation, first in self._lines.feed(text):
                if self._is_behind(width(indentation), first):
                    self.end = start - self._num_before
                    break
        return self.end

    def _is_behind(self, indent: int, first: str) -> bool:
        """Return whether a line is behind the block."""
        if self._level is None:
            self._level = indent
            self._opened = self._opens if self._opens is not None or self._in_line or not indent else False
            return False
        if self._opened is None:
            self._opened = indent > self._level or not self._level
        return not (indent > self._level or (indent == self._level and (not self._opened or first in _BRACKETS)))


class LessIndented:
    """Looks for the first line of new text that is not blank and indented by fewer than `least` characters.

    What is written in the cursor's own line is no line of its own.
    """

    def __init__(self, least: int) -> None:
        self.end: int | None = None
        self._lines, self._least = _Written(), least

    def feed(self, text: str) -> int | None:
        """Take the next piece of the text, and return where that line begins, if it is known."""
        if self.end is None:
            lines = self._lines.feed(text)
            behind = (start for start, indentation, _ in lines if start and len(indentation.rstrip("\r")) < self._least)
            self.end = next(behind, None)
        return self.end


def less_indented(text: str, least: int) -> int | None:
    """Return what `LessIndented` finds in a whole text; None: there is no such line."""
    return LessIndented(least).feed(text)


def width(indentation: str) -> int:
    """Return the columns of an indentation; a tab goes on to the next multiple of 8, as Python reads it."""
    return len(indentation.rstrip("\r").expandtabs(8))


def indent_of(line: str) -> int:
    """Return the columns of the indentation of a line."""
    return width(line[: len(line) - len(line.lstrip())])
