"""A source of the stream, opened: the windows of each of its lanes, as if it were the stream's only source.

Lanes, order and blocks of a source depend on its place in `stream.train` and its own documents. What is read of the other
sources changes nothing in it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import xxhash
from numpy.typing import NDArray

from codeparrot.config import StreamConfig
from codeparrot.errors import CodeparrotError
from codeparrot.location import is_address
from codeparrot.stream.best_fit import TOKENS, Packed, parts
from codeparrot.stream.encode import Encoder
from codeparrot.stream.entries import TRAIN, Source, is_mixture, sources_of
from codeparrot.stream.lane import Order, Reading, blocks, encoded, items, windows
from codeparrot.stream.provenance import trace
from codeparrot.stream.readers.rows import Damaged
from codeparrot.stream.readers.sizes import version_of
from codeparrot.stream.shards import Shard, check_all
from codeparrot.stream.shuffle import LaneState, best_fit, block_windows, earlier_place_tokens, in_order, place_tokens, reading
from codeparrot.stream.sources import lanes_of, open_shards
from codeparrot.stream.transform import Transform

PACKING = "stream.packing"
VERSIONS = "versions"


class Read(NamedTuple):
    """How much of a source lanes have read."""

    windows: int = 0
    epochs: float = 0.0
    """The sum over the lanes; parts of an epoch by the places that are behind."""
    tokens: int = 0
    """Without padding."""

    def __add__(self, other: "Read") -> "Read":  # pyright: ignore[reportIncompatibleMethodOverride] - not that of a tuple
        return Read(self.windows + other.windows, self.epochs + other.epochs, self.tokens + other.tokens)


class OpenSource:
    """A source of the lanes of this process.

    Args:
        source: its name and documents; a streaming data set may stand for a path.
        stream: the configuration; its blocks are this source's.
        encoder: text to ids.
        order: what the order of its documents is drawn from; its lane does not count.
        ranks: rank and number of the processes, which share the lanes.
        transform: what changes its documents, if anything.
        setting: what errors call it.
        whole_block: windows in the blocks of all sources of a lane together; by default those of this one.

    Raises:
        CodeparrotError: the data cannot be read or do not hold text.
    """

    def __init__(
        self,
        source: Source,
        stream: StreamConfig,
        encoder: Encoder,
        order: Order,
        ranks: tuple[int, int],
        transform: Transform | None = None,
        setting: str = TRAIN,
        whole_block: int = 0,
    ) -> None:
        rank, world_size = ranks
        if source.description and transform is None:
            raise CodeparrotError(
                f'{setting}: "{source.description}" makes pairs, and nothing here puts them: remove description'
            )
        self._whole_block = whole_block or block_windows(stream)
        self.settings, self.stream, self.encoder, self.order, self.transform = source, stream, encoder, order, transform
        self.shards = open_shards(
            source.path,
            split="train",
            column=stream.text_column,
            seq_length=stream.seq_length,
            setting=setting,
            description=source.description,
            language=source.language,
        )
        """The shards of all processes, uncut."""
        self.identity = identity_of(self.shards)
        self.tokenized = all(shard.packed for shard in self.shards)
        """Whether the data are windows that were tokenised before."""
        self.versions = versions_of(self.shards)
        self.best_fit = stream.packing == "best_fit"
        if self.best_fit:
            check_documents(self.shards, setting)
        self.packed = Packed()
        """What the blocks of best-fit packing held that this process has made since the start."""
        self._kept_places = 0
        dealt = enumerate(lanes_of(self.shards, stream.lanes))
        self._uncut = {lane: own for lane, own in dealt if lane % world_size == rank}
        self._lanes: Mapping[int, Sequence[Shard]] = {lane: self._spread(own) for lane, own in self._uncut.items()}
        check_all(self.shards[rank::world_size], self.reading.meet)

    @property
    def name(self) -> str:
        return self.settings.name

    @property
    def reading(self) -> Reading:
        """Return how its lanes read their shards."""
        return reading(self.stream, self.tokenized, self._part)

    @property
    def _part(self) -> float:
        return block_windows(self.stream) / self._whole_block

    @property
    def shares(self) -> bool:
        """Whether its lanes must not be read in several threads at once."""
        return any(shard.shares for shards in self._lanes.values() for shard in shards)

    def windows(self, lane: int, state: LaneState) -> Iterator[tuple[NDArray[Any], LaneState, list[Damaged]]]:
        """Yield the windows of a lane after `state`, the state behind each, and what was left out to make it."""
        shards, order, stream = self._lanes[lane], self.order._replace(lane=lane), self.stream
        found: list[Damaged] = []
        how = self.reading._replace(meet=found.append) if stream.on_error == "skip" else self.reading
        start, end = state.cursor, self.encoder.end_of_document
        if self.best_fit:
            chunks = encoded(items(blocks(shards, order, how, start), start.row), False, self.encoder, start, self.transform)
            cut = parts(chunks, stream.seq_length, end)
            ordered = best_fit(cut, TOKENS, order, stream, end, state, self.packed)
        else:
            packed = windows(shards, order, how, self.encoder, stream.seq_length, start, self.transform)
            ordered = in_order(packed, order, stream, self.tokenized, state)
        for tokens, after in ordered:
            yield tokens, after, found.copy()
            found.clear()

    def trace(self, lane: int, state: LaneState, num_windows: int) -> list[tuple[NDArray[Any], list[dict[str, Any]]]]:
        """Return the tokens and documents of a lane's next windows after `state`, from files that it opens itself.

        Raises:
            CodeparrotError: the data can no longer be read.
        """
        shards, order = [shard.fresh() for shard in self._lanes[lane]], self.order._replace(lane=lane)
        return trace(shards, order, self.stream, self.encoder, state, num_windows, self.transform, self._part)

    def read(self, states: Mapping[int, LaneState]) -> Read:
        """Return what the lanes of this process have read by these states."""
        cursors = {lane: state.cursor for lane, state in states.items()}
        epochs = sum(cursor.epoch + cursor.shard / max(1, len(self._lanes[lane])) for lane, cursor in cursors.items())
        num_windows = sum(state.num_windows for state in states.values())
        whole = num_windows * self.stream.seq_length
        return Read(num_windows, epochs, sum(state.tokens for state in states.values()) if self.best_fit else whole)

    @property
    def facts(self) -> dict[str, Any]:
        """Return what a place in this source means nothing without, ready for JSON."""
        blocks = {} if self.stream.order == "documents" else self._counted_in
        packing = {PACKING: self.stream.packing} if self.best_fit else {}
        objective = {"objective": dict(self.transform.settings)} if self.transform else {}
        versions = {VERSIONS: self.versions} if self.versions else {}
        return {"data": self.identity, **versions, **blocks, **packing, **objective}

    def check(self, saved: Mapping[str, Any]) -> None:
        """Check that places which were saved with these facts are places in this source.

        Raises:
            CodeparrotError: they were saved with others.
        """
        if self.versions and saved.get(VERSIONS, self.versions) != self.versions:
            names = ", ".join(map(str, self.settings.path))
            raise CodeparrotError(f"{names} was replaced by other files of the same names and sizes; put back those of the run")
        for name, value in self._counted_in.items():
            if saved.get(name, value) != value:
                raise CodeparrotError(f"the stream's position is one of {name} {saved[name]}, not {value}; set that back")
        if (packing := saved.get(PACKING, "concatenate")) != self.stream.packing:
            raise CodeparrotError(
                f"the stream's position is one of {PACKING} {packing}, not {self.stream.packing}; set that back"
            )
        ours = dict(self.transform.settings) if self.transform else {}
        if (theirs := saved.get("objective", {})) != ours:
            begun, now = (" ".join(f"{key} {value}" for key, value in each.items()) or "fim_rate 0" for each in (theirs, ours))
            raise CodeparrotError(f"the stream's position is one of objective {begun}, not {now}; set that back")

    @property
    def place_tokens(self) -> int:
        """Return the tokens of each of the places in which its files are read."""
        return self._kept_places or place_tokens(self.stream, self.tokenized, self._part)

    def keep_blocks(self, num_windows: int, tokens: int | None) -> None:
        """Take blocks of so many windows a lane, and places of so many tokens, as those that a position belongs to.

        `tokens`: None where the position is of an earlier version, which did not say it.
        """
        before = self.place_tokens
        self.stream = replace(self.stream, block_windows=num_windows)
        self._kept_places = tokens or earlier_place_tokens(self.stream, self.tokenized, self._part)
        if self.place_tokens != before:
            self._lanes = {lane: self._spread(own) for lane, own in self._uncut.items()}

    @property
    def _counted_in(self) -> dict[str, int]:
        """Return the settings without which a place in the order of the windows means nothing."""
        return {"stream.seq_length": self.stream.seq_length, "stream.block_windows": block_windows(self.stream)}

    def _spread(self, shards: Sequence[Shard]) -> Sequence[Shard]:
        """Divide a lane's shards into places that can be read side by side."""
        if self.stream.order == "documents":
            return shards
        return [place for shard in shards for place in shard.spread(self.place_tokens)]


