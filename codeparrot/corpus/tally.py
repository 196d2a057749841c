"""Counts what was read, removed and kept, from the files that the phases have written.

Cost: REPOSITORY_BYTES of memory per repository, about 650 per document that a benchmark contaminates, and reading a few
columns of every document. Where a corpus is one repository, its paths count as repositories.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from codeparrot.corpus import caps
from codeparrot.corpus.clean import BUCKET_SHIFT, BUCKETS
from codeparrot.corpus.documents import LANGUAGE, LICENSE, PATH, REPO_NAME, SIZE, SPLITS
from codeparrot.corpus.duplicates.choice import EXACT_COPY, KEPT, NEAR_COPY
from codeparrot.corpus.duplicates.pairs import Documents
from codeparrot.corpus.removed import POSITION, REASON, read_table
from codeparrot.corpus.segments import CHARACTERS
from codeparrot.corpus.sources.safety import UNREADABLE
from codeparrot.corpus.split import are_in
from codeparrot.corpus.stage import Found
from codeparrot.corpus.work import read_facts

DUPLICATE = "duplicate"
NEAR_DUPLICATE = "near_duplicate"
VERDICT = "verdict"
REPOSITORY_BYTES = 550
"""With a name of 25 bytes, and with what dividing the repositories into splits takes."""
_REASONS = {EXACT_COPY: DUPLICATE, NEAR_COPY: NEAR_DUPLICATE, caps.CAPPED: caps.REASON}


@dataclass(slots=True)
class Count:
    files: int = 0
    bytes: int = 0
    """Bytes of the text as UTF-8; without a text, the bytes that the disk or table holds."""
    characters: int = 0

    def add(self, files: int, size: int, characters: int = 0) -> None:
        self.files += files
        self.bytes += size
        self.characters += characters


@dataclass(slots=True)
class OfLanguage:
    """Counts of one language."""

    read: Count = field(default_factory=Count)
    removed: dict[str, Count] = field(default_factory=lambda: defaultdict(Count))
    kept: Count = field(default_factory=Count)


@dataclass(slots=True)
class Tally:
    read: Count = field(default_factory=Count)
    removed: dict[str, Count] = field(default_factory=lambda: defaultdict(Count))
    kept: Count = field(default_factory=Count)
    repositories: dict[str, Count] = field(default_factory=lambda: defaultdict(Count))
    removed_from: set[str] = field(default_factory=set)
    """Repositories of which files were removed as they were read."""
    unreadable: Counter[str] = field(default_factory=Counter)
    """What could not be read, by repository, or by the place in a table."""
    licenses: dict[str, Count] = field(default_factory=lambda: defaultdict(Count))
    languages: dict[str, OfLanguage] = field(default_factory=lambda: defaultdict(OfLanguage))
    found: dict[str, Found] = field(default_factory=lambda: defaultdict(Found))
    """What the stages of cleaning found, by the names of their settings."""

    def add_removed(self, table: pa.Table) -> None:
        """Count the rows of a table of removed files."""
        for row in _sums(table, [REASON, LANGUAGE], SIZE):
            self._remove(row[REASON], row)
        if REPO_NAME in table.column_names:
            self.removed_from.update(table.column(REPO_NAME).unique().to_pylist())
            for row in _sums(table.filter(pc.field(REASON) == UNREADABLE), REPO_NAME):
                self.unreadable[row[REPO_NAME]] += row["rows"]

    def add_judged(self, table: pa.Table) -> None:
        """Count the rows of a table of candidates: as read, or as removed by their verdicts."""
        for row in _sums(table, [VERDICT, LANGUAGE], SIZE):
            if row[VERDICT] == KEPT:
                self._read(row[LANGUAGE], row["rows"], row[SIZE])
            else:
                self._remove(_REASONS[row[VERDICT]], row)

    def read_removed(self) -> None:
        """Count as read what was removed so far."""
        for name, language in self.languages.items():
            for count in language.removed.values():
                self._read(name, count.files, count.bytes)

    def _read(self, language: str, files: int, size: int) -> None:
        self.read.add(files, size)
        self.languages[language].read.add(files, size)

    def _remove(self, reason: str, row: dict[str, Any]) -> None:
        self.removed[reason].add(row["rows"], row[SIZE])
        self.languages[row[LANGUAGE]].removed[reason].add(row["rows"], row[SIZE])

    def add_kept(self, table: pa.Table) -> None:
        """Count the rows of a table of documents."""
        for name, counts in ((REPO_NAME, self.repositories), (LICENSE, self.licenses)):
            for row in _sums(table, name, SIZE, CHARACTERS):
                counts[row[name]].add(row["rows"], row[SIZE], row[CHARACTERS])
                if name == REPO_NAME:
                    self.kept.add(row["rows"], row[SIZE], row[CHARACTERS])
        for row in _sums(table, LANGUAGE, SIZE, CHARACTERS):
            self.languages[row[LANGUAGE]].kept.add(row["rows"], row[SIZE], row[CHARACTERS])


def tally_of(documents: Documents, verdicts: NDArray[np.uint8], cleaned: Iterable[Path]) -> Tally:
    """Return the counts over all phases."""
    tally = Tally()
    for segment, start in zip(documents.segments, documents.starts.tolist(), strict=False):
        tally.add_removed(segment.removed())
        verdict = pa.array(verdicts[start : start + len(segment)])
        tally.add_judged(segment.columns(SIZE, LANGUAGE).append_column(VERDICT, verdict))
    tally.read_removed()
    for folder in cleaned:
        tally.add_removed(read_table(folder / "removed.arrow", [REASON, LANGUAGE, SIZE]))
        tally.add_kept(read_table(folder / "documents.arrow", [REPO_NAME, LICENSE, LANGUAGE, SIZE, CHARACTERS]))
        for stage, found in read_facts(folder / "found.json").items():
            tally.found[stage].files += found["files"]
            tally.found[stage].counts.update(found["counts"])
            tally.found[stage].hits += found["hits"]
    return tally


def counts_by_path(cleaned: Iterable[Path]) -> dict[str, Count]:
    """Return the counts of the documents of each path, whatever the repository."""
    counts: dict[str, Count] = defaultdict(Count)
    for folder in cleaned:
        for row in _sums(read_table(folder / "documents.arrow", [PATH, SIZE, CHARACTERS]), PATH, SIZE, CHARACTERS):
            counts[row[PATH]].add(row["rows"], row[SIZE], row[CHARACTERS])
    return counts


def repositories_of(cleaned: Iterable[Path], paths: Set[str]) -> set[str]:
    """Return the repositories of the documents with these paths."""
    wanted = pa.array(sorted(paths), pa.large_string())
    found: set[str] = set()
    for folder in cleaned:
        table = read_table(folder / "documents.arrow", [REPO_NAME, PATH]).filter(pc.field(PATH).isin(wanted))
        found.update(table.column(REPO_NAME).unique().to_pylist())
    return found


def bucket_weights(cleaned: Iterable[Path], column: str, valid: Set[str]) -> dict[str, list[int]]:
    """Return, for each split and every bucket, the bytes of its documents, plus one for each document.

    So only a bucket without such documents weighs nothing. Those with such a name in the column are for validation.
    """
    weights = np.zeros((len(SPLITS), BUCKETS), np.int64)
    for folder in cleaned:
        table = read_table(folder / "documents.arrow", [column, SIZE, POSITION])
        split = are_in(table.column(column), valid).astype(np.int64)
        buckets = (table.column(POSITION).to_numpy() >> BUCKET_SHIFT).astype(np.int64)
        np.add.at(weights, (split, buckets), table.column(SIZE).to_numpy() + 1)
    return dict(zip(SPLITS, weights.tolist(), strict=True))


def _sums(table: pa.Table, name: str | list[str], *values: str) -> list[dict[str, Any]]:
    grouped = table.group_by(name).aggregate([(value, "sum") for value in values] + [([], "count_all")])
    renamed = {f"{value}_sum": value for value in values} | {"count_all": "rows"}
    return grouped.rename_columns([renamed.get(column, column) for column in grouped.column_names]).to_pylist()
