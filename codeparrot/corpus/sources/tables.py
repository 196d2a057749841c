"""Sources that are tables with a text in every row: JSON lines (plain, .gz, .zst) and Parquet, here or at addresses.

JSON lines are cut into blocks here, and workers parse them. One worker reads a whole Parquet row group, which bounds the
memory. Files and row groups come in a hash order of their names. A row whose text is missing or broken is counted, and so is a
line of more than MAX_LINE_BYTES. A table without the text column, or with something else than text or bytes in it, is an error
that names the column (for JSON lines: if the first row is so). A file, a row group or the rest of a packed file that is damaged
is an error, or is left out and counted.
"""

import glob
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, NamedTuple

from codeparrot.corpus.documents import TRAIN, UNKNOWN_LICENSE, ColumnNames, Record, Removed, Source, Unit
from codeparrot.corpus.hashes import position
from codeparrot.corpus.sources.listing import State, digest, digest_of_all, require_unchanged, state_of
from codeparrot.corpus.sources.presets import columns_of
from codeparrot.corpus.sources.safety import Refused, lost_with
from codeparrot.errors import CodeparrotError
from codeparrot.languages.names import canonical
from codeparrot.result import say
from codeparrot.stream.losses import OnError, refuse
from codeparrot.stream.readers import jsonl, remote
from codeparrot.stream.readers.folder import PARQUET, find_data
from codeparrot.stream.readers.parquet import BrokenRow, Table, rows_of
from codeparrot.stream.readers.rows import Damaged, no_column, not_text

BLOCK_BYTES = 4_000_000
MAX_LINE_BYTES = 64_000_000
"""For JSON lines; no less than BLOCK_BYTES. Longer lines are never buffered: a small packed file can hold one of any length."""
ROWS = 256
"""Rows converted to Python objects at once."""
TEXT_SETTING = "--columns.text"
MAX_LANGUAGE_CHARACTERS = 100
"""A longer value names no language."""
MAX_STARS = 2**53
"""Larger values are not numbers of stars; up to here floating-point numbers are exact."""


def tables_at(address: str) -> list[remote.Place]:
    """Return the tables at an address. Of a folder that is divided into splits, its train split; of a glob, all.

    Raises:
        CodeparrotError: there are none.
    """
    found = find_data(address)
    if glob.has_magic(address):
        return [remote.Place(file) for file in sorted(chain.from_iterable(found.by_split.values()))]
    if others := [each for each in found.splits if each != TRAIN]:
        say(f"{address}: its train split is read, {' and '.join(others)} left out: a corpus is built of what is to train on")
    return [remote.Place(file) for file in found.of(TRAIN)]


def open_tables(files: Sequence[Path | remote.Place], columns: ColumnNames, seed: int, on_error: OnError = "stop") -> Source:
    """Open every row of the files, here or at addresses.

    Without a repository column, a row's repository is the name of its file.

    A file with the columns of a known data set (presets.py) is read as one.
    """
    ordered = sorted(files, key=lambda file: (position(seed, file.name), str(file)))
    states = {file: state_of(file) for file in ordered}
    parquet = [file for file in ordered if file.name.endswith(PARQUET)]
    groups: list[RowGroup] = []
    refused: list[Refused] = []
    for file in parquet:
        try:
            groups += row_groups(str(file), states[file], _stem(str(file)), columns)
        except Damaged as damaged:
            refused.append(left_out(damaged, states[file], on_error))
    groups.sort(key=lambda group: (position(seed, Path(group.file).name, str(group.number)), group.file, group.number))
    lines = [file for file in ordered if not file.name.endswith(PARQUET)]
    num_records = None if lines else sum(group.num_rows for group in groups)
    facts = {"kind": "tables", "files": len(files), "bytes": sum(state.size for state in states.values())}
    listing = digest_of_all(digest(file, *state) for file, state in states.items())
    units = chain(groups, refused, *(_blocks(file, states[file], columns, on_error) for file in lines))
    return Source(facts, units, num_records, listing)


def left_out(damaged: Damaged, state: State, on_error: OnError) -> Refused:
    """Return the unit that counts what is damaged in a file.

    Raises:
        CodeparrotError: damage ends the build.
    """
    if on_error == "stop":
        refuse(damaged)
    return Refused(digest(str(damaged.where), *state, "damaged"), tuple(lost_with(damaged)))


class RowGroup(NamedTuple):
    file: str
    """A path, or hf://... on the Hub."""
    state: State
    repo_name: str
    """The repository of rows that name none."""
    number: int
    first_row: int
    num_rows: int
    columns: ColumnNames

    @property
    def key(self) -> str:
        return digest(self.file, *self.state, "row group", self.number)

    def records(self) -> Iterator[Record | Removed]:
        require_unchanged(self.file, self.state)
        with Table(self.file) as table:
            present = [name for name in asdict(self.columns).values() if name in table.schema.names]
            rows = table.read(self.number, present)
        number = self.first_row
        for batch in rows.to_batches(ROWS):
            for row in rows_of(batch):
                broken = isinstance(row, BrokenRow)
                yield self._undecodable(row) if broken else record(row, self.columns, self.repo_name, number)
                number += 1

    def _undecodable(self, row: BrokenRow) -> Removed:
        text = row.values[self.columns.text]
        return Removed("undecodable", len(text.as_buffer()) if hasattr(text, "as_buffer") and text.is_valid else 0)


