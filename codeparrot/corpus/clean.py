"""The third phase: what is kept of a few segments, cleaned, and divided by its position in the order.

A stage looks at one document and lets it pass, changes its text or removes it. A task writes one table with a batch for every
bucket that has documents: bucket i of BUCKETS holds those whose position has i in its top bits. So the buckets of all tasks
one after the other, each sorted by itself, are the whole corpus in order. Memory: the text of TASK_BYTES, twice.
"""

import itertools
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import numpy as np
import pyarrow as pa

from codeparrot.corpus.documents import CONTENT, PATH, REPO_NAME, SIZE, Removed
from codeparrot.corpus.duplicates.choice import KEPT
from codeparrot.corpus.duplicates.pairs import Documents
from codeparrot.corpus.removed import POSITION, Samples, write_table
from codeparrot.corpus.segments import CHARACTERS, DOCUMENTS, Segment
from codeparrot.corpus.work import new_folder

BUCKETS = 256
BUCKET_SHIFT = np.uint64(56)
TASK_BYTES = 64_000_000


class Cleaned(NamedTuple):
    """What a stage makes of a text."""

    content: str | None
    """None: the document is removed."""
    detail: str = ""
    """Why it is removed."""
    counts: Mapping[str, int] = MappingProxyType({})
    """What was found in it, by kind."""
    hits: tuple[dict[str, str], ...] = ()
    """What of it the report shows, each with a text for every name."""
    shown: str = ""
    """Of a document that is removed: the text that a sample may show."""


class Stage(Protocol):
    """A stage of cleaning; it travels to the workers by pickle and prepares itself at its first text there."""

    @property
    def name(self) -> str:
        """Under which the statistics count what it removed and what it found."""
        ...

    def clean(self, content: str) -> Cleaned: ...


@dataclass
class Found:
    """What a stage found in the documents of a task."""

    files: int = 0
    """In which it found anything."""
    counts: Counter[str] = field(default_factory=Counter)
    hits: list[dict[str, str]] = field(default_factory=list)

    def add(self, cleaned: Cleaned, repo_name: str, path: str) -> None:
        self.files += bool(cleaned.counts or cleaned.hits)
        self.counts.update(cleaned.counts)
        self.hits += [{**hit, "repo_name": repo_name, "path": path} for hit in cleaned.hits]


class CleanTask(NamedTuple):
    segments: list[Segment]
    start: int
    """Number of their first candidate."""
    output: Path


class Cleaner(NamedTuple):
    """What every task needs."""

    verdicts: Path
    """File with a byte for every candidate."""
    stages: Sequence[Stage]
    seed: int
    keep_removed: int


def clean_tasks(documents: Documents, sizes: Sequence[int], folder: Path) -> list[CleanTask]:
    """Return the tasks for segments of these bytes of text: neighbours, until they have TASK_BYTES."""
    tasks, first, filled = [], 0, 0
    for index, size in enumerate(sizes):
        filled += size
        if filled >= TASK_BYTES or index == len(sizes) - 1:
            segments, start = documents.segments[first : index + 1], int(documents.starts[first])
            tasks.append(CleanTask(segments, start, folder / f"{first:07d}-{index + 1:07d}"))
            first, filled = index + 1, 0
    return tasks


def clean(task: CleanTask, cleaner: Cleaner) -> None:
    """Write the documents that are kept of a task's segments, unless they are there."""
    if task.output.exists():
        return
    with new_folder(task.output) as folder:
        samples, found = Samples(cleaner.keep_removed, cleaner.seed), {stage.name: Found() for stage in cleaner.stages}
        start = task.start
        tables = [DOCUMENTS.empty_table()]
        for segment in task.segments:
            for batch in segment.batches():
                verdicts = np.fromfile(cleaner.verdicts, np.uint8, len(batch), offset=start)
                kept = pa.Table.from_batches([batch]).filter(pa.array(verdicts == KEPT))
                tables.append(_cleaned(kept, cleaner.stages, samples, found))
                start += len(batch)
        write_table(folder / "documents.arrow", _by_bucket(pa.concat_tables(tables)), DOCUMENTS)
        samples.write(folder / "removed.arrow")
        (folder / "found.json").write_text(json.dumps({name: vars(each) for name, each in found.items()}), encoding="utf-8")


def _cleaned(table: pa.Table, stages: Sequence[Stage], samples: Samples, found: dict[str, Found]) -> pa.Table:
    if not stages:
        return table
    names = [table.column(name).to_pylist() for name in (REPO_NAME, PATH, CONTENT)]
    contents = [
        _through(stages, repo_name, path, content, samples, found) for repo_name, path, content in zip(*names, strict=True)
    ]
    changed: dict[str, Any] = {
        CONTENT: contents,
        SIZE: [None if each is None else len(each.encode()) for each in contents],
        CHARACTERS: [None if each is None else len(each) for each in contents],
    }
    for name, values in changed.items():
        field = DOCUMENTS.field(name)
        table = table.set_column(DOCUMENTS.get_field_index(name), field, pa.array(values, field.type))
    return table.filter(pa.array([each is not None for each in contents]))


def _through(
    stages: Sequence[Stage], repo_name: str, path: str, content: str, samples: Samples, found: dict[str, Found]
) -> str | None:
    for stage in stages:
        cleaned = stage.clean(content)
        found[stage.name].add(cleaned, repo_name, path)
        if cleaned.content is None:
            samples.add(Removed(stage.name, len(content.encode()), repo_name, path, cleaned.shown), 0, cleaned.detail)
            return None
        content = cleaned.content
    return content


def _by_bucket(table: pa.Table) -> list[pa.RecordBatch]:
    positions = table.column(POSITION).to_numpy()
    order = np.argsort(positions, kind="stable")
    buckets = (positions[order] >> BUCKET_SHIFT).astype(np.int64)
    starts = np.searchsorted(buckets, np.arange(BUCKETS + 1)).tolist()
    batches = []
    for start, end in itertools.pairwise(starts):
        batches += table.take(order[start:end]).combine_chunks().to_batches() if start < end else [_EMPTY]
    return batches


_EMPTY = pa.RecordBatch.from_pylist([], schema=DOCUMENTS)


def read_bucket(folder: Path, bucket: int) -> pa.RecordBatch:
    """Return the documents of a task in a bucket."""
    with pa.memory_map(str(folder / "documents.arrow")) as source:
        return pa.ipc.open_file(source).get_batch(bucket)
