"""Files that are too small or too large: CodeParrot's query took those of 1 kB to 1 MB."""

from dataclasses import dataclass

from codeparrot.corpus.filters.filter import Filter
from codeparrot.corpus.filters.text import Text
from codeparrot.errors import CodeparrotError

SIZE_FILTER = "size"


@dataclass(frozen=True)
class Limits:
    min_size: int = 1024
    """Smallest size of the text, in bytes of UTF-8."""
    max_size: int = 1024 * 1024 - 1
    """Largest size of the text, in bytes of UTF-8; larger files are not even read."""


def passes(text: Text, limits: Limits) -> bool:
    return limits.min_size <= len(text.encoded) <= limits.max_size


def check(limits: Limits) -> None:
    if limits.min_size > limits.max_size:
        raise CodeparrotError(f"filters.min_size ({limits.min_size}) is above filters.max_size ({limits.max_size} bytes)")


FILTER = Filter(
    Limits,
    passes,
    order=10,
    rule="smaller than {min_size:,} bytes or larger than {max_size:,}",
    check=check,
)
