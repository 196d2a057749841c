"""Writes pairs to Parquet shards as those of a corpus: zstd, small row groups, about `shard_bytes` of text in each.

Memory: one row group. The number of shards is in their names, so they get these at the end.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from codeparrot.corpus.documents import CONTENT, LICENSE, PATH, REPO_NAME, SIZE
from codeparrot.corpus.pairs.columns import DOCSTRING, NAME, NUMBERS, TEXTS
from codeparrot.corpus.shards import ROW_GROUP_BYTES, ROW_GROUP_DOCUMENTS

SCHEMA = pa.schema([(name, pa.int64() if name in NUMBERS else pa.string()) for name in TEXTS])


class Writer:
    """Writes the shards of one split into a folder."""

    def __init__(self, folder: Path, split: str, shard_bytes: int) -> None:
        self._folder, self._split, self._shard_bytes = folder, split, shard_bytes
        self._rows: list[dict[str, Any]] = []
        self._bytes, self._characters = 0, 0
        self._repositories: set[str] = set()
        self._shards: list[dict[str, Any]] = []
        self._open: pq.ParquetWriter | None = None

    def add(self, pairs: Iterable[dict[str, Any]]) -> None:
        for pair in pairs:
            if self._rows and (len(self._rows) == ROW_GROUP_DOCUMENTS or self._bytes + _size(pair) > ROW_GROUP_BYTES):
                self._write()
            self._rows.append(pair)
            self._bytes += _size(pair)

    def close(self) -> dict[str, Any]:
        """Give the shards their names, and return what the split holds."""
        self._write()
        if self._open:
            self._open.close()
        for number, shard in enumerate(self._shards):
            file = f"{self._split}-{number:05d}-of-{len(self._shards):05d}.parquet"
            (self._folder / shard["file"]).rename(self._folder / file)
            shard["file"] = file
        return {
            **{name: sum(shard[name] for shard in self._shards) for name in ("documents", "bytes")},
            "characters": self._characters,
            "repositories": len(self._repositories),
            "repository_names": sorted(self._repositories),
            "shards": self._shards,
        }

    def _write(self) -> None:
        if not self._rows:
            return
        if self._open is None:
            self._open = self._new_shard()
        self._open.write_table(pa.Table.from_pylist(self._rows, SCHEMA), row_group_size=len(self._rows))
        shard = self._shards[-1]
        shard["documents"] += len(self._rows)
        shard["bytes"] += sum(pair[SIZE] for pair in self._rows)
        self._characters += sum(len(pair[CONTENT]) for pair in self._rows)
        self._repositories.update(pair[REPO_NAME] for pair in self._rows)
        if shard["bytes"] >= self._shard_bytes:
            self._open.close()
            self._open = None
        self._rows, self._bytes = [], 0

    def _new_shard(self) -> pq.ParquetWriter:
        self._shards.append({"file": f".{self._split}-{len(self._shards)}", "documents": 0, "bytes": 0})
        names: Any = [REPO_NAME, PATH, LICENSE]
        options: dict[str, Any] = {"use_dictionary": names, "write_statistics": [*names, NAME, *NUMBERS]}
        return pq.ParquetWriter(
            self._folder / self._shards[-1]["file"], SCHEMA, compression="zstd", write_page_checksum=True, **options
        )


def _size(pair: dict[str, Any]) -> int:
    return pair[SIZE] + len(pair[DOCSTRING])
