"""Sources that are tables with a text in every row: JSON lines (plain, .gz, .zst) and Parquet.

JSON lines are cut into blocks here and parsed by the workers; a Parquet row group is read by one worker as a whole, which
bounds the memory. Files and row groups come in a hash order of their names. A row whose text is missing or broken is
counted, and so is a line of more than MAX_LINE_BYTES; a table that lacks the column of the text (of JSON lines: the first row)
is an error that names the columns it has.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from codeparrot.corpus.documents import UNKNOWN_LICENSE, ColumnNames, Record, Removed, Source, Unit
from codeparrot.corpus.hashes import position
from codeparrot.corpus.sources.listing import State, digest, digest_of_all, state_of
from codeparrot.corpus.sources.presets import columns_of
from codeparrot.corpus.sources.safety import Refused
from codeparrot.errors import CodeparrotError, nearest

JSON_LINES = (".jsonl", ".json", ".jsonl.gz", ".json.gz", ".jsonl.zst", ".json.zst")
PARQUET = (".parquet",)
BLOCK_BYTES = 4_000_000
MAX_LINE_BYTES = 64_000_000
"""Of JSON lines; no less than BLOCK_BYTES. A longer one is held nowhere: a small packed file may be one of any length."""
ROWS = 256
"""That are Python objects at a time."""
ON_HUB = "hf://"
MAX_STARS = 2**53
"""More is no number of stars; up to here a floating-point number is exact."""


def is_table(file: Path) -> bool:
    return file.name.endswith(JSON_LINES + PARQUET)


def open_tables(files: list[Path], columns: ColumnNames, seed: int) -> Source:
    """Every row of the files. Without a column for it, the repository of a row is the name of its file.

    A file with the columns of a known data set (presets.py) is read as such.
    """
    ordered = sorted(files, key=lambda file: (position(seed, file.name), str(file)))
    states = {file: state_of(file) for file in ordered}
    parquet = [file for file in ordered if file.name.endswith(PARQUET)]
    groups = [group for file in parquet for group in row_groups(str(file), states[file], _stem(str(file)), columns)]
    groups.sort(key=lambda group: (position(seed, Path(group.file).name, str(group.number)), group.file, group.number))
    lines = [file for file in ordered if not file.name.endswith(PARQUET)]
    num_records = None if lines else sum(group.num_rows for group in groups)
    facts = {"kind": "tables", "files": len(files), "bytes": sum(state.size for state in states.values())}
    listing = digest_of_all(digest(file, *state) for file, state in states.items())
    return Source(facts, _units(groups, {file: states[file] for file in lines}, columns), num_records, listing)


def _units(groups: list["RowGroup"], lines: dict[Path, State], columns: ColumnNames) -> Iterator[Unit]:
    yield from groups
    for file, state in lines.items():
        yield from _blocks(file, state, columns)


class RowGroup(NamedTuple):
    file: str
    """A path, or hf://... on the Hub."""
    state: State
    repo_name: str
    """Of rows that name none."""
    number: int
    first_row: int
    num_rows: int
    columns: ColumnNames

    @property
    def key(self) -> str:
        return digest(self.file, *self.state, "row group", self.number)

    def records(self) -> Iterator[Record | Removed]:
        import pyarrow as pa

        try:
            with open_parquet(self.file) as table:
                present = [name for name in asdict(self.columns).values() if name in table.schema_arrow.names]
                rows = table.read_row_group(self.number, columns=present, use_threads=False)
        except (OSError, pa.ArrowException) as error:
            raise CodeparrotError(f"cannot read row group {self.number} of {self.file}: {_line(error)}") from error
        number = self.first_row
        for batch in rows.to_batches(ROWS):
            for row in _rows(batch, self.columns.text):
                yield row if isinstance(row, Removed) else record(row, self.columns, self.repo_name, number)
                number += 1


def _rows(batch: Any, text: str) -> list[dict[str, Any] | Removed]:
    """Return the rows of an Arrow batch; one with a string that is no UTF-8, which Arrow does not see to, as `Removed`."""
    try:
        return batch.to_pylist()
    except UnicodeDecodeError:
        if len(batch) == 1:
            return [Removed("undecodable", _num_bytes(batch.column(text)[0]))]
    return [row for index in range(len(batch)) for row in _rows(batch.slice(index, 1), text)]


def _num_bytes(value: Any) -> int:
    return len(value.as_buffer()) if hasattr(value, "as_buffer") and value.is_valid else 0


