"""Shards: parts of the data that can be entered at any block.

A shard reads blocks of documents by a position in its own unit (a row, a byte), which is all that the stream's state says of
it. Where there are fewer files than lanes, files are cut: Parquet into ranges of rows (a lane decodes its own row groups),
JSONL into ranges of bytes, a window file into ranges of windows. A compressed JSONL file can only be read from its start: its
lanes stride over the lines and parse their own; entering it late costs the time to decompress what comes before.
"""

import io
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

from codeparrot.errors import CodeparrotError


class Block(NamedTuple):
    items: Sequence[Any]
    """Documents (str), or windows (arrays)."""
    following: int | None
    """Position of the next block; None at the end of the shard."""


class Shard(ABC):
    """A deterministic sequence of items. Not for several threads at once."""

    seekable = True
    """Whether a block in the middle costs no more than the first."""
    packed = False
    """Whether the items are windows of tokens; else they are documents."""

    @abstractmethod
    def read(self, position: int, num_items: int) -> Block:
        """Return the next `num_items` items, or fewer at the end. The first position is 0."""

    @abstractmethod
    def cut(self, parts: int) -> "list[Shard]":
        """Return `parts` shards that together hold exactly the items of this one."""

    @property
    @abstractmethod
    def identity(self) -> str:
        """What tells this data from other data, wherever it lies: positions are only true of the same data."""

    @property
    def num_items(self) -> int | None:
        """Number of items, where it is known without reading them."""
        return None

    def close(self) -> None:
        """Give back what is open; `read` opens it again."""


def file_identity(path: str | Path) -> str:
    """Return name and size of a local file, or the whole address of a remote one."""
    return str(path) if "://" in str(path) else f"{Path(path).name}:{Path(path).stat().st_size}"


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


class JsonlShard(Shard):
    """The lines of an uncompressed JSONL file that begin in bytes `start` to `stop`. Position: bytes from the first line."""

    def __init__(self, path: str, column: str, start: int = 0, stop: int | None = None) -> None:
        self.path, self.column, self.start, self.stop = path, column, start, stop
        self._file: IO[bytes] | None = None
        self._first = 0

    def _open(self) -> IO[bytes]:
        if self._file is None:
            self._file = Path(self.path).open("rb")
            self._first = self.start
            if self.start:
                # A line belongs to the part in which it begins: the rest of the line before is the previous part's.
                self._file.seek(self.start - 1)
                self._file.readline()
                self._first = self._file.tell()
        return self._file

    def read(self, position: int, num_items: int) -> Block:
        file = self._open()
        end = file.seek(0, 2) if self.stop is None else self.stop
        file.seek(self._first + position)
        texts: list[str] = []
        while len(texts) < num_items and (offset := file.tell()) < end:
            line = file.readline()
            if line.strip():
                texts.append(_text_of(line, self.column, f"{self.path} at byte {offset}"))
        here = file.tell()
        return Block(texts, None if here >= end else here - self._first)

    @property
    def identity(self) -> str:
        return file_identity(self.path)

    def cut(self, parts: int) -> list[Shard]:
        size = Path(self.path).stat().st_size
        bounds = [size * part // parts for part in range(parts + 1)]
        return [JsonlShard(self.path, self.column, *bounds[part : part + 2]) for part in range(parts)]

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file = None


class SequentialShard(Shard):
    """Every `stride`-th item of a sequence that is read from its start, from item `offset` on. Position: own items."""

    seekable = False

    def __init__(self, path: str, column: str, offset: int = 0, stride: int = 1) -> None:
        self.path, self.column, self.offset, self.stride = path, column, offset, stride
        self._rest: Iterator[Any] | None = None
        self._position = 0

    @abstractmethod
    def iterate(self) -> Iterator[Any]:
        """Yield this shard's own raw items, from the first."""

    @abstractmethod
    def text(self, item: Any) -> str:
        """Return the document of a raw item."""

    def read(self, position: int, num_items: int) -> Block:
        if self._rest is None or self._position != position:
            self._rest, self._position = self.iterate(), 0
            while self._position < position and next(self._rest, None) is not None:
                self._position += 1
        texts: list[str] = []
        for item in self._rest:
            texts.append(self.text(item))
            if len(texts) == num_items:
                break
        self._position = position + len(texts)
        return Block(texts, self._position if len(texts) == num_items else None)

    @property
    def identity(self) -> str:
        return file_identity(self.path)

    def cut(self, parts: int) -> list[Shard]:
        return [type(self)(self.path, self.column, part, parts) for part in range(parts)]

    def close(self) -> None:
        self._rest = None


class CompressedJsonlShard(SequentialShard):
    """A .jsonl.gz or .jsonl.zst file."""

    def iterate(self) -> Iterator[tuple[int, bytes]]:
        with open_compressed(self.path) as file:
            for number, line in enumerate(line for line in file if line.strip()):
                if number % self.stride == self.offset:
                    yield number, line

    def text(self, item: tuple[int, bytes]) -> str:
        return _text_of(item[1], self.column, f"{self.path}, document {item[0]}")


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


def open_compressed(path: str) -> io.BufferedIOBase:
    """Open a gzip or zstandard file for reading by lines."""
    if path.endswith(".gz"):
        import gzip

        return gzip.open(path, "rb")
    import zstandard

    raw = zstandard.ZstdDecompressor().stream_reader(Path(path).open("rb"), closefd=True)
    return io.BufferedReader(raw, 1 << 20)  # type: ignore[arg-type]


def _text_of(line: bytes, column: str, where: str) -> str:
    try:
        record = json.loads(line)
    except ValueError as error:
        raise CodeparrotError(f"{where} is not JSON ({error}); repair or remove that line") from error
    return text_in(record, column, where)


def text_in(record: Any, column: str, where: str) -> str:
    """Return the text of a record; null is an empty document.

    Raises:
        CodeparrotError: the record has no such column, or it is no text.
    """
    if not isinstance(record, dict) or column not in record:
        known = ", ".join(record) if isinstance(record, dict) else type(record).__name__
        raise CodeparrotError(f'{where} has no "{column}"; set stream.text_column to one of: {known}')
    value = record[column]
    if value is not None and not isinstance(value, str):
        raise CodeparrotError(f'{where}: "{column}" is {type(value).__name__}, not text')
    return _without_lone_surrogates(value or "")


def _without_lone_surrogates(text: str) -> str:
    """JSON can spell half of a surrogate pair, which is no character and cannot be encoded: U+FFFD stands for it."""
    try:
        text.encode()
        return text
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
