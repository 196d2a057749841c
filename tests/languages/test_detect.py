"""The language of a document is what its name, its first lines or its text tell, in little time whatever the text."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codeparrot.languages.chosen import checked, endings, has_ending, is_chosen
from codeparrot.languages.detect import language_of
from codeparrot.languages.lines import EVERY, LINE_CHARACTERS, _rules
from codeparrot.languages.names import LANGUAGES
from tests.growth import check_linear
from tests.languages import planted
from tests.languages.planted import PLANTED


@pytest.mark.parametrize("each", PLANTED, ids=lambda each: each.path)
def test_planted_files_are_told(each: planted.Planted) -> None:
    assert language_of(each.path, each.text) == each.language


def test_planted_files_are_of_more_than_20_languages() -> None:
    assert len({each.language for each in PLANTED}) > 30


@pytest.mark.parametrize(
    ("text", "language"),
    [
        (planted.PYTHON, "python"),
        (planted.PERL, "perl"),
        (planted.CPP_HEADER, "c++"),
        (planted.OBJECTIVE_C, "objective-c"),
        (planted.TYPESCRIPT, "typescript"),
        (planted.SHELL, "shell"),
        (planted.COQ, "coq"),
        (planted.TRANSLATION, "xml"),
        ("<?php\n$a = 1;\n", "php"),
        ('{"a": 1}\n', "json"),
        ("The quick brown fox jumps over the lazy dog.\n", None),
        ("", None),
    ],
)
def test_a_text_without_a_name_is_told_by_its_lines(text: str, language: str | None) -> None:
    assert language_of("12", text) == language


@pytest.mark.parametrize("path", ["a.txt", "README", "a.unknown", "", ".", "a/", "..py/"])
def test_what_nothing_tells_is_none(path: str) -> None:
    assert language_of(path, "Some words.\n") is None


@pytest.mark.parametrize("each", LANGUAGES.values(), ids=lambda each: each.name)
def test_every_ending_leads_to_a_language_that_has_it_also_without_a_text(each) -> None:
    for suffix in each.suffixes:
        found = language_of(f"a{suffix}", "")
        assert found in LANGUAGES and suffix in LANGUAGES[found].suffixes
    for name in each.filenames:
        assert language_of(f"deep/{name}", "") == each.name


def test_endings_in_capitals_and_of_templates_are_known() -> None:
    assert language_of("A.PY", "") == language_of("a.py.in", "") == "python"
    assert language_of("Makefile.in", "") == "makefile"


PIECES = (
    "(",
    ")",
    "()",
    "<",
    "<a>",
    "a",
    "a ",
    "a.",
    "a::",
    ", ",
    "[]",
    ": ",
    "=",
    "= ",
    "{",
    '"',
    "'",
    "->",
    "$a",
    "  ",
    "-*-",
    "/*",
)


@pytest.mark.parametrize("piece", PIECES)
def test_a_megabyte_made_to_delay_costs_no_more_than_its_length(piece: str) -> None:
    starts = ("", "def f", "class ", "#!", "select ", "// -*- mode: ", "vim: ", "public ", "import ", "\n")

    def work(size: int) -> None:
        for start in starts:
            text = start + piece * (size // len(piece))
            for path in ("1", "a.h", "a.m", "a.pl", "a.v", "a.pp", "a.cls", "a.ts", "a.d", "a.r"):
                language_of(path, text)
                language_of(path, f"{text[:60]}\n" * (size // 1000))

    check_linear(work, 2_000, 20_000)
    check_linear(work, 20_000, 1_000_000)


def test_no_pattern_takes_long_on_a_line() -> None:
    for word, rules in _rules().items():
        start = "a" if word == EVERY else word
        for piece in PIECES:

            def work(size: int, start: str = start, rules: Any = rules, piece: str = piece) -> None:
                for opening in (start, f"{start} a", f"{start} a("):
                    line = (opening + piece * size)[:size]
                    for _, _, pattern in rules:
                        pattern.match(line)

            check_linear(work, LINE_CHARACTERS // 10, LINE_CHARACTERS)


@given(st.text(max_size=50), st.text(max_size=300))
def test_any_name_and_any_text_give_a_known_language_or_none(path: str, text: str) -> None:
    assert language_of(path, text) in {*LANGUAGES, None}


def test_endings_are_those_of_the_languages_and_data_are_read_where_named_only() -> None:
    assert endings(checked(["py"])) == (".py", ".pyi", ".pyw", "/SConstruct", "/SConscript", "/wscript")
    everything, with_json = endings(("all",)), endings(checked(["all", "JSON"]))
    assert has_ending("Makefile", everything) and has_ending("a/b.rs", everything) and not has_ending("myMakefile", everything)
    assert not has_ending("a.json", everything) and has_ending("a.json", with_json)


def test_all_keeps_what_the_table_lacks_and_leaves_out_data() -> None:
    assert is_chosen(None, ("all",)) and is_chosen("red-code", ("all",)) and is_chosen("markdown", ("all",))
    assert not is_chosen("json", ("all",)) and is_chosen("json", ("all", "json"))
    assert not is_chosen(None, ("python",)) and is_chosen(None, ())
