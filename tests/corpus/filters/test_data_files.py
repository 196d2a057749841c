"""Web pages, data and XML: what StarCoder's special cases keep and remove, at their limits, in other languages, and in time."""

import time
from html.parser import HTMLParser

import pytest

from codeparrot.corpus import registry
from codeparrot.corpus.filters.data_files import letters
from codeparrot.corpus.filters.rules import rules
from codeparrot.corpus.filters.text import Text
from codeparrot.corpus.filters.thresholds import Thresholds
from codeparrot.corpus.filters.visible_text import visible_text
from codeparrot.corpus.filters.xml import root
from codeparrot.errors import CodeparrotError

STARCODER = Thresholds(
    min_visible_characters=100,
    min_visible_fraction=0.2,
    min_data_characters=50,
    max_data_characters=5000,
    min_data_letter_fraction=0.5,
    max_table_characters=5000,
    remove_xml_elsewhere=True,
    max_xml_characters=5000,
    remove_svg=True,
)
NAMES = ("visible_text", "data_size", "table_size", "data_letters", "xml_elsewhere", "drawing", "xml_size")
XML = '<?xml version="1.0" encoding="UTF-8"?>\n'


def removed_by(content: str, language: str | None, limits: Thresholds = STARCODER) -> str | None:
    text, filters = Text(content, language), registry.filters()
    return next((name for name in NAMES if filters[name].is_on(limits) and not filters[name].passes(text, limits)), None)


def page(visible: int, markup: int) -> str:
    """Return a page with so many visible characters in so many characters in all."""
    text, frame = "w" * visible, '<p class="{}"></p>'
    return f'<p class="{"c" * (markup - visible - len(frame) + 2)}">{text}</p>'


@pytest.mark.parametrize(
    ("visible", "size", "kept"), [(100, 500, True), (99, 400, False), (100, 501, False), (1000, 5000, True)]
)
def test_a_page_needs_100_visible_characters_and_a_fifth_of_the_file(visible: int, size: int, kept: bool) -> None:
    content = page(visible, size)
    assert len(content) == size and visible_text(content) == "w" * visible
    assert (removed_by(content, "html") is None) == kept


@pytest.mark.parametrize(
    ("markup", "visible"),
    [
        ("<p>one</p>\n   <p>two</p>", "one two"),
        ("<script>if (a < b && c > d) { '</p>' }</script>seen", "seen"),
        ("<SCRIPT src=x>document.write('</scripted>')</Script >seen", "seen"),
        ("<style>p::before { content: '<b>' }</style>seen", "seen"),
        ("<template><p>not seen</p></template>seen", "seen"),
        ("<styled>seen</styled>", "seen"),
        ("<!-- <p>not -- seen</p> -->seen<!---->", "seen"),
        ("<!DOCTYPE html><?php echo 1 ?>seen", "seen"),
        ("<a title=\"a > b\" alt='c > d' href=e>seen</a>", "seen"),
        ("<p it's>isn't this \"seen\"</p>", 'isn\'t this "seen"'),
        ("1 < 2 &amp;&nbsp;3 &gt; 2 <3", "1 < 2 & 3 > 2 <3"),
        ("seen<a href='not closed>not seen", "seen"),
        ("seen<!-- not closed", "seen"),
        ("seen<script>not closed", "seen"),
    ],
)
def test_visible_is_what_a_browser_shows(markup: str, visible: str) -> None:
    assert visible_text(markup) == visible


