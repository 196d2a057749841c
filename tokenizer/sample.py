"""A sample of a corpus that is spread over all of it.

Guarantees: the same files and the same budget give the same documents in the same order; no document comes twice; every shard
and row group contributes in proportion to its size; nothing is left out when the corpus fits the budget.
Cost: one pass over the text column of at most READ_FACTOR times the budget; one small batch of rows in memory.
"""

import contextlib
import glob
import gzip
import io
import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from codeparrot.errors import CodeparrotError, nearest

SUFFIXES = (".parquet", ".jsonl", ".jsonl.gz", ".jsonl.zst")
READ_FACTOR = 64
"""A corpus of more than this many budgets is read at evenly spaced row groups only: 64 times 200 MB is half a minute."""
LONGEST_DOCUMENT_BYTES = 1 << 20
"""A longer document is cut here: one generated file of 100 MB would otherwise decide the vocabulary."""


class Piece(NamedTuple):
    """A row group of a Parquet file, or a whole JSONL file."""

    path: Path
    row_group: int | None
    num_bytes: int
    """Of text, before compression. An estimate: for JSONL it includes the keys and the escapes."""


def find_files(corpus: str, split: str) -> list[Path]:
    """Return the files of one split of a corpus folder, or every file where the corpus is not divided into splits.

    Raises:
        CodeparrotError: nothing is there, or a file is neither Parquet nor JSONL.
    """
    path = Path(corpus).expanduser()
    if path.is_dir():
        files = sorted(path.glob(f"{split}-*.parquet")) if is_split(corpus) else _data_files(path)
    else:
        files = [path] if path.is_file() else sorted(map(Path, glob.glob(str(path), recursive=True)))
    if not files:
        raise CodeparrotError(f'no documents at "{corpus}": give a folder of codeparrot corpus build, or {_kinds()} files')
    for file in files:
        if not file.name.endswith(SUFFIXES):
            raise CodeparrotError(f'"{file}" is not a corpus: expected {_kinds()}')
    return files


def is_split(corpus: str) -> bool:
    """Whether the corpus is a folder that holds both its training and its validation shards."""
    folder = Path(corpus).expanduser()
    return all(any(folder.glob(f"{split}-*.parquet")) for split in ("train", "valid"))


@dataclass(frozen=True)
class Sample:
    """Documents of a corpus, again and again the same: iterate over it as often as needed."""

    pieces: Sequence[Piece]
    text_column: str
    share: float
    """Of the bytes in the pieces, the fraction that is taken."""

    @property
    def expected_bytes(self) -> int:
        return round(self.share * sum(piece.num_bytes for piece in self.pieces))

    def __iter__(self) -> Iterator[str]:
        seen = taken = 0
        for piece in self.pieces:
            for text in _documents(piece, self.text_column):
                # Text that is not UTF-8 (a lone surrogate in JSON) would be refused by the tokenizer.
                encoded = text.encode("utf-8", errors="replace")[:LONGEST_DOCUMENT_BYTES]
                # What is taken follows what was seen: the choice depends on earlier documents only, so it favours no size.
                if encoded and taken <= seen * self.share:
                    taken += len(encoded)
                    yield encoded.decode("utf-8", errors="ignore")
                seen += len(encoded)


def sample(files: Sequence[Path], text_column: str, budget_bytes: int) -> Sample:
    """Choose documents of about `budget_bytes` bytes of UTF-8 in all, evenly spread over `files`.

    Raises:
        CodeparrotError: here or while reading, when a file is damaged or has no such column of text.
    """
    pieces = [piece for path in files for piece in _pieces(path, text_column)]
    num_bytes = sum(piece.num_bytes for piece in pieces)
    pieces = pieces[:: max(1, num_bytes // (READ_FACTOR * budget_bytes))]
    return Sample(pieces, text_column, min(1.0, budget_bytes / max(1, sum(piece.num_bytes for piece in pieces))))


def _kinds() -> str:
    return ", ".join(SUFFIXES)


def _data_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.name.endswith(SUFFIXES) and path.is_file())


def _pieces(path: Path, text_column: str) -> list[Piece]:
    if path.suffix != ".parquet":
        return [Piece(path, None, _text_bytes(path))]
    parquet = _open_parquet(path)
    _check_column(path, parquet.schema_arrow, text_column)
    groups = [parquet.metadata.row_group(index) for index in range(parquet.metadata.num_row_groups)]
    return [Piece(path, index, _column_bytes(group, text_column)) for index, group in enumerate(groups)]


def _open_parquet(path: Path):
    import pyarrow
    import pyarrow.parquet

    try:
        return pyarrow.parquet.ParquetFile(path)
    except (OSError, pyarrow.ArrowException) as error:
        raise CodeparrotError(f'"{path}" is not readable as Parquet ({_first_line(error)}): build the corpus again') from error


def _check_column(path: Path, schema: Any, text_column: str) -> None:
    import pyarrow.types

    if text_column not in schema.names:
        raise CodeparrotError(_missing(path, text_column, schema.names))
    kind = schema.field(text_column).type
    if not (pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind)):
        raise CodeparrotError(f'column "{text_column}" of "{path}" holds {kind}, not text: choose another --text_column')


def _column_bytes(group: Any, text_column: str) -> int:
    columns = map(group.column, range(group.num_columns))
    return sum(column.total_uncompressed_size for column in columns if column.path_in_schema == text_column)


def _missing(path: Path, text_column: str, names: list[str]) -> str:
    hint = nearest(text_column, names) or f"; it has {', '.join(names)}"
    return f'"{path}" has no column "{text_column}"{hint} (--text_column)'


def _documents(piece: Piece, text_column: str) -> Iterator[str]:
    if piece.row_group is None:
        yield from _json_documents(piece.path, text_column)
        return
    import pyarrow

    try:
        batches = _open_parquet(piece.path).iter_batches(64, row_groups=[piece.row_group], columns=[text_column])
        for batch in batches:
            yield from (text for text in batch.column(0).to_pylist() if text is not None)
    except (OSError, pyarrow.ArrowException) as error:
        raise CodeparrotError(f'"{piece.path}" is damaged ({_first_line(error)}): build the corpus again') from error


def _json_documents(path: Path, text_column: str) -> Iterator[str]:
    with _opened(path) as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise CodeparrotError(f'"{path}" line {number} is not JSON ({error}): mend or remove it') from error
            if not isinstance(row, dict):
                raise CodeparrotError(f'"{path}" line {number} is not a JSON object: mend or remove it')
            if text_column not in row:
                raise CodeparrotError(_missing(path, text_column, list(row)))
            if isinstance(row[text_column], str):
                yield row[text_column]


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    import zstandard

    try:
        with path.open("rb") as file:
            if path.suffix == ".zst":
                # Compressing in parallel and appending make files of several frames.
                frames: Any = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
                yield io.BufferedReader(frames)
            else:
                yield gzip.GzipFile(fileobj=file) if path.suffix == ".gz" else file
    except (OSError, EOFError, zlib.error, zstandard.ZstdError) as error:
        raise CodeparrotError(f'"{path}" is not readable ({_first_line(error)}): fetch or build it again') from error


def _text_bytes(path: Path) -> int:
    if path.suffix == ".jsonl":
        return path.stat().st_size
    with _opened(path) as stream:
        return sum(map(len, iter(lambda: stream.read(1 << 20), b"")))


def _first_line(error: Exception) -> str:
    return str(error).split("\n", 1)[0]