def check_documents(shards: Sequence[Shard], setting: str) -> None:
    """Check that shards hold documents, which can be packed in another way.

    Raises:
        CodeparrotError: some of them are windows.
    """
    if any(shard.packed for shard in shards):
        raise CodeparrotError(
            f"{PACKING} best_fit packs documents, and {setting} holds windows that were packed before; name the documents that "
            f"they were made from, or set {PACKING} concatenate"
        )


def identity_of(shards: Sequence[Shard]) -> str:
    """Return what tells these data from others: a position in the stream is one in them."""
    return xxhash.xxh3_64_hexdigest("\n".join(shard.identity for shard in shards).encode())


def versions_of(shards: Sequence[Shard]) -> str:
    """Return what changes with the content of files at addresses; empty without such files.

    It is no part of the identity: the same data may lie here or at two addresses.
    """
    files = dict.fromkeys(str(path) for shard in shards if (path := getattr(shard, "path", None)) and is_address(str(path)))
    return xxhash.xxh3_64_hexdigest("\n".join(map(version_of, files)).encode()) if files else ""


def identities(stream: StreamConfig) -> list[str]:
    """Return the identity of each source of `stream.train`.

    Raises:
        CodeparrotError: the data cannot be opened.
    """
    options: Any = {"split": "train", "column": stream.text_column, "seq_length": stream.seq_length}
    return [
        identity_of(open_shards(source.path, **options, setting=setting_of(source, stream.train), language=source.language))
        for source in sources_of(stream.train)
    ]


def setting_of(source: Source, train: Any) -> str:
    """Return what errors call a source of `stream.train`."""
    return f'{TRAIN} "{source.name}"' if is_mixture(train) else TRAIN
