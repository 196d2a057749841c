"""`ConstantLengthDataset`: what a process trains on.

The configuration alone fixes the order, not the machine: sequence j of the run comes from lane j mod lanes, and process r of
`world_size` owns the lanes l with l mod world_size == r. Any world size that divides the lanes, any number of threads and any
split of the global batch into micro-batches sees the same global batches, token for token.

The state says what was consumed: the place of each lane (eight numbers), independent of ranks. It leaves out what is prepared
ahead.
"""

import os
import queue
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, cycle, islice
from typing import Any, NamedTuple

import numpy as np
import xxhash
from numpy.typing import NDArray

from codeparrot.config import StreamConfig, as_list
from codeparrot.errors import CodeparrotError
from codeparrot.stream.encode import Encoder
from codeparrot.stream.lane import Cursor, Order, windows
from codeparrot.stream.provenance import TracedWindow, trace
from codeparrot.stream.readers.rows import Damaged, Where
from codeparrot.stream.shards import Shard
from codeparrot.stream.shuffle import LaneState, block_windows, in_order, place_tokens, reading
from codeparrot.stream.sources import lanes_of, open_shards

STATE_VERSIONS = {"documents": 1, "windows": 2}
"""By the order that a position belongs to."""


class Window(NamedTuple):
    tokens: NDArray[Any]
    lane: int
    state: LaneState
    """State of the lane after this window."""
    damaged: list[Damaged]
    """What was left out to make it, or to prepare those behind it; a function of its place in an uninterrupted run."""


class Batch(NamedTuple):
    input_ids: NDArray[np.int64]
    """[windows, seq_length]"""
    states: dict[int, LaneState]
    """States, after this batch, of the lanes it draws from."""
    damaged: list[Damaged]


class ConstantLengthDataset:
    """The endless windows of one process.

    Args:
        stream: the configuration; everything in it but `encoder` and `prefetch_batches` fixes the order.
        encoder: text to ids.
        seed: the order is drawn from it.
        rank, world_size: decide which lanes this process owns.
        source: replaces `stream.train`: names, or a streaming data set of `datasets`.

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
    ) -> None:
        if stream.lanes % world_size:
            raise CodeparrotError(f"{world_size} processes do not divide stream.lanes {stream.lanes}")
        names = as_list(stream.train) if source is None else source if isinstance(source, list) else [source]
        shards = open_shards(names, split="train", column=stream.text_column, seq_length=stream.seq_length)
        self.stream, self.encoder, self.seed = stream, encoder, seed
        self.shards = shards
        """The shards of all processes, uncut."""
        self._data = identity_of(shards)
        self.tokenized = all(shard.packed for shard in shards)
        """Whether the data are windows that were tokenised before."""
        self._lanes: Mapping[int, Sequence[Shard]] = {
            lane: self._spread(own) for lane, own in enumerate(lanes_of(shards, stream.lanes)) if lane % world_size == rank
        }
        self._states = {lane: LaneState() for lane in self._lanes}
        self.damaged: dict[Where, Damaged] = {}
        """What this process's lanes have left out up to their states, as far as they were read since the start."""
        for shard in shards[rank::world_size]:
            self._check(shard)

    def __iter__(self) -> Iterator[NDArray[Any]]:
        """Yield windows of `seq_length` tokens; the state follows."""
        for window in self._windows():
            self._consumed({window.lane: window.state}, window.damaged)
            yield window.tokens

    def batches(self, micro_batch_size: int) -> "Prefetcher":
        """Return an endless iterator of [micro_batch_size, seq_length] arrays, prepared in the background.

        The state follows what the iterator has handed out. Close the iterator, or use it in a `with` statement.
        """
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
            origins = trace(shards, Order(self.seed, lane), self.stream, self.encoder, state, count)
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
        return {"version": self._version, "num_lanes": self.stream.lanes, "data": self._data, **counted, "lanes": lanes}

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

    def _windows(self) -> Iterator[Window]:
        """Yield the windows of this process's lanes in turn, from the current state on."""
        states = self.states
        # The first blocks of the lanes are read and encoded side by side: reading and encoding release the interpreter's lock.
        alone = any(shard.shares for shards in self._lanes.values() for shard in shards)
        with ThreadPoolExecutor(1 if alone else min(len(states), len(os.sched_getaffinity(0)))) as threads:
            streams = dict(zip(states, threads.map(self._begun, states, states.values()), strict=True))
        for lane in _turns(states, sorted(states)):
            window = next(streams[lane])
            states[lane] = window.state
            yield window

    def _begun(self, lane: int, state: LaneState) -> Iterator[Window]:
        """Return the windows of a lane after `state`, of which the first is ready."""
        stream = self._lane(lane, state)
        return chain([next(stream)], stream)

    def _lane(self, lane: int, state: LaneState) -> Iterator[Window]:
        shards, order, stream = self._lanes[lane], Order(self.seed, lane), self.stream
        found: list[Damaged] = []
        how = reading(stream, self.tokenized)
        how = how._replace(meet=found.append) if stream.on_error == "skip" else how
        packed = windows(shards, order, how, self.encoder, stream.seq_length, state.cursor)
        for tokens, after in in_order(packed, order, stream, self.tokenized, state):
            yield Window(tokens, lane, after, found.copy())
            found.clear()

    def _check(self, shard: Shard) -> None:
        """Look at the beginning of a shard, before anything is trained on."""
        try:
            shard.check()
        except Damaged as damaged:
            reading(self.stream, self.tokenized).meet(damaged)
        finally:
            shard.close()

    def _consumed(self, states: Mapping[int, LaneState], damaged: Sequence[Damaged]) -> None:
        self._states.update(states)
        for each in damaged:
            self.damaged.setdefault(each.where, each)

    def _batches(self, micro_batch_size: int) -> Iterator[Batch]:
        stream = self._windows()
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


class Prefetcher:
    """Runs an iterator in a background thread, a few batches ahead; re-raises its errors here, at their place in the order.

    The encoder releases the interpreter's lock, so one thread keeps up with the fastest accelerators.
    """

    def __init__(
        self, batches: Iterator[Batch], ahead: int, consumed: Callable[[dict[int, LaneState], list[Damaged]], None]
    ) -> None:
        self._queue: queue.Queue[Batch | BaseException] = queue.Queue(ahead)
        self._consumed = consumed
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._fill, args=(batches,), name="stream", daemon=True)
        self._thread.start()

    def __iter__(self) -> "Prefetcher":
        return self

    def __next__(self) -> NDArray[np.int64]:
        item = self._queue.get()
        if isinstance(item, BaseException):
            self._put(item)
            raise item
        self._consumed(item.states, item.damaged)
        return item.input_ids

    def __enter__(self) -> "Prefetcher":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop the thread. Batches prepared ahead are not in the state; they are made again later."""
        self._closed.set()
        self._thread.join()

    def _fill(self, batches: Iterator[Batch]) -> None:
        try:
            for batch in batches:
                if not self._put(batch):
                    return
        except BaseException as error:  # noqa: BLE001 - passed to the consumer, which raises it
            self._put(error)

    def _put(self, item: Batch | BaseException) -> bool:
        while not self._closed.is_set():
            try:
                self._queue.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False
