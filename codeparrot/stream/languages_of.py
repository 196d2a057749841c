"""Which documents of some files are in which language, by their column of languages.

Guarantees: read once for all languages that are asked for at the same time. A document without a language is "unknown".
Costs: of Parquet one column, and of JSONL a pass over the file. Memory: 4 bytes a document of Parquet, 8 of JSONL.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from codeparrot.errors import CodeparrotError, nearest
from codeparrot.languages.names import canonical
from codeparrot.stream.decoded import DECODED_BYTES, Decoded
from codeparrot.stream.jsonl import JsonlShard
from codeparrot.stream.parquet import ParquetShard
from codeparrot.stream.readers.jsonl import parsed
from codeparrot.stream.readers.parquet import Table
from codeparrot.stream.readers.rows import Damaged, LineAt
from codeparrot.stream.shards import Shard

COLUMNS = ("language", "lang")
"""The corpus's column, and that of The Stack, which is read where the first is missing."""
UNKNOWN = "unknown"
MOST_NAMED = 12
"""Languages that an error names."""


class OfFile(NamedTuple):
    """What a file holds."""

    places: dict[str, NDArray[Any]]
    """By language, ascending: the rows of a Parquet file, or the bytes at which lines of a JSONL file begin."""
    text_bytes: dict[str, int]
    """By language; an estimate."""
    row_groups: Sequence[int]
    """Rows at which those of a Parquet file begin, and the number of its rows; nothing for JSONL."""
    damaged: list[Damaged]
    """What has no language that could be read. It belongs to every language."""


class Indexed:
    """Files, and where in them the documents of each language are.

    Args:
        files: Parquet or JSONL files, not packed.
    """

    def __init__(self, files: Sequence[Shard]) -> None:
        self.files = files
        self.decoded = Decoded(DECODED_BYTES)
        """Row groups of the files, for all of their languages."""
        self._ends: dict[str, NDArray[np.int64]] = {}

    @cached_property
    def of_files(self) -> list[OfFile]:
        """Return what each file holds. The first use reads it.

        Raises:
            CodeparrotError: a file cannot be read now, or has no column of languages.
        """
        return [_of_file(file) for file in self.files]

    @property
    def documents(self) -> dict[str, int]:
        """Return the number of documents of each language, the most first."""
        found: dict[str, int] = defaultdict(int)
        for file in self.of_files:
            for language, places in file.places.items():
                found[language] += len(places)
        return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))

    def ends(self, language: str) -> NDArray[np.int64]:
        """Return the number of documents of a language up to the end of each file, after a 0."""
        if language not in self._ends:
            counts = [0, *(len(file.places.get(language, ())) for file in self.of_files)]
            self._ends[language] = np.cumsum(counts, dtype=np.int64)
        return self._ends[language]

    @cached_property
    def damaged(self) -> list[Damaged]:
        return [each for file in self.of_files for each in file.damaged]

    def require(self, language: str, setting: str) -> None:
        """Raise CodeparrotError if no document is in a language. `setting` asks for it."""
        held = self.documents
        if language not in held:
            shown = ", ".join(list(held)[:MOST_NAMED]) + (f" and {len(held) - MOST_NAMED} more" * (len(held) > MOST_NAMED))
            hint = nearest(language, held)
            raise CodeparrotError(f'{setting}: there are no documents in "{language}"{hint}; there are {shown or "none"}')


_INDEXED: WeakValueDictionary[tuple[Any, ...], Indexed] = WeakValueDictionary()
"""Those in use, so that the sources of one entry share theirs."""


def indexed(files: Sequence[Shard], setting: str) -> Indexed:
    """Return files with the languages of their documents; the same object for the same files as long as it is in use.

    Raises:
        CodeparrotError: a file cannot be read by language; the message begins with `setting`.
    """
    for file in files:
        if not isinstance(file, ParquetShard | JsonlShard):
            raise CodeparrotError(
                f"{setting}: {getattr(file, 'path', 'data')} cannot be read by language: only Parquet and unpacked JSONL can; "
                "name such files, or sources of one language each"
            )
    key = tuple((getattr(file, "path", ""), file.column, *_version(file)) for file in files)
    found = _INDEXED.get(key)
    if found is None:
        _INDEXED[key] = found = Indexed(files)
    return found


