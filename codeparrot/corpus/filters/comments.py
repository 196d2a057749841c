"""How much of a program is comments and documentation; in other languages than Python, their trees tell (languages/trees.py).

In Python, one pass of a regular expression that cannot backtrack finds comments and strings. So it works on broken programs
too, and its time grows with the length alone. On programs that parse it finds what `tokenize` and `ast` find (tests/corpus).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from codeparrot.corpus.filters.filter import Filter, fraction
from codeparrot.corpus.filters.text import Text
from codeparrot.errors import CodeparrotError
from codeparrot.languages.syntax import PYTHON, syntax_of

# Possessive quantifiers never backtrack. A string that is not closed runs to the end of its line, or of the text.
_LEXEME = re.compile(
    r"""
    \#[^\n]*+
    | \"\"\" (?: [^"\\]++ | \\(?:.|\Z) | "(?!"") )*+ (?: \"\"\" | \Z )
    | ''' (?: [^'\\]++ | \\(?:.|\Z) | '(?!'') )*+ (?: ''' | \Z )
    | " (?: [^"\\\n]++ | \\(?:.|\Z) )*+ "?
    | ' (?: [^'\\\n]++ | \\(?:.|\Z) )*+ '?
    """,
    re.DOTALL | re.VERBOSE,
)
_PREFIX = re.compile(r"(?<!\w)[rRuU]\Z")
_AFTER_A_STATEMENT = frozenset(("", "\n", "\r", " ", "\t", "\f", "#", ";"))
_REST_OF_LINE = re.compile(r"[ \t\f]*+(?:[#;\r\n]|\Z)")


def comments(content: str) -> Iterator[str]:
    """Yield the comments and the documentation strings of a Python program, in order.

    A documentation string begins the program, or the line below the colon that opens a block; nothing follows it on its line.
    """
    end, before = 0, ""
    for match in _LEXEME.finditer(content):
        lexeme, gap = match[0], content[end : match.start()]
        end = match.end()
        if lexeme[0] == "#":
            before = gap.rstrip()[-1:] or before
            yield lexeme
            continue
        if content[end : end + 1] not in _AFTER_A_STATEMENT:
            # Most strings end here, without a look at the rest.
            before = lexeme[0]
            continue
        # The last character of code before the string; empty if the string begins the program.
        opener = _PREFIX.sub("", gap).rstrip()[-1:] or before
        below = "\n" in gap or (len(lexeme) >= 6 and lexeme[:3] in ('"""', "'''"))
        if (opener == "" or (opener == ":" and below)) and _REST_OF_LINE.match(content, end):
            yield lexeme
        before = lexeme[0]


def comment_fraction(content: str) -> float:
    """Return the share of the characters in comments and documentation strings, 0 to 1; 0 for an empty text."""
    return sum(map(len, comments(content))) / len(content) if content else 0.0


@dataclass(frozen=True)
class Limits:
    min_comment_fraction: float = fraction(0.0)
    """Smallest fraction of the characters in comments and documentation strings; StarCoder took 0.01."""
    max_comment_fraction: float = fraction(0.0)
    """Largest fraction of the characters in comments and documentation strings; StarCoder took 0.8 (0: any)."""


def passes(text: Text, limits: Limits) -> bool:
    return limits.min_comment_fraction <= fraction_of(text) <= (limits.max_comment_fraction or 1)


def fraction_of(text: Text) -> float:
    """Return the share of a text in comments and documentation: of its characters in Python, else of the bytes parsed.

    What no parser comes to an end with has none.
    """
    if text.language == PYTHON:
        return comment_fraction(text.content)
    return text.parsed.comments / text.parsed.size if text.parsed and text.parsed.size else 0.0


def applies(language: str | None) -> bool:
    return language == PYTHON or bool(syntax_of(language).comments)


def check(limits: Limits) -> None:
    least, most = limits.min_comment_fraction, limits.max_comment_fraction
    if 0 < most < least:
        raise CodeparrotError(f"filters.min_comment_fraction ({least}) is above filters.max_comment_fraction ({most})")


FILTER = Filter(
    Limits,
    passes,
    order=100,
    rule="fewer comments than {min_comment_fraction:.0%} of the text, or more than {max_comment_fraction:.0%} (0%: any)",
    is_on=lambda limits: limits.min_comment_fraction or limits.max_comment_fraction,
    applies=applies,
    check=check,
)
