"""Parquet files as shards: a lane decodes only the row groups that hold its rows."""

import sys
from bisect import bisect_right
from collections.abc import Sequence
from itertools import groupby, islice
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

from codeparrot.location import ON_HUB, is_address
from codeparrot.stream.decoded import Decoded, Key
from codeparrot.stream.readers import ranges
from codeparrot.stream.readers.parquet import Table, texts_of, values_of
from codeparrot.stream.readers.rows import Damaged
from codeparrot.stream.shards import BYTES_PER_TOKEN, Block, Shard, described, file_identity, num_parts

LIGHT_BYTES = 4096
"""Columns with more bytes per row than this are not read to describe a document."""
MOST_DECODES = 8
"""A row group is spread over at most so many parts, each of which decodes all of it."""
MOST_AHEAD = 64
"""Row groups of a part that are fetched ahead."""


class ParquetShard(Shard):
    """Rows `start` to `stop` of a Parquet file. Position: rows from `start`."""

    def __init__(self, path: str, column: str, start: int = 0, stop: int | None = None) -> None:
        self.path, self.column, self.start, self.stop = path, column, start, stop
        self._table: Table | None = None
        self._group: tuple[int, Any] = (-1, None)
        """The last row group: its number, and its column of text, or the `Damaged` that it is."""
        self.decoded: Decoded | None = None
        """Where row groups are kept for other readers of the file, if anywhere."""
        self._others: dict[str, ParquetShard] = {}
        self._aheads: WeakValueDictionary[int, ranges.Ahead] = WeakValueDictionary()
        """What is being fetched of row groups, as long as a part of the file wants it."""
        self._kept: list[ranges.Ahead] = []

    def _open(self) -> Table:
        if self._table is None:
            table = Table(self.path)
            table.require_text(self.column, self.column_setting)
            self._table = table
        return self._table

    def check(self) -> None:
        if not self.path.startswith(ON_HUB):
            self._open()

    def ahead(self, position: int, num_items: int) -> None:
        if is_address(self.path):
            first = self.start + position
            last = min(first + num_items, sys.maxsize if self.stop is None else self.stop)
            bounds = self._open().bounds
            groups = range(len(bounds) - 1)
            wanted = (group for group in groups if max(first, bounds[group]) < min(last, bounds[group + 1]))
            self._kept = [each for group in islice(wanted, MOST_AHEAD) if (each := self.fetched(group)) is not None]

    def fetched(self, group: int) -> ranges.Ahead | None:
        """Begin to fetch the text of a row group, once for all who ask for it."""
        if self._group[0] == group or (self.decoded and self._key(group) in self.decoded):
            return None
        found = self._aheads.get(group)
        if found is None and (found := self._open().ahead(group, self.column)) is not None:
            self._aheads[group] = found
        return found

    def read_marked(self, position: int, num_items: int) -> Block:
        try:
            bounds = self._open().bounds
        except Damaged as damaged:
            return Block([damaged.bare()], None)
        end = bounds[-1] if self.stop is None else self.stop
        first, last = self.start + position, min(self.start + position + num_items, end)
        texts: list[str | Damaged] = []
        for group in range(len(bounds) - 1):
            low, high = max(first, bounds[group]), min(last, bounds[group + 1])
            if low < high:
                column = self._row_group(group)
                if isinstance(column, Damaged):
                    texts.extend([column] * (high - low))
                else:
                    texts.extend(texts_of(column.slice(low - bounds[group], high - low), range(low, high), self.path))
        return Block(texts, None if last >= end else position + num_items)

    def spread(self, num_tokens: int) -> list[Shard]:
        if self.path.startswith(ON_HUB):
            return [self]  # a part of a remote row group costs the transfer of all of it
        try:
            table = self._open()
        except Damaged:
            return [self]
        wanted, end = num_tokens * BYTES_PER_TOKEN, table.bounds[-1] if self.stop is None else self.stop
        places: list[list[Rows]] = []
        gathered: list[Rows] = []
        gathered_bytes = 0
        for group in range(table.num_groups):
            low, high = max(self.start, table.bounds[group]), min(end, table.bounds[group + 1])
            if low >= high:
                continue
            share = (high - low) / (table.bounds[group + 1] - table.bounds[group])
            size, rows = round(share * table.column_bytes(group)[self.column]), range(low, high)
            stride = min(num_parts(size, wanted), max(1, round(share * MOST_DECODES)), high - low)
            if stride > 1:
                places += [[Rows(group, rows[first::stride])] for first in range(stride)]
                continue
            # Small row groups make a place together.
            gathered, gathered_bytes = [*gathered, Rows(group, rows)], gathered_bytes + size
            if gathered_bytes >= wanted:
                places.append(gathered)
                gathered, gathered_bytes = [], 0
        self.close()
        return [RowsShard(self, place) for place in (*places, *([gathered] if gathered else []))]

    def describe(self, position: int, indexes: Sequence[int]) -> list[dict[str, Any]]:
        return self.describe_rows([self.start + position + index for index in indexes])

    def describe_rows(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        """Return what `describe` returns, for rows of the whole file."""
        table = self._open()
        found: dict[int, dict[str, Any]] = {}
        for group in range(table.num_groups):
            low, high = table.bounds[group : group + 2]
            inside = [row for row in rows if low <= row < high]
            names = self._light_columns(group) if inside else []
            if names:
                columns = table.read(group, names)
                found.update((row, values_of(columns.slice(row - low, 1))) for row in inside)
        return [described({"file": self.path, "row": row}, found.get(row, {}), self.column) for row in rows]

    def texts_at(self, rows: Sequence[int]) -> list[str | Damaged]:
        """Return the texts of some rows of the whole file, ascending."""
        try:
            bounds = self._open().bounds
        except Damaged as damaged:
            return [damaged.bare()] * len(rows)
        by_group = groupby(rows, lambda row: bisect_right(bounds, row) - 1)
        return [text for group, own in by_group for text in self.texts_of(Rows(group, list(own)))]

    def describe_at(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        return self.describe_rows(rows)

    def texts_of(self, rows: "Rows") -> list[str | Damaged]:
        """Return the texts of some rows."""
        column = self._row_group(rows.group)
        return [column] * len(rows.rows) if isinstance(column, Damaged) else self._texts_at(rows, column)

    def _texts_at(self, rows: "Rows", column: Any) -> list[str | Damaged]:
        try:
            return self._open().texts_at(rows.group, column, rows.rows)
        except Damaged as damaged:
            return [damaged.bare()] * len(rows.rows)

    def _light_columns(self, group: int) -> list[str]:
        """Return the names of the columns, the text aside, that cost little to read."""
        table = self._open()
        most = LIGHT_BYTES * (table.bounds[group + 1] - table.bounds[group])
        return [name for name, size in table.column_bytes(group).items() if name != self.column and size <= most]

    def fresh(self) -> "ParquetShard":
        return ParquetShard(self.path, self.column, self.start, self.stop)

    def of_column(self, column: str, setting: str) -> "ParquetShard":
        # One for all parts of the file: they share its row groups.
        if column not in self._others:
            self._others[column] = other = self.fresh()
            other.column, other.column_setting = column, setting
        return self._others[column]

    def _row_group(self, group: int) -> Any:
        """Return a decoded row group, or the `Damaged` that it is; the last one is kept, since blocks follow each other."""
        if self._group[0] != group:
            try:
                self._group = (group, self._decoded(group))
            except Damaged as damaged:
                self._group = (group, damaged.bare())
        return self._group[1]

    def _decoded(self, group: int) -> Any:
        table = self._open()
        if self.decoded and (kept := self.decoded.get(self._key(group))) is not None:
            return kept
        if is_address(self.path):
            table.give(self._aheads.pop(group, None))
        column = table.read(group, [self.column]).column(0)
        if self.decoded:
            self.decoded.keep(self._key(group), column)
        return column

    def _key(self, group: int) -> Key:
        return self.path, self.column, group

    @property
    def identity(self) -> str:
        return file_identity(self.path)

    @property
    def num_items(self) -> int:
        if self.stop is None:
            try:
                return self._open().bounds[-1] - self.start
            except Damaged:
                return 0
        return self.stop - self.start

    def cut(self, parts: int) -> list[Shard]:
        if parts == 1:
            return [self]
        try:
            rows = self._open().bounds[-1]
        except Damaged:
            return [self.fresh() for _ in range(parts)]  # each of them is the whole damage, and nothing else
        self.close()
        bounds = [rows * part // parts for part in range(parts + 1)]
        return [ParquetShard(self.path, self.column, *bounds[part : part + 2]) for part in range(parts)]

    def close(self) -> None:
        if self._table is not None:
            self._table.close()
        self._table, self._group, self._kept = None, (-1, None), []


class Rows(NamedTuple):
    """Some rows of a row group, counted in the whole file."""

    group: int
    rows: Sequence[int]


class RowsShard(Shard):
    """Some rows of a file. It is read whole, and decodes all of the row groups that hold them.

    The file stays open, and its last row group decoded, until one of its parts is closed: several may be read in turn.
    """

    whole = True

    def __init__(self, file: ParquetShard, rows: Sequence[Rows]) -> None:
        self.file, self.rows = file, rows
        self._kept: list[ranges.Ahead] = []

    def ahead(self, position: int, num_items: int) -> None:
        if is_address(self.file.path):
            wanted = [rows.group for rows in self.rows[:MOST_AHEAD]]
            self._kept = [each for group in wanted if (each := self.file.fetched(group)) is not None]

    def read_marked(self, position: int, num_items: int) -> Block:
        texts = [text for rows in self.rows for text in self.file.texts_of(rows)][position:]
        self._kept = []
        return Block(texts[:num_items], position + num_items if len(texts) > num_items else None)

    def cut(self, parts: int) -> list[Shard]:
        return [RowsShard(self.file, [Rows(group, rows[part::parts]) for group, rows in self.rows]) for part in range(parts)]

    def describe(self, position: int, indexes: Sequence[int]) -> list[dict[str, Any]]:
        rows = [row for each in self.rows for row in each.rows]
        return self.file.describe_rows([rows[position + index] for index in indexes])

    def fresh(self) -> Shard:
        return RowsShard(self.file.fresh(), self.rows)

    def of_column(self, column: str, setting: str) -> Shard:
        return RowsShard(self.file.of_column(column, setting), self.rows)

    @property
    def identity(self) -> str:
        return self.file.identity

    @property
    def num_items(self) -> int:
        return sum(len(rows) for _, rows in self.rows)

    def close(self) -> None:
        self._kept = []
        self.file.close()
