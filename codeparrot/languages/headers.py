"""What a bracket opens, told from the code in front of it: a function, another block, or a value."""

import re
from functools import lru_cache
from typing import Literal

from codeparrot.languages.lexemes import SYNTAXES

Opened = Literal["function", "block", "value"]

_CONTROL = re.compile(
    r"(?:\}\s*)?(?:else|if|for|foreach|while|do|switch|catch|try|finally|with|when|select|synchronized|lock|using|fixed|checked|"
    r"unchecked|guard|defer|unless|until|unsafe|loop|match|case|default|BEGIN|END)\b"
)
_NO_FUNCTION = re.compile(
    r"\b(?:class|interface|record|namespace|trait|object|new|return|extern|@interface|@implementation|@protocol|extension|mixin|"
    r"(?:struct|union|enum)(?!\s+\w+[\s*]+\w+\s*\(\)))\s+\S"
)
_VALUE = re.compile(r"(?:[=,(\[?&|+]|(?<!case):|\breturn|\bnew\s+[\w.<>]+\s*(?:\(\))?|\byield)\s*\Z")
_GOES_ON = ("where ", ":", "->", "throws ", "with ", "=")
"""What begins a line that goes on with the statement of the line before."""
_MOST_LINES = 16
"""Lines that one statement's beginning is written in, of those that `_GOES_ON` joins."""
_BLANKS = re.compile(r"[^\S\n]+")
_TYPE = re.compile(r"[:|&]\s*\Z")
"""Ends code behind which a type follows: `function f(): { a: number } | null {`."""
_INITIALISER = re.compile(r"\)\s*:(?!:).*[\w>]\Z", re.DOTALL)


@lru_cache
def _function(language: str) -> re.Pattern[str]:
    return re.compile(SYNTAXES[language].function, re.MULTILINE)


@lru_cache
def _bodies(language: str) -> re.Pattern[str]:
    return re.compile(SYNTAXES[language].bodies or r"(?!)", re.MULTILINE)


def last_line(header: str, language: str) -> str:
    """Return the part of a header that its statement is: the last line that is written, where lines end statements."""
    if not SYNTAXES[language].newline_ends:
        return header.strip()
    rest, _, line = header.strip().rpartition("\n")
    for _ in range(_MOST_LINES):
        if not rest or not line.lstrip().startswith(_GOES_ON):
            break
        rest, _, before = rest.rstrip().rpartition("\n")
        line = f"{before} {line}"
    return line.strip()


@lru_cache(maxsize=256)  # lines without code ask again and again
def begins_function(header: str, language: str) -> bool:
    """Return whether a statement's code in front of its bracket, or a line, begins a function.

    Args:
        header: the code; literals are `"`, and what stands in parentheses is left out.
        language: one of SYNTAXES.
    """
    # Patterns may try each of several blanks as the last one.
    line = _BLANKS.sub(" ", last_line(header, language))
    if _CONTROL.match(line):
        return False
    if SYNTAXES[language].function:
        return bool(_function(language).search(line))
    return ")" in line and not _NO_FUNCTION.search(line) and not _VALUE.search(line)


def is_call(header: str, language: str) -> bool:
    """Return whether a statement's code looks like a call: in a function it begins a block of a macro, and no function.

    A language whose functions are told by more than a name and parentheses has no such blocks: this is a method there.
    """
    return not SYNTAXES[language].function and bool(re.fullmatch(r"\}?\s*\w+\s*\(\)\s*", header))


@lru_cache(maxsize=256)
def has_body(header: str, language: str) -> bool:
    """Return whether a statement is a function whose body is an expression: `fun f(x: Int) = x * 2`."""
    return bool(_bodies(language).search(header))


def opened_by(header: str, language: str) -> Opened:
    """Return what `{` behind a statement's code opens."""
    if _INITIALISER.search(header) and not SYNTAXES[language].function:
        return "value"
    if begins_function(header, language):
        return "value" if _TYPE.search(header) else "function"
    return "value" if _VALUE.search(header) and not _CONTROL.match(last_line(header, language)) else "block"
