"""JSON lines, plain or packed, from beginning to end, in blocks of whole lines.

A packed file may consist of several frames, since appending adds one. A truncated, empty or damaged file, or one with other
bytes after its end, zeros too, is an error as soon as reading gets there.
Memory: a block and the longest line; a limit on the line bounds both.
"""

import codecs
import json
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import PurePath
from typing import Any, NamedTuple

from codeparrot.errors import CodeparrotError
from codeparrot.stream.readers import ranges, unranged
from codeparrot.stream.readers.folder import PACKED
from codeparrot.stream.readers.rows import (
    COLUMN_SETTING,
    Behind,
    Damaged,
    LineAt,
    Place,
    Where,
    is_remote,
    reason,
    text_in,
    unreadable,
)
from codeparrot.stream.readers.sizes import size_of

PIECE_BYTES = 1 << 13
"""Bytes of a packed file that are unpacked at once: less than so many in front of a damage are lost with it."""
BLOCK_BYTES = 1 << 18
"""Bytes read at once when rows are wanted one by one; every lane of a stream holds this much."""


_NOTHING = b" \t\r\n\v\f" + codecs.BOM_UTF8


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
        Damaged: it is truncated or damaged; the lines in front of that have been yielded.
        CodeparrotError: it cannot be read, is not UTF-8 at all, or is one JSON array.
    """
    first_line = 1
    carried: list[bytes] = []  # the first `length` bytes of an unfinished line
    length = 0
    for unpacked in _chunks(file, block_bytes):
        chunk = unpacked
        if first_line == 1 and not length:
            chunk = _beginning(chunk, file)
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


def is_blank(line: bytes) -> bool:
    """Whether a line holds nothing: a byte order mark is nothing, also where files were joined."""
    return not line.strip(_NOTHING)


def _beginning(chunk: bytes, file: str) -> bytes:
    """Return the first chunk of a file without the byte order mark; raise CodeparrotError if it is of another kind."""
    is_wide = b"\0" in chunk[:4] and chunk[:4].strip(b"\0")  # zeros alone are left behind by a crash
    if is_wide or chunk.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise CodeparrotError(f"{file} is UTF-16 or UTF-32, not UTF-8; convert it, for example with iconv -f utf-16 -t utf-8")
    chunk = chunk.removeprefix(codecs.BOM_UTF8)
    if chunk.lstrip().startswith(b"["):
        raise CodeparrotError(f"{file} is one JSON array, not JSON lines; `jq -c '.[]'` converts it")
    return chunk


def lines(file: str) -> Iterator[tuple[int, bytes]]:
    """Yield the lines that are not blank, numbered from 1; see `blocks`."""
    for block in blocks(file, BLOCK_BYTES):
        assert isinstance(block, Lines)
        for number, line in enumerate(block.content.split(b"\n"), block.first_line):
            if not is_blank(line):
                yield number, line


def require_text(file: str, column: str, setting: str = COLUMN_SETTING) -> None:
    """Check the beginning of a file, before anything depends on it. `setting` names the column, for errors.

    Raises:
        Damaged: there is no first line that could be read.
        CodeparrotError: the first line has no such column or no text in it, or the file is one JSON array.
    """
    for where, row in islice(parsed_lines(file), 1):
        try:
            text_in(row, column, where, setting)
        except Damaged as error:  # all lines of the file may be like that: it is the wrong column, or no data
            raise CodeparrotError(str(error)) from error


def parsed(line: bytes, where: Where) -> Any:
    """Return the value of a line.

    Raises:
        Damaged: it is not JSON, or nested too deeply to be read.
    """
    try:
        return json.loads(line)
    except RecursionError:
        raise Damaged(where, "{} is JSON nested too deeply to be read; mend or remove that line") from None
    except ValueError as error:
        is_first = (isinstance(where, Place) and where.number == 1) or (isinstance(where, LineAt) and where.byte == 0)
        more = " (`jq -c .` writes a JSON file as JSON lines; move files that are not data elsewhere)" if is_first else ""
        why = "it holds zero bytes: a machine crashed, or it is UTF-16" if b"\0" in line else reason(error)
        raise Damaged(where, f"{{}} is not JSON ({why}); mend or remove that line{more}") from error


def parsed_lines(file: str) -> Iterator[tuple[Place, Any]]:
    """Yield the value of each line with its place; see `lines` and `parsed`."""
    for number, line in lines(file):
        where = Place("line", number, file)
        yield where, parsed(line, where)


def texts(file: str, column: str) -> Iterator[str | Damaged]:
    """Yield the text of each line; a line, or the rest of the file, that is damaged comes as `Damaged`."""
    for text, _ in texts_with_rows(file, column):
        yield text


def texts_with_rows(file: str, column: str) -> Iterator[tuple[str | Damaged, Any]]:
    """Yield what `texts` does, each with the value of its line, which is None where that is damaged."""
    try:
        for number, line in lines(file):
            where = Place("line", number, file)
            try:
                row = parsed(line, where)
                yield text_in(row, column, where), row
            except Damaged as damaged:
                yield damaged.bare(), None
    except Damaged as damaged:
        yield damaged.bare(), None


def num_bytes(file: str, meet: Callable[[Damaged], None]) -> int:
    """Return a file's unpacked size; a packed file is read whole for it, up to where it is damaged."""
    if not file.endswith(PACKED):
        return size_of(file)
    size = 0
    try:
        for chunk in _chunks(file, BLOCK_BYTES):
            size += len(chunk)
    except Damaged as damaged:
        meet(damaged)
    return size


def _stream(file: str) -> Any:
    import pyarrow as pa

    if not is_remote(file):
        return pa.input_stream(file, compression="detect")
    packed = {".gz": "gzip", ".zst": "zstd"}.get(PurePath(file).suffix)
    if not unranged.by_ranges(file):
        return pa.input_stream(unranged.Beginning(file), compression=packed)
    return pa.input_stream(ranges.opened(file, BLOCK_BYTES, follows=True), compression=packed)


def _chunks(file: str, num_bytes: int) -> Iterator[bytes]:
    """Yield the unpacked content of a file, `num_bytes` at once, up to where it is damaged."""
    import pyarrow as pa

    lines = 0
    parts: list[bytes] = []
    piece_bytes = PIECE_BYTES if file.endswith(PACKED) else num_bytes
    try:
        with _stream(file) as stream:
            if file.endswith(PACKED) and not size_of(file):
                raise EOFError("the file is empty, which no packed file is")
            while piece := stream.read(piece_bytes):
                parts.append(piece)
                if len(parts) * piece_bytes >= num_bytes:
                    yield (chunk := b"".join(parts))
                    lines += chunk.count(b"\n")
                    parts = []
    except (OSError, EOFError, pa.ArrowException) as error:
        yield (chunk := b"".join(parts))
        raise unreadable(Behind(lines + chunk.count(b"\n"), file), error) from error
    if parts:
        yield b"".join(parts)
