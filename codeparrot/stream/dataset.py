"""`ConstantLengthDataset`: what a process trains on.

The configuration alone fixes the order, not the machine: sequence j of the run comes from lane j mod lanes, and process r of
`world_size` owns the lanes l with l mod world_size == r. Any world size that divides the lanes, any number of threads and any
split of the global batch into micro-batches sees the same global batches, token for token.

Of several sources, each window comes whole from one, which mixture.py draws. Each source is read as if it were the only one.

The state says what was consumed: the place of each lane in each source (eight numbers), independent of ranks. It leaves out
what is prepared ahead.

It is an `IterableDataset` of torch, so a `DataLoader` takes it. Several workers divide the windows among them, each once. The
state of this object does not follow what its copies in the workers hand out; the loop of `codeparrot train` has no workers,
and takes `batches`.
"""

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import chain, cycle, islice
from typing import Any, NamedTuple

import torch
from numpy.typing import NDArray
from torch.utils.data import IterableDataset

from codeparrot.config import StreamConfig
from codeparrot.errors import CodeparrotError
from codeparrot.stream import position
from codeparrot.stream.balance import resolved
from codeparrot.stream.best_fit import padded
from codeparrot.stream.cores import available_cores
from codeparrot.stream.encode import Encoder
from codeparrot.stream.entries import Source, sources_of
from codeparrot.stream.lane import Order
from codeparrot.stream.mixture import Mixture, without_phases
from codeparrot.stream.opened import OpenSource, Read, setting_of
from codeparrot.stream.prefetch import Batch, Prefetcher
from codeparrot.stream.provenance import TracedWindow
from codeparrot.stream.readers.patience import of_this_thread
from codeparrot.stream.readers.rows import Damaged, Where
from codeparrot.stream.shuffle import LaneState, MixedState, block_windows
from codeparrot.stream.transform import Transform
from codeparrot.stream.whole import share_of_worker, whole

logger = logging.getLogger("codeparrot")


