"""Progress of the current push, in a small file that the uploader writes and whoever waits reads.

It counts the bytes of requests that have gone out. Uploads through Xet are not among them and show only when they are done.
Copies for a mirror are counted in a file of their own.
"""

import contextlib
import json
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, NamedTuple

from codeparrot import files
from codeparrot.publishing.ledger import Entry
from codeparrot.result import progress_bar

_FILE = ".hub.progress"
_EVERY_SECONDS = 0.5
LOOK_SECONDS = 0.25


class Sent(NamedTuple):
    step: int
    num_bytes: int


class Writer:
    """Counts, and writes at most twice a second. If the file cannot be written, only the display suffers."""

    def __init__(self, run: Path, file: str = _FILE) -> None:
        self._path = run / file
        self._step, self._bytes, self._written = 0, 0, 0.0

    def begin(self, entry: Entry) -> None:
        self._step, self._bytes, self._written = entry.step, 0, 0.0

    def sent(self, num_bytes: int) -> None:
        self._bytes += num_bytes
        now = time.monotonic()
        if now - self._written >= _EVERY_SECONDS:
            self._written = now
            with contextlib.suppress(OSError):
                files.write_text(self._path, json.dumps(Sent(self._step, self._bytes)), durable=False)

    def end(self) -> None:
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)


def read(run: Path, file: str = _FILE) -> Sent | None:
    """Return how much of the current checkpoint has been sent, or None if none is being pushed."""
    try:
        return Sent(*json.loads((run / file).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):  # being written, or no more what was written
        return None


class Look(NamedTuple):
    """What is left of a queue."""

    queue: list[Entry]
    facts: dict[str, Any]
    """With the state of the process that works on it, and its last error."""
    sent: Sent | None


def show(name: str, look: Callable[[], Look], hopeless: Collection[str], seconds: float, stops: Callable[[], bool]) -> None:
    """Show a queue until it is empty or its state is hopeless, nothing has moved for so many seconds, or `stops` says so."""
    queue = look().queue
    moved, sent, total = time.monotonic(), None, sum(entry.num_bytes for entry in queue)
    with progress_bar(total=total, desc=name, unit="B", unit_scale=True) as bar:
        while queue and not stops() and time.monotonic() - moved < seconds:
            left, facts, now = look()
            if facts["state"] in hopeless:
                return
            if now != sent or left != queue:
                moved, sent, queue = time.monotonic(), now, left
            under_way = min(now.num_bytes, queue[0].num_bytes) if now and queue else 0
            bar.n = max(0, total - sum(entry.num_bytes for entry in queue) + under_way)
            waits = f", waiting: {facts['error'][:60]}" if facts["error"] else ""
            bar.set_postfix_str(f"{len(queue)} checkpoint{'s' if len(queue) > 1 else ''} left{waits}")
            time.sleep(LOOK_SECONDS)
