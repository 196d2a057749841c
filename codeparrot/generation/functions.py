"""Where the function that a cursor is in ends, by the syntax of its language.

Guarantees: the end is known with the first character that proves it, a closing brace with itself, and nothing that follows
moves it: a streamed completion is the beginning of the returned one. Brackets and words in strings, comments, regexes, heredocs
and the like mean nothing.
Cost: one pass over the completion, whatever pieces it comes in (benchmarks/endings.py), and one over the last LOOK_BACK
characters in front of the cursor, once for all samples of a prompt.

Which function: the one whose beginning the cursor's statement is, or else the innermost around the cursor that is not an
argument of a call, or else the next that is begun. Where there is none around the cursor, what else it stands in (a class, a
script's `if`) ends the completion too. A function whose body is an expression ends with its statement.
"""

import copy
import re
from dataclasses import dataclass, field
from typing import TypeVar

from codeparrot.generation.blocks import Block, BlockScan
from codeparrot.generation.function_brackets import Brackets
from codeparrot.generation.function_lines import Lines
from codeparrot.languages.lexemes import SYNTAXES
from codeparrot.languages.lexer import Lexer
from codeparrot.languages.names import canonical

LOOK_BACK = 16_384
"""Characters in front of the cursor that are read; of a longer text, from a line on that is not indented, if there is one."""

_Copied = TypeVar("_Copied")


class FunctionScan:
    """Looks for the end of a function in text that arrives in pieces."""

    def __init__(self, lexer: Lexer, tracker: Brackets | Lines, num_before: int, block: BlockScan | None) -> None:
        self._lexer, self._tracker, self._num_before, self._block = lexer, tracker, num_before, block
        self.end: int | None = None
        """How many characters behind the cursor lie in the function; None: it has not ended yet."""

    def copy(self) -> "FunctionScan":
        """Return another search from here on. What is open is not copied: it may be much, and does not change."""
        other = copy.copy(self)
        other._lexer, other._tracker, other._block = _copied(self._lexer), _copied(self._tracker), copy.deepcopy(self._block)
        return other

    def feed(self, text: str) -> int | None:
        """Take the next piece of the text, and return its end, if that is known."""
        if self.end is not None:
            return self.end
        for token in self._lexer.feed(text):
            found = self._tracker.take(token)
            if found is not None:
                self.end = found - self._num_before
                break
        self._end_body(text)
        return self.end

    def _end_body(self, text: str) -> None:
        """End a function whose body is an expression with its lines."""
        end = self._block.feed(text) if self._block else None
        if end is None:
            return
        self._block, at = None, self._tracker.body_at
        if at is not None and at - self._num_before <= end:
            self.end = end if self.end is None else min(self.end, end)


def _copied(thing: _Copied) -> _Copied:
    """Return an object with lists of its own of the same things."""
    other = copy.copy(thing)
    vars(other).update((name, list(value)) for name, value in vars(thing).items() if isinstance(value, list))
    return other


@dataclass(frozen=True)
class Function:
    """The function that a cursor is in, or that is begun next."""

    language: str
    line: str
    """The text in front of the cursor in its line."""
    _primed: FunctionScan = field(repr=False, compare=False)

    @staticmethod
    def at(before: str, language: str) -> "Function | Block":
        """Return the function of a cursor behind this text; in a language whose functions are not told, the block."""
        name = canonical(language)
        if name not in SYNTAXES:
            return Block.at(before)
        window, is_cut = _window(before)
        line = before.rpartition("\n")[2]
        lexer = Lexer(name, SYNTAXES[name].html and not is_cut and _begins_outside(window))
        is_lines = SYNTAXES[name].family == "indentation"
        tracker = Lines(name, in_line=bool(line.strip())) if is_lines else Brackets(name)
        for token in lexer.feed(window):
            tracker.take(token)
        tracker.pass_cursor()
        block = BlockScan(line, opens=True) if tracker.at_cursor and SYNTAXES[name].bodies else None
        return Function(name, line, FunctionScan(lexer, tracker, len(window), block))

    def scan(self) -> FunctionScan:
        """Return a new search for its end, in the text behind the cursor."""
        return self._primed.copy()

    def end(self, text: str) -> int | None:
        """Return how many characters of the text behind the cursor lie in it, or None where it has not ended yet."""
        return self.scan().feed(text)


def ends_functions(language: str) -> bool:
    """Return whether the ends of a language's functions, by any of its names, are told by its syntax."""
    return canonical(language) in SYNTAXES


def _window(before: str) -> tuple[str, bool]:
    """Return the text in front of a cursor that is read, and whether it is not all."""
    if len(before) <= LOOK_BACK:
        return before, False
    window = before[-LOOK_BACK:]
    found = _OUTSIDE.search(window) or re.search(r"\n", window)
    return window[found.end() :] if found else window, True


_OUTSIDE = re.compile(r"\n(?=[\w@#/<$\[(])")
"""Behind it a line begins that is not indented."""


def _begins_outside(text: str) -> bool:
    """Return whether text of PHP begins outside its tags: a part of a file that has none is code."""
    begin, end = re.search(r"<\?(?:php|=)", text), text.find("?>")
    return begin is not None and not 0 <= end < begin.start()
