"""The removed files, on disk: all are counted, and for every reason a few keep the beginning of their text.

Those few have the smallest hashes of their names, so the sample does not depend on the order of reading.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from codeparrot.corpus.documents import CONTENT, LANGUAGE, PATH, REPO_NAME, SIZE, Removed
from codeparrot.corpus.hashes import position

POSITION = "position"
ORDINAL = "ordinal"
"""Number of the record in its segment."""
REASON = "reason"
DETAIL = "detail"
EXCERPT_CHARACTERS = 2000
SAMPLES_ROWS = 4096

REMOVED = pa.schema(
    {
        REASON: pa.string(),
        REPO_NAME: pa.string(),
        PATH: pa.string(),
        SIZE: pa.int64(),
        CONTENT: pa.string(),
        DETAIL: pa.string(),
        LANGUAGE: pa.string(),
        POSITION: pa.uint64(),
        ORDINAL: pa.int64(),
    }
)
"""`content` is the beginning of a file's text if a sample may show it, else null."""

LZ4 = pa.ipc.IpcWriteOptions(compression="lz4")


def write_table(file: Path, batches: Sequence[pa.RecordBatch], schema: pa.Schema) -> None:
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, schema, options=LZ4) as writer:
        for batch in batches:
            writer.write_batch(batch)


def read_table(file: Path, columns: Sequence[str]) -> pa.Table:
    """Return some columns of an Arrow file; only they are read and unpacked."""
    with pa.memory_map(str(file)) as source:
        schema = pa.ipc.open_file(source).schema
        options = pa.ipc.IpcReadOptions(included_fields=[schema.get_field_index(name) for name in columns])
        return pa.ipc.open_file(source, options=options).read_all().select(list(columns))


class Samples:
    """Removed files: all are counted; for every reason, those with the smallest hashes keep the beginning of their text."""

    def __init__(self, number: int, seed: int) -> None:
        self._number, self._seed = number, seed
        self._rows: list[tuple[Any, ...]] = []
        self._tables: list[pa.Table] = [REMOVED.empty_table()]

    def add(self, removed: Removed, ordinal: int, detail: str = "") -> None:
        place = position(self._seed, "removed", removed.repo_name, removed.path, str(removed.size))
        excerpt = removed.content[:EXCERPT_CHARACTERS]
        names = removed.reason, removed.repo_name, removed.path
        self._rows.append((*names, removed.size, excerpt, detail, removed.language, place, ordinal))
        if len(self._rows) == SAMPLES_ROWS:
            self._pack()

    def write(self, file: Path) -> None:
        self._pack()
        write_table(file, without_texts(pa.concat_tables(self._tables), self._number).to_batches(), REMOVED)

    def _pack(self) -> None:
        if self._rows:
            columns = [
                pa.array(column, field.type) for column, field in zip(zip(*self._rows, strict=True), REMOVED, strict=True)
            ]
            self._tables.append(without_texts(pa.table(columns, schema=REMOVED), self._number))
            self._rows = []


def sampled(table: pa.Table, number: int) -> NDArray[np.bool_]:
    """Return which rows of a table of removed files have one of the `number` smallest hashes of their reason."""
    chosen = np.zeros(len(table), np.bool_)
    numbered = table.append_column("row", pa.array(np.arange(len(table))))
    ordered = numbered.sort_by([(name, "ascending") for name in (REASON, POSITION, REPO_NAME, PATH, SIZE)])
    taken = Counter[str]()
    for reason, row in zip(ordered.column(REASON).to_pylist(), ordered.column("row").to_pylist(), strict=True):
        chosen[row] = taken[reason] < number
        taken[reason] += 1
    return chosen


def without_texts(table: pa.Table, number: int) -> pa.Table:
    """Return a table of removed files that keeps the text only of those that a sample of `number` may show."""
    shown = sampled(table, number).tolist()
    texts = [text if each else None for text, each in zip(table.column(CONTENT).to_pylist(), shown, strict=True)]
    return table.set_column(table.schema.get_field_index(CONTENT), REMOVED.field(CONTENT), pa.array(texts, pa.string()))