class Reference(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[str] = []
        self.hidden = 0

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.hidden += tag in ("script", "style", "template")
        self.pieces.append(" ")

    def handle_endtag(self, tag: str) -> None:
        self.hidden -= tag in ("script", "style", "template")
        self.pieces.append(" ")

    def handle_comment(self, data: str) -> None:
        self.pieces.append(" ")

    def handle_data(self, data: str) -> None:
        self.pieces.append("" if self.hidden else data)


def test_on_whole_pages_visible_text_is_what_the_parser_of_the_standard_library_finds() -> None:
    rows = "".join(
        f"<tr id=\"r{i}\" data-x='{i} > {i - 1}'><td>cell {i} &lt; <b>{i}</b></td><td><!-- {i} -->"
        f"<a href=/{i}?a=1&b=2>go</a></td></tr>\n"
        for i in range(200)
    )
    whole = (
        f"<html><head><title>A page</title><script>var a = '<td>' + 1 < 2;</script>"
        f"<style>td > a {{ color: red }}</style></head>"
        f"<body><h1>Head</h1>\n<table>{rows}</table><br/><p>the end</p></body></html>"
    )
    reference = Reference()
    reference.feed(whole)
    reference.close()
    assert visible_text(whole) == " ".join("".join(reference.pieces).split())


@pytest.mark.parametrize("language", ["json", "yaml"])
@pytest.mark.parametrize(("size", "kept"), [(49, False), (50, True), (5000, True), (5001, False)])
def test_data_has_50_to_5000_characters(language: str, size: int, kept: bool) -> None:
    assert (removed_by("é" * size, language) is None) == kept
    assert removed_by("é" * size, language) in (None, "data_size")


@pytest.mark.parametrize(("digits", "kept"), [(50, True), (51, False)])
def test_half_of_the_characters_of_data_are_letters(digits: int, kept: bool) -> None:
    assert (removed_by("é" * 50 + "1" * digits, "json") is None) == kept


def test_letters_are_those_of_str_isalpha() -> None:
    content = "".join(map(chr, range(1, 0x3000)))
    assert letters(Text(content)) == sum(map(str.isalpha, content))


@pytest.mark.parametrize(
    ("content", "language", "reason"),
    [
        ("a,b\n" * 1250, "csv", None),
        ("a,b\n" * 1251, "csv", "table_size"),
        ("a\tb\n" * 1251, "tsv", "table_size"),
        (XML + "<a>b</a>", "python", "xml_elsewhere"),
        (XML + "<a>b</a>", None, "xml_elsewhere"),
        (XML + "<html>" + "text " * 100 + "</html>", "html", "xml_elsewhere"),
        (" " * 86 + "<?xml version=", "c", "xml_elsewhere"),
        (" " * 87 + "<?xml version=", "c", None),
        (XML + "<a>b</a>", "xml", None),
        (XML + "<a>" + "b" * 5000 + "</a>", "xml", "xml_size"),
        (XML + "<!-- <a> -->\n<!DOCTYPE svg [<!ENTITY a 'b'>]>\n<svg:svg width='1'/>", "xml", "drawing"),
        (XML + "<svgs/>", "xml", None),
    ],
)
def test_tables_xml_and_drawings(content: str, language: str | None, reason: str | None) -> None:
    assert removed_by(content, language) == reason


@pytest.mark.parametrize("language", ["python", "c", "markdown", "toml", None])
def test_other_languages_are_left_alone(language: str | None) -> None:
    for content in (page(1, 100), "1" * 10, "1" * 6000, "<svg/>", "a,b\n" * 2000):
        assert removed_by(content, language) is None


def test_they_are_off_unless_set_and_have_words_when_they_are_on() -> None:
    assert not set(NAMES) & rules(Thresholds()).keys()
    words = rules(STARCODER)
    assert set(NAMES) <= words.keys()
    assert words["data_size"] == "JSON or YAML of fewer than 50 or more than 5,000 characters (0: any number)"
    assert words["visible_text"] == "HTML with fewer than 100 characters, or less than 20%, that a browser shows"


def test_limits_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(CodeparrotError, match=r"min_data_characters \(60\) is above filters.max_data_characters \(50\)"):
        Thresholds(min_data_characters=60, max_data_characters=50).check()


def test_an_empty_text_breaks_none() -> None:
    for language in ("html", "json", "yaml", "csv", "xml", None):
        assert removed_by("", language) in (None, "visible_text", "data_size")


def test_a_character_with_a_number_of_any_length_is_one_character() -> None:
    assert visible_text(f"<p>a&#{'9' * 100_000};b&#{'9' * 100_000}") == "a\ufffdb\ufffd"
    assert visible_text("a&#233;b&#0000000233;") == "a\u00e9b\u00e9"


HOSTILE = [
    *(
        "<",
        "<a",
        "<a ",
        '<a b="',
        "<a b='",
        "</",
        "<!--",
        "<!-",
        "--",
        "<script>",
        "</script",
        "<style ",
        "<a =",
        "&",
        "&amp",
        "&#x",
        "&#9",
    ),
    *("<?xml ", "<!DOCTYPE [", "<!DOCTYPE", "]", " ", "\n", '"', "{", "[", '{"a":', "<svg", "<a>", "\ufeff", "<!-->", "a:"),
]


@pytest.mark.slow
@pytest.mark.parametrize("piece", HOSTILE)
def test_hostile_text_takes_time_in_proportion_to_its_length(piece: str) -> None:
    def seconds(size: int) -> float:
        content = (piece * (size // len(piece) + 1))[:size]
        start = time.process_time()
        for language in ("html", "json", "csv", "xml"):
            removed_by(content, language)
        visible_text(content)
        root(content)
        return time.process_time() - start

    least = min(seconds(100_000) for _ in range(3))
    # Ten times the length: quadratic time would be a hundred times as long.
    assert min(seconds(1_000_000) for _ in range(3)) < 30 * max(least, 0.003)
