import os
import random

import pytest

from codeparrot.languages import parsing, trees
from codeparrot.languages.names import LANGUAGES
from codeparrot.languages.parsing import parsed
from codeparrot.languages.syntax import SYNTAXES, syntax_of
from codeparrot.languages.trees import parsed_here, reads
from tests.corpus.filters.planted_languages import LANGUAGES as PLANTED
from tests.corpus.filters.planted_languages import good


def test_languages_with_a_syntax_are_those_of_the_table_and_begin_with_its_grammar() -> None:
    assert all(each.grammars[0] == LANGUAGES[name].grammar for name, each in SYNTAXES.items())


@pytest.mark.parametrize("language", SYNTAXES)
def test_comments_are_nodes_of_the_grammar(language: str) -> None:
    from tree_sitter_language_pack import get_language

    syntax = SYNTAXES[language]
    known = [get_language(each) for each in syntax.grammars]  # pyright: ignore[reportArgumentType]
    assert all(any(each.id_for_node_kind(kind, True) for each in known) for kind in syntax.comments)


def test_comments_and_errors_are_counted_in_bytes() -> None:
    program = "// é\nint x = 1; /* two */\n".encode()
    assert parsed(program, "c") == (len(program), len("// é".encode()) + len("/* two */"), 0)
    broken = parsed(b"int x = 1;\nint = = ;\n", "c")
    assert broken
    assert broken.errors > 0


@pytest.mark.slow
@pytest.mark.parametrize("language", [each for each in PLANTED if each != "python"])
def test_pieces_of_any_size_give_the_same_counts(language: str, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = random.Random(language)
    lines = "".join(good(language, number).content for number in range(4)).split("\n")
    del lines[5 :: draw.randrange(7, 11)]
    encoded = "\n".join(lines).encode()
    found = set()
    for nodes in (0, 7, 100, 1000, 10**9):
        monkeypatch.setattr(trees, "QUERIED_NODES", nodes)
        found.add(parsed_here(encoded, syntax_of(language)))
    assert len(found) == 1
    assert found != {None}


def test_a_parser_gives_up_after_the_work_that_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    program = b"int a = 1;\n" * 1000
    monkeypatch.setattr(trees, "WORK", 0)
    monkeypatch.setattr(trees, "WORK_PER_BYTE", 0)
    assert parsed_here(program, syntax_of("c")) is None
    monkeypatch.undo()
    assert parsed_here(program, syntax_of("c")) == (11_000, 0, 0)


def test_a_parser_that_dies_over_a_text_is_replaced_and_the_text_is_no_program() -> None:
    assert parsed(b"int a;\n", "c") == (7, 0, 0)
    first = parsing._parser(os.getpid())
    first.kill()
    # A death for another reason: the second try tells.
    assert parsed(b"int a;\n", "c") == (7, 0, 0)
    assert parsing._parser(os.getpid()) is not first


@pytest.mark.slow
def test_a_text_that_takes_any_amount_of_memory_harms_nothing() -> None:
    assert not reads(parsed(b"a=>" * 7000, "c"), syntax_of("c"))
    assert parsed(b"int a;\n", "c") == (7, 0, 0)


HOSTILE = [
    "(",
    "{[(",
    "<a>",
    "if(x){",
    "/*",
    "\\",
    "$(",
    "'",
    "`${",
    "<<A\n",
    "a.",
    "f(",
    "[,",
    "long ",
    "else ",
    "\0",
    "é",
    "-",
]


@pytest.mark.slow
@pytest.mark.parametrize("language", SYNTAXES)
def test_hostile_texts_get_an_answer(language: str) -> None:
    for piece in HOSTILE:
        nested = "".join(f"{' ' * depth}{piece}\n" for depth in range(200))
        for text in (piece * (20_000 // len(piece)), nested):
            parsed(text.encode(), language)
    assert parsed(b"\n" * 100, language) is not None


def test_a_large_text_is_judged_by_its_beginning_and_as_a_whole_where_the_cut_hurts() -> None:
    function = b"int f(int x) {\n    // Adds.\n    return x + 1;\n}\n"
    large = parsed_here(function * 5000, syntax_of("c"))
    assert large
    assert large.size % len(function) == 0
    assert trees.HEAD // 2 < large.size <= trees.HEAD
    assert large[1:] == (8 * large.size // len(function), 0)
    whole = b"const names = {\n" + b"  widget: [1, 2],\n" * 3000 + b"};\n"
    assert parsed_here(whole, syntax_of("javascript")) == (len(whole), 0, 0)
