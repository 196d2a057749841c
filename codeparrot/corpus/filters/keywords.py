"""Files without a function, a class or a loop; a part of them is kept."""

import re
from dataclasses import dataclass

from codeparrot.corpus.filters.filter import Filter, fraction, is_spared
from codeparrot.corpus.filters.text import Text
from codeparrot.languages.syntax import PYTHON, syntax_of

NAME = "no_keyword"
KEYWORDS = re.compile(rb"\b(?:def|class|for|while)\b")


@dataclass(frozen=True)
class Limits:
    no_keyword_chance: float = fraction(0.7)
    """Chance of removing a file without a function, class or loop, drawn by a hash of its text (0: keep all).

    In Python: without any of the words def, class, for, while."""


def passes(text: Text, limits: Limits) -> bool:
    keywords = text.syntax.keywords or KEYWORDS
    return keywords.search(text.encoded) is not None or is_spared(text, NAME, limits.no_keyword_chance)


def applies(language: str | None) -> bool:
    return language == PYTHON or syntax_of(language).keywords is not None


FILTER = Filter(
    Limits,
    passes,
    order=70,
    rule="no function, class or loop (Python: none of def, class, for, while); {no_keyword_chance:.0%} of them",
    is_on=lambda limits: limits.no_keyword_chance,
    applies=applies,
)
