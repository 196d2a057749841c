"""A document of a corpus: its columns, and the forms it takes between a source and a shard.

A source yields a `Record` (not decoded, not judged) or says why there is none (`Removed`). A worker turns the record into a
`Candidate` or another `Removed`. The candidates that are kept are written as documents with the columns below.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from codeparrot.stream.losses import OnError

REPO_NAME = "repo_name"
PATH = "path"
SIZE = "size"
CONTENT = "content"
LICENSE = "license"
LANGUAGE = "language"
COLUMNS = (REPO_NAME, PATH, SIZE, CONTENT, LICENSE, LANGUAGE)
NEW_COLUMNS = frozenset({LANGUAGE})
"""A corpus of an older version lacks them."""

TRAIN = "train"
VALID = "valid"
SPLITS = (TRAIN, VALID)

UNKNOWN_LICENSE = "unknown"
UNKNOWN_LANGUAGE = "unknown"


@dataclass(frozen=True)
class ColumnNames:
    """Where a table (JSONL, Parquet or a Hub data set) keeps what the corpus needs; only the text must be there."""

    text: str = "content"
    """Column of the text of a file."""
    repo_name: str = "repo_name"
    """Column of the repository's name; without it, the table's own name is the repository of all its rows."""
    path: str = "path"
    """Column of the path inside the repository; without it, the row's number."""
    license: str = "license"
    """Column of the licence, a text or a list of texts; without it, "unknown"."""
    stars: str = "stars"
    """Column of the repository's stars, a number; without it, they are unknown."""
    language: str = "language"
    """Column of the language's name; without it, the path and the text tell the language."""


class Record(NamedTuple):
    """A file as its source holds it: bytes from a disk, text from a table."""

    repo_name: str
    path: str
    license: str
    content: bytes | str
    stars: int | None = None
    """The repository's stars, if the source knows them."""
    language: str | None = None
    """What the source says of it, as languages/names.py calls it; None if it says nothing."""


class Removed(NamedTuple):
    """A file that is not in the corpus: the name of what removed it, and its size in bytes if that is known."""

    reason: str
    size: int = 0
    repo_name: str = ""
    path: str = ""
    content: str = ""
    """Its text; a sample of the removed files shows the beginning."""
    language: str = UNKNOWN_LANGUAGE


class Document(NamedTuple):
    """One row of the corpus, in the order of COLUMNS."""

    repo_name: str
    path: str
    size: int
    """Bytes of `content` as UTF-8."""
    content: str
    license: str
    language: str = UNKNOWN_LANGUAGE
    """As languages/names.py calls it, or "unknown"."""


class Candidate(NamedTuple):
    """A document that passed every filter, with what it is compared by and its position in the order."""

    document: Document
    fingerprint: bytes
    """Equal for texts that differ only in white space."""
    position: int
    whole: int
    """Hash of everything in the document; it decides which one of equals is kept."""
    stars: int = -1
    """Stars of its repository; -1 if unknown."""


class Unit(Protocol):
    """What one worker reads at a time: files of a few MB in all. It travels to the worker by pickle."""

    @property
    def key(self) -> str:
        """Unique among the units of a source, and the same whenever and wherever the same data is read."""
        ...

    def records(self) -> Iterator[Record | Removed]: ...


class Reading(NamedTuple):
    """How sources are read."""

    seed: int
    """Determines the order of the units and records."""
    max_size: int
    """Bytes; larger files are not read."""
    suffixes: tuple[str, ...]
    """Endings of the names of files to read, or whole names behind a slash; they do not apply to tables."""
    columns: ColumnNames
    on_error: OnError = "stop"
    """What becomes of tables that are damaged."""
    installed_suffixes: tuple[str, ...] = (".py",)
    """The same for the source `python`, which `--suffixes` does not change."""
    max_bytes: int = 0
    """The build stops after so many bytes of text; 0: every unit is read, so their order does not matter."""
    spool: str = ""
    """Folder for what is fetched as a whole before it is read; it may go when everything has been read."""


class Source(NamedTuple):
    """An open source. The order of its units and records depends on its content and the seed alone."""

    facts: dict[str, Any]
    """What the card and the statistics say about it; JSON."""
    units: Iterator[Unit]
    num_records: int | None
    """None if only reading it to the end would tell."""
    listing: str
    """Stands for everything the units depend on. If it changes, an interrupted build's work is of no use."""
