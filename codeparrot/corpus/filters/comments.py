"""How much of a program is comments and documentation.

Comments and strings are found by one pass of a regular expression that cannot backtrack, so it works on broken programs
too and its time grows with the length alone. On programs that parse it finds what `tokenize` and `ast` find (tests/corpus).
"""

import re
from collections.abc import Iterator

# Possessive quantifiers: what is taken is never given back. A string without an end runs to that of its line, or of the text.
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
            # Most strings: the rest need not be looked at.
            before = lexeme[0]
            continue
        # The last character of code before the string; none when it begins the program.
        opener = _PREFIX.sub("", gap).rstrip()[-1:] or before
        below = "\n" in gap or (len(lexeme) >= 6 and lexeme[:3] in ('"""', "'''"))
        if (opener == "" or (opener == ":" and below)) and _REST_OF_LINE.match(content, end):
            yield lexeme
        before = lexeme[0]


def comment_fraction(content: str) -> float:
    """Return the share of the characters that stand in comments and documentation strings, 0 to 1; 0 for an empty text."""
    return sum(map(len, comments(content))) / len(content) if content else 0.0
