"""Files with hardly an assignment."""

from dataclasses import dataclass

from codeparrot.corpus.filters.filter import Filter
from codeparrot.corpus.filters.text import Text


@dataclass(frozen=True)
class Limits:
    min_equals_signs: int = 5
    """Fewest equals signs in the text: fewer show a file with hardly an assignment."""


def passes(text: Text, limits: Limits) -> bool:
    return text.encoded.count(b"=") >= limits.min_equals_signs


FILTER = Filter(
    Limits,
    passes,
    order=60,
    rule="fewer than {min_equals_signs} equals signs",
    is_on=lambda limits: limits.min_equals_signs,
)
