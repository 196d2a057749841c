"""Documents on their way from the sources to the shards, on disk, divided by their position in the order.

Bucket i of BUCKETS holds the documents whose position has i in its top bits, in the order in which they came; so the buckets
one after the other, each sorted by itself, are the whole corpus in order. Memory: the documents of one flush, and 17 bytes a
document. Disk: the text compressed with LZ4.
"""

from array import array
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from codeparrot.corpus.documents import CONTENT, LICENSE, PATH, REPO_NAME, SIZE, Candidate

BUCKETS = 256
BUCKET_SHIFT = 56
FLUSH_BYTES = 64_000_000
POSITION = "position"

SCHEMA = pa.schema(
    {
        REPO_NAME: pa.large_string(),
        PATH: pa.large_string(),
        SIZE: pa.int64(),
        CONTENT: pa.large_string(),
        LICENSE: pa.large_string(),
        POSITION: pa.uint64(),
    }
)
"""Large strings: a sorted bucket may hold more than 2 GB of text."""


class Spool:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self._waiting: dict[int, list[Candidate]] = {}
        self._waiting_bytes = 0
        self._repositories: dict[str, int] = {}
        self._bucket_of = array("B")
        self._size_of = array("q")
        self._repository_of = array("q")

    def add(self, candidate: Candidate) -> None:
        document, bucket = candidate.document, candidate.position >> BUCKET_SHIFT
        self._bucket_of.append(bucket)
        self._size_of.append(document.size)
        self._repository_of.append(self._repositories.setdefault(document.repo_name, len(self._repositories)))
        self._waiting.setdefault(bucket, []).append(candidate)
        self._waiting_bytes += document.size
        if self._waiting_bytes >= FLUSH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what waits. Every flush of a bucket is an Arrow stream of its own, appended to the bucket's file."""
        for bucket, candidates in sorted(self._waiting.items()):
            rows = [(*each.document, each.position) for each in candidates]
            columns = [pa.array(column, field.type) for column, field in zip(zip(*rows, strict=True), SCHEMA, strict=True)]
            batch = pa.record_batch(columns, schema=SCHEMA)
            options = pa.ipc.IpcWriteOptions(compression="lz4")
            with _file(self.folder, bucket).open("ab") as file, pa.ipc.new_stream(file, SCHEMA, options=options) as stream:
                stream.write_batch(batch)
        self._waiting, self._waiting_bytes = {}, 0

    def bucket_weights(self, repositories: set[str]) -> list[int]:
        """Return for every bucket the bytes of the repositories' documents, and one more for each document.

        So only a bucket that holds none of them weighs nothing.
        """
        chosen = np.array([name in repositories for name in self._repositories])
        weights = (np.asarray(self._size_of) + 1) * chosen[np.asarray(self._repository_of)]
        return np.bincount(np.asarray(self._bucket_of), weights, minlength=BUCKETS).astype(int).tolist()


def read_bucket(folder: Path, bucket: int, valid: frozenset[str], wants_valid: bool) -> pa.Table:
    """Return the documents of one split in a bucket, sorted by position; among equal positions the first that came."""
    is_valid = pc.field(REPO_NAME).isin(pa.array(sorted(valid), pa.large_string()))
    is_wanted = is_valid if wants_valid else ~is_valid
    table = pa.Table.from_batches([batch.filter(is_wanted) for batch in _batches(_file(folder, bucket))], SCHEMA)
    order = np.argsort(table.column(POSITION).to_numpy(), kind="stable")
    return table.take(order)


def _batches(file: Path) -> Iterator[pa.RecordBatch]:
    if not file.exists():
        return
    with file.open("rb") as source:
        end = file.stat().st_size
        while source.tell() < end:
            with pa.ipc.open_stream(source) as stream:
                yield from stream


def _file(folder: Path, bucket: int) -> Path:
    return folder / f"{bucket:03d}.arrows"
