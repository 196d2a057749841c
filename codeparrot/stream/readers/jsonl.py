"""JSON lines, plain or packed, from beginning to end, in blocks of whole lines.

A packed file may consist of several frames, since appending adds one. A truncated or damaged file, or one with other bytes
after its end, is an error as soon as reading gets there.
Memory: a block and the longest line; a limit on the line bounds both.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from codeparrot.errors import CodeparrotError
from codeparrot.stream.readers.folder import PACKED
from codeparrot.stream.readers.rows import Place, unreadable

BLOCK_BYTES = 1 << 18
"""Bytes read at once when rows are wanted one by one; every lane of a stream holds this much."""


class Lines(NamedTuple):
    """Whole lines, joined, without the last newline."""

    first_line: int
    content: bytes


class LongLine(NamedTuple):
    """A line longer than the limit; its text was not kept."""

    line: int
    num_bytes: int


def blocks(file: str, block_bytes: int, max_line_bytes: int | None = None) -> Iterator[Lines | LongLine]:
    """Yield all lines of a file in blocks of about `block_bytes`.

    Args:
        file: its name's ending says how it is packed.
        block_bytes: bytes read at once.
        max_line_bytes: longer lines come as `LongLine` and are never buffered; no less than `block_bytes`.

    Raises:
        CodeparrotError: the file cannot be read, is truncated or damaged, or is one JSON array.
    """
    first_line = 1
    carried: list[bytes] = []  # the first `length` bytes of an unfinished line
    length = 0
    with _opened(file) as stream:
        while chunk := stream.read(block_bytes):
            if first_line == 1 and not length and chunk.lstrip().startswith(b"["):
                raise CodeparrotError(f"{file} is one JSON array, not JSON lines; `jq -c '.[]'` converts it")
            end = chunk.find(b"\n")
            length += len(chunk) if end < 0 else end
            is_long = max_line_bytes is not None and length > max_line_bytes
            if is_long:
                carried.clear()
            elif end < 0:
                carried.append(chunk)
            if end < 0:
                continue
            if is_long:
                yield LongLine(first_line, length)
                first_line, chunk = first_line + 1, chunk[end + 1 :]
            whole, newline, rest = chunk.rpartition(b"\n")
            if newline:
                yield Lines(first_line, b"".join((*carried, whole)))
                first_line += chunk.count(b"\n")
            carried, length = [rest], len(rest)
    if max_line_bytes is not None and length > max_line_bytes:
        yield LongLine(first_line, length)
    elif length:
        yield Lines(first_line, b"".join(carried))


def lines(file: str) -> Iterator[tuple[int, bytes]]:
    """Yield the lines that are not blank, numbered from 1; see `blocks`."""
    for block in blocks(file, BLOCK_BYTES):
        assert isinstance(block, Lines)
        for number, line in enumerate(block.content.split(b"\n"), block.first_line):
            if line.strip():
                yield number, line


def parsed(line: bytes, where: object) -> Any:
    """Return the value of a line.

    Raises:
        CodeparrotError: it is not JSON, or nested too deeply to be read.
    """
    try:
        return json.loads(line)
    except RecursionError:
        raise CodeparrotError(f"{where} is JSON nested too deeply to be read; mend or remove that line") from None
    except ValueError as error:
        first = f"{where}".startswith("line 1 of ")
        more = " (`jq -c .` writes a JSON file as JSON lines; move files that are not data elsewhere)" if first else ""
        raise CodeparrotError(f"{where} is not JSON ({error}); mend or remove that line{more}") from error


def parsed_lines(file: str) -> Iterator[tuple[Place, Any]]:
    """Yield the value of each line with its place; see `lines` and `parsed`."""
    for number, line in lines(file):
        where = Place("line", number, file)
        yield where, parsed(line, where)


def num_bytes(file: str) -> int:
    """Return a file's unpacked size; a packed file is read whole for it."""
    if not file.endswith(PACKED):
        return Path(file).stat().st_size
    with _opened(file) as stream:
        return sum(map(len, iter(lambda: stream.read(1 << 20), b"")))


@contextmanager
def _opened(file: str) -> Iterator[Any]:
    import pyarrow as pa

    try:
        with pa.input_stream(file, compression="detect") as stream:
            yield stream
    except (OSError, pa.ArrowException) as error:
        raise CodeparrotError(unreadable(file, error)) from error
