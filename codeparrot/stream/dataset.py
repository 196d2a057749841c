"""`ConstantLengthDataset`: what a process trains on.

The configuration alone fixes the order, not the machine: sequence j of the run comes from lane j mod lanes, and process r of
`world_size` owns the lanes l with l mod world_size == r. Any world size that divides the lanes, any number of threads and any
split of the global batch into micro-batches sees the same global batches, token for token.

The state says what was consumed: the place of each lane (eight numbers), independent of ranks. It leaves out what is prepared
ahead.

It is an `IterableDataset` of torch, so a `DataLoader` takes it. Several workers divide the windows among them, each once. The
state of this object does not follow what its copies in the workers hand out; the loop of `codeparrot train` has no workers,
and takes `batches`.
"""

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, cycle, islice
from typing import Any, NamedTuple

import numpy as np
import torch
import xxhash
from numpy.typing import NDArray
from torch.utils.data import IterableDataset

from codeparrot.config import StreamConfig, as_list
from codeparrot.errors import CodeparrotError
from codeparrot.stream.cores import available_cores
from codeparrot.stream.encode import Encoder
from codeparrot.stream.lane import Cursor, Order, windows
from codeparrot.stream.prefetch import Batch, Prefetcher
from codeparrot.stream.provenance import TracedWindow, trace
from codeparrot.stream.readers.rows import Damaged, Where
from codeparrot.stream.shards import Shard, check_all
from codeparrot.stream.shuffle import LaneState, block_windows, in_order, place_tokens, reading
from codeparrot.stream.sources import lanes_of, open_shards
from codeparrot.stream.transform import Transform
from codeparrot.stream.whole import share_of_worker, whole

logger = logging.getLogger("codeparrot")

STATE_VERSIONS = {"documents": 1, "windows": 2}
"""By the order that a position belongs to."""


class Window(NamedTuple):
    tokens: NDArray[Any]
    lane: int
    state: LaneState
    """State of the lane after this window."""
    damaged: list[Damaged]
    """What was left out to make it, or to prepare those behind it; a function of its place in an uninterrupted run."""


