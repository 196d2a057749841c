"""The fourth phase: writes cleaned documents to Parquet shards: zstd, small row groups, in the order of their positions.

A reader that wants random documents reads row groups, so they are small: at most ROW_GROUP_DOCUMENTS documents or
ROW_GROUP_BYTES of text, whichever comes first, and at least one document. The documents and `shard_bytes` alone decide which
document lies in which shard. Memory per worker: MOST_BYTES of partitions.py, twice, or the text of a shard and of a PARTS-th of
a bucket, whichever is more.
"""

import json
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from codeparrot.corpus.clean import BUCKET_SHIFT, read_bucket
from codeparrot.corpus.documents import COLUMNS, LANGUAGE, LICENSE, PATH, REPO_NAME, SIZE, VALID
from codeparrot.corpus.partitions import Partitions
from codeparrot.corpus.removed import POSITION
from codeparrot.corpus.segments import WHOLE
from codeparrot.corpus.split import are_in
from codeparrot.corpus.work import read_facts
from codeparrot.files import new_folder

ROW_GROUP_DOCUMENTS = 256
ROW_GROUP_BYTES = 2_000_000

SCHEMA = pa.schema([(name, pa.int64() if name == SIZE else pa.string()) for name in COLUMNS])


NEAR = 1 / 8
PART_SHIFT = np.uint64(50)
PARTS = 1 << int(BUCKET_SHIFT - PART_SHIFT)
"""Of a bucket, where the rows of a piece do not fit into memory."""


class Piece(NamedTuple):
    """Neighbouring buckets that become `num_shards` shards; shards without a document are left out."""

    buckets: list[int]
    num_shards: int


class Shard(NamedTuple):
    file: str
    documents: int
    bytes: int


def plan(weights: list[int], shard_bytes: int) -> list[Piece]:
    """Join small buckets and cut large ones, so that every shard holds about `shard_bytes` of text.

    A piece ends at the first bucket whose end is near (by an eighth of a shard) to the end of a shard.
    """
    total = sum(weights)
    num_shards = max(1, round(total / shard_bytes))
    pieces: list[Piece] = []
    buckets, planned, filled = [], 0, 0
    for bucket, weight in enumerate(weights):
        if not weight:
            continue
        buckets.append(bucket)
        filled += weight
        place = filled * num_shards / total
        end = round(place)
        if planned < end and (filled == total or (end < num_shards and abs(place - end) <= NEAR)):
            pieces.append(Piece(buckets, end - planned))
            buckets, planned = [], end
    return pieces


class PieceTask(NamedTuple):
    piece: Piece
    split: str
    output: Path


class PieceWriter(NamedTuple):
    """What every task needs."""

    cleaned: list[Path]
    """The outputs of the third phase."""
    column: str
    """What divides the splits: the repository, or in a corpus of one the path."""
    valid: frozenset[str]
    """The names in it that are for validation."""


def piece_tasks(pieces: list[Piece], split: str, folder: Path) -> list[PieceTask]:
    return [PieceTask(piece, split, folder / f"{split}-{number:05d}") for number, piece in enumerate(pieces)]


def write_piece(task: PieceTask, writer: PieceWriter) -> None:
    """Sort one split's documents in the piece's buckets and write them, unless they are already there."""
    if task.output.exists():
        return
    with new_folder(task.output) as folder:
        rows = Partitions(folder / "parts")
        total = sum(_deal(bucket, task.split, writer, rows) for bucket in task.piece.buckets)
        shards: list[Shard] = []
        for index, table in enumerate(_cut(_in_order(rows, task.piece.buckets), total, task.piece.num_shards)):
            if len(table):  # a shard that would be empty is left out
                file = f"{index:05d}.parquet"
                sizes = table.column(SIZE).to_pylist()
                _write_shard(folder / file, table, sizes)
                shards.append(Shard(file, len(table), sum(sizes)))
        shutil.rmtree(folder / "parts", ignore_errors=True)
        (folder / "shards.json").write_text(json.dumps(shards), encoding="utf-8")


