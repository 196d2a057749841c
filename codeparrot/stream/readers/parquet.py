"""Parquet files, here or on a remote file system, by row group.

From a remote file only the footer and the requested columns are fetched. Memory: the columns of one row group, or one batch of
rows if they are read in batches. Pages that were written with a checksum, as those of `codeparrot corpus build`, are compared
with it; in others Arrow notices a changed bit only where it makes them unreadable.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from codeparrot.errors import CodeparrotError
from codeparrot.location import ON_HUB
from codeparrot.stream.readers import ranges
from codeparrot.stream.readers.rows import (
    COLUMN_SETTING,
    Damaged,
    Place,
    WholeFile,
    is_remote,
    no_column,
    not_text,
    reason,
    unreadable,
)

MAGIC = b"PAR1"


class BrokenRow(NamedTuple):
    """A row with a value that Python cannot hold, such as a string that is not UTF-8."""

    values: dict[str, Any]
    """Its values as Arrow's scalars."""


class Table:
    """An open Parquet file. Close it, or use it in a `with` statement.

    Raises:
        Damaged: here or while reading: the file, or a row group, is damaged.
        CodeparrotError: it cannot be read for another reason.
    """

    def __init__(self, file: str) -> None:
        self.file = file
        self._table: Any = None
        self._raw: Any = None
        try:
            self._table = self._opened()
        except self._failures as error:
            self.close()
            raise unreadable(WholeFile(file), error, kind=" as Parquet") from error
        self.metadata = self._table.metadata
        self.schema = self._table.schema_arrow
        self.bounds = [0]
        """Row group i holds rows bounds[i] to bounds[i + 1]."""
        for index in range(self.metadata.num_row_groups):
            self.bounds.append(self.bounds[-1] + self.metadata.row_group(index).num_rows)

    def __enter__(self) -> "Table":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def num_groups(self) -> int:
        return len(self.bounds) - 1

    def require_text(self, column: str, setting: str = COLUMN_SETTING, or_bytes: bool = False) -> None:
        """Raise CodeparrotError if the file has no such column, or the column does not hold text.

        Args:
            column: its name.
            setting: the flag that names it.
            or_bytes: whether bytes will do.
        """
        if column not in self.schema.names:
            raise CodeparrotError(no_column(self.file, column, self.schema.names, setting))
        kind = self.schema.field(column).type
        if not (_is_text(kind) or (or_bytes and _is_bytes(kind))):
            raise CodeparrotError(not_text(self.file, column, str(kind), setting))

    def column_bytes(self, group: int) -> dict[str, int]:
        """Return the uncompressed size of each column of a row group."""
        facts = self.metadata.row_group(group)
        leaves = [facts.column(index) for index in range(facts.num_columns)]
        return {
            name: sum(leaf.total_uncompressed_size for leaf in leaves if f"{leaf.path_in_schema}.".startswith(f"{name}."))
            for name in self.schema.names
        }

    def read(self, group: int, columns: Sequence[str]) -> Any:
        """Return columns of a row group as an Arrow table."""
        try:
            rows = self._table.read_row_group(group, columns=list(columns), use_threads=False)
            if columns and len(rows) != self.num_rows(group):
                raise ValueError(f"it holds {len(rows)} rows instead of {self.num_rows(group)}")
            return rows
        except self._failures as error:
            raise unreadable(Place("row group", group, self.file), error, self.num_rows(group)) from error

    def ahead(self, group: int, column: str) -> "ranges.Ahead | None":
        """Begin to fetch a column of a row group of a file at an address; see `give`."""
        facts = self.metadata.row_group(group)
        own = next(each for each in map(facts.column, range(facts.num_columns)) if each.path_in_schema == column)
        start = own.data_page_offset if own.dictionary_page_offset is None else own.dictionary_page_offset
        return ranges.ahead(self.file, start, start + own.total_compressed_size)

    def give(self, ahead: "ranges.Ahead | None") -> None:
        """Take what `ahead` has fetched, for the next `read`."""
        self._raw.give(ahead)

    def num_rows(self, group: int) -> int:
        return self.bounds[group + 1] - self.bounds[group]

    def texts_at(self, group: int, column: Any, rows: Sequence[int]) -> list[str | Damaged]:
        """Return the documents in some rows of the file, all in the row group whose column is given; see `texts_of`."""
        # Not Arrow's `take`, for which pyarrow would load all of its functions.
        first = self.bounds[group]
        return texts_of([column[row - first] for row in rows], rows, self.file)

    def texts(self, group: int, column: str, num_rows: int = 256) -> Iterator[str]:
        """Yield the texts of a row group, holding `num_rows` at once; null is an empty one."""
        for text in self.marked_texts(group, column, num_rows):
            if isinstance(text, Damaged):
                raise text
            yield text

    def marked_texts(self, group: int, column: str, num_rows: int) -> Iterator[str | Damaged]:
        """Yield what `texts` does; a row, or the rest of the row group, that is damaged comes as `Damaged`."""
        row = self.bounds[group]
        try:
            for batch in self._table.iter_batches(num_rows, row_groups=[group], columns=[column], use_threads=False):
                yield from texts_of(batch.column(0), range(row, row + len(batch)), self.file)
                row += len(batch)
        except self._failures as error:
            fault = unreadable(Place("row group", group, self.file), error, self.bounds[group + 1] - row)
            if not isinstance(fault, Damaged):
                raise fault from error
            yield fault

    def close(self) -> None:
        for each in (self._table, self._raw):
            if each is not None:
                each.close()

    def _opened(self) -> Any:
        import pyarrow as pa
        import pyarrow.parquet as pq

        if not is_remote(self.file):
            return pq.ParquetFile(self.file, page_checksum_verification=True)
        # With the name of the format in front, the footer alone is a file to Arrow.
        footer = pq.read_metadata(pa.BufferReader(MAGIC + ranges.end_of(self.file)))
        if self.file.startswith(ON_HUB):
            import fsspec

            filesystem, inside = fsspec.url_to_fs(self.file)
            # No cache: it would fetch more than the column of a row group that a request asks for.
            self._raw = filesystem.open(inside, "rb", cache_type="none")
        else:
            self._raw = ranges.File(self.file)
        # No buffering ahead: Arrow's threads would call Python for it, and such a call while the interpreter ends aborts the
        # process.
        return pq.ParquetFile(self._raw, metadata=footer, pre_buffer=False, page_checksum_verification=True)

    @property
    def _failures(self) -> tuple[type[BaseException], ...]:
        """Return what reading the file may raise."""
        import pyarrow as pa

        if not self.file.startswith(ON_HUB):
            return OSError, ValueError, pa.ArrowException
        from huggingface_hub.errors import HTTPError  # pyright: ignore[reportPrivateImportUsage] (of the client that it uses)

        return OSError, ValueError, pa.ArrowException, HTTPError


