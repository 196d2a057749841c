"""The functions and classes of a Python file, with their docstrings taken out.

What `ast` says is where they are; the text is the source's own, comments included. Line ends become `\\n`. Cost: about that of
parsing the file twice.
"""

import ast
import re
import warnings
from bisect import bisect_left
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

Named = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef

_BLOCKS = ("body", "handlers", "orelse", "finalbody", "cases")
"""Fields of a statement that hold statements, in the order of the source."""
_SAME_LINE = re.compile(r"(?:[ \t\f]|\\\n)*+;(?:[ \t\f]|\\\n)*+(?=[^#\n])")
"""What stands between two statements of one line."""
_SPACE = " \t\f"


class Definition(NamedTuple):
    """A function or a class of a file."""

    kind: Literal["function", "class"]
    """Methods are functions."""
    name: str
    """With the classes and functions around it: Reader.read."""
    start: int
    """First line, from 1, decorators included."""
    stop: int
    """Last line, included."""
    text: str
    """Source without the indentation of its first line, which lines inside of strings lose as well."""
    signature: str
    """In one line, without comments and decorators: `def read(path: str) -> Table:`."""
    docstring: str | None
    """As `inspect.cleandoc` cleans it."""
    body: str
    """`text` without docstrings, its own and those inside, and the empty lines after each; `pass` stands for it where there is
    nothing else."""


class _Cut(NamedTuple):
    """Lines of the file, counted from 0, with what takes their place once a docstring is gone."""

    first: int
    stop: int
    """Behind the last."""
    instead: list[str]


def definitions(text: str) -> list[Definition] | None:
    """Return the functions and classes of a file, nested ones too, in the order of their first lines.

    None: the text does not parse as Python 3, or is nested too deeply for Python's parser.
    """
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # ValueError: null bytes, lone surrogates
        return None
    lines = text.split("\n")  # splitlines also ends lines where Python does not: at a form feed
    named = list(_named(tree))
    documented = [node for node, _ in named if ast.get_docstring(node, clean=False) is not None]
    cuts = sorted((_docstring_cut(node, lines) for node in documented), key=_begin)
    return [_definition(node, name, lines, cuts) for node, name in named]


def _named(tree: ast.Module) -> Iterator[tuple[Named, str]]:
    """Yield the definitions with their names. No recursion: `elif` nests as deeply as it is long."""
    waiting: list[tuple[ast.AST, str]] = [(tree, "")]
    while waiting:
        node, prefix = waiting.pop()
        if isinstance(node, Named):
            yield node, prefix + node.name
            prefix += f"{node.name}."
        inner = [(each, prefix) for field in _BLOCKS for each in _statements(node, field)]
        waiting += reversed(inner)


def _statements(node: ast.AST, field: str) -> list[ast.AST]:
    found = getattr(node, field, None)
    return found if isinstance(found, list) else []  # the body of a lambda or of a conditional expression is no list


def _definition(node: Named, name: str, lines: list[str], cuts: list[_Cut]) -> Definition:
    start = _first_line(node, lines)
    stop = node.end_lineno or start
    indentation = _indentation(lines[start - 1])
    return Definition(
        kind="class" if isinstance(node, ast.ClassDef) else "function",
        name=name,
        start=start,
        stop=stop,
        text=_dedented(lines[start - 1 : stop], indentation),
        signature=_signature(node, lines),
        docstring=ast.get_docstring(node),
        body=_dedented(_without_docstrings(lines, start, stop, cuts), indentation),
    )


def _first_line(node: Named, lines: list[str]) -> int:
    if not node.decorator_list:
        return node.lineno
    first = node.decorator_list[0].lineno
    # The expression may begin below its @: in parentheses, or after a backslash.
    while first > 1 and not lines[first - 1].lstrip(_SPACE).startswith("@"):
        first -= 1
    return first


def _signature(node: Named, lines: list[str]) -> str:
    fields: dict[str, Any] = {**dict(ast.iter_fields(node)), "body": [], "decorator_list": []}
    bare = ast.copy_location(type(node)(**fields), node)
    try:
        return ast.unparse(bare).strip().replace("\n", "\\n")  # line ends are left inside of strings only
    except (ValueError, RecursionError):  # what Python reads and does not write: long numbers, some nested f-strings
        column = _characters(lines[node.body[0].lineno - 1], node.body[0].col_offset)
        header = [*lines[node.lineno - 1 : node.body[0].lineno - 1], lines[node.body[0].lineno - 1][:column]]
        if node.lineno == node.body[0].lineno:
            header = [lines[node.lineno - 1][:column]]
        return " ".join(" ".join(header).split())


def _docstring_cut(node: Named, lines: list[str]) -> _Cut:
    """Return how a definition that has a docstring loses it."""
    docstring, *others = node.body
    first, stop = docstring.lineno - 1, docstring.end_lineno or docstring.lineno
    before = lines[first][: _characters(lines[first], docstring.col_offset)]
    after = lines[stop - 1][_characters(lines[stop - 1], docstring.end_col_offset or 0) :]
    if not others:
        return _Cut(first, stop, [f"{before}pass{after}"])
    following = max(stop, others[0].lineno)
    rest = "\n".join([after, *lines[stop:following]])
    same_line = _SAME_LINE.match(rest)
    if same_line:
        return _Cut(first, following, f"{before}{rest[same_line.end() :]}".split("\n"))
    while not lines[stop].strip():
        stop += 1
    while lines[first - 1].strip(_SPACE) == "\\":  # a line that goes on where the docstring was
        first -= 1
    return _Cut(first, stop, [])


def _without_docstrings(lines: list[str], start: int, stop: int, cuts: list[_Cut]) -> list[str]:
    """Return the lines of a definition, from line `start` to `stop`, after the cuts in it: no other shares a line with it."""
    kept: list[str] = []
    place = start - 1
    for cut in cuts[bisect_left(cuts, place, key=_begin) : bisect_left(cuts, stop, key=_begin)]:
        kept += [*lines[place : cut.first], *cut.instead]
        place = cut.stop
    return kept + lines[place:stop]


def _begin(cut: _Cut) -> int:
    return cut.first


def _characters(line: str, column: int) -> int:
    """Return where a line's byte `column` is, in characters: `ast` counts bytes of UTF-8."""
    return column if line.isascii() else len(line.encode()[:column].decode())


def _indentation(line: str) -> str:
    """Return what Python counts as the indentation: a form feed starts it anew."""
    return line[: len(line) - len(line.lstrip(_SPACE))].rpartition("\f")[2]


def _dedented(lines: list[str], indentation: str) -> str:
    def shortened(line: str) -> str:
        space = line[: len(line) - len(line.lstrip(_SPACE))]
        line = line[space.rfind("\f") + 1 :]
        if line.startswith(indentation):
            return line[len(indentation) :]
        return line if line.strip() else ""

    return "\n".join(map(shortened, lines))
