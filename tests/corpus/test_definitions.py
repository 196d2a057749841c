"""Functions and classes of Python files: where they are, and their text with and without docstrings."""

import ast
import copy
import textwrap
import warnings

import pytest

from codeparrot.corpus.definitions import Definition, definitions
from tests.conftest import STANDARD_LIBRARY


def found(text: str) -> list[Definition]:
    result = definitions(text)
    assert result is not None
    return result


def only(text: str) -> Definition:
    (definition,) = found(text)
    return definition


def test_a_function_has_its_lines_its_signature_and_its_docstring() -> None:
    text = textwrap.dedent('''
        import os

        @cached
        @other(1)
        def read(path: str, *, limit=10) -> "Table":  # a comment
            """Read a table.

                Indented.
            The end.
            """

            # Why.
            return os.open(path)
        x = 1
        ''')
    definition = only(text)
    assert (definition.kind, definition.name, definition.start, definition.stop) == ("function", "read", 4, 14)
    assert definition.signature == "def read(path: str, *, limit=10) -> 'Table':"
    assert definition.docstring == "Read a table.\n\n    Indented.\nThe end."
    assert definition.text == "\n".join(text.split("\n")[3:14])
    assert definition.body.split("\n")[2:] == [
        'def read(path: str, *, limit=10) -> "Table":  # a comment',
        "    # Why.",
        "    return os.open(path)",
    ]


def test_methods_and_nested_functions_come_in_order_under_dotted_names_and_dedented() -> None:
    text = textwrap.dedent('''
        class Reader(Base, kind=int):
            """Reads."""
            if True:
                async def read(self):
                    def inner(): pass
                    return inner
            else:
                class Error(Exception): pass
        try:
            pass
        except E:
            def late(): ...
        else:
            match x:
                case 1:
                    def matched(): ...
        finally:
            def last(): ...
        ''')
    result = found(text)
    names = ["Reader", "Reader.read", "Reader.read.inner", "Reader.Error", "late", "matched", "last"]
    assert [each.name for each in result] == names
    assert [each.kind for each in result] == ["class", "function", "function", "class", "function", "function", "function"]
    assert result[0].signature == "class Reader(Base, kind=int):"
    assert result[0].body.split("\n")[1] == "    if True:"
    assert result[1].text == "async def read(self):\n    def inner(): pass\n    return inner"
    assert result[2].text == "def inner(): pass"


@pytest.mark.parametrize(
    ("text", "body"),
    [
        ('def f():\n    """d"""', "def f():\n    pass"),
        ('def f():\n    """d"""  # noqa\n', "def f():\n    pass  # noqa"),
        ('def f(): "d"', "def f(): pass"),
        ('def f(): "d"; return 1', "def f(): return 1"),
        ('def f():\n    "d"; return 1', "def f():\n    return 1"),
        ('def f():\n    "d" ; \\\n  return 1', "def f():\n    return 1"),
        ('def f():\n    "d" ; \n    return 1', "def f():\n    return 1"),
        ('def f():\n    "d" ; # c\n    return 1', "def f():\n    return 1"),
        ('def f():\n    ("d"\n     "e")  # noqa\n\n\n    return 1', "def f():\n    return 1"),
        ('def f():\n    \\\n    "d"\n    # c\n    return 1', "def f():\n    # c\n    return 1"),
        ('def f():\\\n    "d"; return 1', "def f():\\\n    return 1"),
        ('def f(ä="ö"): "ü"; return "é"', 'def f(ä="ö"): return "é"'),
        ('def f():\n\t"""d\n\te\n\t"""\n\treturn 1', "def f():\n\treturn 1"),
        ('def f():\r\n    """d\r\n    """\r\n    return 1\r\n', "def f():\n    return 1"),
        ('def f():\r    "d"\r    return 1', "def f():\n    return 1"),
        ('if x:\n\f    def f():\n        "d"\n\f        return 1', "def f():\n    return 1"),
        ('if x:\n\tdef f():\n\t\t"d"\n\t\treturn 1', "def f():\n\treturn 1"),
    ],
)
def test_the_body_is_the_text_without_the_docstring(text: str, body: str) -> None:
    definition = only(text)
    assert definition.docstring is not None
    assert definition.body == body
    ast.parse(definition.body)


