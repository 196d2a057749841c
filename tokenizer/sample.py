"""A sample spread over a whole corpus.

Guarantees: the same files and the same budget give the same documents in the same order; no document comes twice; every shard
and row group contributes in proportion to its size; nothing is left out when the corpus fits the budget.
Cost: one pass over the text column of at most READ_FACTOR times the budget; one small batch of rows in memory.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from codeparrot.stream.losses import Meet, raise_it
from codeparrot.stream.readers import jsonl
from codeparrot.stream.readers.folder import PARQUET
from codeparrot.stream.readers.parquet import Table
from codeparrot.stream.readers.rows import Damaged

READ_FACTOR = 64
"""In a corpus of more than this many budgets, only evenly spaced row groups are read: 64 times 200 MB is half a minute."""
BATCH_ROWS = 64
"""Rows of a Parquet file converted to Python objects at once."""
LONGEST_DOCUMENT_BYTES = 1 << 20
"""Longer documents are cut here: otherwise one generated file of 100 MB would decide the vocabulary."""


class Piece(NamedTuple):
    """A row group of a Parquet file, or a whole JSONL file."""

    file: str
    row_group: int | None
    num_bytes: int
    """Bytes of text before compression. An estimate: for JSONL it includes the keys and the escapes."""


@dataclass(frozen=True)
class Sample:
    """Documents of a corpus, the same every time: iterate over it as often as needed."""

    pieces: Sequence[Piece]
    text_column: str
    share: float
    """Fraction of the bytes in the pieces that is taken."""
    meet: Meet = raise_it
    """What becomes of damaged documents."""

    @property
    def expected_bytes(self) -> int:
        return round(self.share * sum(piece.num_bytes for piece in self.pieces))

    def __iter__(self) -> Iterator[str]:
        seen = taken = 0
        for piece in self.pieces:
            for text in _documents(piece, self.text_column):
                if isinstance(text, Damaged):
                    self.meet(text)
                    continue
                encoded = text.encode()[:LONGEST_DOCUMENT_BYTES]
                # Keeps `taken` in step with `seen`: the choice depends on earlier documents alone, so it favours no size.
                if encoded and taken <= seen * self.share:
                    taken += len(encoded)
                    yield encoded.decode("utf-8", errors="ignore")
                seen += len(encoded)


def sample(files: Sequence[str], text_column: str, budget_bytes: int, meet: Meet = raise_it) -> Sample:
    """Choose documents of about `budget_bytes` bytes of UTF-8 in all, spread evenly over `files`.

    Args:
        files: data files.
        text_column: column that holds the text.
        budget_bytes: bytes of text.
        meet: what becomes of damaged data.

    Raises:
        CodeparrotError: here or while reading: a file is damaged or has no such column of text.
    """
    pieces = [piece for file in files for piece in _pieces(file, text_column, meet)]
    num_bytes = sum(piece.num_bytes for piece in pieces)
    pieces = pieces[:: max(1, num_bytes // (READ_FACTOR * budget_bytes))]
    return Sample(pieces, text_column, min(1.0, budget_bytes / max(1, sum(piece.num_bytes for piece in pieces))), meet)


def _pieces(file: str, text_column: str, meet: Meet) -> list[Piece]:
    try:
        if not file.endswith(PARQUET):
            jsonl.require_text(file, text_column)
            return [Piece(file, None, jsonl.num_bytes(file, meet))]
        with Table(file) as table:
            table.require_text(text_column)
            return [Piece(file, group, table.column_bytes(group)[text_column]) for group in range(table.num_groups)]
    except Damaged as damaged:
        meet(damaged)
        return [] if file.endswith(PARQUET) else [Piece(file, None, jsonl.num_bytes(file, meet))]


def _documents(piece: Piece, text_column: str) -> Iterator[str | Damaged]:
    if piece.row_group is None:
        yield from jsonl.texts(piece.file, text_column)
        return
    with Table(piece.file) as table:
        yield from table.marked_texts(piece.row_group, text_column, BATCH_ROWS)
