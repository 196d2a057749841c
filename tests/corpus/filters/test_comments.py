import ast
import io
import time
import tokenize

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codeparrot.corpus.filters.comments import comment_fraction, comments
from tests.corpus.samples import STANDARD_LIBRARY


def expected(content: str) -> tuple[list[str], list[str]]:
    """Return comments found by `tokenize` and documentation strings found by `ast`, as written."""
    tokens = tokenize.generate_tokens(io.StringIO(content).readline)
    found = [token.string for token in tokens if token.type == tokenize.COMMENT]
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    strings = []
    for node in ast.walk(ast.parse(content)):
        if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None:
            statement = node.body[0]
            assert isinstance(statement, ast.Expr)
            strings.append(str(ast.get_source_segment(content, statement.value)))
    return found, strings


@pytest.mark.slow
def test_comments_are_those_of_tokenize_and_docstrings_those_of_ast() -> None:
    files = [file.read_text(encoding="utf-8") for file in sorted(STANDARD_LIBRARY.glob("*.py"))[:80]]
    agreed = total = 0
    for content in files:
        ours = list(comments(content))
        found, strings = expected(content)
        assert [each for each in ours if each[0] == "#"] == found
        theirs = {each.lstrip("rRuU") for each in strings}
        documentation = {each for each in ours if each[0] != "#"}
        total += len(theirs | documentation)
        agreed += len(theirs & documentation)
    assert total > 1000
    assert agreed / total > 0.99


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ('"""doc"""\nx = 1  # one\n', ['"""doc"""', "# one"]),
        ("#!/usr/bin/env python\n'doc'\n", ["#!/usr/bin/env python", "'doc'"]),
        ('def f():  # why\n    r"""doc"""\n', ["# why", '"""doc"""']),
        ('def f(): """doc"""\n', ['"""doc"""']),
        ('x = "# no comment"\n', []),
        ("x = '''\n# no comment\n'''\n", []),
        ('f(\n    """an argument""",\n)\n', []),
        ('x = {\n    "key": "value"\n}\n', []),
        ("x = 'it\\'s # no' # yes\n", ["# yes"]),
        ('x = b"""\nbytes"""\n', []),
        ('def f():\n    b"""bytes"""\n', []),
        ('"""never ends\n# so', ['"""never ends\n# so']),
        ("x = 'ends with the line\n# yes\n", ["# yes"]),
    ],
)
def test_what_is_a_comment(content: str, found: list[str]) -> None:
    assert list(comments(content)) == found


def test_the_fraction_counts_characters() -> None:
    assert comment_fraction("#é漢\nabc\n") == 3 / 8
    assert comment_fraction("") == 0


@given(st.text(alphabet="\"'#\\\n :ax"))
def test_any_text_has_a_fraction(content: str) -> None:
    assert 0 <= comment_fraction(content) <= 1


@pytest.mark.parametrize("piece", ['"""', "'''", '"', "\\", '"""\\"', "'''\"\"\"\\", '""', '"\\\n', "#", ":\n'"])
def test_hostile_text_takes_time_in_proportion_to_its_length(piece: str) -> None:
    start = time.process_time()
    comment_fraction(piece * (2**20 // len(piece)))
    assert time.process_time() - start < 5
