import warnings

import pytest

from codeparrot.corpus.filters.syntax import is_python


@pytest.mark.parametrize("content", ["", "x = 1\n", "async def f():\n    await g()\n", "match x:\n    case 1: pass\n"])
def test_programs_are_python(content: str) -> None:
    assert is_python(content)


@pytest.mark.parametrize(
    "content",
    [
        "print 'two'\n",
        "x = (\n",
        "if x:\n\ty\n        z\n",
        "x = 1\0\n",
        "def f(a, a): pass\n",
        "x = '\n",
        "function () {}",
        "é = € \n",
    ],
)
def test_other_texts_are_not(content: str) -> None:
    assert not is_python(content)


@pytest.mark.parametrize(
    "content",
    [
        "(" * 100_000,
        "[" * 150 + "]" * 150,
        "-" * 200_000 + "1",
        "not " * 100_000 + "x",
        "lambda: " * 50_000 + "1",
        "x" + ".x" * 200_000,
        "x" + "()" * 200_000,
        "x" + "[0]" * 100_000,
        "1" + " + 1" * 200_000,
        "1" + " ** 1" * 100_000,
        "x" + " if x else x" * 50_000,
        "".join(" " * depth + "if x:\n" for depth in range(500)),
        "f'{" * 1000 + "x" + "}'" * 1000,
        "@x\n" * 100_000 + "def f(): pass\n",
        "x = " * 100_000 + "1",
        "if x: pass\n" + "elif x: pass\n" * 50_000,
        "9" * 1_000_000,
        "'" * 1_000_001,
        "{" * 99_999 + "\0",
    ],
    ids=lambda content: content[:8].strip(),
)
def test_hostile_texts_get_an_answer(content: str) -> None:
    assert is_python(content) in (True, False)


def test_nothing_is_printed_even_where_warnings_are_errors() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("error")
        assert is_python("x = '\\d'\nassert (x, 'always true')\nx is 1\n")
    assert not caught
