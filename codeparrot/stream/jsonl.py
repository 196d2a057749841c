"""JSON lines as shards: ranges of bytes of a plain file, every so many lines of a packed one."""

import io
from collections.abc import Iterator, Sequence
from itertools import islice, pairwise
from pathlib import Path
from typing import IO, Any

from codeparrot.errors import CodeparrotError
from codeparrot.stream.readers import jsonl
from codeparrot.stream.readers.jsonl import is_blank, lines, parsed
from codeparrot.stream.readers.rows import Damaged, LineAt, reason, text_in, unreadable
from codeparrot.stream.readers.sizes import size_of
from codeparrot.stream.shards import BYTES_PER_TOKEN, Block, SequentialShard, Shard, described, file_identity, num_parts


class JsonlShard(Shard):
    """The lines that begin in bytes `start` to `stop` of an uncompressed JSONL file. Position: bytes from the first line."""

    def __init__(self, path: str, column: str, start: int = 0, stop: int | None = None, whole: bool = False) -> None:
        self.path, self.column, self.start, self.stop, self.whole = path, column, start, stop, whole
        self._file: IO[bytes] | None = None
        self._first = self._end = 0

    def _open(self) -> IO[bytes]:
        if self._file is None:
            self._file = self._opened()
            self._first = self.start
            self._end = self._file.seek(0, io.SEEK_END) if self.stop is None else self.stop
            if self.start:
                # A line belongs to the part in which it begins: skip the rest of the previous part's last line.
                self._file.seek(self.start - 1)
                self._file.readline(self._end - self.start + 1)  # no further, where a line is longer than the part
                self._first = self._file.tell()
        return self._file

    def _opened(self) -> IO[bytes]:
        try:
            return Path(self.path).open("rb")
        except OSError as error:
            remedy = "check that it is there and its permissions"
            raise CodeparrotError(f"cannot read {self.path}: {reason(error)}; {remedy}") from error

    def read_marked(self, position: int, num_items: int) -> Block:
        file = self._open()
        texts = [self._text(offset, line) for offset, line in islice(self.lines(position), num_items)]
        here = file.tell()
        return Block(texts, None if here >= self._end else here - self._first)

    def check(self) -> None:
        jsonl.require_text(self.path, self.column, self.column_setting)

    def _text(self, offset: int, line: bytes) -> str | Damaged:
        where = LineAt(self.path, offset)
        try:
            return text_in(parsed(line, where), self.column, where, self.column_setting)
        except Damaged as damaged:
            return damaged.bare()

    def lines(self, position: int) -> Iterator[tuple[int, bytes]]:
        """Yield the lines from `position` on, each with the byte at which it begins. Blank lines are skipped."""
        file = self._open()
        file.seek(self._first + position)
        while (offset := file.tell()) < self._end:
            try:
                line = file.readline()
            except OSError as error:
                raise unreadable(LineAt(self.path, offset), error) from error
            if not line:
                raise CodeparrotError(f"{self.path} has become shorter while it was read; put it back as it was")
            if not is_blank(line):
                yield offset, line

    def texts_at(self, offsets: Sequence[int]) -> list[str | Damaged]:
        """Return the texts of the lines that begin at these bytes of the file."""
        first = self._open() and self._first
        return [self._text(*next(self.lines(offset - first))) for offset in offsets]

    def describe_at(self, offsets: Sequence[int]) -> list[dict[str, Any]]:
        """Return what `describe` returns, for the lines that begin at these bytes of the file."""
        first = self._open() and self._first
        return [each for offset in offsets for each in self.describe(offset - first, [0])]

    def describe(self, position: int, indexes: Sequence[int]) -> list[dict[str, Any]]:
        found = list(islice(self.lines(position), max(indexes) + 1))
        return [
            described({"file": self.path, "byte": offset}, parsed(line, LineAt(self.path, offset)), self.column)
            for offset, line in (found[index] for index in indexes)
        ]

    def fresh(self) -> Shard:
        return type(self)(self.path, self.column, self.start, self.stop, self.whole)

    @property
    def identity(self) -> str:
        return file_identity(self.path)

    def cut(self, parts: int) -> list[Shard]:
        return self._ranges(parts, whole=False)

    def spread(self, num_tokens: int) -> list[Shard]:
        return self._ranges(num_parts(self._stop - self.start, num_tokens * BYTES_PER_TOKEN), whole=True)

    @property
    def _stop(self) -> int:
        return size_of(self.path) if self.stop is None else self.stop

    def _ranges(self, parts: int, whole: bool) -> list[Shard]:
        size = self._stop - self.start
        bounds = [self.start + size * part // parts for part in range(parts + 1)]
        return [type(self)(self.path, self.column, start, stop, whole) for start, stop in pairwise(bounds)]

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file = None


class CompressedJsonlShard(SequentialShard):
    """A .jsonl.gz or .jsonl.zst file."""

    unit = "line"

    def check(self) -> None:
        jsonl.require_text(self.path, self.column, self.column_setting)

    def iterate(self) -> Iterator[tuple[int, bytes]]:
        return islice(lines(self.path), self.offset, None, self.stride)

    def record(self, item: tuple[int, bytes]) -> Any:
        return parsed(item[1], self.place(item))
