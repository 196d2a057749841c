"""A block ends where indentation says so, and as soon as that is certain; stop texts belong to a language."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codeparrot.errors import CodeparrotError
from codeparrot.generation.blocks import Block
from codeparrot.languages.stops import STOPPED, stops_of


@pytest.mark.parametrize(
    ("before", "inside", "behind"),
    [
        ("def f(x):", "\n    y = x\n\n    return y\n\n\n", "def g():\n    pass"),
        ("def f(x", "):  # a comment\n    return x\n", "f(1)"),
        ("class A:\n    def f(self):", "\n        return 1\n\n", "    def g(self):\n        pass"),
        ("def f(x):\n    y = 1", "\n    for z in x:\n        y += z\n    return y\n", "print(f(1))"),
        ("def f(x):\n    ", "for z in x:\n        y += z\n    return y\n", "f()"),
        ("def f(x):\n", "    for z in x:\n        y += z\n    return y\n", "f()"),
        ("def f(x):\n    ", "\n    y = 1\n\n    return y\n", "f()"),
        ("def f(x):\n    if x:", "\n        return 1\n", "    return 2\n"),
        ("    a = g(", "\n        1,\n        2,\n    )\n", "    return a"),
        ("    a = g(1)", "\n    )\n", "}"),
        ("import o", "s\n", "import sys"),
        ("", "def f():\n    return 1\n\n\n", "def g():\n    pass"),
        ("x = [", "\n    1,\n]\n", "y = 2"),
        ("def f(", "\n    a,\n):\n    return a\n", "x"),
        ("int f() {", "\n    return 1;\n}\n\n", "int g() {"),
        ("int f()", "\n{\n    return 1;\n}\n", "int g()"),
        ("    void f() {", "\n        g();\n    }\n", "}"),
        ("\tif x {", "\n\t\treturn 1\n\t}\n", "\treturn 2"),
        ("\tif x:", "\n                y()\n", "        z()"),
        ("def f():\r", "\n    return 1\r\n", "x = 1\r\n"),
    ],
)
def test_a_block_ends_before_the_first_line_outside_of_it(before, inside, behind):
    block = Block.at(before)
    assert block.end(inside + behind) == len(inside)
    assert all(block.end((inside + behind)[:length]) is None for length in range(len(inside) + 1))
    # The first character that is not blank decides.
    first = len(behind) - len(behind.lstrip())
    assert block.end(inside + behind[: first + 1]) == len(inside)


@given(st.text("a )}\n\t", max_size=6), st.text("ab: (){}\n\t\r", max_size=40), st.text("ab: ()\n", max_size=10))
def test_what_follows_never_moves_the_end(before, text, more):
    found = Block.at(before).end(text)
    assert found is None or (found == Block.at(before).end(text + more) and text[found:].strip())


def test_stop_texts_belong_to_a_language():
    assert "\ndef" in stops_of("python") and "\nfunc" in stops_of("go")
    assert all(text.startswith("\n") and text.strip() for language in STOPPED for text in stops_of(language))
    with pytest.raises(
        CodeparrotError, match=r'"pythonn" are not known \(--stop block needs no language\); did you mean "python"\?'
    ):
        stops_of("pythonn")
    with pytest.raises(
        CodeparrotError, match=r'"cobol-85" are not known \(--stop block needs no language\); one of c, c#, c\+\+, '
    ):
        stops_of("cobol-85")
