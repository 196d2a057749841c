"""Rows in a new order that are too many for the memory: dealt out to parts on the disk, then taken part by part.

Memory: `most_bytes` of rows, and one part; 16 bytes for each part of each file. Disk: the rows, packed with LZ4. Rows of a part
come in the order in which they were added.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from codeparrot.corpus.removed import write_table

MOST_BYTES = 512_000_000


class Partitions:
    """Rows with the numbers of their parts. All are added, and there are some, before any is taken.

    Args:
        folder: for the rows that do not stay in memory; it is made if there are any, and left as it is.
        most_bytes: of rows, as Arrow counts them, that stay in memory (None: MOST_BYTES).
    """

    def __init__(self, folder: Path, most_bytes: int | None = None) -> None:
        self._folder, self._most_bytes = folder, MOST_BYTES if most_bytes is None else most_bytes
        self._none: list[pa.Table] = []
        self._waiting: list[pa.Table] = []
        self._parts: list[NDArray[np.int64]] = []
        self._waiting_bytes = 0
        self._files: list[dict[int, int]] = []
        """For each file, its batch of each part."""
        self._sorted: _Sorted | None = None
        """What is in memory, once it is asked for."""

    @property
    def all_in_memory(self) -> bool:
        return not self._files

    def add(self, rows: pa.Table, parts: NDArray[np.int64]) -> None:
        self._none = [rows.schema.empty_table()]
        self._waiting.append(rows)
        self._parts.append(parts)
        self._waiting_bytes += rows.nbytes
        if self._waiting_bytes > self._most_bytes:
            self._write()

    def take(self, first: int, stop: int) -> pa.Table:
        """Return the rows of the parts `first` to `stop` - 1."""
        found = [*self._none]
        for number, batches in enumerate(self._files):
            if numbers := [batches[part] for part in range(first, stop) if part in batches]:
                with pa.memory_map(str(self._file(number))) as source:
                    reader = pa.ipc.open_file(source)
                    found.append(pa.Table.from_batches([reader.get_batch(each) for each in numbers]))
        if self._waiting and self._sorted is None:
            self._sorted = self._sort()
        if self._sorted:
            start, end = np.searchsorted(self._sorted.parts, [first, stop]).tolist()
            found.append(self._sorted.rows.slice(start, end - start))
        return pa.concat_tables(found)

    def _sort(self) -> "_Sorted":
        parts = np.concatenate(self._parts)
        order = np.argsort(parts, kind="stable")
        found = _Sorted(pa.concat_tables(self._waiting).take(order), parts[order])
        self._waiting, self._parts, self._waiting_bytes = [], [], 0
        return found

    def _write(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        rows, parts = self._sort()
        starts = np.flatnonzero(np.diff(parts, prepend=-1))
        ends = np.append(starts[1:], len(parts))
        batches = [
            batch
            for start, end in zip(starts.tolist(), ends.tolist(), strict=True)
            for batch in rows.slice(start, end - start).combine_chunks().to_batches()
        ]
        write_table(self._file(len(self._files)), batches, rows.schema)
        self._files.append(dict(zip(parts[starts].tolist(), range(len(batches)), strict=True)))

    def _file(self, number: int) -> Path:
        return self._folder / f"{number:05d}.arrow"


class _Sorted(NamedTuple):
    rows: pa.Table
    parts: NDArray[np.int64]
