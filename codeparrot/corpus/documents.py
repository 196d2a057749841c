"""A document of a corpus: its columns, and the forms it takes between a source and a shard.

A source yields a `Record` (not decoded, not judged) or says why there is none (`Removed`); a worker turns the record into
a `Candidate` or another `Removed`; the candidates that are kept are written as documents with the columns below.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

REPO_NAME = "repo_name"
PATH = "path"
SIZE = "size"
CONTENT = "content"
LICENSE = "license"
COLUMNS = (REPO_NAME, PATH, SIZE, CONTENT, LICENSE)

TRAIN = "train"
VALID = "valid"
SPLITS = (TRAIN, VALID)

UNKNOWN_LICENSE = "unknown"


@dataclass(frozen=True)
class ColumnNames:
    """Where a table (JSONL, Parquet or a Hub data set) keeps what the corpus needs; only the text must be there."""

    text: str = "content"
    """Column of the text of a file."""
    repo_name: str = "repo_name"
    """Column of the repository's name; without it, the table's own name is the repository of all its rows."""
    path: str = "path"
    """Column of the path inside the repository; without it, the number of the row."""
    license: str = "license"
    """Column of the licence, a text or a list of texts; without it, "unknown"."""
    stars: str = "stars"
    """Column of the repository's stars, a number; without it, nobody knows them."""


class Record(NamedTuple):
    """A file as its source holds it: bytes from a disk, text from a table."""

    repo_name: str
    path: str
    license: str
    content: bytes | str
    stars: int | None = None
    """Of the repository, where the source knows them."""


class Removed(NamedTuple):
    """A file that is not in the corpus: the name of what removed it, and its size in bytes where that is known."""

    reason: str
    size: int = 0
    repo_name: str = ""
    path: str = ""
    content: str = ""
    """Its text, of which a sample of the removed files shows the beginning."""


class Document(NamedTuple):
    """One row of the corpus, in the order of COLUMNS."""

    repo_name: str
    path: str
    size: int
    """Bytes of `content` as UTF-8."""
    content: str
    license: str


class Candidate(NamedTuple):
    """A document that passed every filter, what it is compared by, and its position in the order."""

    document: Document
    fingerprint: bytes
    """The same for texts that differ in white space only."""
    position: int
    whole: int
    """Hash of everything in the document: among equals it decides which one is kept."""
    stars: int = -1
    """Of its repository; -1 where that is unknown."""


class Unit(Protocol):
    """What one worker reads at a time: files of about a few MB in all. It travels to the worker by pickle."""

    @property
    def key(self) -> str:
        """Of one source, no other unit has it. It is the same whenever and wherever the same is read."""
        ...

    def records(self) -> Iterator[Record | Removed]: ...


class Reading(NamedTuple):
    """How sources are read."""

    seed: int
    """Of the order of the units and records."""
    max_size: int
    """Bytes; larger files are not read."""
    suffixes: tuple[str, ...]
    """Endings of the names of files that are read; tables have none."""
    columns: ColumnNames


class Source(NamedTuple):
    """An open source. The order of its units and records depends on its content and the seed alone."""

    facts: dict[str, Any]
    """What the card and the statistics say of it; JSON."""
    units: Iterator[Unit]
    num_records: int | None
    """None where only reading it to the end would tell."""
    listing: str
    """Stands for all that the units depend on. Another listing: what is done of an earlier build is of no use."""
