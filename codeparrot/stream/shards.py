"""Shards: parts of the data that can be entered at any block.

A shard reads blocks of documents by a position in its own unit (a row, a byte). That position is all that the stream's state
holds of it. Where there are fewer files than lanes, files are cut: Parquet into ranges of rows (a lane decodes its own row
groups), JSONL into ranges of bytes, a window file into ranges of windows. A compressed JSONL file can only be read from its
start: its lanes stride over the lines and parse only their own. Entering it late costs decompressing what comes before.

A document that is damaged keeps its place as a `Damaged`, so that whether it is refused, left out or mended changes neither the
position nor the order of any other. Where the rest of a packed file is lost, one `Damaged` stands for the rest.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path, PurePath
from typing import Any, NamedTuple

from codeparrot.location import ON_HUB
from codeparrot.stream.losses import Meet
from codeparrot.stream.readers import ranges, remote
from codeparrot.stream.readers.patience import of_this_thread
from codeparrot.stream.readers.rows import COLUMN_SETTING, Damaged, Place, is_remote, text_in
from codeparrot.stream.readers.sizes import size_of

BYTES_PER_TOKEN = 4
"""Text that a token stands for, roughly: sizes of parts are derived from it."""
MOST_PARTS = 4096
"""A shard is spread over at most so many parts, however long it is: each is an object in memory."""


def num_parts(size: int, part: int) -> int:
    """Return into how many parts of about `part` a shard of `size` is spread."""
    return min(max(1, round(size / part)), MOST_PARTS)


class Block(NamedTuple):
    items: Sequence[Any]
    """Documents (str), or windows (arrays); see also `Shard.read_marked`."""
    following: int | None
    """Position of the next block; None at the end of the shard."""


class Shard(ABC):
    """A deterministic sequence of items. Not thread-safe. Each kind defines `read`, or `read_marked`."""

    seekable = True
    """Whether reading a block in the middle costs no more than reading the first."""
    packed = False
    """Whether the items are windows of tokens rather than documents."""
    whole = False
    """Whether it is so small that it is read in one go."""
    shares = False
    """Whether it shares something with other shards, so that they must not be read in several threads at once."""
    column = ""
    """Whose texts the items are."""
    column_setting = COLUMN_SETTING
    """What names the column, for errors."""

    def read(self, position: int, num_items: int) -> Block:
        """Return the next `num_items` items, or fewer at the end. The first position is 0.

        Raises:
            Damaged: one of them is.
            CodeparrotError: they cannot be read now.
        """
        block = self.read_marked(position, num_items)
        for item in block.items:
            if isinstance(item, Damaged):
                raise item
        return block

    def read_marked(self, position: int, num_items: int) -> Block:
        """Return what `read` does, with a `Damaged` in the place of each item that is damaged."""
        return self.read(position, num_items)

    def ahead(self, position: int, num_items: int) -> None:
        """Begin to fetch what `read` will need from another machine. It changes no result."""

    def check(self) -> None:
        """Look at the beginning of the file, without a request to the Hub.

        Raises:
            Damaged: it is damaged.
            CodeparrotError: it does not hold what is asked for.
        """

    @abstractmethod
    def cut(self, parts: int) -> "list[Shard]":
        """Return `parts` shards that together hold exactly the items of this one."""

    def spread(self, num_tokens: int) -> "list[Shard]":
        """Return shards of about so many tokens that together hold exactly the items of this one.

        Each is read whole, in any order, at little more than its share of the cost. Where that cannot be, the shard itself.
        """
        return [self]

    @abstractmethod
    def describe(self, position: int, indexes: Sequence[int]) -> list[dict[str, Any]]:
        """Return where items `indexes` of the block at `position` lie, and what else is known of them.

        `file` and one of `row`, `byte`, `window` are the place, counted from 0 in the whole file. The rest are the document's
        other columns, as stored, without its text.
        """

    @abstractmethod
    def fresh(self) -> "Shard":
        """Return the same shard with nothing open, for another thread."""

    def of_column(self, column: str, setting: str) -> "Shard":
        """Return the shard of the same rows and of another column, with nothing open. `setting`: see `column_setting`."""
        other = self.fresh()
        other.column, other.column_setting = column, setting
        return other

    @property
    @abstractmethod
    def identity(self) -> str:
        """Tells this data from other data, wherever it lies: a position is only valid for the same data."""

    @property
    def num_items(self) -> int | None:
        """Number of items, where it is known without reading them."""
        return None

    def close(self) -> None:
        """Close what is open; `read` opens it again."""


def check_all(shards: Sequence[Shard], meet: Meet) -> None:
    """Look at the beginnings of shards before anything depends on them; see `Shard.check`. `meet` is given what is damaged."""
    distant = any(is_remote(getattr(shard, "path", "")) for shard in shards)
    # Those on other machines side by side, since each waits for an answer.
    with ThreadPoolExecutor(ranges.TOGETHER if distant else 1, **of_this_thread()) as threads:
        for damaged in threads.map(_checked, shards) if distant else map(_checked, shards):
            if damaged is not None:
                meet(damaged)


def _checked(shard: Shard) -> Damaged | None:
    try:
        shard.check()
    except Damaged as damaged:
        return damaged
    finally:
        shard.close()


def file_identity(path: str | Path | remote.Place) -> str:
    """Return the name and size of a file here or at an address, so that a run goes on where its data have moved.

    Of a file on the Hub, it is the whole name, which holds the commit.
    """
    return str(path) if str(path).startswith(ON_HUB) else f"{PurePath(str(path)).name}:{size_of(path)}"


class SequentialShard(Shard):
    """Every `stride`-th item, from `offset` on, of a sequence read from its start. Position: own items."""

    seekable = False

    def __init__(self, path: str, column: str, offset: int = 0, stride: int = 1) -> None:
        self.path, self.column, self.offset, self.stride = path, column, offset, stride
        self._rest: Iterator[Any] | None = None
        self._position = 0

    @property
    def source(self) -> str:
        """What item numbers count within."""
        return self.path

    unit = "row"
    """The unit in which errors count items."""

    @abstractmethod
    def iterate(self) -> Iterator[tuple[int, Any]]:
        """Yield this shard's own raw items, from the first, each with its number in the whole file."""

    @abstractmethod
    def record(self, item: tuple[int, Any]) -> Any:
        """Return all columns of a raw item."""

    def text(self, item: tuple[int, Any]) -> str | Damaged:
        """Return the document of a raw item."""
        try:
            return text_in(self.record(item), self.column, self.place(item), self.column_setting)
        except Damaged as damaged:
            return damaged.bare()

    def place(self, item: tuple[int, Any]) -> Place:
        """Return where a raw item lies, for errors."""
        return Place(self.unit, item[0], self.source)

    def read_marked(self, position: int, num_items: int) -> Block:
        if self._rest is None or self._position != position:
            self._rest, self._position = self._items(), 0
            while self._position < position and next(self._rest, None) is not None:
                self._position += 1
        texts = [item if isinstance(item, Damaged) else self.text(item) for item in islice(self._rest, num_items)]
        # One that has ended stays at its end, so that reading it again with its neighbours costs nothing.
        self._position = position + num_items
        return Block(texts, self._position if len(texts) == num_items else None)

    def _items(self) -> Iterator[tuple[int, Any] | Damaged]:
        """Yield this shard's raw items, up to where the file is damaged."""
        try:
            yield from self.iterate()
        except Damaged as damaged:
            yield damaged.bare()

    def describe(self, position: int, indexes: Sequence[int]) -> list[dict[str, Any]]:
        wanted = {position + index for index in indexes}
        kept = {number: item for number, item in enumerate(islice(self.iterate(), max(wanted) + 1)) if number in wanted}
        return [
            described({"file": self.source, "row": self.offset + number * self.stride}, self.record(kept[number]), self.column)
            for number in (position + index for index in indexes)
        ]

    def fresh(self) -> Shard:
        return type(self)(self.path, self.column, self.offset, self.stride)

    @property
    def identity(self) -> str:
        return file_identity(self.path)

    def cut(self, parts: int) -> list[Shard]:
        return [type(self)(self.path, self.column, part, parts) for part in range(parts)]

    def close(self) -> None:
        self._rest = None


def described(place: dict[str, Any], record: Mapping[str, Any], column: str) -> dict[str, Any]:
    """Return a document's place and its columns without the text; a column named like a place is left out."""
    return {**place, **{name: value for name, value in record.items() if name != column and name not in place}}
