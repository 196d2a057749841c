"""From the spool to Parquet shards: zstd, small row groups, documents in the order of their positions.

A reader that wants documents at random reads row groups, so they are small: at most ROW_GROUP_DOCUMENTS documents or
ROW_GROUP_BYTES of text, whichever comes first, and at least one document. Which documents lie in which shard follows from
the documents and `shard_bytes`. Memory: the text of one bucket or of a few shards, whichever is more, a worker.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from codeparrot.corpus.documents import COLUMNS, LICENSE, PATH, REPO_NAME, SIZE, VALID
from codeparrot.corpus.spool import read_bucket

ROW_GROUP_DOCUMENTS = 256
ROW_GROUP_BYTES = 2_000_000

SCHEMA = pa.schema([(name, pa.int64() if name == SIZE else pa.string()) for name in COLUMNS])


NEAR = 1 / 8


class Piece(NamedTuple):
    """Neighbouring buckets that become `num_shards` shards; those without a document of the split are left out."""

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


def write_piece(numbered: tuple[int, Piece], split: str, spool: Path, valid: frozenset[str]) -> list[Shard]:
    """Sort the documents of one split in the piece's buckets and write them; a shard that would be empty is left out."""
    number, piece = numbered
    table = pa.concat_tables([read_bucket(spool, bucket, valid, split == VALID) for bucket in piece.buckets])
    sizes = table.column(SIZE).to_numpy()
    ends = np.cumsum(sizes)
    shards = []
    shard_of = (ends - sizes) * piece.num_shards // max(1, sizes.sum())
    for index in range(piece.num_shards):
        start, stop = np.searchsorted(shard_of, [index, index + 1]).tolist()
        if start < stop:
            file = f"{split}-piece-{number:05d}-{index:05d}.parquet"
            _write_shard(spool.parent / file, table.slice(start, stop - start), sizes[start:stop].tolist())
            shards.append(Shard(file, stop - start, int(sizes[start:stop].sum())))
    return shards


def number_shards(folder: Path, split: str, shards: list[Shard]) -> list[Shard]:
    """Give the shards of a split, now that their number is known, their final names."""
    numbered = []
    for index, shard in enumerate(shards):
        file = f"{split}-{index:05d}-of-{len(shards):05d}.parquet"
        (folder / shard.file).rename(folder / file)
        numbered.append(shard._replace(file=file))
    return numbered


def _write_shard(file: Path, table: pa.Table, sizes: list[int]) -> None:
    names = [REPO_NAME, PATH, LICENSE]
    # Statistics and dictionaries of whole texts would only take room.
    options: dict[str, Any] = {"use_dictionary": names, "write_statistics": [*names, SIZE]}
    with pq.ParquetWriter(file, SCHEMA, compression="zstd", **options) as writer:
        for start, stop in row_groups(sizes):
            writer.write_table(table.slice(start, stop - start).select(COLUMNS).cast(SCHEMA), row_group_size=stop - start)


def row_groups(sizes: list[int]) -> Iterator[tuple[int, int]]:
    """Yield the first row and the row after the last one of each row group."""
    start, filled = 0, 0
    for row, size in enumerate(sizes):
        if row > start and (filled + size > ROW_GROUP_BYTES or row - start == ROW_GROUP_DOCUMENTS):
            yield start, row
            start, filled = row, 0
        filled += size
    if sizes:
        yield start, len(sizes)
