"""Clones of functions with other names."""

import ast
import re

import pytest

from codeparrot.search.retrieval.renaming import anonymous, bound_names, renamed
from tests.conftest import python_sources

CODE = '''
@cached
def read_table(path, *, limit=10, **options):
    """Read it."""
    import os.path as places
    global counter
    counter += 1
    def inner(row):
        """Inner."""
        return row.value
    try:
        with open(path) as file:
            return [inner(row) for row in file.rows(limit=limit)][:limit]  # why
    except OSError as error:
        raise Missing(path, "text") from error
'''
POOL = [f"word_{letter}" for letter in "abcdefghijklmnop"]


def test_own_names_are_those_that_the_function_binds() -> None:
    own = ["read_table", "path", "limit", "options", "inner", "file", "error", "row"]
    assert sorted(bound_names(CODE)) == sorted(own)
    assert bound_names("def f(:") == []


def test_a_renamed_clone_keeps_the_names_of_other_code() -> None:
    clone = renamed(CODE, POOL, "key")
    assert clone is not None
    words = {word for node in ast.walk(ast.parse(clone)) for word in ast.dump(node).split("'")}
    assert not words & {"read_table", "path", "limit=", "inner", "row"}
    assert {"cached", "places", "os.path", "counter", "rows", "value", "Missing", "OSError", "open", "text"} <= words
    assert '"""' not in clone and "why" not in clone
    assert clone == renamed(CODE, POOL, "key") != renamed(CODE, POOL, "other")


def test_a_clone_has_the_shape_of_the_original_and_distinct_names_stay_distinct() -> None:
    clone = renamed(CODE, POOL, "key")
    assert clone is not None
    assert len(set(bound_names(clone))) == len(bound_names(CODE))
    assert shape(clone) == shape(CODE)


def test_without_names_nothing_is_left_but_python_and_literals() -> None:
    clone = anonymous("def read(self, path):\n    return len(path.parts) + table['a'].get(key=os.sep)")
    assert clone == "def v0(self, v1):\n    return len(v1.v2) + v6['a'].v3(v4=v7.v5)"
    other = anonymous("def read(self, path):\n    return len(path.parts) + table['a'].get(key=os.sep)", "key")
    assert other is not None and other != clone and anonymous(other) == clone and shape(other) == shape(clone)


def shape(code: str) -> str:
    """The code as its clones have it, with one name for all but Python's own."""
    clone = anonymous(code)
    assert clone is not None
    return re.sub(r"\bv\d+\b", "v", clone)


@pytest.mark.parametrize("code", ["def f(:", "x = '\x00'", f"def f(a=0x{'f' * 5000}): return a"])
def test_what_python_cannot_read_or_write_has_no_clone(code: str) -> None:
    assert renamed(code, POOL, "key") is None and anonymous(code) is None


def test_a_pool_that_is_too_small_still_gives_distinct_names() -> None:
    clone = renamed("def f(a, b, c):\n    return a, b, c", ["f", "x"], "key")
    assert clone is not None and len(set(bound_names(clone))) == 4


def test_modules_of_the_library_have_clones_that_parse() -> None:
    for text in python_sources(4):
        clone = renamed(text, POOL, "key")
        assert clone is None or shape(clone) == shape(text)
