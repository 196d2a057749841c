"""Where the block of code that a cursor is in ends, told from the indentation of lines alone, in any language.

Guarantee: the end is known with the first character of the line that is behind it, and nothing that follows moves it: a
streamed completion is the beginning of the returned one. Strings and comments count as lines, like all else.
Cost: one pass over the lines of the completion.
"""

import re
from dataclasses import dataclass

_LINE = re.compile(r"^([ \t\f\r]*)([^ \t\f\r\n])", re.MULTILINE)
"""The indentation and first character of a line that is not blank."""
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
        whole = self.line + text
        lines = _LINE.finditer(whole)
        first = next(lines, None)
        if first is None:
            return None
        level = _width(first[1])
        opened: bool | None = None if self.line.strip() or not level else False
        for line in lines:
            width = _width(line[1])
            if opened is None:
                opened = width > level or not level
            belongs = width > level or (width == level and (not opened or line[2] in _BRACKETS))
            if not belongs:
                return line.start() - len(self.line)
        return None


def less_indented(text: str, least: int) -> int | None:
    """Return where the first line of new text begins that is not blank and indented by fewer than `least` characters.

    What is written in the cursor's own line is no line of its own. None: there is no such line.
    """
    own = text.find("\n")
    lines = _LINE.finditer(text, own + 1) if own >= 0 else ()
    return next((line.start() for line in lines if len(line[1].rstrip("\r")) < least), None)


def _width(indentation: str) -> int:
    """Return the columns of an indentation; a tab goes on to the next multiple of 8, as Python reads it."""
    return len(indentation.rstrip("\r").expandtabs(8))
