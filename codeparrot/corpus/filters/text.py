"""A text and what several stages derive from it, each computed once."""

from functools import cached_property

from codeparrot.corpus.hashes import fingerprint
from codeparrot.languages.parsing import parsed
from codeparrot.languages.syntax import Syntax, syntax_of
from codeparrot.languages.trees import Parsed

_ASCII = bytes(range(128))
_ASCII_NOT_ALPHANUMERIC = bytes(byte for byte in _ASCII if not chr(byte).isalnum())


class Text:
    """The text of one document."""

    def __init__(self, content: str, language: str | None = "python", path: str = "") -> None:
        self.content = content
        self.language = language
        """As languages/names.py calls it; None if it is unknown."""
        self.path = path
        """In its repository; empty if it is unknown."""
        self.encoded = content.encode()

    @cached_property
    def lines(self) -> list[str]:
        return self.content.splitlines()

    @cached_property
    def line_lengths(self) -> list[int]:
        return [len(line) for line in self.lines]

    @cached_property
    def lowered(self) -> bytes:
        """The text as UTF-8, with ASCII letters in lower case."""
        return self.encoded.lower()

    @cached_property
    def syntax(self) -> Syntax:
        """What the language's syntax looks like; empty for Python, whose rules are the filters' own, and for unknown ones."""
        return syntax_of(self.language)

    @cached_property
    def parsed(self) -> Parsed | None:
        """What a parser makes of the text; None if it came to no end. Only for languages with a grammar."""
        return parsed(self.encoded, self.language or "")

    @cached_property
    def fingerprint(self) -> bytes:
        """Equal for texts that differ only in white space (hashes.py)."""
        return fingerprint(self.content)

    @cached_property
    def beyond_ascii(self) -> bytes:
        """The characters that are not in ASCII, as UTF-8."""
        # Nearly all characters are ASCII, and deleting bytes is 20 times as fast as looking at each character.
        return self.encoded.translate(None, _ASCII)

    @cached_property
    def alphanumeric(self) -> int:
        """Number of letters and digits, of any script."""
        in_ascii = len(self.encoded.translate(None, _ASCII_NOT_ALPHANUMERIC)) - len(self.beyond_ascii)
        return in_ascii + sum(map(str.isalnum, self.beyond_ascii.decode()))

    def top(self, num_lines: int) -> str:
        """Return the first lines in lower case."""
        return "\n".join(self.lines[:num_lines]).lower()
