"""Each large language has stop texts, by any of its names."""

import pytest

from codeparrot.errors import CodeparrotError
from codeparrot.languages.names import LANGUAGES
from codeparrot.languages.stops import STOPPED, has_stops, stops_of

LARGEST = (
    "javascript java c c++ python php c# typescript go rust ruby shell scala kotlin swift lua perl haskell sql "
    "r julia dart elixir"
)
CPP = ("\n#", "\n//", "\n/*", "\ntemplate", "\nclass", "\nstruct", "\nenum", "\nnamespace", "\nstatic", "\nint", "\nvoid")


@pytest.mark.parametrize("language", LARGEST.split())
def test_the_largest_languages_have_stop_texts(language: str) -> None:
    texts = stops_of(language)
    assert len(texts) == len(set(texts)) >= 2
    # None of them begins with a bracket that closes a function.
    assert not any(text[1] in "})]" or text.startswith("\nend") for text in texts)


def test_pythons_are_those_of_codex() -> None:
    assert stops_of("python") == ("\nclass", "\ndef", "\n#", "\n@", "\nprint", "\nif")


def test_names_are_those_of_the_table_and_of_editors() -> None:
    assert set(STOPPED) <= set(LANGUAGES)
    same = {
        "c++": "cpp C++ cxx",
        "typescript": "ts typescriptreact",
        "shell": "bash shellscript",
        "c#": "csharp",
        "javascript": "js",
    }
    for name, aliases in (same | {"objective-c++": "objective-cpp", "cuda": "cuda-cpp"}).items():
        assert all(stops_of(alias) == stops_of(name) and has_stops(alias) for alias in aliases.split())
    assert stops_of("cpp") == CPP


def test_a_language_without_them_is_refused() -> None:
    with pytest.raises(CodeparrotError, match="of YAML are not known; --stop block needs no language"):
        stops_of("yml")
    assert not has_stops("yaml") and not has_stops("")
