"""What people wrote with any editor is read, or refused with the file and the byte; nothing of it is lost in silence."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codeparrot.corpus.contamination.benchmark_texts import read_benchmark
from codeparrot.errors import CodeparrotError
from codeparrot.eval.problems.sets import load_problems
from codeparrot.text_files import decoded, json_lines, read_text, repeated_key

TEXT = "naïve/ré\n# 漢字 😀\n"
PACKED = gzip.compress(b"1\n" * 999, mtime=0)
MARKED = ("utf-8-sig", "utf-16", "utf-32")


@pytest.mark.parametrize("encoding", ["utf-8", *MARKED])
def test_a_text_is_the_same_in_every_encoding_that_says_which_it_is(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a").write_bytes(TEXT.encode(encoding))
    assert read_text(tmp_path / "a") == TEXT


@pytest.mark.parametrize(("mark", "encoding"), [(b"\xfe\xff", "utf-16-be"), (b"\0\0\xfe\xff", "utf-32-be")])
def test_the_other_byte_order_is_known_by_its_mark(mark: bytes, encoding: str) -> None:
    assert decoded(mark + TEXT.encode(encoding), "x") == TEXT


@given(st.text(st.characters(exclude_characters="\0\r\ufeff", exclude_categories=["Cs"])), st.sampled_from(["utf-8", *MARKED]))
def test_any_text_is_read_as_it_was_written(text: str, encoding: str) -> None:
    assert decoded(text.encode(encoding), "x") == text


def test_lines_end_in_a_newline_whatever_system_wrote_them() -> None:
    assert decoded(b"a\r\nb\rc\n", "x") == "a\nb\nc\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a\ncaf\xe9\n", "list is not UTF-8: byte 5 is 0xe9, in line 2"),
        (b"\xef\xbb\xbfcaf\xe9", "list is not UTF-8: byte 6 is 0xe9"),
        ("ab".encode("utf-16") + b"c", "list is not UTF-16: byte 6 is 0x63"),
        ("ab".encode("utf-16-le"), "list is not text: byte 1 is zero"),
        (b"abc\0\0\0", "list is not text: byte 3 is zero"),
        (b"\xef\xbb\xbfabc\0", "list is not text: byte 6 is zero"),
    ],
)
def test_what_is_no_text_is_named_with_its_byte(content: bytes, message: str) -> None:
    with pytest.raises(CodeparrotError) as error:
        decoded(content, "list")
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    for place, reason in ((tmp_path / "nowhere", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(CodeparrotError, match=rf"{place} cannot be read: {reason}"):
            read_text(place)


@pytest.mark.parametrize("encoding", ["utf-8", *MARKED])
@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_json_lines_are_read_in_every_encoding_packed_or_not(tmp_path: Path, name: str, encoding: str) -> None:
    content = '{"a": "é\u2028"}\r\n\n{"a": 2}'.encode(encoding)
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    assert list(json_lines(tmp_path / name)) == [
        (f"{tmp_path / name}, line 1", {"a": "é\u2028"}),
        (f"{tmp_path / name}, line 3", {"a": 2}),
    ]


def test_marks_between_files_that_were_joined_are_no_part_of_them(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\xef\xbb\xbf1\n\xef\xbb\xbf2\n")
    assert [value for _, value in json_lines(tmp_path / "a")] == [1, 2]


@pytest.mark.parametrize("line", ["{", '{"a": NaN}', "Infinity", "[" * 100_000])
def test_a_line_that_is_no_json_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "a").write_text(f"1\n{line}\n", encoding="utf-8")
    with pytest.raises(CodeparrotError, match="a, line 2: not JSON"):
        list(json_lines(tmp_path / "a"))


@pytest.mark.parametrize("read", [load_problems, read_benchmark])
def test_half_a_character_in_problems_is_named(tmp_path: Path, read: Callable[[str], Any]) -> None:
    row = {"task_id": "T/0", "prompt": "def f():\n    # \ud83d\n", "entry_point": "f", "test": "def check(f): pass\n"}
    (tmp_path / "a.jsonl").write_text(json.dumps(row), encoding="utf-8")
    with pytest.raises(CodeparrotError, match=r"a\.jsonl, line 1: .ud83d is half a character .*; mend or remove"):
        read(str(tmp_path / "a.jsonl"))


@pytest.mark.parametrize("content", [b"no gzip", PACKED[:-6], PACKED[:14] + b"\xff" * 30], ids=["none", "cut", "changed"])
def test_a_damaged_archive_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.gz").write_bytes(content)
    with pytest.raises(CodeparrotError, match=r"a\.gz cannot be read: .*; if it is damaged or was cut, fetch it again"):
        list(json_lines(tmp_path / "a.gz"))


@pytest.mark.parametrize(
    ("text", "repeated"),
    [
        ("a:\n  x: 1\nb: 2\na:\n  y: 1\n", ("a", 1, 4)),
        ("a:\n  x: 1\n  x: 1\n", ("x", 2, 3)),
        ("a: {x: 1, x: 2}\n", ("x", 1, 1)),
        ("- {a: 1}\n- {b: 1,\n   b: 2}\n", ("b", 2, 3)),
        ("a.x: 1\na:\n  y: 2\n", ("a", 1, 2)),
        ("a:\n  y: 2\na.x: 1\n", ("a", 1, 3)),
        ('{"a": 1,\n\t"b": {"c": 1},\n\t"a": 2}', ("a", 1, 3)),
        ("a.x: 1\na.y: 2\n", None),
        ("- {a: 1}\n- {a: 1}\n", None),
        ("a: &one {x: 1}\nb: *one\n", None),
        ("a: &one [1, *one]\n", None),
        ("", None),
        ("just words", None),
    ],
)
def test_a_key_that_stands_twice_is_found_with_both_lines(text: str, repeated: tuple[str, int, int] | None) -> None:
    assert repeated_key(text) == repeated


JSON = st.recursive(
    st.none() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_characters=".")), inner),
)


@given(JSON)
def test_json_without_repetition_has_none(value: object) -> None:
    assert repeated_key(json.dumps([value], indent="\t")) is None
