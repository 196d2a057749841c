"""A process that dies or hangs soon ends the job, with an error that names the process and its last step.

Once a second, a thread in every process tells the launcher's key-value store that the process is alive and which step it is in.
When no step finishes within the time-out (long at the start, short after the first steps), or when a collective fails because
another process is gone, the store tells which process is missing or behind. The hot path only sets a number.
"""

import faulthandler
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

from codeparrot.errors import CodeparrotError
from codeparrot.training.tracking import ONLY_IN_FILE

logger = logging.getLogger("codeparrot")

INTERVAL_SECONDS = 1.0
SUSPENDED_SECONDS = 30.0
"""If the watchdog overslept by this much, the whole process was suspended."""
FIRST_STEPS = 3
"""Steps that still get the start's time-out: compilation, first files, first checkpoints."""


_ALIVE, _ENDED = "codeparrot/alive/{}", "codeparrot/ended/{}"
"""Keys of a process in the store: what it last said about itself, and the error with which it ended."""


class Peer(NamedTuple):
    """What a process last said about itself."""

    rank: int
    host: str = "?"
    step: int = -1
    doing: str = "start"
    beats: int = -1
    """How often it has said so."""


class _Sign(NamedTuple):
    """The last sign of life of the training thread."""

    step: int
    doing: str
    when: float


class Watchdog:
    """Runs from the start of the processes to the end of the run; a context manager.

    Args:
        accelerator: of the run.
        startup_seconds, timeout_seconds: longest time between two signs of life, at the start and later.
        fatal: called with the error on a time-out; by default the process prints it and ends with status 1.
    """

    def __init__(
        self, accelerator: Any, startup_seconds: float, timeout_seconds: float, fatal: Callable[[str], None] | None = None
    ) -> None:
        self._rank, self._world = accelerator.process_index, accelerator.num_processes
        self._limit, self._later = startup_seconds, timeout_seconds
        self._fatal = fatal or self._end_process
        self._state = _Sign(-1, "start", time.monotonic())
        self._steps = 0
        self._done = threading.Event()
        self._store = _store() if self._world > 1 else None
        self.log: Path | None = None
        """File that gets the stacks of the threads on a time-out."""
        self.last_words: Callable[[str], None] = lambda text: None
        """Called with the error before the process ends."""
        self._explained = False
        """Whether this process ends because another one did."""
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def __enter__(self) -> "Watchdog":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def beat(self, step: int, doing: str) -> None:
        """Say that the training thread is alive: `doing` (training, evaluation, checkpoint) in `step`."""
        if doing == "training" and step != self._state.step:
            self._steps += 1
            if self._steps > FIRST_STEPS:
                self._limit = self._later
        self._state = _Sign(step, doing, time.monotonic())

    @contextmanager
    def explaining(self) -> Iterator[None]:
        """Turn the failure of a collective into an error that names the missing process, or says what ended it.

        Raises:
            CodeparrotError: another process is gone.
        """
        try:
            yield
        except (CodeparrotError, OSError) as error:
            # The others see only that this process is gone, and would advise to start again.
            if self._store is not None and not self._explained:
                self._tell(_ENDED.format(self._rank), " ".join(str(error).split()))
            raise
        except RuntimeError as error:  # torch's DistError is one; gloo raises the bare class
            lost = self.missing() if self._store is not None else []
            if not lost:
                raise
            self._explained = True
            again = "; start again: the run goes on from its newest checkpoint"
            raise CodeparrotError(self._ended(lost) or self._account(lost) + again) from error

    def missing(self) -> list[Peer]:
        """Return the other processes that say nothing for three intervals. Takes that long."""
        try:
            before = self._peers()
            time.sleep(3 * INTERVAL_SECONDS)
            silent = [old for old, new in zip(before, self._peers(), strict=True) if old.beats == new.beats]
        except RuntimeError:
            # The store is gone, so the launcher of the first machine is too.
            silent = [Peer(0, "the first machine")]
        return [peer for peer in silent if peer.rank != self._rank]

    def _watch(self) -> None:
        beats, before = 0, time.monotonic()
        while not self._done.wait(INTERVAL_SECONDS):
            now = time.monotonic()
            if now - before > SUSPENDED_SECONDS:
                # The whole process was suspended (Ctrl-Z) and goes on: the training thread is not to blame.
                self._state = self._state._replace(when=now)
            beats, before = beats + 1, now
            step, doing, when = self._state
            if self._store is not None:
                self._tell(_ALIVE.format(self._rank), f"{socket.gethostname()}|{step}|{doing}|{beats}")
            waited = time.monotonic() - when
            if waited > self._limit:
                self._fatal(f"nothing was finished for {waited:.0f} s: {self._suspects()}")
                return

    def _tell(self, key: str, text: str) -> None:
        assert self._store is not None
        try:
            self._store.set(key, text)
        except RuntimeError as error:
            logger.debug("the launcher's store is gone: %s", error)

    def _suspects(self) -> str:
        """Say who is missing, or who is behind, or that everyone waits."""
        own = [Peer(self._rank, socket.gethostname(), self._state.step, self._state.doing)]
        if self._store is None:
            return suspects(own)
        lost = self.missing()
        try:
            return self._ended(lost) or self._account(lost) if lost else suspects(self._peers())
        except RuntimeError:
            return suspects(own)

    def _ended(self, lost: list[Peer]) -> str:
        """Return the error with which one of the processes ended, or nothing if none has said."""
        assert self._store is not None
        try:
            for peer in lost:
                if self._store.check([_ENDED.format(peer.rank)]):
                    return f"process {peer.rank} ({peer.host}) ended: {self._store.get(_ENDED.format(peer.rank)).decode()}"
        except RuntimeError as error:
            logger.debug("the launcher's store is gone: %s", error)
        return ""

    def _account(self, lost: list[Peer]) -> str:
        # Its last message may be a second old, but it must have got as far as this process has.
        reached = self._state.step - 1
        steps = (max(peer.step, reached) for peer in lost[:8])
        places = ("during the start" if step < 0 else f"last step {step}" for step in steps)
        named = ", ".join(f"process {peer.rank} ({peer.host}, {place})" for peer, place in zip(lost, places, strict=False))
        return f"{named}{f' and {len(lost) - 8} more' if len(lost) > 8 else ''} died or hangs"

    def _peers(self) -> list[Peer]:
        """Return what all processes last said.

        Raises:
            RuntimeError: the store is gone.
        """
        assert self._store is not None
        keys = [_ALIVE.format(rank) for rank in range(self._world)]
        return [_parse(rank, self._store.get(key) if self._store.check([key]) else b"") for rank, key in enumerate(keys)]

    def _end_process(self, text: str) -> None:
        if self.log is not None:
            with self.log.open("a", encoding="utf-8") as file:
                faulthandler.dump_traceback(file)
        self.last_words(text)
        logger.error("%s", text, extra=ONLY_IN_FILE)
        os.write(sys.stderr.fileno(), f"codeparrot: process {self._rank}: error: {text}\n".encode())
        os._exit(1)