def test_the_body_has_no_docstring_of_an_inner_function_either() -> None:
    """An inner function is a pair of its own: what it is asked for must not stand in the outer one."""
    text = textwrap.dedent('''
        def outer():
            """Outer."""

            class Inner:
                """Inner."""
                def method(self): "Method."; return 1
            def last():
                """Last.

                More.
                """
            return Inner, last
        ''')
    body = """def outer():
    class Inner:
        def method(self): return 1
    def last():
        pass
    return Inner, last"""
    outer, inner, method, last = found(text)
    assert outer.body == body
    assert inner.body == "class Inner:\n    def method(self): return 1"
    assert (method.body, last.body) == ("def method(self): return 1", "def last():\n    pass")


@pytest.mark.parametrize("first", ['b"d"', 'f"{d}"', "1", "x: str", '"d" + "e"', '"d".strip()'])
def test_only_a_string_is_a_docstring(first: str) -> None:
    definition = only(f"def f():\n    {first}\n    return 1")
    assert definition.docstring is None
    assert definition.body == definition.text


def test_lines_are_those_of_python() -> None:
    """str.splitlines ends lines at form feeds, at U+2028 and others."""
    text = 'x = "\u2028\x85\x0b\x1c"\n\f\ndef f():\n    return "\u2028"'
    assert (only(text).start, only(text).stop) == (3, 4)
    assert only(text).text == 'def f():\n    return "\u2028"'


def test_a_decorator_begins_at_its_sign() -> None:
    assert only("x = 1\n@(\n    cached\n)\ndef f(): ...").start == 2
    assert only("x = 1\n@\\\ncached\n# c\ndef f(): ...").text == "@\\\ncached\n# c\ndef f(): ..."


def test_a_coding_line_and_a_byte_order_mark_change_nothing() -> None:
    assert only('\ufeff# coding: latin-1\ndef f():\n    "ä"').docstring == "ä"


@pytest.mark.parametrize(
    "text",
    [
        "def f(:",
        "print 1",
        "x = '\x00'",
        "x = '\ud800'",
        "(" * 500 + ")" * 500,
        "x = " + "-" * 50_000 + "1",
        "x = " + "a." * 50_000 + "a",
        "x = " + "1" * 10_000,
        "".join(" " * i + "if x:\n" for i in range(120)) + " " * 120 + "pass",
    ],
    ids=["broken", "python 2", "null", "surrogate", "brackets", "signs", "attributes", "digits", "blocks"],
)
def test_what_does_not_parse_is_none(text: str) -> None:
    assert definitions(text) is None


def test_a_long_chain_of_elif_has_its_functions() -> None:
    chain = "if x: pass\n" + "elif x: pass\n" * 200 + "else:\n    def f(): ...\n"
    assert [each.name for each in found(chain)] == ["f"]


def test_signatures_are_one_line_whatever_python_can_write_again() -> None:
    assert only('def f(a=f"""\n{x}""",\n  b="\\n",  # c\n): ...').signature.count("\n") == 0
    long = "0x" + "f" * 5000
    assert only(f"x = 1\ndef f(\n    a={long},\n): return a").signature == f"def f( a={long}, ):"
    assert only(f"def f(a={long}): return a").signature == f"def f(a={long}):"


def test_warnings_are_silent_and_no_errors() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert only('def f():\n    return "\\d" is 1').name == "f"


@pytest.mark.parametrize("name", ["textwrap", "functools", "asyncio/streams", "idlelib/textview"])
def test_texts_and_bodies_are_the_functions_that_python_reads(name: str) -> None:
    file = STANDARD_LIBRARY / f"{name}.py"
    if not file.exists():
        pytest.skip(f"no {file}")
    text = file.read_text(encoding="utf-8")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        nodes = [
            each
            for each in ast.walk(ast.parse(text))
            if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        ]
        result = found(text)
        assert len(result) == len(nodes)
        by_end = {(node.name, node.end_lineno): node for node in nodes}
        for each in result:
            node = by_end[each.name.rpartition(".")[2], each.stop]
            assert each.docstring == ast.get_docstring(node)
            (again,) = ast.parse(each.text).body
            (bare,) = ast.parse(each.body).body
            assert shape(again) == shape(node)
            assert isinstance(bare, type(node))
            assert shape(bare) == shape(without_docstrings(node))


def without_docstrings(node: ast.AST) -> ast.AST:
    node = copy.deepcopy(node)
    for each in ast.walk(node):
        if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and ast.get_docstring(each) is not None:
            each.body = each.body[1:] or [ast.Pass()]
    return node


def shape(node: ast.AST) -> str:
    """The tree without the insides of strings over several lines, whose indentation may change."""
    node = copy.deepcopy(node)
    for each in ast.walk(node):
        if isinstance(each, ast.Constant) and isinstance(each.value, str) and "\n" in each.value:
            each.value = " ".join(each.value.split())
    return ast.dump(node)