def language_column(names: Collection[str]) -> str | None:
    """Return the name of the column of languages among those of a table, if there is one."""
    return next((name for name in COLUMNS if name in names), None)


def language_in(value: Any) -> str:
    """Return the language that a value of the column names."""
    return (canonical(value) if isinstance(value, str) else "") or UNKNOWN


def _version(file: Shard) -> tuple[int, ...]:
    path = getattr(file, "path", "")
    if "://" in str(path) or not Path(path).exists():
        return ()
    facts = Path(path).stat()
    return facts.st_size, facts.st_mtime_ns


def _of_file(file: Shard) -> OfFile:
    if isinstance(file, JsonlShard):
        return _jsonl(file)
    assert isinstance(file, ParquetShard)
    try:
        with Table(file.path) as table:
            table.require_text(file.column, file.column_setting)
            column = _required(table.schema.names, file.path)
            table.require_text(column, _REMEDY)
            return _of_groups(table, column, file.column)
    except Damaged as damaged:
        return OfFile({}, {}, [0], [damaged.bare()])


def _of_groups(table: Table, column: str, texts: str) -> OfFile:
    rows: dict[str, list[NDArray[np.uint32]]] = defaultdict(list)
    text_bytes: dict[str, int] = defaultdict(int)
    damaged: list[Damaged] = []
    for group in range(table.num_groups):
        try:
            found = table.read(group, [column]).column(0).combine_chunks()
        except Damaged as each:
            damaged.append(each.bare())
            continue
        size = table.column_bytes(group)[texts]
        for language, inside in _rows_by_language(found):
            rows[language].append(inside + np.uint32(table.bounds[group]))
            text_bytes[language] += round(size * len(inside) / table.num_rows(group))
    return OfFile({name: np.concatenate(own) for name, own in rows.items()}, dict(text_bytes), table.bounds, damaged)


def _rows_by_language(column: Any) -> Iterator[tuple[str, NDArray[np.uint32]]]:
    """Yield each language of an Arrow array with its rows, ascending."""
    import pyarrow as pa

    if not isinstance(column, pa.DictionaryArray):
        column = column.dictionary_encode()
    # Null is -1, the last value.
    codes = np.asarray(column.indices.fill_null(-1)).astype(np.int64)
    languages = [language_in(_value(value)) for value in column.dictionary] + [UNKNOWN]
    names = list(dict.fromkeys(languages))
    numbers = np.array([names.index(name) for name in languages])[codes]
    order = np.argsort(numbers, kind="stable").astype(np.uint32)
    ends = np.cumsum(np.bincount(numbers, minlength=len(names)))
    for name, own in zip(names, np.split(order, ends[:-1]), strict=True):
        if len(own):
            yield name, own


def _value(value: Any) -> Any:
    try:
        return value.as_py()
    except UnicodeDecodeError:
        return None


def _jsonl(file: JsonlShard) -> OfFile:
    begins: dict[str, list[int]] = defaultdict(list)
    text_bytes: dict[str, int] = defaultdict(int)
    damaged: list[Damaged] = []
    whole = type(file)(file.path, file.column)  # that of files at addresses is a kind of its own
    whole.check()
    for offset, line in whole.lines(0):
        try:
            record = parsed(line, LineAt(file.path, offset))
        except Damaged as each:
            damaged.append(each.bare())
            continue
        # A line that is no object keeps its place as a damaged document; one without a language is of none.
        column = language_column(list(record)) if isinstance(record, dict) else COLUMNS[0]
        if column is None and not begins:
            _required(list(record), file.path)
        language = language_in(record.get(column)) if isinstance(record, dict) else UNKNOWN
        begins[language].append(offset)
        text_bytes[language] += len(line)
    whole.close()
    return OfFile({name: np.array(own, np.int64) for name, own in begins.items()}, dict(text_bytes), [], damaged)


_REMEDY = "weights by language, or balance,"


def _required(names: Sequence[str], path: str) -> str:
    column = language_column(names)
    if column is None:
        raise CodeparrotError(
            f'{path} has no column "{COLUMNS[0]}" or "{COLUMNS[1]}" that says the language of a document (it has '
            f"{', '.join(names)}): `codeparrot corpus build` writes one"
        )
    return column
