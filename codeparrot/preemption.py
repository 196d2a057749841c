"""Stopping a run without losing it.

The first SIGINT (Ctrl-C) or SIGTERM sets a flag, which all processes agree on at the end of the step: the run saves and ends.
The second ends the process at once. Launchers pass a signal on that the terminal has already sent to every process, so what
comes within a second of the first is the same request.
"""

import os
import signal
import sys
import time
from types import FrameType

SAME_REQUEST_SECONDS = 1.0
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """While entered, signals set `requested` instead of ending the process."""

    def __init__(self) -> None:
        self.requested = False
        self._first_time = 0.0
        self._previous: dict[int, object] = {}

    def __enter__(self) -> "StopRequest":
        for number in SIGNALS:
            self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _handle(self, number: int, _: FrameType | None) -> None:
        if not self.requested:
            self.requested, self._first_time = True, time.monotonic()
            # os.write: a handler may run in the middle of a print.
            os.write(sys.stderr.fileno(), b"\nstopping: this step is finished and saved first; again: stop at once\n")
        elif time.monotonic() - self._first_time > SAME_REQUEST_SECONDS:
            os.write(sys.stderr.fileno(), b"\nstopped at once; the newest complete checkpoint is where it goes on\n")
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
