"""The documents of one language in files that hold several, as one shard.

A lane gets an equal range of them, counted over all files, so that it has as many as any other wherever they lie. Only the row
groups, or lines, that hold them are read. Where a row group holds several languages, each of them reads it, and decodes it
unless another one has lately (decoded.py): of a large corpus that mixes them, decoding costs as many times more as there are
languages (benchmarks/sources_by_language.py). Files, or row groups, of one language each are decoded once.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codeparrot.errors import CodeparrotError
from codeparrot.location import ON_HUB
from codeparrot.stream.languages_of import Indexed
from codeparrot.stream.parquet import MOST_DECODES, ParquetShard
from codeparrot.stream.readers.rows import Damaged
from codeparrot.stream.shards import BYTES_PER_TOKEN, Block, Shard, num_parts


class OpenFiles:
    """The files of one lane. A file stays open, with its last row group decoded, until they are closed."""

    def __init__(self, indexed: Indexed, column: str, setting: str) -> None:
        self._indexed, self.column, self.setting = indexed, column, setting
        self._open: dict[int, Any] = {}

    def file(self, number: int) -> Any:
        if number not in self._open:
            # Not `of_column` of a Parquet file, which is one for all that ask: lanes are read in several threads.
            self._open[number] = opened = Shard.of_column(self._indexed.files[number], self.column, self.setting)
            if isinstance(opened, ParquetShard):
                opened.decoded = self._indexed.decoded
        return self._open[number]

    def of_column(self, column: str, setting: str) -> "OpenFiles":
        return OpenFiles(self._indexed, column, setting)

    def close(self) -> None:
        for each in self._open.values():
            each.close()
        self._open = {}


class LanguageShard(Shard):
    """Documents `start` to `stop` of a language, in the order of the files. Position: documents from `start`.

    What is damaged so that its language is not known stands behind the last one.
    """

    def __init__(
        self,
        indexed: Indexed,
        language: str,
        setting: str,
        start: int = 0,
        stop: int | None = None,
        whole: bool = False,
        files: OpenFiles | None = None,
    ) -> None:
        self._indexed, self.language, self.setting = indexed, language, setting
        self.start, self.stop, self.whole = start, stop, whole
        first = indexed.files[0]
        self._files = files or OpenFiles(indexed, first.column, first.column_setting)
        self.column, self.column_setting = self._files.column, self._files.setting

    @property
    def path(self) -> str:
        """Return the first of the files."""
        return getattr(self._indexed.files[0], "path", "")

    def check(self) -> None:
        self._indexed.require(self.language, self.setting)
        for damaged in self._indexed.damaged:
            raise damaged

    def read_marked(self, position: int, num_items: int) -> Block:
        first, end = self.start + position, self._end
        last = min(first + num_items, end)
        texts: list[str | Damaged] = []
        for number, places in self._inside(first, last):
            texts.extend(self._files.file(number).texts_at(places.tolist()))
        count = self._count
        texts.extend(self._indexed.damaged[max(0, first - count) : max(0, last - count)])
        return Block(texts, None if last >= end else position + num_items)

    def describe(self, position: int, indexes: Sequence[int]) -> list[dict[str, Any]]:
        wanted = [self.start + position + index for index in indexes]
        found: dict[int, dict[str, Any]] = {}
        for number, own in groupby(sorted(wanted), self._file_of):
            documents, (begin, places) = list(own), self._of_file(number)
            described = self._files.file(number).describe_at([int(places[each - begin]) for each in documents])
            found.update(zip(documents, described, strict=True))
        return [found[document] for document in wanted]

    def cut(self, parts: int) -> list[Shard]:
        self._indexed.require(self.language, self.setting)
        count = self._end - self.start
        if count < parts and parts > 1:
            raise CodeparrotError(
                f'{self.setting}: there are {count} documents in "{self.language}", fewer than the {parts} lanes; lower '
                "stream.lanes, or leave the language out"
            )
        return [self._part(*part) for part in self._ranges(parts)]

    def spread(self, num_tokens: int) -> list[Shard]:
        count = self._end - self.start
        if any(getattr(file, "path", "").startswith(ON_HUB) for file in self._indexed.files):
            # A part of a row group there costs the transfer of all of it. What lies at an address is spread as it is here:
            # a run goes on where its data have moved.
            bounds = [
                self.start,
                *(end for end in self._indexed.ends(self.language).tolist() if self.start < end < self._end),
                self._end,
            ]
            return [self._part(*part) for part in pairwise(bounds)]
        size, groups = self._size()
        parts = min(num_parts(size, num_tokens * BYTES_PER_TOKEN), max(1, groups * MOST_DECODES), max(1, count))
        files = self._files.of_column(self.column, self.column_setting)
        return [self._part(*part, True, files) for part in self._ranges(parts)]

    def fresh(self) -> Shard:
        return self.of_column(self.column, self.column_setting)

    def of_column(self, column: str, setting: str) -> Shard:
        return self._part(self.start, self.stop, self.whole, self._files.of_column(column, setting))

    @property
    def identity(self) -> str:
        return "\n".join([self.language, *(file.identity for file in self._indexed.files)])

    @property
    def num_items(self) -> int:
        return self._end - self.start

    def close(self) -> None:
        self._files.close()

    @property
    def _count(self) -> int:
        return int(self._indexed.ends(self.language)[-1])

    @property
    def _end(self) -> int:
        return self._count + len(self._indexed.damaged) if self.stop is None else self.stop

    def _inside(self, first: int, last: int) -> Iterator[tuple[int, NDArray[Any]]]:
        """Yield each file that holds some of these documents, by its number, with their places."""
        low, last = first, min(last, self._count)
        while low < last:
            begin, places = self._of_file(number := self._file_of(low))
            high = min(last, begin + len(places))
            yield number, places[low - begin : high - begin]
            low = high

    def _file_of(self, document: int) -> int:
        return int(np.searchsorted(self._indexed.ends(self.language), document, side="right")) - 1

    def _of_file(self, number: int) -> tuple[int, NDArray[Any]]:
        """Return the number of the first document of the language in a file, and the places of all in it."""
        return int(self._indexed.ends(self.language)[number]), self._indexed.of_files[number].places[self.language]

    def _size(self) -> tuple[int, int]:
        """Return the bytes of text in the range, about, and the row groups, or lines, that hold it."""
        size = groups = 0
        for number, places in self._inside(self.start, self._end):
            file = self._indexed.of_files[number]
            size += round(file.text_bytes[self.language] * len(places) / len(file.places[self.language]))
            bounds = np.asarray(file.row_groups)
            groups += len(np.unique(np.searchsorted(bounds, places, side="right"))) if len(bounds) else len(places)
        return size, groups

    def _part(self, start: int, stop: int | None, whole: bool = False, files: OpenFiles | None = None) -> "LanguageShard":
        return LanguageShard(self._indexed, self.language, self.setting, start, stop, whole, files)

    def _ranges(self, parts: int) -> list[tuple[int, int]]:
        count = self._end - self.start
        return list(pairwise(self.start + count * part // parts for part in range(parts + 1)))
