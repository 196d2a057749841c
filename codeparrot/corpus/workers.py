"""Worker processes that read and write in parallel; results come back in the order of the work.

Nothing depends on how many there are. Workers start as fresh interpreters (`spawn`), ignore Ctrl-C, which the main process
handles, and end with the main process, however it ends. At most three pieces of work per worker are under way.
"""

import multiprocessing
import os
import pickle
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import lru_cache, partial
from pathlib import Path
from tempfile import NamedTemporaryFile
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from codeparrot.corpus.minhash.bands import NearDuplicates
from codeparrot.errors import CodeparrotError
from codeparrot.result import progress_bar

if TYPE_CHECKING:
    from codeparrot.corpus.segments import Segment

AHEAD = 3

Work = TypeVar("Work")
Done = TypeVar("Done")


class Workers:
    """A context that owns `number` worker processes; with one, the work is done in this process."""

    def __init__(self, number: int) -> None:
        self.number = number
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Self:
        if self.number > 1:
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self.number, mp_context=context, initializer=_end_with_parent)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._pool:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def map(self, function: Callable[[Work], Done], work: Iterable[Work]) -> Generator[Done, None, None]:
        """Yield the results in order. `function` and the work travel by pickle."""
        if self._pool is None:
            yield from map(function, work)
            return
        under_way: deque[Future[Done]] = deque()
        # What a function carries, such as all segments, grows with a build: it is packed once, not once for every task.
        with NamedTemporaryFile(prefix="codeparrot-", suffix=".pickle") as packed:
            packed.write(pickle.dumps(function))
            packed.flush()
            try:
                for piece in work:
                    under_way.append(_submit(self._pool, partial(_run, packed.name), piece))
                    if len(under_way) >= AHEAD * self.number:
                        yield under_way.popleft().result()
                while under_way:
                    yield under_way.popleft().result()
            except BrokenProcessPool as error:
                raise CodeparrotError("a worker process was killed, most likely for memory; try fewer --workers") from error
            finally:
                for future in under_way:
                    future.cancel()

    def near_pairs(self, segments: "list[Segment]", settings: NearDuplicates, folder: Path) -> list[Path]:
        """Write the pairs of near duplicates, one band after the other, and return their files."""
        return near_pairs_in_parts(self.map, segments, settings, folder)


def near_pairs_in_parts(
    run: Callable[..., Generator[Any, None, None]], segments: "list[Segment]", settings: NearDuplicates, folder: Path
) -> list[Path]:
    """Write the pairs of near duplicates in tasks that `run` runs, one band after the other, and return their files."""
    from codeparrot.corpus.duplicates.choice import band_parts
    from codeparrot.corpus.duplicates.pairs import EXACT, find_pairs

    tasks = [task for task in band_parts(sum(map(len, segments)), folder, settings) if task.band != EXACT]
    done = run(partial(find_pairs, segments=segments, settings=settings), tasks)
    for _ in progress_bar(done, total=len(tasks), desc="comparing", unit="band"):
        pass
    return [task.output for task in tasks]


def _run(packed: str, piece: Any) -> Any:
    return _unpacked(packed)(piece)


@lru_cache(maxsize=1)
def _unpacked(packed: str) -> Callable[..., Any]:
    return pickle.loads(Path(packed).read_bytes())  # noqa: S301 - written by `map`


def _submit(pool: ProcessPoolExecutor, function: Callable[..., Any], piece: Any) -> Future[Any]:
    # Submitting may start a process. It inherits the mask, so Ctrl-C never reaches it, not even while it starts.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return pool.submit(function, piece)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_wait_and_exit, args=(parent,), daemon=True).start()


def _wait_and_exit(parent: Any) -> None:
    parent.join()
    os._exit(1)