def suspects(peers: list[Peer]) -> str:
    """Say which process holds the others up, given that all are alive."""
    newest = max(peer.step for peer in peers)
    behind = [peer for peer in peers if peer.step < newest] or [peer for peer in peers if peer.doing != peers[0].doing]
    if not behind:
        return f"all processes wait in step {newest} ({peers[0].doing}); the stacks of their threads are in log/"
    named = ", ".join(f"process {peer.rank} ({peer.host}) in step {peer.step} ({peer.doing})" for peer in behind[:8])
    return f"the others are in step {newest} and wait for {named}; the stacks of its threads are in log/"


def _parse(rank: int, said: bytes) -> Peer:
    if not said:
        return Peer(rank)
    host, step, doing, beats = said.decode().split("|")
    return Peer(rank, host, int(step), doing, int(beats))


def _store() -> Any:
    """Connect to the store through which the launcher's processes found each other.

    The first machine's launcher keeps it alive, so it still answers when a process is gone.
    """
    import torch.distributed as dist

    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store = dist.TCPStore(  # pyright: ignore[reportPrivateImportUsage] - documented, not in __all__
        address, port, is_master=False, timeout=timedelta(seconds=10)
    )
    # A launcher that restarts its processes (--max_restarts) keeps the store: ignore what earlier ones wrote.
    restarts = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return dist.PrefixStore(restarts, store)  # pyright: ignore[reportPrivateImportUsage]
