"""Files with long lines: data, or minified code. In HTML, Markdown, JSON and the like a paragraph or a value is one line."""

from dataclasses import dataclass

from codeparrot.corpus.filters.filter import Filter
from codeparrot.corpus.filters.text import Text
from codeparrot.languages.syntax import LONG_LINED


@dataclass(frozen=True)
class Limits:
    max_line_length: int = 1000
    """Most characters in the longest line (0: any)."""
    max_mean_line_length: float = 100.0
    """Most characters per line, on average over the file (0: any); any in HTML, Markdown, JSON, TeX, XML and the like."""
    max_markup_line_length: int = 100_000
    """Most characters in the longest line of such a file (0: any); StarCoder 2 took 100,000."""


def passes_longest(text: Text, limits: Limits) -> bool:
    longest = max(text.line_lengths, default=0)
    if text.language in LONG_LINED:
        return longest <= (limits.max_markup_line_length or longest)
    return longest <= limits.max_line_length


def passes_mean(text: Text, limits: Limits) -> bool:
    return sum(text.line_lengths) <= limits.max_mean_line_length * len(text.lines)


LONGEST = Filter(
    Limits,
    passes_longest,
    order=30,
    rule="a line longer than {max_line_length:,} characters, in markup and JSON {max_markup_line_length:,}",
    is_on=lambda limits: limits.max_line_length,
)
MEAN = Filter(
    Limits,
    passes_mean,
    order=40,
    rule="lines longer than {max_mean_line_length:g} characters on average",
    is_on=lambda limits: limits.max_mean_line_length,
    applies=lambda language: language not in LONG_LINED,
)
