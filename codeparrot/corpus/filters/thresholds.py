"""The settings of the filters (filters.py)."""

from dataclasses import asdict, dataclass

from codeparrot.corpus.filters.tokens import encoder
from codeparrot.errors import CodeparrotError


@dataclass(frozen=True)
class Thresholds:
    """What a file must satisfy to enter the corpus."""

    min_size: int = 1024
    """Bytes of the text as UTF-8, at least."""
    max_size: int = 1024 * 1024 - 1
    """Bytes of the text as UTF-8, at most; larger files are not even read."""
    generated_marker_lines: int = 5
    """Lines at the top that must not say that the file was generated (0: do not look)."""
    max_line_length: int = 1000
    """Characters in the longest line, at most (0: any)."""
    max_mean_line_length: float = 100.0
    """Characters in a line, on average over the file, at most (0: any)."""
    min_alphanumeric_fraction: float = 0.25
    """Fraction of the characters that are letters or digits, at least."""
    config_or_test_chance: float = 0.7
    """Chance of removing a configuration file or unit test, drawn from its text (0: keep them all, 1: remove them all)."""
    config_or_test_lines: int = 5
    """Lines at the top that tell one by "unit tests", "test file" or "configuration file" (0: do not look)."""
    config_or_test_fraction: float = 0.05
    """What else tells one: the word "config", or the word "test", more often than in this fraction of its lines ..."""
    config_or_test_floor: int = 3
    """... and more often than this, whatever its length."""
    no_keyword_chance: float = 0.7
    """Chance of removing a file without any of the words def, class, for, while, drawn from its text (0: keep them all)."""
    min_equals_signs: int = 5
    """Equals signs in the text, at least: fewer show a file with hardly an assignment."""
    max_non_ascii_fraction: float = 0.0
    """Fraction of the characters that are not in ASCII, at most (0: any)."""
    min_comment_fraction: float = 0.0
    """Fraction of the characters that stand in comments and documentation strings, at least; StarCoder took 0.01."""
    max_comment_fraction: float = 0.0
    """Fraction of the characters that stand in comments and documentation strings, at most; StarCoder took 0.8 (0: any)."""
    check_syntax: bool = False
    """Whether a file must parse as Python 3, as the running interpreter reads it."""
    tokenizer: str = ""
    """Tokenizer for min_characters_per_token: a folder, or a name on the Hub (empty: that filter is off)."""
    min_characters_per_token: float = 1.5
    """Characters a token of the tokenizer stands for, on average over the file, at least."""

    def check(self) -> None:
        """Raise CodeparrotError when no file could satisfy them, or the tokenizer cannot be loaded."""
        for name, value in asdict(self).items():
            if isinstance(value, str):
                continue
            # Written so that "not a number" is refused too.
            if not value >= 0:
                raise CodeparrotError(f"filters.{name} is {value}; it cannot be negative")
            if name.endswith(("_fraction", "_chance")) and value > 1:
                raise CodeparrotError(f"filters.{name} is {value}; it is a fraction, from 0 to 1")
        if self.min_size > self.max_size:
            raise CodeparrotError(f"filters.min_size ({self.min_size}) is above filters.max_size ({self.max_size} bytes)")
        if 0 < self.max_comment_fraction < self.min_comment_fraction:
            least, most = self.min_comment_fraction, self.max_comment_fraction
            raise CodeparrotError(f"filters.min_comment_fraction ({least}) is above filters.max_comment_fraction ({most})")
        if self.tokenizer and self.min_characters_per_token:
            encoder(self.tokenizer)
