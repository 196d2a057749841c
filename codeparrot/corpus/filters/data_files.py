"""JSON, YAML and tables: most of their bytes are data, not code.

StarCoder (Li et al. 2023, section 3.1) keeps JSON and YAML files of 50 to 5,000 characters of which more than half are letters:
by its count that removes 98% of JSON and 90% of YAML by volume. It has no CSV; the limit for tables is ours.
"""

from dataclasses import dataclass

from codeparrot.corpus.filters.filter import Filter, fraction
from codeparrot.corpus.filters.text import Text
from codeparrot.errors import CodeparrotError

DATA = frozenset(("json", "yaml"))
TABLES = frozenset(("csv", "tsv"))

_NOT_LETTERS = bytes(byte for byte in range(128) if not chr(byte).isalpha())


@dataclass(frozen=True)
class Limits:
    min_data_characters: int = 0
    """Fewest characters of a JSON or YAML file; StarCoder took 50 (0: any number). `min_size` applies to it, too."""
    max_data_characters: int = 0
    """Most characters of a JSON or YAML file; StarCoder took 5000 (0: any number)."""
    min_data_letter_fraction: float = fraction(0.0)
    """Smallest fraction of the characters of a JSON or YAML file that are letters; StarCoder took 0.5 (0: any)."""
    max_table_characters: int = 0
    """Most characters of a CSV or TSV file (0: any number)."""


def has_size(text: Text, limits: Limits) -> bool:
    if text.language not in DATA:
        return True
    characters = len(text.content)
    return limits.min_data_characters <= characters and within(characters, limits.max_data_characters)


def within(characters: int, most: int) -> bool:
    """Whether a text has at most so many characters; 0 allows any number."""
    return not most or characters <= most


def has_letters(text: Text, limits: Limits) -> bool:
    return text.language not in DATA or letters(text) >= limits.min_data_letter_fraction * len(text.content)


def letters(text: Text) -> int:
    """Return the number of letters, of any script."""
    in_ascii = len(text.encoded.translate(None, _NOT_LETTERS)) - len(text.beyond_ascii)
    return in_ascii + sum(map(str.isalpha, text.beyond_ascii.decode()))


def is_small_table(text: Text, limits: Limits) -> bool:
    return text.language not in TABLES or within(len(text.content), limits.max_table_characters)


def check(limits: Limits) -> None:
    least, most = limits.min_data_characters, limits.max_data_characters
    if 0 < most < least:
        raise CodeparrotError(f"filters.min_data_characters ({least}) is above filters.max_data_characters ({most})")


SIZE = Filter(
    Limits,
    has_size,
    order=12,
    rule="JSON or YAML of fewer than {min_data_characters:,} or more than {max_data_characters:,} characters (0: any number)",
    is_on=lambda limits: limits.min_data_characters or limits.max_data_characters,
    check=check,
)
TABLE = Filter(
    Limits,
    is_small_table,
    order=13,
    rule="CSV or TSV of more than {max_table_characters:,} characters",
    is_on=lambda limits: limits.max_table_characters,
)
LETTERS = Filter(
    Limits,
    has_letters,
    order=55,
    rule="JSON or YAML with less than {min_data_letter_fraction:.0%} letters",
    is_on=lambda limits: limits.min_data_letter_fraction,
)
