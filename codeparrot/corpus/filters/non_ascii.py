"""Files that are mostly not ASCII."""

from dataclasses import dataclass

from codeparrot.corpus.filters.filter import Filter, fraction
from codeparrot.corpus.filters.text import Text


@dataclass(frozen=True)
class Limits:
    max_non_ascii_fraction: float = fraction(0.0)
    """Largest fraction of the characters that are not in ASCII (0: any)."""


def passes(text: Text, limits: Limits) -> bool:
    return len(text.beyond_ascii.decode()) <= limits.max_non_ascii_fraction * len(text.content)


FILTER = Filter(
    Limits,
    passes,
    order=90,
    rule="more characters beyond ASCII than {max_non_ascii_fraction:.1%}",
    is_on=lambda limits: limits.max_non_ascii_fraction,
)
