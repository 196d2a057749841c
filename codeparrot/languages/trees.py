"""What a parser finds in a text: how much of it is comments, and how much is no program.

These functions trust the parsers; parsing.py calls them in a process of its own.

tree-sitter reads any text and marks what it cannot make sense of. Reading is bounded by the work of the parser, not by a
clock, so that a text has the same fate on every machine. Trees are walked with a cursor, never by recursion. Cost: about
0.15 ms a kB, and a parser a grammar and process.
"""

import re
from functools import cache
from typing import Any, NamedTuple

from codeparrot.languages.syntax import Syntax

HEAD = 16 * 1024
"""Bytes at the top that a text is judged by, about, if they parse: a parser takes a second for a file of 1 MB."""
_OUTER_LINE = re.compile(rb"^(?=[^\s)\]}])", re.MULTILINE)
WORK_PER_BYTE = 0.5
"""What the parser may do: a report of progress, after 100 of its actions, counts as 8, a reading of CHUNK bytes as 1. Programs
take a twentieth in most languages, and up to 0.35 in Perl and Scala."""
WORK = 8000
"""What it may do whatever the length."""
CHUNK = 512
"""Bytes read at a time; the parser reads what it looks at again and again as often."""
QUERIED_NODES = 1000
"""Most nodes that one query searches: its time grows with the square of the signs that follow one another."""


class Parsed(NamedTuple):
    """A text as a grammar sees it; all in bytes of UTF-8."""

    size: int
    """Of what was looked at."""
    comments: int
    errors: int
    """Text in no statement that the grammar knows, and one for everything that is missing."""


def parsed_here(encoded: bytes, syntax: Syntax) -> Parsed | None:
    """Return what the grammars of a syntax make of a text; that of the first which can read it, or else of the best.

    None: none of them came to an end within the work that a program may take.

    Raises:
        NoGrammar: the package of grammars lacks one.
    """
    if len(encoded) > HEAD:
        # Cut where a line begins like a statement that is in no function or class, if there is such a place.
        places = [encoded.rfind(b"\n", 0, HEAD) + 1, *(each.start() for each in _OUTER_LINE.finditer(encoded, HEAD // 2, HEAD))]
        head = encoded[: places[-1] or HEAD]
        found = _best(head, syntax)
        if reads(found, syntax):
            return found
        # The cut may be to blame.
    return _best(encoded, syntax)


def _best(encoded: bytes, syntax: Syntax) -> Parsed | None:
    best = None
    for grammar in syntax.grammars:
        found = _parsed(encoded, _reader(grammar, syntax.comments))
        if found and (best is None or found.errors < best.errors):
            best = found
        if reads(best, syntax):
            break
    return best


def reads(found: Parsed | None, syntax: Syntax) -> bool:
    """Whether a text is a program by what the parser found."""
    return found is not None and found.errors <= syntax.max_error * (found.size - found.comments)


class NoGrammar(LookupError):
    """The package of grammars lacks one."""


class _Reader(NamedTuple):
    parser: Any
    kinds: frozenset[str]
    """Of nodes that are comments."""
    comments: Any
    """Query for comments."""
    everything: Any
    """Query for comments and errors: a second one costs as much as the first, and most texts have no errors."""


@cache
def _reader(grammar: str, comments: tuple[str, ...]) -> _Reader:
    # Imported here: a corpus of Python alone is built without it.
    from tree_sitter import Parser, Query
    from tree_sitter_language_pack import get_language

    try:
        language = get_language(grammar)  # pyright: ignore[reportArgumentType]
    except LookupError as error:
        raise NoGrammar(grammar) from error
    known = [kind for kind in comments if language.id_for_node_kind(kind, True)]
    wanted = f"[{' '.join(f'({kind})' for kind in known)}] @comment " if known else ""
    return _Reader(
        Parser(language),
        frozenset(known),
        Query(language, wanted) if known else None,
        Query(language, f"{wanted}(ERROR) @error (MISSING) @missing"),
    )


def _parsed(encoded: bytes, reader: _Reader) -> Parsed | None:
    tree = _tree(encoded, reader.parser)
    if tree is None:
        return None
    comments = errors = 0
    cursor = tree.walk()
    while True:
        node = cursor.node
        is_large = node.descendant_count > QUERIED_NODES
        here = _itself(node, reader.kinds) if is_large or not node.child_count else _below(node, reader)
        comments, errors = comments + here[0], errors + here[1]
        if is_large and cursor.goto_first_child():
            continue
        while not cursor.goto_next_sibling():
            if not cursor.goto_parent():
                return Parsed(len(encoded), comments, errors)


def _itself(node: Any, kinds: frozenset[str]) -> tuple[int, int]:
    if node.is_error:
        return 0, _bare(node)
    if node.is_missing:
        return 0, 1
    return (node.end_byte - node.start_byte if node.is_named and node.type in kinds else 0), 0


def _below(node: Any, reader: _Reader) -> tuple[int, int]:
    from tree_sitter import QueryCursor

    query = reader.everything if node.has_error else reader.comments
    found = QueryCursor(query).captures(node) if query else {}
    comments = sum(each.end_byte - each.start_byte for each in found.get("comment", ()))
    return comments, sum(map(_bare, found.get("error", ()))) + len(found.get("missing", ()))


def _tree(encoded: bytes, parser: Any) -> Any:
    """Return the tree of a text; None if it takes too much work."""
    left = WORK + int(WORK_PER_BYTE * len(encoded))

    def read(place: int, _: Any) -> bytes:
        nonlocal left
        left -= 1
        # At once without the rest, since only a report of progress can stop the parser.
        return encoded[place : place + CHUNK] if left >= 0 else b""

    def is_over(place: int, has_error: bool) -> bool:
        nonlocal left
        left -= 8
        return left < 0

    try:
        tree = parser.parse(read, progress_callback=is_over)
    except ValueError:  # stopped
        parser.reset()
        return None
    return tree if left >= 0 else None


def _bare(error: Any) -> int:
    """Return the bytes of a failure that are in no statement below it.

    One brace too many, or one under an `#if`, makes a failure of everything around it; what stands inside may well be sound.
    """
    cursor, bare = error.walk(), error.end_byte - error.start_byte
    more = cursor.goto_first_child()
    while more:
        child = cursor.node
        if child.is_extra or child.named_child_count:
            bare -= child.end_byte - child.start_byte
        more = cursor.goto_next_sibling()
    return bare
