"""Files that are for the most part not in ASCII."""

from dataclasses import dataclass

from codeparrot.corpus.filters.filter import Filter, fraction
from codeparrot.corpus.filters.text import Text


@dataclass(frozen=True)
class Limits:
    max_non_ascii_fraction: float = fraction(0.0)
    """Fraction of the characters that are not in ASCII, at most (0: any)."""


def passes(text: Text, limits: Limits) -> bool:
    return len(text.beyond_ascii.decode()) <= limits.max_non_ascii_fraction * len(text.content)


FILTER = Filter(
    Limits,
    passes,
    order=90,
    rule="more characters beyond ASCII than {max_non_ascii_fraction:.1%}",
    is_on=lambda limits: limits.max_non_ascii_fraction,
)
