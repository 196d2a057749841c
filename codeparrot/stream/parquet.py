"""Parquet files as shards: a lane decodes only the row groups that its rows lie in."""

from collections.abc import Sequence
from typing import Any

from codeparrot.errors import CodeparrotError
from codeparrot.stream.shards import Block, Shard, described, file_identity

LIGHT_BYTES = 4096
"""A column of a Parquet file with more bytes a row than this is not read to describe a document."""


class ParquetShard(Shard):
    """Rows `start` to `stop` of a Parquet file. Position: rows from `start`."""

    def __init__(self, path: str, column: str, start: int = 0, stop: int | None = None) -> None:
        self.path, self.column, self.start, self.stop = path, column, start, stop
        self._file: Any = None
        self._bounds: list[int] = []
        self._group: tuple[int, Any] = (-1, None)

    def _open(self) -> Any:
        if self._file is None:
            self._file = open_parquet(self.path)
            schema = self._file.schema_arrow
            if self.column not in schema.names:
                raise CodeparrotError(
                    f'{self.path} has no column "{self.column}"; set stream.text_column to one of {", ".join(schema.names)}'
                )
            self._bounds = [0]
            for index in range(self._file.num_row_groups):
                self._bounds.append(self._bounds[-1] + self._file.metadata.row_group(index).num_rows)
        return self._file

    def read(self, position: int, num_items: int) -> Block:
        self._open()
        end = self._bounds[-1] if self.stop is None else self.stop
        first, last = self.start + position, min(self.start + position + num_items, end)
        texts: list[str] = []
        for group in range(len(self._bounds) - 1):
            low, high = max(first, self._bounds[group]), min(last, self._bounds[group + 1])
            if low < high:
                rows = self._row_group(group).slice(low - self._bounds[group], high - low)
                texts.extend(text if text is not None else "" for text in rows.to_pylist())
        return Block(texts, None if last >= end else position + num_items)

    def describe(self, position: int, indexes: Sequence[int]) -> list[dict[str, Any]]:
        self._open()
        rows = [self.start + position + index for index in indexes]
        found: dict[int, dict[str, Any]] = {}
        for group in range(len(self._bounds) - 1):
            low, high = self._bounds[group : group + 2]
            inside = [row for row in rows if low <= row < high]
            names = self._light_columns(group) if inside else []
            if names:
                table = self._file.read_row_group(group, columns=names, use_threads=False)
                found.update(zip(inside, table.take([row - low for row in inside]).to_pylist(), strict=True))
        return [described({"file": self.path, "row": row}, found.get(row, {}), self.column) for row in rows]

    def _light_columns(self, group: int) -> list[str]:
        """Names of the columns beside the text that cost little to read."""
        facts = self._file.metadata.row_group(group)
        leaves = [facts.column(index) for index in range(facts.num_columns)]
        sizes = {
            name: sum(leaf.total_uncompressed_size for leaf in leaves if f"{leaf.path_in_schema}.".startswith(f"{name}."))
            for name in self._file.schema_arrow.names
        }
        return [name for name, size in sizes.items() if name != self.column and size <= LIGHT_BYTES * facts.num_rows]

    def fresh(self) -> Shard:
        return ParquetShard(self.path, self.column, self.start, self.stop)

    def _row_group(self, group: int) -> Any:
        """One row group is kept decoded: blocks follow each other."""
        if self._group[0] != group:
            table = self._open().read_row_group(group, columns=[self.column], use_threads=False)
            self._group = (group, table.column(0))
        return self._group[1]

    @property
    def identity(self) -> str:
        return file_identity(self.path)

    @property
    def num_items(self) -> int:
        if self.stop is None:
            return self._open().metadata.num_rows - self.start
        return self.stop - self.start

    def cut(self, parts: int) -> list[Shard]:
        if parts == 1:
            return [self]
        rows = self._open().metadata.num_rows
        self.close()
        bounds = [rows * part // parts for part in range(parts + 1)]
        return [ParquetShard(self.path, self.column, *bounds[part : part + 2]) for part in range(parts)]

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file, self._group = None, (-1, None)


def open_parquet(path: str) -> Any:
    """Open a Parquet file: a local one, or one of a remote file system (hf://...), of which only needed ranges are read."""
    import pyarrow.parquet as parquet

    try:
        if "://" not in path:
            return parquet.ParquetFile(path, memory_map=True)
        import fsspec

        filesystem, inside = fsspec.url_to_fs(path)
        return parquet.ParquetFile(filesystem.open(inside, "rb"))
    except (ValueError, OSError) as error:
        raise CodeparrotError(f"cannot read {path}: {' '.join(str(error).split())}") from error
