"""Clones of functions with other names."""

import ast
import re
import sys
from typing import Any

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


RUNS = """
from functools import partial

def f(width, height=2):
    def area(width, *, depth=1, **others):
        return width * height * depth + sum(others.values())
    double = lambda width, times=2: width * times
    class Box:
        size = 3
        def __init__(self, width):
            self.width = width
        def grow(self, height):
            return self.width + height * Box.size
    later = partial(area, depth=5)
    box = Box(width=width)
    again = f(width - 1, height=height)[0] if width > 1 else 0
    text = "{height}".format(height=height)
    return area(width=width, depth=3, more=1) + double(times=3, width=width) + later(width) + box.grow(height=1) + again, text
"""


def result_of(code: str, value: int) -> object:
    """What the last function of the code returns."""
    function = ast.parse(code).body[-1]
    assert isinstance(function, ast.FunctionDef)
    space: dict[str, Any] = {}
    exec(code, space)
    return space[function.name](value)


def test_a_clone_does_the_same_when_it_runs() -> None:
    clone = renamed(RUNS, POOL, "key")
    assert clone is not None and not {"area", "depth", "double", "times", "later", "box"} & set(re.findall(r"\w+", clone))
    assert result_of(clone, 3) == result_of(RUNS, 3)


METHOD = """
def save(self, path, **options):
    with open(path) as file:
        super().save(path=path, **options)
        self.save(path, limit=1)
        cls.save(path)
        save(path)
        other.save(file)
"""


def test_a_method_calls_itself_by_its_new_name_and_others_by_theirs() -> None:
    clone = renamed(METHOD, POOL, "key")
    assert clone is not None
    (function,) = ast.parse(clone).body
    assert isinstance(function, ast.FunctionDef)
    own, path = function.name, function.args.args[1].arg
    assert own != "save" and path != "path"
    assert f"super().{own}({path}={path}, **" in clone and f"self.{own}({path}, limit=1)" in clone and f"cls.{own}" in clone
    # A bare name is no method, and another object has methods of its own.
    assert f"    save({path})" in clone and "other.save(" in clone


def test_a_function_with_the_name_of_a_builtin_gets_another() -> None:
    plain, method = "def open(path):\n    return open(path[1:])", "def open(self, path):\n    self.file = open(path)"
    for code, calls_itself in ((plain, True), (method, False)):
        for clone in (renamed(code, POOL, "key"), anonymous(code)):
            assert clone is not None and not clone.startswith("def open")
            assert ("open" not in clone) == calls_itself
    assert anonymous("def open(url):\n    return browser.open(url)") == "def v0(v1):\n    return v2.v0(v1)"
    assert "open" in bound_names(method)
    # No clone shadows what the language has.
    assert renamed("def f(a):\n    return a", ["open", "len", "b", "c"], "key") in (
        "def b(c):\n    return c",
        "def c(b):\n    return b",
    )


def test_patterns_of_classes_and_names_of_the_language() -> None:
    code = "def f(p):\n    match p:\n        case Point(x=0, y=other):\n            return other.__class__"
    clone = anonymous(code)
    assert clone is not None
    assert re.findall(r"\bv\d+\b", clone) and not re.search(r"\b(?:x|y|other|Point)\b", clone)
    assert ".__class__" in clone
    assert anonymous("from places import *") == "from v0 import *"
    kept = renamed(code, POOL, "key")
    assert kept is not None and "Point(x=0, y=" in kept


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the syntax came with Python 3.12")
def test_type_parameters_are_names_too() -> None:
    code = "def first[Item, *Rest, **Options](values: list[Item]) -> Item:\n    return values[0]"
    assert {"Item", "Rest", "Options"} <= set(bound_names(code))
    for clone in (renamed(code, POOL, "key"), anonymous(code)):
        assert clone is not None and not re.search(r"Item|Rest|Options", clone)


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
