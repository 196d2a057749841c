"""A completion ends where the options say, in the language that is told or that a file's name shows; fallbacks are said."""

import logging

import pytest

from codeparrot.errors import CodeparrotError
from codeparrot.generation import endings
from codeparrot.generation.blocks import Block
from codeparrot.generation.endings import Ending, checked_language, ending, language_told
from codeparrot.generation.functions import Function
from codeparrot.languages.stops import stops_of

BEFORE = "int f() {"


@pytest.fixture(autouse=True)
def unsaid() -> None:
    """Nothing has been said."""
    endings._say_fallback.cache_clear()


def test_each_option_has_its_ending() -> None:
    assert ending("none", "c", BEFORE) == Ending()
    assert ending("language", "c", BEFORE) == Ending(stops_of("c"))
    assert ending("block", "c", BEFORE) == Ending(block=Block.at(BEFORE))
    assert ending("function", "c", BEFORE) == Ending(block=Function.at(BEFORE, "c"))


@pytest.mark.parametrize("stop", ["language", "function"])
def test_what_is_not_known_ends_by_indentation_and_says_so_once_for_each_language(stop, caplog) -> None:
    with caplog.at_level(logging.WARNING):
        for language in ("yaml", "cobol", "", "yaml", ""):
            assert ending(stop, language, BEFORE) == Ending(block=Block.at(BEFORE))
    said = [each.getMessage() for each in caplog.records]
    assert len(said) == 3 and all("by indentation" in each for each in said)
    assert "of yaml" in said[0] and '"cobol"' in said[1] and "without a language" in said[2]


@pytest.mark.parametrize(
    ("language", "paths", "text", "told"),
    [
        ("typescriptreact", ["a.py"], "", "typescript"),
        ("", ["", "src/a.RS"], "", "rust"),
        ("", ["C:\\x\\Makefile"], "", "makefile"),
        ("", ["a.h"], "", "c"),
        ("", ["a.h"], "class A {\npublic:\n    A();\n", "c++"),
        ("", ["a.unknown", "README"], "", ""),
        ("", [], "# language: python\nx = ", "python"),
        ("", [], "// language: cs\n", "c#"),
        ("", [], "/* Language: C++ (cpp) */\n", "c++"),
        ("", ["a.go"], "# language: python\n", "go"),
        ("", [], "# language: the one\n", ""),
        ("plaintext", ["a.go"], "", "plaintext"),
    ],
)
def test_a_language_is_told_by_name_by_path_or_by_a_comment(language, paths, text, told) -> None:
    assert language_told(language, paths, text) == told


def test_a_language_that_a_user_names_must_be_known() -> None:
    assert checked_language("JS") == "javascript"
    with pytest.raises(CodeparrotError, match=r'no language "pythn" \(--stop block needs none\); did you mean "python"'):
        checked_language("pythn")
