"""A sample spread over a whole corpus.

Guarantees: the same files and the same budget give the same documents in the same order; no document comes twice; every shard
and row group contributes in proportion to its size; nothing is left out when the corpus fits the budget.
Cost: one pass over the text column of at most READ_FACTOR times the budget; one small batch of rows in memory.

From the Hub and from addresses only what the sample needs is fetched, once: of files in a drawn order, evenly spaced row groups
and ranges of JSON lines that hold at most FETCH_FACTOR times the budget and one piece more. A range gives the lines that begin
in it, whole: each line of a file is as likely as any other, however long. Packed JSON lines, files of servers that know no
ranges, and those that `datasets` alone reads (text, CSV) can only be read from their beginnings: each file gives its share of
the budget from there. The text is then held in memory. Documents, places and order are others than those that the same files
here would give, except where all are taken.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

from codeparrot.errors import CodeparrotError
from codeparrot.stream.losses import Meet, raise_it
from codeparrot.stream.readers import hub, jsonl, unranged
from codeparrot.stream.readers.folder import PACKED, PARQUET, DataFiles, find_data, is_data
from codeparrot.stream.readers.parquet import Table
from codeparrot.stream.readers.rows import Damaged, LineAt, Place, is_remote, text_in
from codeparrot.stream.readers.sizes import size_of

READ_FACTOR = 64
"""In a corpus of more than this many budgets, only evenly spaced row groups are read: 64 times 200 MB is half a minute."""
FETCH_FACTOR = 2
"""The same for a corpus on the Hub or at an address, where reading costs a transfer."""
RANGE_BYTES = 1 << 20
"""Of JSON lines on another machine, so much is fetched at once."""
UNPACKED = 4
"""Bytes that a byte of packed JSON lines stands for, where packed and other files are weighed against each other."""
_PACKED = (*PACKED, ".bz2", ".xz", ".zip")
FEWEST_FILES = 16
"""So many files on other machines are sampled, or all, even if fewer would hold the budget. Each costs a look at its end."""
BATCH_ROWS = 64
"""Rows of a Parquet file converted to Python objects at once."""
LONGEST_DOCUMENT_BYTES = 1 << 20
"""Longer documents are cut here: otherwise one generated file of 100 MB would decide the vocabulary."""


class Piece(NamedTuple):
    """A row group of a Parquet file, or a JSONL file: all of it, the lines that begin in a range of it, or its beginning."""

    file: str
    row_group: int | None
    num_bytes: int
    """Bytes of text before compression. An estimate: for JSONL it includes the keys and the escapes."""
    span: tuple[int, int] | None = None
    """The range."""
    is_prefix: bool = False
    """Whether it is read up to its share of the budget, and all of that is taken."""


@dataclass(frozen=True)
class Sample:
    """Documents of a corpus, the same every time: iterate over it as often as needed."""

    pieces: Sequence[Piece]
    text_column: str
    share: float
    """Fraction of the bytes in the pieces that is taken."""
    meet: Meet = raise_it
    """What becomes of damaged documents."""
    of_prefixes: float = 1.0
    """Fraction of the bytes of a beginning that is taken; more than 1 where the budget is more than there seems to be."""
    languages: bool = False
    """Whether the languages of the documents are read too."""

    @property
    def expected_bytes(self) -> int:
        return round(self.share * sum(piece.num_bytes for piece in self.pieces))

    def __iter__(self) -> Iterator[str]:
        return (text for _, text in self.with_languages())

    def with_languages(self) -> Iterator[tuple[str | None, str]]:
        """Yield the language of each document, None where no column says it or it was not asked for, and its text."""
        return iter(self._fetched) if any(_is_taken_once(piece.file) for piece in self.pieces) else self._documents()

    @cached_property
    def _fetched(self) -> list[tuple[str | None, str]]:
        return list(self._documents())

    def _documents(self) -> Iterator[tuple[str | None, str]]:
        seen = taken = 0
        due = begun = 0.0
        for piece in self.pieces:
            due += piece.num_bytes * self.of_prefixes if piece.is_prefix else 0
            for language, text in self._texts(piece):
                if piece.is_prefix:
                    if begun >= due:
                        break
                    begun += len(text)
                    yield language, text.decode("utf-8", errors="ignore")
                    continue
                # Keeps `taken` in step with `seen`: the choice depends on earlier documents alone, so it favours no size.
                if text and taken <= seen * self.share:
                    taken += len(text)
                    yield language, text.decode("utf-8", errors="ignore")
                seen += len(text)

    def _texts(self, piece: Piece) -> Iterator[tuple[str | None, bytes]]:
        for text, language in _documents(piece, self.text_column, self.languages):
            if isinstance(text, Damaged):
                self.meet(text)
            else:
                yield language, text.encode()[:LONGEST_DOCUMENT_BYTES]


def sample(files: Sequence[str], text_column: str, budget_bytes: int, meet: Meet = raise_it, languages: bool = False) -> Sample:
    """Choose documents of about `budget_bytes` bytes of UTF-8 in all, spread evenly over `files`: paths, hf://... or addresses.

    Args:
        files: data files.
        text_column: column that holds the text.
        budget_bytes: bytes of text.
        meet: what becomes of damaged data.
        languages: whether `with_languages` says them.

    Raises:
        CodeparrotError: here or while reading: a file cannot be read, is damaged or has no such column of text.
    """
    if any(map(_is_taken_once, files)):
        pieces = _thinned(_some_pieces(files, text_column, budget_bytes, meet), FETCH_FACTOR * budget_bytes)
    else:
        pieces = [piece for file in files for piece in _pieces(file, text_column, meet)]
        pieces = pieces[:: max(1, sum(piece.num_bytes for piece in pieces) // (READ_FACTOR * budget_bytes))]
    share = budget_bytes / max(1, sum(piece.num_bytes for piece in pieces))
    return Sample(pieces, text_column, min(1.0, share), meet, share, languages)


def _thinned(pieces: Sequence[Piece], most_bytes: int) -> list[Piece]:
    """Return evenly spaced pieces that hold at most so much, and one piece more. Beginnings of files are all kept."""
    left = most_bytes / max(1, sum(piece.num_bytes for piece in pieces))
    kept: list[Piece] = []
    seen = taken = 0
    for piece in pieces:
        if piece.is_prefix or taken <= seen * left or left >= 1:
            kept.append(piece)
            taken += piece.num_bytes
        seen += piece.num_bytes
    return kept


def find_corpus(name: str) -> DataFiles:
    """Return the files of a corpus here, at an address or on the Hub, by split.

    Raises:
        CodeparrotError: there are none, or they cannot be reached.
    """
    return hub.data_files(name) if hub.is_on_hub(name) else find_data(name)


def _some_pieces(files: Sequence[str], text_column: str, budget_bytes: int, meet: Meet) -> list[Piece]:
    """Return the pieces of files on other machines in a drawn order, until they hold enough, sorted by file."""
    from codeparrot.stream.order import permutation

    found: dict[int, list[Piece]] = {}
    num_bytes = 0
    for index in map(int, permutation(len(files), "sample")):
        file = files[index]
        if num_bytes >= FETCH_FACTOR * budget_bytes and len(found) >= FEWEST_FILES:
            break
        if not is_data(file):
            found[index] = [_beginning(file)]
        elif is_remote(file) and not file.endswith(PARQUET):
            found[index] = _ranges(file, text_column, not found, meet)
        else:
            found[index] = _pieces(file, text_column, meet)
        num_bytes += sum(piece.num_bytes for piece in found[index])
    return [piece for index in sorted(found) for piece in found[index]]


def _is_taken_once(file: str) -> bool:
    """Whether a file lies on another machine, or is one that `datasets` alone reads."""
    return is_remote(file) or not is_data(file)


def _ranges(file: str, text_column: str, is_first: bool, meet: Meet) -> list[Piece]:
    """Return the ranges of a file of JSON lines elsewhere. Only of the first one the column is checked, which fetches."""
    try:
        if is_first:
            jsonl.require_text(file, text_column)
    except Damaged as damaged:
        meet(damaged)
    if file.endswith(PACKED) or not unranged.by_ranges(file):
        return [_beginning(file)]
    size = size_of(file)
    bounds = [*range(0, size, RANGE_BYTES), size]
    return [Piece(file, None, stop - start, (start, stop)) for start, stop in pairwise(bounds)]


def _beginning(file: str) -> Piece:
    return Piece(file, None, (UNPACKED if file.endswith(_PACKED) else 1) * size_of(file), is_prefix=True)


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


def _documents(piece: Piece, text_column: str, languages: bool) -> Iterator[tuple[str | Damaged, str | None]]:
    """Yield each text with its language, None where no column says it."""
    # Imported here: these take numpy, which `--help` need not wait for.
    from codeparrot.stream.languages_of import language_column, language_in
    from codeparrot.stream.remote_shards import RemoteJsonlShard

    if piece.span is not None:
        shard = RemoteJsonlShard(piece.file, text_column, *piece.span, True)
        for offset, line in shard.lines(0):
            where = LineAt(piece.file, offset)
            try:
                row = jsonl.parsed(line, where)
                text = text_in(row, text_column, where)
            except Damaged as damaged:
                yield damaged.bare(), None
                continue
            yield text, _language(row) if languages else None
        shard.close()
        return
    if not is_data(piece.file):
        for number, row in enumerate(hub.rows_in(piece.file)):
            try:
                text = text_in(row, text_column, Place("row", number, piece.file))
            except Damaged as damaged:
                if not number:  # all rows of the file may be like that: it is the wrong column, or no data
                    raise CodeparrotError(str(damaged)) from damaged
                yield damaged.bare(), None
                continue
            yield text, _language(row) if languages else None
        return
    if piece.row_group is None:
        for text, row in jsonl.texts_with_rows(piece.file, text_column):
            yield text, _language(row) if languages else None
        return
    with Table(piece.file) as table:
        column = language_column(table.schema.names) if languages else None
        texts = table.marked_texts(piece.row_group, text_column, BATCH_ROWS)
        if column is None:
            yield from ((text, None) for text in texts)
            return
        named = map(language_in, table.read(piece.row_group, [column]).column(0).to_pylist())
        # What is damaged may stand for the rest of the row group.
        yield from zip(texts, named, strict=False)


def _language(row: Any) -> str | None:
    """Return the language that the row of a document names; None where no column says it."""
    from codeparrot.stream.languages_of import language_column, language_in

    column = language_column(row) if isinstance(row, dict) else None
    return language_in(row[column]) if column else None
