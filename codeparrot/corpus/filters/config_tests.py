"""Configuration files and unit tests, which a corpus has many of and a model learns little from.

CodeParrot's second filter says of a file that it is one when a keyword stands in its first lines, or when "config" or "test"
occurs more often than in 5% of its lines. There, "test" is found in "latest", and 5% of fewer than 20 lines is 0, so that one
occurrence is too many; here they are counted as words (`test_open`, `TestCase`, `latest_config`), and a few are always allowed.
"""

import re

from codeparrot.corpus.filters.text import Text

KEYWORDS = ("unit tests", "test file", "configuration file")
WORDS = ("config", "test")

# A word begins where no letter stands before it, or with a capital after a small letter; it ends before anything but a small
# letter (in capitals: before anything but a letter). Each pattern begins with letters, so that the search for them is fast.
_WORD = {
    word: [
        re.compile(rf"{word}(?<![a-zA-Z]{word})s?(?![a-z])".encode()),
        re.compile(rf"{word.capitalize()}(?<![A-Z]{word.capitalize()})s?(?![a-z])".encode()),
        re.compile(rf"{word.upper()}(?<![a-zA-Z]{word.upper()})S?(?![a-zA-Z])".encode()),
    ]
    for word in WORDS
}


def is_config_or_test(text: Text, num_lines: int, fraction: float, floor: int) -> bool:
    """Whether a keyword stands in the first lines, or a word occurs more often than `fraction` of the lines and `floor`."""
    top = text.top(num_lines)
    if any(keyword in top for keyword in KEYWORDS):
        return True
    allowed = max(floor, fraction * len(text.lines))
    return any(_exceeds(text, word, allowed) for word in WORDS)


def _exceeds(text: Text, word: str, allowed: float) -> bool:
    # Counting bytes costs a tenth of finding words, and mostly settles it.
    return text.lowered.count(word.encode()) > allowed and count_word(text.encoded, word) > allowed


def count_word(encoded: bytes, word: str) -> int:
    """Return how often one of WORDS, or its plural, occurs as a word or as a part of a name."""
    return sum(len(pattern.findall(encoded)) for pattern in _WORD[word])
