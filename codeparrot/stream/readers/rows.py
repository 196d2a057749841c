"""What the formats share: where a row lies, and its text.

A place is put into words only when an error needs it, so naming rows costs nothing while they are read.
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from codeparrot.errors import CodeparrotError, nearest

COLUMN_SETTING = "stream.text_column, or --text_column,"
_CHUNK_BYTES = 1 << 20


class Place(NamedTuple):
    """A line (from 1), a row group, a row or a document (from 0) of a file."""

    unit: str
    number: int
    file: str

    def __str__(self) -> str:
        return f"{self.unit} {self.number} of {self.file}"


class LineAt(NamedTuple):
    """The line that begins at a byte of a file. To say its number, `str` reads the file up to there."""

    file: str
    byte: int

    def __str__(self) -> str:
        line, left = 1, self.byte
        with Path(self.file).open("rb") as file:
            while left and (chunk := file.read(min(left, _CHUNK_BYTES))):
                line, left = line + chunk.count(b"\n"), left - len(chunk)
        return f"line {line} of {self.file}"


def text_in(record: Any, column: str, where: object) -> str:
    """Return the text of a record; null is an empty document.

    Raises:
        CodeparrotError: the record has no such column, or the column is not text.
    """
    if not isinstance(record, Mapping):
        kind = type(record).__name__
        raise CodeparrotError(f"{where} is a JSON {kind}, not an object with columns; mend or remove it")
    if column not in record:
        raise CodeparrotError(no_column(where, column, list(record), COLUMN_SETTING))
    value = record[column]
    if value is not None and not isinstance(value, str):
        raise CodeparrotError(not_text(where, column, type(value).__name__))
    return without_lone_surrogates(value or "")


def no_column(where: object, column: str, present: Collection[str], setting: str) -> str:
    """Return the message for a table or a row that lacks a column; `setting` is the flag that names it."""
    hint = nearest(column, present) or f"; it has {', '.join(present) or 'none'}"
    return f'{where} has no column "{column}"{hint} ({setting} names the column)'


def not_text(where: object, column: str, kind: str) -> str:
    """Return the message for a column of another type."""
    return f'{where}: column "{column}" holds {kind}, not text; {COLUMN_SETTING} names another'


def without_lone_surrogates(text: str) -> str:
    """Replace lone surrogates with U+FFFD: JSON can spell one, but it is not a character and cannot be encoded."""
    try:
        text.encode()
        return text
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def unreadable(where: object, error: BaseException) -> str:
    """Return the message for a file, or a part of one, that cannot be read."""
    return f"cannot read {where}: {reason(error)}; if it is damaged or was cut, fetch or build it again"


def reason(error: BaseException) -> str:
    """Return an exception's message on one line, cut to a readable length."""
    return " ".join(str(error).split())[:300] or type(error).__name__