@contextmanager
def open_parquet(file: str) -> Iterator[Any]:
    """Open a Parquet file on the disk or, with a name hf://..., on the Hub, where only what is asked for is fetched."""
    import pyarrow.parquet as pq

    if not file.startswith(ON_HUB):
        with pq.ParquetFile(file) as table:
            yield table
        return
    from huggingface_hub import HfFileSystem

    # Without a cache, which would fetch more: a request is a column of a row group. Not buffered ahead: Arrow's threads would
    # call Python for it, and one that does so while the interpreter ends aborts the process.
    with HfFileSystem().open(file, cache_type="none") as stream, pq.ParquetFile(stream, pre_buffer=False) as table:
        yield table


def row_groups(file: str, state: State, repo_name: str, columns: ColumnNames, first_row: int = 0) -> Iterator[RowGroup]:
    """Yield the row groups of a Parquet file; `first_row` is the number of its first row in the data set."""
    import pyarrow as pa

    try:
        with open_parquet(file) as table:
            names, metadata = table.schema_arrow.names, table.metadata
    except (OSError, pa.ArrowException) as error:
        raise CodeparrotError(f"cannot read {file} as Parquet: {_line(error)}") from error
    columns = columns_of(tuple(names), columns)
    require_columns(names, columns, file)
    for index in range(metadata.num_row_groups):
        num_rows = metadata.row_group(index).num_rows
        yield RowGroup(file, state, repo_name, index, first_row, num_rows, columns)
        first_row += num_rows


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
            if not line.strip():
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
                is_first = False
            yield record(row, columns, _stem(self.file), number)


def _blocks(file: Path, state: State, columns: ColumnNames) -> Iterator[Unit]:
    import pyarrow as pa

    first_line = 1
    carried: list[bytes] = []  # of the line that has begun, of which `length` bytes were read
    length = 0
    try:
        with pa.input_stream(str(file), compression="detect") as stream:
            while chunk := stream.read(BLOCK_BYTES):
                if first_line == 1 and not length and chunk.lstrip().startswith(b"["):
                    raise CodeparrotError(f"{file} is one JSON array, not JSON lines; `jq -c '.[]'` converts it")
                end = chunk.find(b"\n")
                length += len(chunk) if end < 0 else end
                if length > MAX_LINE_BYTES:
                    carried.clear()
                elif end < 0:
                    carried.append(chunk)
                if end < 0:
                    continue
                if length > MAX_LINE_BYTES:
                    yield _too_long(file, state, first_line, length)
                    first_line, chunk = first_line + 1, chunk[end + 1 :]
                whole, newline, rest = chunk.rpartition(b"\n")
                if newline:
                    yield Block(str(file), state, first_line, b"".join((*carried, whole)), columns)
                    first_line += chunk.count(b"\n")
                carried, length = [rest], len(rest)
    except (OSError, pa.ArrowException) as error:
        raise CodeparrotError(f"cannot read {file}: {_line(error)}") from error
    if length > MAX_LINE_BYTES:
        yield _too_long(file, state, first_line, length)
    elif length:
        yield Block(str(file), state, first_line, b"".join(carried), columns)


def _too_long(file: Path, state: State, line: int, length: int) -> Refused:
    return Refused(digest(str(file), *state, "long line", line), (Removed("malformed", length),))


def record(row: Mapping[str, Any], columns: ColumnNames, repo_name: str, number: int) -> Record | Removed:
    """Return one row; where it does not say them, the repository is `repo_name`, the path its number in the table."""
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
    )


def _stars(value: Any) -> int | None:
    # A column with gaps comes as floating-point numbers out of some tools.
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= MAX_STARS:
        return int(value)
    return None


def require_columns(present: list[str], columns: ColumnNames, table: str) -> None:
    """Raise CodeparrotError when the text, or another column that was asked for by name, is not there."""
    default = ColumnNames()
    if columns.text not in present and "blob_id" in present:
        raise CodeparrotError(
            f"{table} has identifiers of files (blob_id) and no texts, as The Stack v2 has, whose files lie in the archive of "
            "Software Heritage; give a data set that holds the texts, such as hub:bigcode/the-stack-dedup:data/python"
        )
    for role, name in asdict(columns).items():
        if name not in present and (role == "text" or name != getattr(default, role)):
            hint = nearest(name, present) or f"; it has {', '.join(present) or 'none'}"
            raise CodeparrotError(f'{table} has no column "{name}"{hint} (--columns.{role} names the column)')


def _stem(file: str) -> str:
    return Path(file).name.partition(".")[0]


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
