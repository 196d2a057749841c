"""A function ends by the syntax of its language, whatever stands in its strings and comments, and as soon as that is certain.

In the texts of functions.txt, each behind a line with its language, ¦ is the cursor and § the end.
"""

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codeparrot.generation.blocks import Block
from codeparrot.generation.functions import LOOK_BACK, Function
from codeparrot.languages.lexemes import SYNTAXES
from tests.growth import check_linear

CASES = Path(__file__).with_name("functions.txt").read_text(encoding="utf-8").removesuffix("\n").removeprefix("=== ")
ALL = [(language, text) for language, _, text in (case.partition("\n") for case in CASES.split("\n=== "))]


def parted(text: str) -> tuple[str, str, str]:
    """Return what is in front of the cursor, inside, and behind the end."""
    before, rest = text.split("¦")
    inside, behind = rest.split("§")
    return before, inside, behind


@pytest.mark.parametrize(("language", "text"), ALL)
def test_a_function_ends_where_its_language_says(language: str, text: str) -> None:
    before, inside, behind = parted(text)
    function = Function.at(before, language)
    found = function.end(inside + behind)
    assert found is not None, "it never ends"
    assert (inside + behind)[:found] == inside
    scan, known = function.scan(), []
    for character in inside + behind:
        known.append(scan.feed(character))
    first = next(number for number, end in enumerate(known) if end is not None)
    assert set(known[first:]) == {len(inside)}
    # A bracket proves it itself; a word, with the next character; indentation, with the first one of the next line.
    family = SYNTAXES[language].family
    if inside[-1] in "};":
        assert first == len(inside) - 1
    elif family == "words" and inside.endswith("end"):
        assert first == len(inside)


def test_every_syntax_is_tried() -> None:
    # Some languages share one.
    assert {id(SYNTAXES[language]) for language, _ in ALL} == {id(syntax) for syntax in SYNTAXES.values()}


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(st.sampled_from(ALL), st.data())
def test_pieces_do_not_matter_nor_what_follows(case: tuple[str, str], data: st.DataObject) -> None:
    language, text = case
    before, inside, behind = parted(text)
    whole = before + inside + behind
    cursor = data.draw(st.integers(0, len(whole)))
    function, rest = Function.at(whole[:cursor], language), whole[cursor:]
    once = function.end(rest)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(rest)), max_size=12)))
    scan = function.scan()
    for start, end in zip([0, *cuts], [*cuts, len(rest)], strict=True):
        found = scan.feed(rest[start:end])
        assert found is None or found <= end
    assert scan.end == once


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(sorted(SYNTAXES)),
    st.text("af{}()[]\"'`/*#\\\n $<=>:;-~rR", max_size=60),
    st.text("af{}()[]\"'`/*#\\\n $<=>:;-~rR", max_size=60),
    st.data(),
)
def test_no_text_breaks_it(language: str, before: str, text: str, data: st.DataObject) -> None:
    function = Function.at(before, language)
    scan, cut = function.scan(), data.draw(st.integers(0, len(text)))
    scan.feed(text[:cut])
    assert scan.feed(text[cut:]) == function.end(text)
    found = function.end(text)
    assert found is None or function.end(text + "\n}end") == found


def test_any_name_of_a_language_will_do_and_others_end_by_indentation() -> None:
    assert Function.at("int f() {", "CPP") == Function.at("int f() {", "c++")
    assert Function.at("a: b\n  c", "yaml") == Block.at("a: b\n  c")


def test_a_long_text_is_read_from_a_line_near_the_cursor() -> None:
    before = '/* } " */\nvoid g() {\n    x();\n}\n' * (LOOK_BACK // 10) + "int f() {\n    if (x) {"
    assert Function.at(before, "c").end("\n    }\n}\nint g() {") == len("\n    }\n}")
    assert Function.at("x" * 10 * LOOK_BACK + " {", "c").end("}") is not None


def test_samples_of_a_prompt_look_for_themselves() -> None:
    function = Function.at("int f() {", "c")
    one, other = function.scan(), function.scan()
    assert one.feed("{ '") is None
    assert other.feed("}") == 1 and one.feed("}' }}") == len("{ '}' }}")


def test_cases_name_their_places_once() -> None:
    assert all(re.fullmatch(r"[^¦§]*¦[^¦§]*§[^¦§]*", text) for _, text in ALL)


LONG = [
    "a",
    " ",
    "{",
    "}",
    "(",
    '"',
    "'",
    "/",
    "[",
    "#",
    "end ",
    "do ",
    "if ",
    "def ",
    "<",
    "=",
    "\\",
    "\n",
    "\n#if\n{",
    "):",
    "fun ",
    "`${",
]


@pytest.mark.slow
@pytest.mark.parametrize("language", sorted(SYNTAXES))
def test_time_grows_with_the_length_of_any_text(language: str) -> None:
    """Whatever they are, characters that come one at a time cost the same each."""

    def work(size: int) -> None:
        scan = function.scan()
        for character in text * (size // len(text)):
            scan.feed(character)

    for text in LONG:
        function = Function.at(f"f() {{ {text * 300}", language)
        check_linear(work, 500, 5_000)
