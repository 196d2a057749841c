"""Progress of the current push, in a small file that the uploader writes and whoever waits reads.

It counts the bytes of requests that have gone out. Uploads through Xet are not among them and show only when they are done.
"""

import contextlib
import json
import time
from pathlib import Path
from typing import NamedTuple

from codeparrot import files
from codeparrot.publishing.ledger import Entry

_FILE = ".hub.progress"
_EVERY_SECONDS = 0.5


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
