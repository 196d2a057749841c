"""Every rule removes what it should, and keeps what it should, in every language that it knows."""

from pathlib import Path

import pytest

from codeparrot.corpus import registry
from codeparrot.corpus.filters.rules import first_failing, not_judged
from codeparrot.corpus.filters.text import Text
from codeparrot.corpus.filters.thresholds import Thresholds
from codeparrot.languages.names import LANGUAGES as NAMES
from codeparrot.languages.syntax import LONG_LINED, SYNTAXES
from tests.corpus.filters.planted_languages import BAD, LANGUAGES, File, good, program

FILES = 12
LIMITS = Thresholds(
    config_or_test_chance=1,
    no_keyword_chance=1,
    max_non_ascii_fraction=0.5,
    min_comment_fraction=0.01,
    max_comment_fraction=0.8,
    check_syntax=True,
)
"""Of --recipe stack, and without chance."""
PAGE = Path(__file__).parents[3] / "docs" / "corpus.md"
BEGIN, END = "<!-- parity -->", "<!-- end of parity -->"


def removed(rule: str, language: str, files: list[File]) -> int:
    passes = registry.filters()[rule].passes
    return sum(not passes(Text(each.content, language, each.path), LIMITS) for each in files)


def quality(rule: str, language: str) -> tuple[float, float]:
    """Return the precision and the recall of a rule."""
    wrong = removed(rule, language, [good(language, number) for number in range(FILES)])
    bad = [make(language, number) for make in BAD[rule] for number in range(FILES)]
    right = removed(rule, language, bad)
    return right / max(1, right + wrong), right / len(bad)


@pytest.fixture(scope="module")
def measured() -> dict[str, dict[str, tuple[float, float]]]:
    return {language: {rule: quality(rule, language) for rule in BAD} for language in LANGUAGES}


def table(measured: dict[str, dict[str, tuple[float, float]]]) -> str:
    rows = ["| language | " + " | ".join(f"`{rule}`" for rule in BAD) + " |", "| --- |" + " --- |" * len(BAD)]
    for language, found in measured.items():
        cells = [f"{precision:.2f} / {recall:.2f}" for precision, recall in found.values()]
        rows.append(f"| {NAMES[language].title} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


@pytest.mark.slow
def test_twenty_languages_and_more_are_planted() -> None:
    assert len(LANGUAGES) >= 20
    assert {*LANGUAGES} <= {*SYNTAXES, "python"}
    assert all(program(language)["unit"] for language in LANGUAGES)


@pytest.mark.slow
@pytest.mark.parametrize("language", LANGUAGES)
def test_no_rule_removes_a_good_file(language: str) -> None:
    files = [good(language, number) for number in range(FILES)]
    assert [first_failing(Text(each.content, language, each.path), LIMITS) for each in files] == [None] * FILES


@pytest.mark.slow
def test_every_rule_is_precise_and_finds_what_is_planted(measured: dict[str, dict[str, tuple[float, float]]]) -> None:
    # CodeParrot's three marks of generated Python files stay as they are. What is foreign, or a torn line, is often sound by
    # the grammars of the others.
    least = {("python", "generated"): 0.33, ("kotlin", "syntax"): 0.7, ("lua", "syntax"): 0.75, ("shell", "syntax"): 0.9}
    for language, found in measured.items():
        for rule, (precision, recall) in found.items():
            assert precision == 1, (language, rule)
            assert recall >= least.get((language, rule), 1), (language, rule)


@pytest.mark.slow
def test_the_page_states_what_is_measured(measured: dict[str, dict[str, tuple[float, float]]]) -> None:
    stated = PAGE.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0].strip()
    assert stated == table(measured)


MARKUP = {
    "html": "<p>" + "A paragraph is one line. " * 60 + "</p>\n<h1>The shop</h1>\n",
    "markdown": "# The shop\n\n" + "A paragraph is one line. " * 60 + "\n",
    "json": '{"name": "shop", "text": "' + "A value is one line. " * 60 + '"}\n',
    "css": "".join(f".widget{number} {{\n  color: #{number:06x};\n}}\n" for number in range(60)),
    "yaml": "".join(f"widget{number}:\n  - price\n  - name\n" for number in range(60)),
    "sql": "".join(f"INSERT INTO widgets VALUES ({number}, 'widget');\n" for number in range(60)),
    "vhdl": "".join(f"signal widget{number} : std_logic;\n" for number in range(60)),
}


@pytest.mark.parametrize("language", MARKUP)
def test_what_is_no_program_needs_no_functions_assignments_or_comments(language: str) -> None:
    assert first_failing(Text(MARKUP[language], language), LIMITS) is None


@pytest.mark.parametrize("language", sorted(LONG_LINED))
def test_markup_may_have_long_lines_but_not_any(language: str) -> None:
    assert first_failing(Text("words " * 16_000, language), LIMITS) is None
    assert first_failing(Text("words " * 17_000, language), LIMITS) == "longest_line"
    assert first_failing(Text("words " * 17_000, language), Thresholds(max_markup_line_length=0)) is None


def test_a_file_that_is_not_judged_is_counted_by_rule_and_language() -> None:
    counts = {"rust": 5, "vhdl": 3, "html": 2, "python": 9}
    found = not_judged(counts, LIMITS)
    assert found["no_keyword"] == found["comments"] == found["few_assignments"] == {"vhdl": 3, "html": 2}
    assert found["mean_line"] == {"html": 2}
    assert "size" not in found
    assert "syntax" not in not_judged(counts, Thresholds())


MACROS = """
#define DO(x) do { x
#if LEAN
int f(void) {
#else
int f(int size) {
#endif
    return 0;
}
EXPORT_API void g(void) DECL_NOEXCEPT;
MODULE_LICENSE("x");
"""


@pytest.mark.parametrize(
    ("language", "content"),
    [
        ("javascript", "const page = () => <p class={name}>Closed</p>;\n" * 40),
        ("typescript", "export const Page: Part = ({ name }) => <p>{name}</p>;\n" * 40),
        ("javascript", "// @flow\nfunction f(x: number, y?: Array<string>): void {}\n" * 40),
        ("c", MACROS + good("c", 1).content),
        ("c", "class Shelf : public Base {\npublic:\n  virtual ~Shelf() = default;\n};\n" * 30),
        ("c", "@interface Shelf : NSObject\n@property (nonatomic) NSInteger size;\n@end\n" * 30),
        ("c++", MACROS + good("c++", 1).content),
        ("vue", "<template><p>{{ name }}</p></template>\n<script>export default {}</script>\n" * 20),
    ],
)
def test_macros_dialects_and_headers_of_sister_languages_parse(language: str, content: str) -> None:
    assert first_failing(Text(content, language), Thresholds(check_syntax=True)) in (None, "few_assignments")


def test_windows_line_ends_change_no_verdict() -> None:
    for language in LANGUAGES:
        if language != "python":
            content = good(language, 1).content.replace("\n", "\r\n")
            assert first_failing(Text(content, language), Thresholds(no_keyword_chance=1)) is None, language
