"""The end of a function in languages whose functions end where the indentation does (functions.py)."""

from dataclasses import dataclass, field

from codeparrot.generation.blocks import indent_of
from codeparrot.languages.headers import begins_function
from codeparrot.languages.lexer import Token


@dataclass
class Lines:
    """The lines around the end of a text of a language whose functions end by indentation. Those in literals and brackets are
    none of their own."""

    language: str
    blocks: list[tuple[int, bool]] = field(default_factory=list)
    """Indentation of each line that the last one is deeper than, and whether it begins a function."""
    line: str = ""
    start: int = 0
    """Where the line begins."""
    depth: int = 0
    """Brackets that are open."""
    goes_on: bool = False
    """Whether the line goes on with one that began before it."""
    last: tuple[int, bool] | None = None
    """The last line that is whole, and no comment."""
    target: int | None = None
    """An indentation: the function ends before the first line that is not deeper."""
    is_function: bool = False
    """Whether that is of a function, and not of what else the cursor stands in."""
    chosen: bool = True
    """Whether the cursor has been passed, and its own line."""
    live: bool = False
    in_line: bool = True
    """Whether something stands in front of the cursor in its line."""
    at_cursor = False
    body_at = None

    def pass_cursor(self) -> None:
        """The text so far stands in front of the cursor."""
        self.live, self.chosen = True, False

    def take(self, token: Token) -> int | None:
        """Take a token, and return where the function ends, if that is here."""
        if token.kind == "line":
            self._end_line(token)
            return None
        was_blank = not self.line.strip()
        self.line += "#" if token.kind == "comment" else token.text
        found = self._begin_line() if was_blank and self.line.strip() and not self.goes_on else None
        if token.kind in ("open", "close"):
            self.depth = max(0, self.depth + (1 if token.kind == "open" else -1))
        return found

    def _begin_line(self) -> int | None:
        """A line is written, and its indentation known."""
        indent, is_comment = indent_of(self.line), self.line.lstrip().startswith("#")
        if self.target is not None and indent <= self.target:
            return self.start
        if is_comment:
            return None
        if self.last is not None:
            self.blocks.append(self.last)
            self.last = None
        while self.blocks and self.blocks[-1][0] >= indent:
            self.blocks.pop()
        return None

    def _end_line(self, token: Token) -> None:
        code = self.line.rstrip()
        if code.strip() and not code.lstrip().startswith("#") and not self.goes_on:
            self.last = indent_of(code), begins_function(code, self.language)
            if self.live:
                self._choose(*self.last)
        self.goes_on = self.depth > 0 or code.endswith("\\")
        self.line, self.start = "", token.end

    def _choose(self, indent: int, is_function: bool) -> None:
        """Choose the function by the cursor's line, or by the next that begins one."""
        if not self.chosen:
            around = [each for each, is_def in self.blocks if is_def]
            outer = around or [each for each, _ in self.blocks]
            self.chosen, self.target, self.is_function = True, outer[-1] if outer else None, bool(around)
            if is_function and self.in_line:
                self.target, self.is_function = indent, True
        if is_function and not self.is_function:
            self.target, self.is_function = indent, True