class Window(NamedTuple):
    tokens: NDArray[Any]
    lane: int
    number: int
    """In the lane, from 0."""
    state: MixedState
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
        transform: what the objective makes of documents, if anything (objectives/fim.py): of all, or of each source.
        mixture: from which source each window comes; by default what the weights of the sources say. Phases need one.

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
        transform: Transform | Sequence[Transform | None] | None = None,
        mixture: Mixture | None = None,
    ) -> None:
        if stream.lanes % world_size:
            raise CodeparrotError(f"{world_size} processes do not divide stream.lanes {stream.lanes}")
        if stream.phases and mixture is None:
            raise CodeparrotError("stream.phases end with steps of a run: give its mixture")
        stream = resolved(stream) if source is None else stream
        sources = sources_of(stream.train) if source is None else [Source(source if isinstance(source, list) else [source], "")]
        self.stream, self.encoder, self.seed = stream, encoder, seed
        self.mixture = without_phases(stream.train, seed) if mixture is None or source is not None else mixture
        transforms = transform if isinstance(transform, Sequence) else [transform] * len(sources)
        blocks = self.mixture.blocks(block_windows(stream)) if len(sources) > 1 else [stream.block_windows]
        self.sources = [
            OpenSource(
                *(each, replace(stream, block_windows=size), encoder, Order(seed, lane=0, source=index), (rank, world_size)),
                *(changes, setting_of(each, stream.train), block_windows(stream)),
            )
            for index, (each, size, changes) in enumerate(zip(sources, blocks, transforms, strict=True))
        ]
        self._lanes = range(rank, stream.lanes, world_size)
        self._states = dict.fromkeys(self._lanes, self._beginning)
        self._anew = False
        """Whether every iteration begins at the beginning."""
        self._windows_before = 0
        self.damaged: dict[Where, Damaged] = {}
        """What this process's lanes have left out up to their states, as far as they were read since the start."""

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
        (only,) = windows.sources
        only.order, windows._anew = Order(0, 0, shuffle=False, epochs=None if infinite else 1), True
        return windows

    def __iter__(self) -> Iterator[torch.Tensor]:
        """Yield windows: int64 [seq_length], with -100 for the padding of best-fit packing and given.MARK on what pairs give.

        The state follows.
        """
        if self._anew:
            self._states = dict.fromkeys(self._lanes, self._beginning)
        share = share_of_worker(sorted(self._lanes))
        for window in self._windows(share.lanes):
            self._consumed({window.lane: window.state}, window.damaged)
            if len(window.tokens) < self.stream.seq_length and self.stream.packing != "best_fit":
                logger.warning("the last %d tokens fill no window: they are left out", len(window.tokens))
            elif share.has(window.number * len(share.lanes) + share.lanes.index(window.lane)):
                yield torch.from_numpy(padded([window.tokens], self.stream.seq_length)[0])

    def batches(self, micro_batch_size: int, ahead: int = 0) -> Prefetcher:
        """Return an endless iterator of [micro_batch_size, seq_length] arrays, prepared in the background.

        Where best-fit packing leaves padding they hold PADDING of best_fit.py. At least `ahead` are prepared, or as many as
        the settings say.

        The state follows what the iterator has handed out. Close the iterator, or use it in a `with` statement.

        Raises:
            CodeparrotError: the windows end.
        """
        if any(source.order.epochs is not None for source in self.sources):
            raise CodeparrotError("batches go on without end: give from_dataset infinite=True, or use a DataLoader")
        return Prefetcher(self._batches(micro_batch_size), max(ahead, self.stream.prefetch_batches), self._consumed)

    @property
    def states(self) -> dict[int, MixedState]:
        """Return how far each of this process's lanes has been consumed: a copy, which later batches do not change."""
        return dict(self._states)

    @property
    def read(self) -> list[Read]:
        """Return what this process's lanes have consumed of each source."""
        lanes = self._states.items()
        return [source.read({lane: state.sources[index] for lane, state in lanes}) for index, source in enumerate(self.sources)]

    def goes_on_at(self, num_windows: int) -> None:
        """Say how many windows of each lane the run has taken. It may have begun its data anew since, but not its phases."""
        self._windows_before = num_windows - min(state.num_windows for state in self._states.values())

    def traced(self, before: Mapping[int, MixedState], num_windows: int) -> list[TracedWindow]:
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
        for lane, share in Counter(turns).items():
            numbers = range(before[lane].num_windows, before[lane].num_windows + share)
            drawn = dict(zip(numbers, self.mixture.drawn(lane, self._windows_before + numbers.start), strict=False))
            made = {
                index: iter(self.sources[index].trace(lane, before[lane].sources[index], num))
                for index, num in Counter(drawn.values()).items()
            }
            rows = ((number - first_round) * self.stream.lanes + lane for number in numbers)
            streams[lane] = iter(
                [
                    self._traced((lane, number, row), *next(made[index]), self.sources[index])
                    for row, (number, index) in zip(rows, drawn.items(), strict=True)
                ]
            )
        return [next(streams[lane]) for lane in turns]

    def _traced(self, place: tuple[int, int, int], tokens: NDArray[Any], documents: Any, source: OpenSource) -> TracedWindow:
        padding = self.stream.seq_length - len(tokens) if source.best_fit else 0
        return TracedWindow(*place, tokens, documents, source.name, padding)

    def documents(self, before: Mapping[int, MixedState], num_windows: int) -> list[dict[str, Any]]:
        """Return the documents in the next `num_windows` windows of this process, ready for JSON; see `traced`.

        If `before` is the state at the beginning of a step, `position` is the window's row in that step's global batch.
        """
        return [window.facts() for window in self.traced(before, num_windows)]

    def state_dict(self) -> dict[str, Any]:
        """Return the position of this process's lanes; `merge_states` joins those of all processes."""
        return position.save(self.stream, self.sources, self._states)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`, which any number of processes may have saved.

        Raises:
            CodeparrotError: it is no position in this stream; see `position.load`.
        """
        self._states = position.load(state, self.stream, self.sources, self._lanes)

    @property
    def _beginning(self) -> MixedState:
        return MixedState((LaneState(),) * len(self.sources))

    def _windows(self, lanes: Sequence[int]) -> Iterator[Window]:
        """Yield the windows of lanes of this process in turn, from the current state on."""
        states = {lane: self._states[lane] for lane in lanes}
        # The first blocks of the lanes are read and encoded side by side: reading and encoding release the interpreter's lock.
        alone = any(source.shares for source in self.sources)
        count = 1 if alone else min(len(states), available_cores())
        with ThreadPoolExecutor(count, **of_this_thread()) as threads:
            streams = dict(zip(states, threads.map(self._begun, states, states.values()), strict=True))
        for lane in _turns(states, sorted(states)):
            window = next(streams[lane], None)
            if window is None:
                return
            states[lane] = window.state
            yield window

    def _begun(self, lane: int, state: MixedState) -> Iterator[Window]:
        """Return the windows of a lane after `state`. The first one of each source that is read now or later is ready.

        One that the lane cannot read fails here, and not when its phase begins.
        """
        streams = [source.windows(lane, own) for source, own in zip(self.sources, state.sources, strict=True)]
        for index in self.mixture.read_from(self._windows_before + state.num_windows):
            first = next(streams[index], None)
            streams[index] = chain([] if first is None else [first], streams[index])
        return self._mixed(lane, streams, state)

    def _mixed(self, lane: int, streams: Sequence[Iterator[Any]], state: MixedState) -> Iterator[Window]:
        states, first = list(state.sources), state.num_windows
        for number, index in enumerate(self.mixture.drawn(lane, self._windows_before + first), first):
            found = next(streams[index], None)
            if found is None:
                return
            tokens, states[index], damaged = found
            yield Window(tokens, lane, number, MixedState(tuple(states)), damaged)

    def _consumed(self, states: Mapping[int, MixedState], damaged: Sequence[Damaged]) -> None:
        self._states.update(states)
        for each in damaged:
            self.damaged.setdefault(each.where, each)

    def _batches(self, micro_batch_size: int) -> Iterator[Batch]:
        stream = self._windows(sorted(self._lanes))
        while True:
            group = [next(stream) for _ in range(micro_batch_size)]
            input_ids = padded([window.tokens for window in group], self.stream.seq_length)
            damaged = [each for window in group for each in window.damaged]
            yield Batch(input_ids, {window.lane: window.state for window in group}, damaged)


def _turns(states: Mapping[int, MixedState], lanes: Sequence[int]) -> Iterator[int]:
    """Yield, without end, the lane of each next window.

    Lanes advance round-robin; resume with the first one that lags.
    """
    behind = min(range(len(lanes)), key=lambda index: (states[lanes[index]].num_windows, index))
    return cycle([*lanes[behind:], *lanes[:behind]])