def texts_of(column: Iterable[Any], rows: Sequence[int], file: str) -> list[str | Damaged]:
    """Return Arrow's strings, a column or single ones, which are those rows of the file, as documents; null is an empty one.

    A text that is not UTF-8, which Arrow does not check, is `Damaged`.
    """
    try:
        return [value.as_py() or "" for value in column]
    except UnicodeDecodeError:
        return [_text_of(value, Place("row", row, file)) for value, row in zip(column, rows, strict=True)]


def _text_of(value: Any, where: Place) -> str | Damaged:
    try:
        return value.as_py() or ""
    except UnicodeDecodeError as error:
        return Damaged(where, f"{{}} holds bytes that are not UTF-8 ({reason(error)}); mend or remove that row")


def values_of(row: Any) -> dict[str, Any]:
    """Return a table of one row as Python values; one that Python cannot hold becomes a text that says so."""
    return {name: _value_of(row.column(name)[0]) for name in row.schema.names}


def _value_of(value: Any) -> Any:
    try:
        return value.as_py()
    except (ValueError, OverflowError):  # a text that is not UTF-8, a day beyond Python's calendar
        return f"a {value.type} that cannot be read"


def rows_of(batch: Any) -> list[dict[str, Any] | BrokenRow]:
    """Return the rows of an Arrow batch as Python values."""
    try:
        return batch.to_pylist()
    except (ValueError, OverflowError):
        if len(batch) == 1:
            return [BrokenRow({name: batch.column(name)[0] for name in batch.schema.names})]
    return [row for index in range(len(batch)) for row in rows_of(batch.slice(index, 1))]


def _is_text(kind: Any) -> bool:
    from pyarrow import types

    if types.is_dictionary(kind):
        return _is_text(kind.value_type)
    return types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)


def _is_bytes(kind: Any) -> bool:
    from pyarrow import types

    if types.is_dictionary(kind):
        return _is_bytes(kind.value_type)
    return types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind)
