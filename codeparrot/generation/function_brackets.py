"""The end of a function in languages whose functions end with a bracket, or with a word such as `end` (functions.py)."""

from dataclasses import dataclass, field
from typing import NamedTuple

from codeparrot.generation.blocks import indent_of
from codeparrot.languages.headers import begins_function, has_body, is_call, opened_by
from codeparrot.languages.lexemes import SYNTAXES
from codeparrot.languages.lexer import Token

_HEADER = 2_000
"""Characters of a statement that are kept."""
_NEAR = 64
"""Brackets that are open and are passed over at most, where they are not closed in the order in which they were opened."""


class _Open(NamedTuple):
    """A bracket, or a word such as `do`, that is not closed."""

    text: str
    at: int
    header: str
    """The code of its statement in front of it."""
    is_function: bool
    is_statement: bool
    """Whether it is no part of a call's arguments or of another expression in brackets."""
    indent: int
    is_value: bool = False


@dataclass
class Brackets:
    """The brackets and words that are open at the end of a text."""

    language: str
    stack: list[_Open] = field(default_factory=list)
    header: str = ""
    line: str = ""
    """Code of the line so far."""
    branches: list[tuple[_Open, ...]] = field(default_factory=list)
    """What was open at each `#if` that is open."""
    num_outer: int = 0
    """How many were open at the cursor."""
    at_cursor: bool = False
    """Whether the cursor's own statement goes on."""
    target: _Open | None = None
    live: bool = False
    """Whether the cursor has been passed."""
    body_at: int | None = None
    """Where the cursor's statement turned out to be a function whose body is an expression."""

    @property
    def words(self) -> bool:
        return SYNTAXES[self.language].family == "words"

    def pass_cursor(self) -> None:
        """The text so far stands in front of the cursor."""
        self.live, self.num_outer, self.at_cursor = True, len(self.stack), bool(self.header.strip())
        functions = [each for each in self.stack if each.is_function]
        self.target = next((each for each in reversed(functions) if each.is_statement), functions[-1] if functions else None)

    def take(self, token: Token) -> int | None:
        """Take a token, and return where the function ends, if that is here."""
        if token.kind == "code":
            self._write(token.text)
        elif token.kind == "value":
            self._write('"')
        elif token.kind == "open":
            self._open(token)
        elif token.kind == "close":
            return self._close(token)
        elif token.kind == "word":
            return self._word(token)
        elif token.kind == "directive":
            self._branch(token.text)
        elif token.kind in ("semicolon", "line"):
            return self._end_statement(token)
        return None

    def _write(self, text: str) -> None:
        self.header = (self.header + text)[-_HEADER:]
        self._write_line(text)

    def _write_line(self, text: str) -> None:
        """Write code of the line: its beginning, which is indented, and its end are looked at."""
        line = self.line + text
        self.line = line if len(line) <= _HEADER else line[: _HEADER // 2] + line[len(line) - _HEADER // 2 :]

    @property
    def in_call(self) -> bool:
        return bool(self.stack) and self.stack[-1].text in "(["

    def _push(self, token: Token, is_function: bool, is_value: bool = False) -> None:
        opened = _Open(token.text, token.end, self.header, is_function, not self.in_call, indent_of(self.line), is_value)
        self.stack.append(opened)
        own = self.at_cursor and (not self.words or self.language == "elixir")
        if self.live and is_function and opened.is_statement and (own or self.target is None):
            self.target = opened
        if opened.is_statement and token.text not in ("(", "[", "def"):
            self.at_cursor = False

    def _open(self, token: Token) -> None:
        kind = opened_by(self.header, self.language) if token.text == "{" and not self.words else "value"
        if kind == "function" and is_call(self.header, self.language) and any(each.is_function for each in self.stack):
            kind = "block"
        self._push(token, kind == "function", kind == "value")
        self._write_line(token.text)
        self.header = ""

    def _close(self, token: Token) -> int | None:
        matching = {"}": "{", ")": "(", "]": "["}[token.text]
        self._write_line(token.text)
        # A parenthesis closes its own alone: shell's cases have one without another.
        place = self._last(matching, _NEAR if matching == "{" else 1)
        if place is None:
            return None
        closed = self.stack[place]
        self.header = f"{closed.header}{matching}{token.text}" if closed.is_value else token.text
        return self._pop(place, token)

    def _last(self, text: str, near: int) -> int | None:
        """Return the place of the last bracket of a kind, or of a word (an empty text), among the last that are open."""
        last = len(self.stack) - 1
        for place in range(last, max(-1, last - near), -1):
            found = self.stack[place].text
            if found == text or (not text and found not in "{(["):
                return place
        return None

    def _pop(self, place: int, token: Token) -> int | None:
        """Close what is open from a place on."""
        gone = self.stack[place:]
        del self.stack[place:]
        if not self.live:
            return None
        closes_outer = place < self.num_outer
        self.num_outer = min(self.num_outer, place)
        ends = self.target is not None and any(each is self.target for each in gone)
        return token.end if ends or (closes_outer and self.target is None and gone[0].text not in "([") else None

    def _word(self, token: Token) -> int | None:
        is_first, before = not self.line.strip(), self.line.rstrip()
        result = None
        if token.text in SYNTAXES[self.language].closers:
            if self._closes(before):
                result = self._close_word(token, is_first)
        elif self._opens(token.text, before):
            is_def = self.language == "elixir" and token.text == "do" and begins_function(self.header, self.language)
            self._push(token, self.words and (is_def or token.text in ("def", "function", "macro")))
        self._write(token.text)
        return result

    def _opens(self, word: str, before: str) -> bool:
        if self.language == "julia":
            in_list = bool(self.stack) and (
                self.stack[-1].text == "[" or (self.stack[-1].text == "(" and word in ("for", "if"))
            )
            return not in_list and (word != "type" or before.endswith(("abstract", "primitive")))
        if self.language == "shell":
            return _commands(before)
        if self.language != "ruby":
            return True
        if word == "do":
            return not before.rpartition(";")[2].lstrip().startswith(("while ", "until ", "for "))
        return word in ("def", "class", "module", "begin", "case", "for") or _operand(before)

    def _closes(self, before: str) -> bool:
        if self.language == "shell":
            return _commands(before)
        return self.language != "julia" or not self.in_call

    def _close_word(self, token: Token, is_first: bool) -> int | None:
        place = self._last("", _NEAR)
        if place is None:
            return None
        indent = indent_of(self.line)
        closed = self.stack[place]
        if self.language == "ruby" and is_first and self.target is not None:
            # Which words open something cannot always be told there; lines that are indented can.
            owner = next((number for number, each in enumerate(self.stack) if each is self.target), None)
            if closed is self.target and indent > closed.indent:
                return None
            if owner is not None and owner < place and self.target.indent == indent < closed.indent:
                place = owner
        return self._pop(place, token)

    def _branch(self, word: str) -> None:
        """Take a directive: each branch of an #if begins with what is open at that."""
        if word in ("if", "ifdef", "ifndef"):
            self.branches.append(tuple(self.stack))
        elif word in ("else", "elif", "elifdef", "elifndef") and self.branches:
            self.stack = list(self.branches[-1])
        elif word == "endif" and self.branches:
            self.branches.pop()

    def _end_statement(self, token: Token) -> int | None:
        self._drop_expression(token)
        is_body = self.live and self.at_cursor and has_body(self.header, self.language)
        if token.kind == "line":
            self._end_line(is_body, token.end)
            return None
        if self.in_call:
            return None
        self.header, self.at_cursor = "", False
        self._write_line(";")
        return token.end if is_body and not self.words else None

    def _end_line(self, is_body: bool, at: int) -> None:
        self.line = ""
        if self.in_call:
            self._write_end()
            return
        self.body_at = at if is_body and self.body_at is None else self.body_at
        # A bracket on the next line may still belong to the statement.
        is_whole = SYNTAXES[self.language].newline_ends and self.header.strip()
        if is_whole and (self.words or not begins_function(self.header, self.language)):
            self.at_cursor = self.at_cursor and is_body and not self.words
        if self.words:
            self.header = ""
        else:
            self._write_end()

    def _write_end(self) -> None:
        """Write the end of a line; lines without code are none."""
        if not self.header.endswith("\n"):
            self.header = (self.header + "\n")[-_HEADER:]

    def _drop_expression(self, token: Token) -> None:
        """Forget a word that began a function without an end of its own: Ruby's `def f(x) = x + 1`."""
        if self.language == "ruby" and self.stack and self.stack[-1].text == "def" and has_body(self.header, self.language):
            gone = self.stack.pop()
            self.target = None if gone is self.target else self.target


def _commands(before: str) -> bool:
    """Return whether a shell's command begins behind this code of its line."""
    return not before or before.endswith((";", "&", "|", "(", "{", "!", ")")) or before.split()[-1] in _BEFORE_COMMANDS


_BEFORE_COMMANDS = frozenset("then do else elif while until if".split())
_BEFORE_OPERANDS = frozenset("then do else return and or not in when begin ensure unless if elsif while until".split())


def _operand(before: str) -> bool:
    """Return whether what follows this code of a line of Ruby is an operand: an `if` there is no modifier."""
    return not before or before[-1] in ";=([{,|&!?:<>+-*/" or before.split()[-1] in _BEFORE_OPERANDS
