"""Files with hardly an assignment.

In Python every equals sign counts, as in CodeParrot. Other languages assign, declare and return in forms of their own, which
languages/syntax.py has; so an interface, or a header of declarations, is not taken for a file without content.
"""

from dataclasses import dataclass
from itertools import islice

from codeparrot.corpus.filters.filter import Filter
from codeparrot.corpus.filters.text import Text
from codeparrot.languages.syntax import PYTHON, syntax_of


@dataclass(frozen=True)
class Limits:
    min_equals_signs: int = 5
    """Fewest equals signs of a Python file; in other languages, fewest assignments and declarations."""


def passes(text: Text, limits: Limits) -> bool:
    assignments = text.syntax.assignments
    if assignments is None:
        return text.encoded.count(b"=") >= limits.min_equals_signs
    # The first few settle it: most files have hundreds.
    found = islice(assignments.finditer(text.encoded), limits.min_equals_signs)
    return sum(1 for _ in found) == limits.min_equals_signs


def applies(language: str | None) -> bool:
    return language == PYTHON or syntax_of(language).assignments is not None


FILTER = Filter(
    Limits,
    passes,
    order=60,
    rule="fewer than {min_equals_signs} assignments or declarations (Python: equals signs)",
    is_on=lambda limits: limits.min_equals_signs,
    applies=applies,
)
