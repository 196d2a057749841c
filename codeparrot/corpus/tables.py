"""Sources that are tables with a text in every row: JSON lines (plain, .gz, .zst) and Parquet.

JSON lines are cut into blocks here and parsed by the workers; a Parquet row group is read by one worker as a whole, which
bounds the memory. Files and row groups come in a hash order of their names. A row whose text is missing or broken is
counted; a table that lacks the column of the text is an error that names the columns it has.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from codeparrot.corpus.documents import UNKNOWN_LICENSE, ColumnNames, Record, Removed, Source, Unit
from codeparrot.corpus.hashes import position
from codeparrot.errors import CodeparrotError, nearest

JSON_LINES = (".jsonl", ".json", ".jsonl.gz", ".json.gz", ".jsonl.zst", ".json.zst")
PARQUET = (".parquet",)
BLOCK_BYTES = 4_000_000


def is_table(file: Path) -> bool:
    return file.name.endswith(JSON_LINES + PARQUET)


def open_tables(files: list[Path], columns: ColumnNames, seed: int) -> Source:
    """Every row of the files. Without a column for it, the repository of a row is the name of its file."""
    ordered = sorted(files, key=lambda file: (position(seed, file.name), str(file)))
    groups = [group for file in ordered if file.name.endswith(PARQUET) for group in _row_groups(file, columns)]
    groups.sort(key=lambda group: (position(seed, Path(group.file).name, str(group.number)), group.file, group.number))
    lines = [file for file in ordered if not file.name.endswith(PARQUET)]
    num_records = None if lines else sum(group.num_rows for group in groups)
    facts = {"kind": "tables", "files": len(files), "bytes": sum(file.stat().st_size for file in files)}
    return Source(facts, _units(groups, lines, columns), num_records)


def _units(groups: list["RowGroup"], lines: list[Path], columns: ColumnNames) -> Iterator[Unit]:
    yield from groups
    for file in lines:
        yield from _blocks(file, columns)


class RowGroup(NamedTuple):
    file: str
    number: int
    first_row: int
    num_rows: int
    columns: ColumnNames

    def records(self) -> Iterator[Record | Removed]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            table = pq.ParquetFile(self.file)
            present = [name for name in asdict(self.columns).values() if name in table.schema_arrow.names]
            rows = table.read_row_group(self.number, columns=present).to_pylist()
        except (OSError, pa.ArrowException) as error:
            raise CodeparrotError(f"cannot read row group {self.number} of {self.file}: {_line(error)}") from error
        for number, row in enumerate(rows, self.first_row):
            yield record(row, self.columns, _stem(self.file), number)


def _row_groups(file: Path, columns: ColumnNames) -> Iterator[RowGroup]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(file)
    except (OSError, pa.ArrowException) as error:
        raise CodeparrotError(f"cannot read {file} as Parquet: {_line(error)}") from error
    require_columns(table.schema_arrow.names, columns, str(file))
    first_row = 0
    for index in range(table.metadata.num_row_groups):
        num_rows = table.metadata.row_group(index).num_rows
        yield RowGroup(str(file), index, first_row, num_rows, columns)
        first_row += num_rows


class Block(NamedTuple):
    """Whole lines of a JSON lines file."""

    file: str
    first_line: int
    lines: bytes
    columns: ColumnNames

    def records(self) -> Iterator[Record | Removed]:
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
            require_columns(list(row), self.columns, f"line {number} of {self.file}")
            yield record(row, self.columns, _stem(self.file), number)


def _blocks(file: Path, columns: ColumnNames) -> Iterator[Block]:
    import pyarrow as pa

    first_line, carried = 1, b""
    try:
        with pa.input_stream(str(file), compression="detect") as stream:
            while chunk := stream.read(BLOCK_BYTES):
                if first_line == 1 and not carried and chunk.lstrip().startswith(b"["):
                    raise CodeparrotError(f"{file} is one JSON array, not JSON lines; `jq -c '.[]'` converts it")
                whole, newline, rest = chunk.rpartition(b"\n")
                if not newline:
                    carried += rest
                    continue
                yield Block(str(file), first_line, carried + whole, columns)
                first_line += chunk.count(b"\n")
                carried = rest
    except (OSError, pa.ArrowException) as error:
        raise CodeparrotError(f"cannot read {file}: {_line(error)}") from error
    if carried:
        yield Block(str(file), first_line, carried, columns)


def record(row: Mapping[str, Any], columns: ColumnNames, repo_name: str, number: int) -> Record | Removed:
    """Return one row; where it does not say them, the repository is `repo_name`, the path its number in the table."""
    text = row[columns.text]
    if not isinstance(text, str | bytes):
        return Removed("malformed")
    licenses = row.get(columns.license)
    names = licenses if isinstance(licenses, list) else [licenses]
    return Record(
        repo_name=str(row.get(columns.repo_name) or repo_name),
        path=str(row.get(columns.path) or number),
        license=", ".join(str(name) for name in names if name) or UNKNOWN_LICENSE,
        content=text,
    )


def require_columns(present: list[str], columns: ColumnNames, table: str) -> None:
    """Raise CodeparrotError when the text, or another column that was asked for by name, is not there."""
    default = ColumnNames()
    for role, name in asdict(columns).items():
        if name not in present and (role == "text" or name != getattr(default, role)):
            hint = nearest(name, present) or f"; it has {', '.join(present) or 'none'}"
            raise CodeparrotError(f'{table} has no column "{name}"{hint} (--columns.{role} names the column)')


def _stem(file: str) -> str:
    return Path(file).name.partition(".")[0]


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
