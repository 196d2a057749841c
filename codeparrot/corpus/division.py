"""Divides documents that have no splits into those to train on and those to validate on.

By repository where rows name one, and some are small enough to be set aside: chosen as `corpus build` does, by their documents.
Else by document, by a hash of its text without white space, so that equal texts go to the same side. The order of the documents
plays no part.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from codeparrot.corpus.documents import ColumnNames
from codeparrot.corpus.hashes import POSITIONS, fingerprint, position
from codeparrot.corpus.sources.presets import columns_of
from codeparrot.corpus.split import valid_repositories
from codeparrot.stream.lane import Cursor
from codeparrot.stream.readers.rows import Damaged
from codeparrot.stream.shards import Shard

SEED = 0
PROBED = 64
"""Documents of a shard among which one that is not damaged is looked for."""


class Division(NamedTuple):
    """What decides on which side a document is."""

    fraction: float
    repositories: frozenset[str] | None
    """Those to validate on; None: documents are divided one by one."""

    def is_valid(self, text: str, repository: str) -> bool:
        """Whether a document is one to validate on; one that names no repository is divided by its text."""
        if self.repositories is not None and repository:
            return repository in self.repositories
        return position(SEED, "split", fingerprint(text).hex()) < self.fraction * POSITIONS

    def facts(self) -> dict[str, Any]:
        return {"valid_fraction": self.fraction, "by": "document" if self.repositories is None else "repository"}


def division(repositories: Iterable[str], fraction: float) -> Division:
    """Return how to divide documents of these repositories, of which "" is none."""
    documents = Counter(repositories)
    del documents[""]
    return Division(fraction, frozenset(valid_repositories(documents, SEED, fraction)) or None)


def repository_column(shards: Sequence[Shard], text_column: str) -> str | None:
    """Return the column of the first document that names its repository, if it has one."""
    for shard in shards:
        items = shard.read_marked(0, PROBED).items
        row = next((index for index, item in enumerate(items) if not isinstance(item, Damaged)), None)
        if row is not None:
            (present,) = shard.describe(0, [row])
            name = columns_of((text_column, *present), ColumnNames(text=text_column)).repo_name
            return name if name in present else None
    return None


def side_of(
    documents: Iterator[tuple[str, Cursor]], repositories: Iterator[tuple[str, Cursor]], by: Division, valid: bool
) -> Iterator[tuple[str, Cursor]]:
    """Yield the documents of one side, in their order, each with its cursor; so come the repositories.

    What is damaged is missing: a document, or the name of its repository, without which it is divided by its text.
    """
    repository, place = next(repositories, ("", None))
    for text, cursor in documents:
        while place is not None and place < cursor:
            repository, place = next(repositories, ("", None))
        if by.is_valid(text, repository if place == cursor else "") == valid:
            yield text, cursor
