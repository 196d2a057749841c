"""What the formats share: where a row lies, its text, and what is damaged.

A place is put into words only when an error needs it, so naming rows costs nothing while they are read.
"""

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from codeparrot.errors import CodeparrotError, nearest
from codeparrot.location import ON_HUB

COLUMN_SETTING = "stream.text_column, or --text_column,"
_CHUNK_BYTES = 1 << 20
_LOGIN = re.compile(r"(?<=://)[^\s/@]*:[^\s/@]*@")
_QUERY = re.compile(r"(https?://[^\s?\"'<>]+)\?(?=[^\s\"'<>)]*(?:sig|token|key|credential)[\w-]*=)[^\s\"'<>)]+", re.IGNORECASE)
"""Of an address that is signed, such as those that the Hub forwards to."""


class Place(NamedTuple):
    """A line (from 1), or a row group, a row or a window (from 0) of a file."""

    unit: str
    number: int
    file: str

    def __str__(self) -> str:
        return f"{self.unit} {self.number} of {self.file}"

    def facts(self) -> dict[str, Any]:
        """Return it ready for JSON."""
        return {"file": self.file, self.unit.replace(" ", "_"): self.number}


class Behind(NamedTuple):
    """Everything behind the first `line` lines of a file."""

    line: int
    file: str

    def __str__(self) -> str:
        return f"{self.file} behind line {self.line}" if self.line else self.file

    def facts(self) -> dict[str, Any]:
        """Return it ready for JSON."""
        return {"file": self.file, "behind_line": self.line}


class LineAt(NamedTuple):
    """The line that begins at a byte of a file. To say its number, `str` reads a file here up to there."""

    file: str
    byte: int

    def __str__(self) -> str:
        if is_remote(self.file):
            return f"the line at byte {self.byte} of {self.file}"
        line, left = 1, self.byte
        with Path(self.file).open("rb") as file:
            while left and (chunk := file.read(min(left, _CHUNK_BYTES))):
                line, left = line + chunk.count(b"\n"), left - len(chunk)
        return f"line {line} of {self.file}"

    def facts(self) -> dict[str, Any]:
        """Return it ready for JSON."""
        return self._asdict()


class WholeFile(NamedTuple):
    file: str

    def __str__(self) -> str:
        return self.file

    def facts(self) -> dict[str, Any]:
        """Return it ready for JSON."""
        return self._asdict()


Where = Place | Behind | LineAt | WholeFile


class Damaged(CodeparrotError):
    """Data that are wrong and stay so whenever they are read: not a failure of the disk, the network or the settings.

    Args:
        where: what is lost with it.
        problem: what is wrong, with its remedy; "{}" stands for the place.
        documents: how many are lost; None if that cannot be known.
    """

    def __init__(self, where: Where, problem: str, documents: int | None = 1) -> None:
        super().__init__(where, problem, documents)  # all of them, so that it travels between processes
        self.where, self.problem, self.documents = where, problem, documents

    def __str__(self) -> str:
        return self.problem.replace("{}", str(self.where), 1)

    def bare(self) -> "Damaged":
        """Return it without the frames that raised it, which hold on to data."""
        return Damaged(self.where, self.problem, self.documents)

    def facts(self) -> dict[str, Any]:
        """Return it ready for JSON."""
        problem = self.problem.replace(" {}", "", 1).removeprefix("{} ").removeprefix("{}: ")
        return {**self.where.facts(), "documents": self.documents, "problem": problem}


def text_in(record: Any, column: str, where: Where, setting: str = COLUMN_SETTING) -> str:
    """Return the text of a record; null is an empty document. `setting` names the column, for errors.

    Raises:
        Damaged: the record has no such column, or the column is not text.
    """
    if not isinstance(record, Mapping):
        raise Damaged(where, f"{{}} is a JSON {type(record).__name__}, not an object with columns; mend or remove it")
    if column not in record:
        raise Damaged(where, no_column("{}", column, list(record), setting))
    value = record[column]
    if value is not None and not isinstance(value, str):
        raise Damaged(where, not_text("{}", column, type(value).__name__, setting))
    return without_lone_surrogates(value or "")


def no_column(where: object, column: str, present: Collection[str], setting: str) -> str:
    """Return the message for a table or a row that lacks a column; `setting` is the flag that names it."""
    hint = nearest(column, present) or f"; it has {', '.join(present) or 'none'}"
    return f'{where} has no column "{column}"{hint} ({setting} names the column)'


def not_text(where: object, column: str, kind: str, setting: str = COLUMN_SETTING) -> str:
    """Return the message for a column of another type."""
    return f'{where}: column "{column}" holds {kind}, not text; {setting} names another'


def without_lone_surrogates(text: str) -> str:
    """Replace lone surrogates with U+FFFD: JSON can spell one, but it is not a character and cannot be encoded."""
    try:
        text.encode()
        return text
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def unreadable(where: Where, error: BaseException, documents: int | None = None, kind: str = "") -> CodeparrotError:
    """Return the error for a file, or a part of one, that cannot be read.

    It is `Damaged` unless the disk, the network or the memory failed, which may go well the next time.

    Args:
        where: what cannot be read.
        error: what a library raised.
        documents: how many are lost.
        kind: " as ..." if the file may be one of another kind.
    """
    problem = f"cannot read {{}}{kind}: {reason(error)}; if it is damaged or was cut, fetch or build it again"
    damaged = Damaged(where, problem, documents)
    return CodeparrotError(str(damaged)) if _of_the_moment(where, error) else damaged


def _of_the_moment(where: Where, error: BaseException) -> bool:
    """Whether what a library raised may not come again. Arrow reports what it cannot decode as an OSError without a number."""
    if where.file.startswith(ON_HUB):
        return not isinstance(error, ValueError)
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno is not None)


def is_remote(file: object) -> bool:
    """Whether a data file lies on another machine, the Hub's too."""
    return "://" in str(file)


def reason(error: BaseException) -> str:
    """Return an exception's message on one line, cut to a readable length, its addresses without passwords and signatures."""
    shown = _QUERY.sub(r"\1?***", _LOGIN.sub("***@", " ".join(str(error).split())))
    return shown[:300] or type(error).__name__
