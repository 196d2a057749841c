"""Batches prepared in the background, a few ahead of the loop that trains on them."""

import queue
import threading
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from codeparrot.stream.readers.patience import waiting_for
from codeparrot.stream.readers.rows import Damaged
from codeparrot.stream.shuffle import MixedState


class Batch(NamedTuple):
    input_ids: NDArray[np.int64]
    """[windows, seq_length]"""
    states: dict[int, MixedState]
    """States, after this batch, of the lanes it draws from."""
    damaged: list[Damaged]
    """What was left out to make it."""


class Prefetcher:
    """Runs an iterator in a background thread, a few batches ahead; re-raises its errors here, at their place in the order.

    The encoder releases the interpreter's lock, so one thread keeps up with the fastest accelerators.
    """

    def __init__(
        self, batches: Iterator[Batch], ahead: int, consumed: Callable[[dict[int, MixedState], list[Damaged]], None]
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
            with waiting_for(self._closed):
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
