"""Configuration files and unit tests: a corpus has many of them, and a model learns little from them.

CodeParrot's second filter takes a file for one if a keyword stands in its first lines, or if "config" or "test" occurs more
often than in 5% of its lines. It finds "test" in "latest", and 5% of fewer than 20 lines is 0, so one occurrence is too many.
Here they are counted as words (`test_open`, `TestCase`, `latest_config`), and a few are always allowed.

In other languages than Python, a file is one too if its path says so, or an idiom of its frameworks
(`func TestOpen(t *testing.T)`).
"""

import re
from dataclasses import dataclass

from codeparrot.corpus.filters.filter import Filter, fraction, is_spared
from codeparrot.corpus.filters.text import Text
from codeparrot.languages.syntax import PYTHON, syntax_of

NAME = "config_or_test"
KEYWORDS = ("unit tests", "test file", "configuration file")
WORDS = ("config", "test")

# A word begins where no letter comes before it, or with a capital after a small letter; it ends before anything but a small
# letter (in capitals: before anything but a letter). Each pattern begins with letters, which makes the search fast.
_WORD = {
    word: [
        re.compile(rf"{word}(?<![a-zA-Z]{word})s?(?![a-z])".encode()),
        re.compile(rf"{word.capitalize()}(?<![A-Z]{word.capitalize()})s?(?![a-z])".encode()),
        re.compile(rf"{word.upper()}(?<![a-zA-Z]{word.upper()})S?(?![a-zA-Z])".encode()),
    ]
    for word in WORDS
}


@dataclass(frozen=True)
class Limits:
    config_or_test_chance: float = fraction(0.7)
    """Chance of removing a configuration file or unit test, drawn by a hash of its text (0: keep all, 1: remove all)."""
    config_or_test_lines: int = 5
    """Look for "unit tests", "test file" or "configuration file" in this many lines at the top (0: do not look)."""
    config_or_test_fraction: float = fraction(0.05)
    """A file is also one if the word "config", or the word "test", occurs more often than in this fraction of its lines ..."""
    config_or_test_floor: int = 3
    """... and more often than this, whatever its length."""


def passes(text: Text, limits: Limits) -> bool:
    rule = (limits.config_or_test_lines, limits.config_or_test_fraction, limits.config_or_test_floor)
    return not is_config_or_test(text, *rule) or is_spared(text, NAME, limits.config_or_test_chance)


def applies(language: str | None) -> bool:
    return language == PYTHON or syntax_of(language).tests is not None


def is_config_or_test(text: Text, num_lines: int, fraction: float, floor: int) -> bool:
    """Whether a keyword stands in the first lines, or a word occurs more often than `fraction` of the lines and `floor`.

    Where the language has idioms and names of tests, those count as well.
    """
    syntax = text.syntax
    if syntax.names and syntax.names.search(text.path):
        return True
    encoded, lowered = text.encoded, text.lowered
    if syntax.inline_tests and (place := encoded.find(syntax.inline_tests)) >= 0:
        encoded, lowered = encoded[:place], lowered[:place]
    if syntax.tests and syntax.tests.search(encoded):
        return True
    top = text.top(num_lines)
    if any(keyword in top for keyword in KEYWORDS):
        return True
    allowed = max(floor, fraction * len(text.lines))
    # Counting bytes costs a tenth of finding words, and usually settles it.
    return any(lowered.count(word.encode()) > allowed and count_word(encoded, word) > allowed for word in WORDS)


def count_word(encoded: bytes, word: str) -> int:
    """Return how often one of WORDS, or its plural, occurs as a word or as part of a name."""
    return sum(len(pattern.findall(encoded)) for pattern in _WORD[word])


FILTER = Filter(
    Limits,
    passes,
    order=80,
    rule='a configuration or test file by its first {config_or_test_lines} lines, or "config" or "test" more than '
    "{config_or_test_floor} times and in {config_or_test_fraction:.0%} of the lines, or (not in Python) by its path or idioms "
    "of test frameworks; {config_or_test_chance:.0%} of them",
    is_on=lambda limits: limits.config_or_test_chance,
    applies=applies,
)
