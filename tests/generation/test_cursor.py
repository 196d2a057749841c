"""A cursor is the place that an editor shows; whatever is not one is a line that says what the text has there."""

import io
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codeparrot.errors import CodeparrotError
from codeparrot.generation.cursor import Around, read_around, split

TEXT = "def f(x):\n    return é\n\tz"


@pytest.mark.parametrize(
    ("cursor", "before"),
    [
        ("1:1", ""),
        ("1:10", "def f(x):"),
        ("2:1", "def f(x):\n"),
        ("2:5", "def f(x):\n    "),
        ("2:13", "def f(x):\n    return é"),
        ("3:2", "def f(x):\n    return é\n\t"),
        ("3:3", TEXT),
    ],
)
def test_a_cursor_is_counted_from_one(cursor, before):
    assert split(TEXT, cursor, "x.py") == Around(before, TEXT[len(before) :])


@given(st.text("ab\n\té𝒳", max_size=20), st.data())
def test_every_place_of_a_text_has_its_cursor(text, data):
    at = data.draw(st.integers(0, len(text)))
    line, column = text.count("\n", 0, at) + 1, at - (text.rfind("\n", 0, at) + 1) + 1
    assert split(text, f"{line}:{column}", "") == Around(text[:at], text[at:])


@pytest.mark.parametrize(
    ("cursor", "words"),
    [
        ("2:14", "line 2 of x.py has 12 characters, so its last column is 13"),
        ("4:1", "behind the end of x.py: its last line is 3"),
        *((word, "write LINE:COLUMN") for word in ("0:1", "1:0", "1", "1:", "a:b", "-1:1", "1:1:1", "")),
    ],
)
def test_a_cursor_that_is_nowhere_is_one_line(cursor, words):
    with pytest.raises(CodeparrotError, match=f"--cursor {cursor} .*{words}") as error:
        split(TEXT, cursor, "x.py")
    assert "\n" not in str(error.value)


def test_an_empty_text_has_one_place():
    assert split("", "1:1", "x") == Around("", "")
    with pytest.raises(CodeparrotError, match="line 1 of x has 0 characters"):
        split("", "1:2", "x")


def test_the_text_around_comes_from_a_file_a_pipe_or_options(tmp_path, monkeypatch):
    path, behind = tmp_path / "x.py", tmp_path / "behind.py"
    path.write_bytes("# é\r\nx = \r\ny = 2\r\n".encode())
    behind.write_bytes("\ufeff)\r\n".encode())
    assert read_around(file=str(path), cursor="2:5") == Around("# é\nx = ", "\ny = 2\n")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a\nb\n")))
    assert read_around(cursor="2:1") == Around("a\n", "b\n")
    assert read_around("f(", suffix=")") == Around("f(", ")")
    assert read_around("f(", suffix="") == read_around("f(") == Around("f(", "")
    assert read_around("f(", suffix_file=str(behind)) == Around("f(", ")\n")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"suffix": ")", "suffix_file": "y"}, "--suffix and --suffix_file were both given"),
        ({"cursor": "1:1", "suffix": ")"}, "--cursor says where the suffix begins"),
        ({"cursor": "1:1", "suffix_file": "y"}, "--cursor says where the suffix begins"),
        ({"suffix": "caf\udce9"}, "the suffix is not UTF-8"),
        ({"suffix_file": "/nowhere/y"}, "/nowhere/y cannot be read"),
        ({"cursor": "1:3"}, "line 1 of the text has 1 character,"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options, words):
    with pytest.raises(CodeparrotError, match=words):
        read_around("x", **options)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_missing_or_unreadable_prompt_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdin", Terminal())
    with pytest.raises(CodeparrotError, match="give --prompt TEXT or --file PATH"):
        read_around()
    with pytest.raises(CodeparrotError, match="both given"):
        read_around(prompt="x", file="y")
    with pytest.raises(CodeparrotError, match="No such file"):
        read_around(file=str(tmp_path / "nowhere"))
    (tmp_path / "latin").write_bytes(b"caf\xe9")
    with pytest.raises(CodeparrotError, match="not UTF-8"):
        read_around(file=str(tmp_path / "latin"))
    with pytest.raises(CodeparrotError, match="not UTF-8"):
        read_around(prompt="caf\udce9")
