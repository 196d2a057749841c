import pytest

from codeparrot.corpus.filters.config_tests import KEYWORDS, count_word, is_config_or_test
from codeparrot.corpus.filters.text import Text


def is_one(content: str, num_lines: int = 5, fraction: float = 0.05, floor: int = 3) -> bool:
    return is_config_or_test(Text(content), num_lines, fraction, floor)


@pytest.mark.parametrize("keyword", KEYWORDS)
@pytest.mark.parametrize(("lines_before", "expected"), [(0, True), (4, True), (5, False)])
def test_a_keyword_counts_in_the_first_five_lines_only(keyword: str, lines_before: int, expected: bool) -> None:
    assert is_one("x = 1\n" * lines_before + f"# A {keyword.title()}\n") is expected


@pytest.mark.parametrize("word", ["config", "test"])
@pytest.mark.parametrize(
    ("lines", "words", "expected"),
    [
        (20, 3, False),  # the floor
        (20, 4, True),
        (60, 3, False),
        (60, 4, True),
        (200, 10, False),  # a twentieth of the lines
        (200, 11, True),
    ],
)
def test_a_word_may_stand_in_a_twentieth_of_the_lines_and_three_times(
    word: str, lines: int, words: int, expected: bool
) -> None:
    assert is_one(f"{word}\n" * words + "x\n" * (lines - words)) is expected


def test_the_two_words_are_counted_apart() -> None:
    assert not is_one("test config\n" * 3 + "x\n" * 20)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("test", 1),
        ("tests Test Tests TEST TESTS", 5),
        ("test_open TestCase my_test openTest test1 self.test", 6),
        ("latest contest TESTING Testing tested unittest LATEST testify attestation", 0),
    ],
)
def test_a_word_is_no_part_of_another_word(content: str, expected: int) -> None:
    assert count_word(content.encode(), "test") == expected


def test_words_inside_other_words_make_no_test_file() -> None:
    assert not is_one("latest = contest\n" * 50)
