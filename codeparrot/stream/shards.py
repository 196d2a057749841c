"""Shards: parts of the data that can be entered at any block.

A shard reads blocks of documents by a position in its own unit (a row, a byte), which is all that the stream's state says of
it. Where there are fewer files than lanes, files are cut: Parquet into ranges of rows (a lane decodes its own row groups),
JSONL into ranges of bytes, a window file into ranges of windows. A compressed JSONL file can only be read from its start: its
lanes stride over the lines and parse their own; entering it late costs the time to decompress what comes before.
"""

import io
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
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

    @abstractmethod
    def describe(self, position: int, indexes: Sequence[int]) -> list[dict[str, Any]]:
        """Return where items `indexes` of the block at `position` lie, and what else is known of them.

        `file` and one of `row`, `byte`, `window` are the place, counted from 0 in the whole file; the rest are the document's
        columns but for its text, as they are stored.
        """

    @abstractmethod
    def fresh(self) -> "Shard":
        """Return the same shard with nothing open, for another thread."""

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


class JsonlShard(Shard):
    """The lines of an uncompressed JSONL file that begin in bytes `start` to `stop`. Position: bytes from the first line."""

    def __init__(self, path: str, column: str, start: int = 0, stop: int | None = None) -> None:
        self.path, self.column, self.start, self.stop = path, column, start, stop
        self._file: IO[bytes] | None = None
        self._first = self._end = 0

    def _open(self) -> IO[bytes]:
        if self._file is None:
            self._file = Path(self.path).open("rb")
            self._first = self.start
            self._end = self._file.seek(0, io.SEEK_END) if self.stop is None else self.stop
            if self.start:
                # A line belongs to the part in which it begins: the rest of the line before is the previous part's.
                self._file.seek(self.start - 1)
                self._file.readline()
                self._first = self._file.tell()
        return self._file

    def read(self, position: int, num_items: int) -> Block:
        file = self._open()
        lines = islice(self._lines(position), num_items)
        texts = [_text_of(line, self.column, f"{self.path} at byte {offset}") for offset, line in lines]
        here = file.tell()
        return Block(texts, None if here >= self._end else here - self._first)

    def _lines(self, position: int) -> Iterator[tuple[int, bytes]]:
        """Yield the lines from `position` on, with the byte at which they begin; blank ones are no documents."""
        file = self._open()
        file.seek(self._first + position)
        while (offset := file.tell()) < self._end:
            line = file.readline()
            if line.strip():
                yield offset, line

    def describe(self, position: int, indexes: Sequence[int]) -> list[dict[str, Any]]:
        lines = list(islice(self._lines(position), max(indexes) + 1))
        return [
            described({"file": self.path, "byte": offset}, _parsed(line, f"{self.path} at byte {offset}"), self.column)
            for offset, line in (lines[index] for index in indexes)
        ]

    def fresh(self) -> Shard:
        return JsonlShard(self.path, self.column, self.start, self.stop)

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

    @property
    def source(self) -> str:
        """What the numbers of items count in."""
        return self.path

    @abstractmethod
    def iterate(self) -> Iterator[Any]:
        """Yield this shard's own raw items, from the first."""

    @abstractmethod
    def text(self, item: Any) -> str:
        """Return the document of a raw item."""

    @abstractmethod
    def record(self, item: Any) -> Mapping[str, Any]:
        """Return all columns of a raw item."""

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

    def describe(self, position: int, indexes: Sequence[int]) -> list[dict[str, Any]]:
        wanted = {position + index for index in indexes}
        kept = {number: item for number, item in enumerate(islice(self.iterate(), max(wanted) + 1)) if number in wanted}
        return [
            described({"file": self.source, "row": self.offset + number * self.stride}, self.record(kept[number]), self.column)
            for number in (position + index for index in indexes)
        ]

    def fresh(self) -> Shard:
        return type(self)(self.path, self.column, self.offset, self.stride)

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

    def record(self, item: tuple[int, bytes]) -> Mapping[str, Any]:
        return _parsed(item[1], f"{self.path}, document {item[0]}")


def open_compressed(path: str) -> io.BufferedIOBase:
    """Open a gzip or zstandard file for reading by lines."""
    if path.endswith(".gz"):
        import gzip

        return gzip.open(path, "rb")
    import zstandard

    raw = zstandard.ZstdDecompressor().stream_reader(Path(path).open("rb"), closefd=True)
    return io.BufferedReader(raw, 1 << 20)  # type: ignore[arg-type]


def described(place: dict[str, Any], record: Mapping[str, Any], column: str) -> dict[str, Any]:
    """Return the place of a document and its columns but for the text; a column that is named like a place is left out."""
    return {**place, **{name: value for name, value in record.items() if name != column and name not in place}}


def _text_of(line: bytes, column: str, where: str) -> str:
    return text_in(_parsed(line, where), column, where)


def _parsed(line: bytes, where: str) -> Any:
    try:
        return json.loads(line)
    except ValueError as error:
        raise CodeparrotError(f"{where} is not JSON ({error}); repair or remove that line") from error


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
    return without_lone_surrogates(value or "")


def without_lone_surrogates(text: str) -> str:
    """JSON can spell half of a surrogate pair, which is no character and cannot be encoded: U+FFFD stands for it."""
    try:
        text.encode()
        return text
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