class ConstantLengthDataset(IterableDataset[torch.Tensor]):
    """The endless windows of one process.

    Args:
        stream: the configuration; everything in it but `encoder` and `prefetch_batches` fixes the order.
        encoder: text to ids.
        seed: the order is drawn from it.
        rank, world_size: decide which lanes this process owns.
        source: replaces `stream.train`: names, or a streaming data set of `datasets`.
        transform: what the objective makes of documents, if anything (objectives/fim.py).

    Raises:
        CodeparrotError: the data cannot be read or do not hold text, or the world size does not divide the lanes.
    """

    def __init__(
        self,
        stream: StreamConfig,
        encoder: Encoder,
        *,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        source: Any = None,
        transform: Transform | None = None,
    ) -> None:
        if stream.lanes % world_size:
            raise CodeparrotError(f"{world_size} processes do not divide stream.lanes {stream.lanes}")
        names = as_list(stream.train) if source is None else source if isinstance(source, list) else [source]
        shards = open_shards(names, split="train", column=stream.text_column, seq_length=stream.seq_length)
        self.stream, self.encoder, self.seed, self.transform = stream, encoder, seed, transform
        self.shards = shards
        """The shards of all processes, uncut."""
        self._data = identity_of(shards)
        self.tokenized = all(shard.packed for shard in shards)
        """Whether the data are windows that were tokenised before."""
        self._lanes: Mapping[int, Sequence[Shard]] = {
            lane: self._spread(own) for lane, own in enumerate(lanes_of(shards, stream.lanes)) if lane % world_size == rank
        }
        self._states = {lane: LaneState() for lane in self._lanes}
        self._order = Order(seed, lane=0)
        self._anew = False
        """Whether every iteration begins at the beginning."""
        self.damaged: dict[Where, Damaged] = {}
        """What this process's lanes have left out up to their states, as far as they were read since the start."""
        check_all(shards[rank::world_size], reading(stream, self.tokenized).meet)

    @classmethod
    def from_dataset(
        cls,
        tokenizer: Any,
        dataset: Any,
        infinite: bool = False,
        seq_length: int = 1024,
        num_of_sequences: int = 1024,
        chars_per_token: float = 3.6,
        *,
        text_column: str = "content",
    ) -> "ConstantLengthDataset":
        """Return the windows of a data set in its own order: the class of the same name in the CodeParrot chapter.

        Every iteration begins anew. docs/chapter10.md lists what differs from the chapter.

        Args:
            tokenizer: a fast tokenizer of transformers with an end-of-document token, which follows each document.
            dataset: what yields mappings each time it is iterated over: a data set of `datasets`, streaming or not, or a list.
            infinite: begin again where the data set ends; otherwise the end that fills no window is left out and reported.
            seq_length: tokens in a window.
            num_of_sequences, chars_per_token: size of the chapter's buffer. They are checked and change nothing: no buffer
                has a remainder to drop here.
            text_column: key of the text.

        Raises:
            CodeparrotError: an argument cannot be used; while iterating: a document has no text.
        """
        found = whole(tokenizer, dataset, infinite, seq_length, num_of_sequences * chars_per_token, text_column)
        windows = cls(found.stream, found.encoder, source=found.shard)
        windows._order, windows._anew = Order(0, 0, shuffle=False, epochs=None if infinite else 1), True
        return windows

    def __iter__(self) -> Iterator[torch.Tensor]:
        """Yield windows: int64 [seq_length]. The state follows."""
        if self._anew:
            self._states = {lane: LaneState() for lane in self._lanes}
        share = share_of_worker(sorted(self._lanes))
        for window in self._windows(share.lanes):
            self._consumed({window.lane: window.state}, window.damaged)
            if len(window.tokens) < self.stream.seq_length:
                logger.warning("the last %d tokens fill no window: they are left out", len(window.tokens))
            elif share.has((window.state.num_windows - 1) * len(share.lanes) + share.lanes.index(window.lane)):
                yield torch.from_numpy(window.tokens.astype(np.int64))

    def batches(self, micro_batch_size: int) -> Prefetcher:
        """Return an endless iterator of [micro_batch_size, seq_length] arrays, prepared in the background.

        The state follows what the iterator has handed out. Close the iterator, or use it in a `with` statement.

        Raises:
            CodeparrotError: the windows end.
        """
        if self._order.epochs is not None:
            raise CodeparrotError("batches go on without end: give from_dataset infinite=True, or use a DataLoader")
        return Prefetcher(self._batches(micro_batch_size), self.stream.prefetch_batches, self._consumed)

    @property
    def states(self) -> dict[int, LaneState]:
        """Return how far each of this process's lanes has been consumed: a copy, which later batches do not change."""
        return dict(self._states)

    def traced(self, before: Mapping[int, LaneState], num_windows: int) -> list[TracedWindow]:
        """Return this process's next `num_windows` windows after `before`, with the documents they are made of.

        It opens the files itself and reads each lane again from the block of its cursor, so iteration goes on undisturbed,
        in the background too.

        Args:
            before: earlier `states` of this data set.
            num_windows: how many, in the order of the stream.

        Raises:
            CodeparrotError: the data can no longer be read.
        """
        turns = list(islice(_turns(before, sorted(self._lanes)), num_windows))
        first_round = min(before[lane].num_windows for lane in self._lanes)
        streams: dict[int, Iterator[TracedWindow]] = {}
        for lane, count in Counter(turns).items():
            shards, state = [shard.fresh() for shard in self._lanes[lane]], before[lane]
            origins = trace(shards, self._order._replace(lane=lane), self.stream, self.encoder, state, count, self.transform)
            streams[lane] = iter(
                [
                    TracedWindow(lane, window, (window - first_round) * self.stream.lanes + lane, tokens, documents)
                    for window, (tokens, documents) in enumerate(origins, state.num_windows)
                ]
            )
        return [next(streams[lane]) for lane in turns]

    def documents(self, before: Mapping[int, LaneState], num_windows: int) -> list[dict[str, Any]]:
        """Return the documents in the next `num_windows` windows of this process, ready for JSON; see `traced`.

        If `before` is the state at the beginning of a step, `position` is the window's row in that step's global batch.
        """
        return [window.facts() for window in self.traced(before, num_windows)]

    def state_dict(self) -> dict[str, Any]:
        """Return the position of this process's lanes; `merge_states` joins those of all processes."""
        by_document = self._version == STATE_VERSIONS["documents"]
        lanes = {
            str(lane): [state.num_windows, *([] if by_document else [state.taken]), *state.cursor]
            for lane, state in self._states.items()
        }
        counted = {} if by_document else self._counted_in
        changed = {"objective": dict(self.transform.settings)} if self.transform else {}
        head = {"version": self._version, "num_lanes": self.stream.lanes, "data": self._data}
        return {**head, **counted, **changed, "lanes": lanes}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`, which any number of processes may have saved.

        Raises:
            CodeparrotError: the state belongs to another order, another number of lanes or other files, or lacks lanes of this
                process.
        """
        version = state.get("version")
        if version not in STATE_VERSIONS.values():
            raise CodeparrotError(f"the stream's state has version {version}; this codeparrot reads 1 and 2")
        if state["num_lanes"] != self.stream.lanes:
            raise CodeparrotError(f"the run has {state['num_lanes']} lanes; set stream.lanes to that")
        if state["data"] != self._data:
            raise CodeparrotError("stream.train holds different files from those the run began with; positions would be wrong")
        if version != self._version:
            (order,) = (name for name, each in STATE_VERSIONS.items() if each == version)
            raise CodeparrotError(f"the run was begun with stream.order {order}; set it back to go on at its position")
        for name, value in self._counted_in.items():
            if state.get(name, value) != value:
                raise CodeparrotError(f"the stream's position is one of {name} {state[name]}, not {value}; set that back")
        ours = dict(self.transform.settings) if self.transform else {}
        if (theirs := state.get("objective", {})) != ours:
            begun, now = (" ".join(f"{key} {value}" for key, value in each.items()) or "fim_rate 0" for each in (theirs, ours))
            raise CodeparrotError(f"the stream's position is one of objective {begun}, not {now}; set that back")
        missing = [lane for lane in self._states if str(lane) not in state["lanes"]]
        if missing:
            raise CodeparrotError(f"the stream's state lacks lanes {missing}; it was not merged from all processes")
        for lane in self._states:
            num_windows, *taken, epoch, shard, block, row, piece, token = state["lanes"][str(lane)]
            self._states[lane] = LaneState(num_windows, Cursor(epoch, shard, block, row, piece, token), *taken)

    @property
    def _counted_in(self) -> dict[str, int]:
        """Return the settings without which a place in the order of the windows means nothing."""
        return {"stream.seq_length": self.stream.seq_length, "stream.block_windows": block_windows(self.stream)}

    @property
    def _version(self) -> int:
        return STATE_VERSIONS["documents" if self.stream.order == "documents" else "windows"]

    def _spread(self, shards: Sequence[Shard]) -> Sequence[Shard]:
        """Divide a lane's shards into places that can be read side by side."""
        if self.stream.order == "documents":
            return shards
        return [place for shard in shards for place in shard.spread(place_tokens(self.stream, self.tokenized))]

    def _windows(self, lanes: Sequence[int]) -> Iterator[Window]:
        """Yield the windows of lanes of this process in turn, from the current state on."""
        states = {lane: self._states[lane] for lane in lanes}
        # The first blocks of the lanes are read and encoded side by side: reading and encoding release the interpreter's lock.
        alone = any(shard.shares for shards in self._lanes.values() for shard in shards)
        with ThreadPoolExecutor(1 if alone else min(len(states), available_cores())) as threads:
            streams = dict(zip(states, threads.map(self._begun, states, states.values()), strict=True))
        for lane in _turns(states, sorted(states)):
            window = next(streams[lane], None)
            if window is None:
                return
            states[lane] = window.state
            yield window

    def _begun(self, lane: int, state: LaneState) -> Iterator[Window]:
        """Return the windows of a lane after `state`, of which the first is ready."""
        stream = self._lane(lane, state)
        return chain([] if (first := next(stream, None)) is None else [first], stream)

    def _lane(self, lane: int, state: LaneState) -> Iterator[Window]:
        shards, order, stream = self._lanes[lane], self._order._replace(lane=lane), self.stream
        found: list[Damaged] = []
        how = reading(stream, self.tokenized)
        how = how._replace(meet=found.append) if stream.on_error == "skip" else how
        packed = windows(shards, order, how, self.encoder, stream.seq_length, state.cursor, self.transform)
        for tokens, after in in_order(packed, order, stream, self.tokenized, state):
            yield Window(tokens, lane, after, found.copy())
            found.clear()

    def _consumed(self, states: Mapping[int, LaneState], damaged: Sequence[Damaged]) -> None:
        self._states.update(states)
        for each in damaged:
            self.damaged.setdefault(each.where, each)

    def _batches(self, micro_batch_size: int) -> Iterator[Batch]:
        stream = self._windows(sorted(self._lanes))
        while True:
            group = [next(stream) for _ in range(micro_batch_size)]
            input_ids = np.stack([window.tokens for window in group]).astype(np.int64)
            damaged = [each for window in group for each in window.damaged]
            yield Batch(input_ids, {window.lane: window.state for window in group}, damaged)


def _turns(states: Mapping[int, LaneState], lanes: Sequence[int]) -> Iterator[int]:
    """Yield, without end, the lane of each next window.

    Lanes advance round-robin; resume with the first one that lags.
    """
    behind = min(range(len(lanes)), key=lambda index: (states[lanes[index]].num_windows, index))
    return cycle([*lanes[behind:], *lanes[:behind]])


def identity_of(shards: Sequence[Shard]) -> str:
    """Return what tells these data from others: a position in the stream is one in them."""
    return xxhash.xxh3_64_hexdigest("\n".join(shard.identity for shard in shards).encode())


def merge_states(states: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Join the states of all processes into one that does not depend on ranks."""
    lanes = {lane: position for state in states for lane, position in state["lanes"].items()}
    return {**states[0], "lanes": dict(sorted(lanes.items(), key=lambda entry: int(entry[0])))}