def row_groups(file: str, state: State, repo_name: str, columns: ColumnNames, first_row: int = 0) -> Iterator[RowGroup]:
    """Yield the row groups of a Parquet file; `first_row` is the number of its first row in the data set."""
    with Table(file) as table:
        names, bounds = table.schema.names, table.bounds
        columns = columns_of(tuple(names), columns)
        require_columns(names, columns, file)
        table.require_text(columns.text, TEXT_SETTING, or_bytes=True)
    for index, (start, stop) in enumerate(pairwise(bounds)):
        yield RowGroup(file, state, repo_name, index, first_row + start, stop - start, columns)


class Block(NamedTuple):
    """Whole lines of a JSON lines file."""

    file: str
    state: State
    first_line: int
    lines: bytes
    columns: ColumnNames

    @property
    def key(self) -> str:
        return digest(self.file, *self.state, "line", self.first_line)

    def records(self) -> Iterator[Record | Removed]:
        is_first = self.first_line == 1
        for number, line in enumerate(self.lines.split(b"\n"), self.first_line):
            if jsonl.is_blank(line):
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                row = None
            if not isinstance(row, dict):
                yield Removed("malformed", len(line))
                continue
            columns = columns_of(tuple(row), self.columns)
            if is_first:
                require_columns(list(row), columns, f"line {number} of {self.file}")
                require_text(row[columns.text], columns, f"line {number} of {self.file}")
                is_first = False
            yield record(row, columns, _stem(self.file), number)


def _blocks(file: Path | remote.Place, state: State, columns: ColumnNames, on_error: OnError) -> Iterator[Unit]:
    try:
        for block in jsonl.blocks(str(file), BLOCK_BYTES, MAX_LINE_BYTES):
            if isinstance(block, jsonl.LongLine):
                yield _too_long(file, state, block.line, block.num_bytes)
            else:
                yield Block(str(file), state, block.first_line, block.content, columns)
    except Damaged as damaged:
        yield left_out(damaged, state, on_error)


def _too_long(file: Path | remote.Place, state: State, line: int, length: int) -> Refused:
    return Refused(digest(str(file), *state, "long line", line), (Removed("malformed", length),))


def record(row: Mapping[str, Any], columns: ColumnNames, repo_name: str, number: int) -> Record | Removed:
    """Return one row; if it names none, the repository is `repo_name` and the path its number in the table."""
    text = row.get(columns.text)
    if not isinstance(text, str | bytes):
        return Removed("malformed")
    licenses = row.get(columns.license)
    names = licenses if isinstance(licenses, list) else [licenses]
    return Record(
        repo_name=str(row.get(columns.repo_name) or repo_name),
        path=str(row.get(columns.path) or number),
        license=", ".join(str(name) for name in names if name) or UNKNOWN_LICENSE,
        content=text,
        stars=_stars(row.get(columns.stars)),
        language=_language(row.get(columns.language)),
    )


def _language(value: Any) -> str | None:
    if not isinstance(value, str):
        return None
    name = value.strip()
    # Names are printed: a line's end or an escape in one would write into the report, or to the terminal.
    return canonical(name) if 0 < len(name) <= MAX_LANGUAGE_CHARACTERS and name.isprintable() else None


def _stars(value: Any) -> int | None:
    # Some tools write a column with gaps as floating-point numbers.
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= MAX_STARS:
        return int(value)
    return None


def require_columns(present: list[str], columns: ColumnNames, table: str) -> None:
    """Raise CodeparrotError if the text, or another column that the user named, is missing."""
    default = ColumnNames()
    if columns.text not in present and "blob_id" in present:
        raise CodeparrotError(
            f"{table} holds file identifiers (blob_id) but no texts, like The Stack v2, whose files lie in the archive of "
            "Software Heritage; give a data set that holds the texts, such as hub:bigcode/the-stack-dedup:data/python"
        )
    for role, name in asdict(columns).items():
        if name not in present and (role == "text" or name != getattr(default, role)):
            raise CodeparrotError(no_column(table, name, present, f"--columns.{role}"))


def require_text(value: Any, columns: ColumnNames, where: str) -> None:
    """Raise CodeparrotError if the value of the text column is neither text, nor bytes, nor missing."""
    if value is not None and not isinstance(value, str | bytes):
        raise CodeparrotError(not_text(where, columns.text, type(value).__name__, TEXT_SETTING))


def _stem(file: str) -> str:
    return Path(file).name.partition(".")[0]
