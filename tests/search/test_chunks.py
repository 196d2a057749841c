"""Every line of a file lies in a piece, and pieces are what Python's parser finds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codeparrot.search.chunks import MOST_LINES, chunks

PYTHON = '''"""Reads tables."""

import csv

LIMIT = 3


class Reader:
    """Reads."""

    @property
    def path(self):
        return 1


def read(path):
    def inner():
        return 2

    return inner


print(read)
'''


def test_functions_classes_and_the_rest_of_a_python_file_are_pieces() -> None:
    found = [(each.kind, each.name, each.start, each.stop) for each in chunks("a.py", PYTHON)]
    assert found == [
        ("lines", "", 1, 23),
        ("class", "Reader", 8, 13),
        ("function", "Reader.path", 11, 13),
        ("function", "read", 16, 20),
        ("function", "read.inner", 17, 18),
    ]
    texts = {each.name: each.text for each in chunks("a.py", PYTHON)}
    assert texts["Reader.path"] == "@property\ndef path(self):\n    return 1"
    assert "class" not in texts[""] and "LIMIT = 3" in texts[""] and texts[""].endswith("print(read)")


@pytest.mark.parametrize("path", ["a.py", "a.md", "Makefile"])
@given(text=st.text(alphabet="ab:( \n", max_size=600))
def test_every_line_that_is_not_blank_lies_in_a_piece(path: str, text: str) -> None:
    lines = text.split("\n")
    found = chunks(path, text)
    covered = {number for each in found for number in range(each.start, each.stop + 1)}
    assert {number for number, line in enumerate(lines, 1) if line.strip()} <= covered
    assert all(each.text.count("\n") < MOST_LINES and each.text.strip() for each in found if each.kind == "lines")


def test_files_that_are_no_python_are_cut_at_empty_lines() -> None:
    text = "".join(f"line {number}\n" + "\n" * (number % 7 == 0) for number in range(100))
    found = chunks("notes.md", text)
    lines = text.split("\n")
    assert len(found) >= 3
    assert all(not lines[each.stop].strip() for each in found)  # the line behind a piece
    assert [each.kind for each in chunks("broken.py", "def f(:\n")] == ["lines"]


def test_equal_texts_have_one_key_whatever_their_names() -> None:
    one, other = chunks("a.md", "text")[0], chunks("b/c.md", "\n\ntext")[0]
    assert one.key == other.key != chunks("a.md", "text2")[0].key
