"""The third phase: the documents that are kept of a few segments, cleaned, and divided by their positions in the order.

A stage (stage.py) looks at one document and lets it pass, changes its text or removes it. A task writes one table with a
batch for every bucket that has documents: bucket i of BUCKETS holds those whose position has i in its top bits. Sort each
bucket over all tasks, put the buckets one after the other, and the whole corpus is in order. Memory: the text of TASK_BYTES,
twice.
"""

import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from codeparrot.corpus.documents import CONTENT, SIZE, UNKNOWN_LANGUAGE, Document, Removed
from codeparrot.corpus.duplicates.choice import KEPT
from codeparrot.corpus.duplicates.pairs import Documents
from codeparrot.corpus.removed import POSITION, Samples, write_table
from codeparrot.corpus.segments import CHARACTERS, DOCUMENTS, Segment
from codeparrot.corpus.stage import Found, Stage
from codeparrot.files import new_folder

BUCKETS = 256
BUCKET_SHIFT = np.uint64(56)
TASK_BYTES = 64_000_000


class CleanTask(NamedTuple):
    segments: list[Segment]
    start: int
    """Number of the segments' first candidate."""
    output: Path


class Cleaner(NamedTuple):
    """What every task needs."""

    verdicts: Path
    """File with one byte per candidate."""
    stages: Mapping[str, Stage]
    """The stages that are on, in order."""
    seed: int
    keep_removed: int
    unknown: str = UNKNOWN_LANGUAGE
    """As which a text in an unknown language is cleaned: as Python where a build names no languages."""


def clean_tasks(documents: Documents, sizes: Sequence[int], folder: Path) -> list[CleanTask]:
    """Return the tasks for segments with these sizes in bytes: a task takes neighbours until they have TASK_BYTES."""
    tasks, first, filled = [], 0, 0
    for index, size in enumerate(sizes):
        filled += size
        if filled >= TASK_BYTES or index == len(sizes) - 1:
            segments, start = documents.segments[first : index + 1], int(documents.starts[first])
            tasks.append(CleanTask(segments, start, folder / f"{first:07d}-{index + 1:07d}"))
            first, filled = index + 1, 0
    return tasks


def clean(task: CleanTask, cleaner: Cleaner) -> None:
    """Write the documents that are kept of a task's segments, unless they are already there."""
    if task.output.exists():
        return
    with new_folder(task.output) as folder:
        samples, found = Samples(cleaner.keep_removed, cleaner.seed), {name: Found() for name in cleaner.stages}
        start = task.start
        tables = [DOCUMENTS.empty_table()]
        for segment in task.segments:
            for batch in segment.batches():
                verdicts = np.fromfile(cleaner.verdicts, np.uint8, len(batch), offset=start)
                kept = pa.Table.from_batches([batch]).filter(pa.array(verdicts == KEPT))
                tables.append(_cleaned(kept, cleaner, samples, found))
                start += len(batch)
        write_table(folder / "documents.arrow", _by_bucket(pa.concat_tables(tables)), DOCUMENTS)
        samples.write(folder / "removed.arrow")
        (folder / "found.json").write_text(json.dumps({name: vars(each) for name, each in found.items()}), encoding="utf-8")


def _cleaned(table: pa.Table, cleaner: Cleaner, samples: Samples, found: dict[str, Found]) -> pa.Table:
    if not cleaner.stages:
        return table
    columns = [table.column(name).to_pylist() for name in Document._fields]
    contents = [_through(cleaner, Document(*row), samples, found) for row in zip(*columns, strict=True)]
    changed: dict[str, Any] = {
        CONTENT: contents,
        SIZE: [None if each is None else len(each.encode()) for each in contents],
        CHARACTERS: [None if each is None else len(each) for each in contents],
    }
    for name, values in changed.items():
        field = DOCUMENTS.field(name)
        table = table.set_column(DOCUMENTS.get_field_index(name), field, pa.array(values, field.type))
    return table.filter(pa.array([each is not None for each in contents], pa.bool_()))  # the type, since there may be none


def _through(cleaner: Cleaner, document: Document, samples: Samples, found: dict[str, Found]) -> str | None:
    content = document.content
    language = cleaner.unknown if document.language == UNKNOWN_LANGUAGE else document.language
    for name, stage in cleaner.stages.items():
        cleaned = stage.clean_in(content, language)
        found[name].add(cleaned, document.repo_name, document.path)
        if cleaned.content is None:
            names = document.repo_name, document.path, cleaned.shown, document.language
            samples.add(Removed(stage.reason, len(content.encode()), *names), 0, cleaned.detail)
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
    """Return one bucket's documents from a task's table."""
    with pa.memory_map(str(folder / "documents.arrow")) as source:
        return pa.ipc.open_file(source).get_batch(bucket)