def _deal(bucket: int, split: str, writer: PieceWriter, rows: Partitions) -> int:
    """Add one split's documents in a bucket to the rows, by the parts of their positions; return their bytes."""
    size = 0
    for folder in writer.cleaned:
        table = pa.Table.from_batches([read_bucket(folder, bucket)])
        is_valid = are_in(table.column(writer.column), writer.valid)
        table = table.filter(pa.array(is_valid if split == VALID else ~is_valid))
        if len(table):
            rows.add(table, (table.column(POSITION).to_numpy() >> PART_SHIFT).astype(np.int64))
            size += int(table.column(SIZE).to_numpy().sum())
    return size


def _in_order(rows: Partitions, buckets: list[int]) -> Iterator[pa.Table]:
    """Yield the rows of each bucket in order, in one table or several."""
    for bucket in buckets:
        step = PARTS if rows.all_in_memory else 1
        for part in range(bucket * PARTS, (bucket + 1) * PARTS, step):
            table = rows.take(part, part + step)
            # Two documents may have the same name, and so the same position.
            yield table.take(np.lexsort((table.column(WHOLE).to_numpy(), table.column(POSITION).to_numpy())))


def _cut(tables: Iterable[pa.Table], total: int, num_shards: int) -> Iterator[pa.Table]:
    """Yield the rows of each shard; they have `total` bytes together."""
    begun: list[pa.Table] = []
    shard, before = 0, 0
    for table in tables:
        sizes = table.column(SIZE).to_numpy()
        ends = np.cumsum(sizes) + before
        # At most the last shard: an empty document may begin where all others have ended.
        shard_of = np.minimum((ends - sizes) * num_shards // max(1, total), num_shards - 1)
        start = 0
        while len(table) and shard < shard_of[-1]:
            stop = int(np.searchsorted(shard_of, shard + 1))
            yield pa.concat_tables([*begun, table.slice(start, stop - start)])
            begun, start, shard = [], stop, shard + 1
        begun.append(table.slice(start))
        before += int(sizes.sum())
    yield pa.concat_tables(begun)


def place_shards(folder: Path, split: str, tasks: list[PieceTask]) -> list[Shard]:
    """Put the shards of a split, now that their number is known, into `folder` under their final names.

    They are linked: the tasks keep theirs.
    """
    written = [(task.output, Shard(*each)) for task in tasks for each in read_facts(task.output / "shards.json")]
    placed = []
    for index, (source, shard) in enumerate(written):
        file = f"{split}-{index:05d}-of-{len(written):05d}.parquet"
        (folder / file).unlink(missing_ok=True)
        (folder / file).hardlink_to(source / shard.file)
        placed.append(shard._replace(file=file))
    return placed


def _write_shard(file: Path, table: pa.Table, sizes: list[int]) -> None:
    names = [REPO_NAME, PATH, LICENSE, LANGUAGE]
    # Statistics and dictionaries of whole texts would only waste space.
    options: dict[str, Any] = {"use_dictionary": names, "write_statistics": [*names, SIZE], "write_page_checksum": True}
    with pq.ParquetWriter(file, SCHEMA, compression="zstd", **options) as writer:
        for start, stop in row_groups(sizes):
            writer.write_table(table.slice(start, stop - start).select(COLUMNS).cast(SCHEMA), row_group_size=stop - start)


def row_groups(sizes: list[int]) -> Iterator[tuple[int, int]]:
    """Yield each row group's first row and the row after its last."""
    start, filled = 0, 0
    for row, size in enumerate(sizes):
        if row > start and (filled + size > ROW_GROUP_BYTES or row - start == ROW_GROUP_DOCUMENTS):
            yield start, row
            start, filled = row, 0
        filled += size
    if sizes:
        yield start, len(sizes)
