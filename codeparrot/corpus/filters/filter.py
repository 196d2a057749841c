"""What a filter is: a rule that judges a document by its text, the limits that are its settings, and its words on the card.

A filter is a file in this folder and a line of FILTERS in registry.py, which names it. The fields of its `limits` become
`--filters.FIELD` and appear in recipes and on the card; their names must differ from those of every other filter.
"""

from collections.abc import Callable
from dataclasses import field
from typing import Any, NamedTuple

from codeparrot.corpus.filters.text import Text
from codeparrot.corpus.hashes import POSITIONS, position

MOST = "most"
"""Key in a field's metadata: the field's largest value."""


def _nothing(limits: Any) -> None:
    """No limits contradict each other."""


def _no_files(limits: Any) -> dict[str, str]:
    return {}


def _always(limits: Any) -> bool:
    return True


def _everywhere(language: str | None) -> bool:
    return True


class Filter(NamedTuple):
    """A filter; its functions take an object that has the fields of `limits`, and are never sent to a worker."""

    limits: type
    """A frozen dataclass of texts, switches and numbers from 0 up; use `fraction` for numbers of at most 1."""
    passes: Callable[[Text, Any], bool]
    """Whether a document stays."""
    order: int
    """Its place among the filters. A file is counted under the first filter that removes it; the costliest come last."""
    rule: str
    """What it removes, in words, with the names of limits in braces."""
    is_on: Callable[[Any], Any] = _always
    """Whether the limits let it remove anything; a filter that is off is not a stage on the card."""
    applies: Callable[[str | None], bool] = _everywhere
    """Whether it judges texts of a language (None: unknown). The card says how many files it did not judge."""
    check: Callable[[Any], None] = _nothing
    """Raises CodeparrotError if limits contradict each other."""
    files: Callable[[Any], dict[str, str]] = _no_files
    """Digests of what the limits name besides numbers (a file, a tokenizer); if one changes, an interrupted build starts
    again."""


def fraction(default: float) -> Any:
    """Return a field of limits that is 0 to 1."""
    return field(default=default, metadata={MOST: 1})


def is_spared(text: Text, name: str, chance: float) -> bool:
    """Whether a text that a filter found passes all the same: one in 1 / (1 - chance) does, always the same ones."""
    return position(0, name, text.fingerprint.hex()) >= chance * POSITIONS
