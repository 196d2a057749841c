"""Files with few letters and digits: drawings and tables of signs."""

from dataclasses import dataclass

from codeparrot.corpus.filters.filter import Filter, fraction
from codeparrot.corpus.filters.text import Text


@dataclass(frozen=True)
class Limits:
    min_alphanumeric_fraction: float = fraction(0.25)
    """Smallest fraction of the characters that are letters or digits."""


def passes(text: Text, limits: Limits) -> bool:
    return text.alphanumeric >= limits.min_alphanumeric_fraction * len(text.content)


FILTER = Filter(
    Limits,
    passes,
    order=50,
    rule="fewer letters and digits than {min_alphanumeric_fraction:.0%}",
    is_on=lambda limits: limits.min_alphanumeric_fraction,
)
