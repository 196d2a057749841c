"""Stopping a run without losing it: on a signal, or before the batch system's time limit.

The first SIGINT (Ctrl-C), SIGTERM or SIGUSR1 sets a flag, which all processes agree on at the end of the step or of the next
one; evaluation, sampling and the start look at it too. The run saves, marks `status.json` and ends. A second Ctrl-C ends the
process at once.
The terminal sends Ctrl-C to every process and launchers pass it on again, so another one within a few seconds is the same
request. Batch systems repeat their signals, so only Ctrl-C has a second meaning.

Inside SLURM the run also stops by itself when the time left is only just enough for a save.
"""

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from types import FrameType

logger = logging.getLogger("codeparrot")

SAME_REQUEST_SECONDS = 3.0
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
ASK_AGAIN_SECONDS = 60.0
"""How often the end of a job is asked for again once it is near: an administrator may have moved it."""


class StopRequest:
    """While entered, signals set `requested` instead of ending the process."""

    def __init__(self) -> None:
        self.reason = ""
        """The first request: the name of a signal, or "time limit"."""
        self._first_time = 0.0
        self._previous: dict[int, object] = {}
        self._deadline: Callable[[], bool] = lambda: False

    @property
    def requested(self) -> bool:
        """Whether this process was asked to stop. Processes may differ, so they decide together."""
        if not self.reason and self._deadline():
            self.request("time limit")
        return bool(self.reason)

    def agree(self, gather: Callable[[str], list[str]]) -> None:
        """Adopt the reason of the first process that was asked. All processes call this."""
        self.reason = next((reason for reason in gather(self.reason) if reason), "")

    def at(self, deadline: Callable[[], bool]) -> None:
        """Also stop when `deadline` says so."""
        self._deadline = deadline

    def request(self, reason: str) -> None:
        """Ask to stop, as a signal does."""
        if not self.reason:
            self.reason, self._first_time = reason, time.monotonic()

    def __enter__(self) -> "StopRequest":
        for number in SIGNALS:
            self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _handle(self, number: int, _: FrameType | None) -> None:
        if not self.reason:
            self.request(signal.Signals(number).name)
            # os.write, because a handler may run in the middle of a print.
            again = "; again: stop at once" if number == signal.SIGINT else ""
            os.write(sys.stderr.fileno(), f"\nstopping: what is done is saved first{again}\n".encode())
        elif number == signal.SIGINT and time.monotonic() - self._first_time > SAME_REQUEST_SECONDS:
            os.write(sys.stderr.fileno(), b"\nstopped at once; the run will go on from its newest complete checkpoint\n")
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)


class TimeLimit:
    """The end of the SLURM job that this process is part of, and whether it is near.

    Args:
        ask: returns the end in seconds since 1970, or None if there is none; asks SLURM by default.
    """

    def __init__(self, ask: Callable[[], float | None] | None = None) -> None:
        self._ask = ask or slurm_end_time
        self.end = self._ask()
        self._asked = self._before = time.monotonic()

    def reached(self, needed_seconds: float) -> bool:
        """Whether `needed_seconds` or less will be left a step later, when the answer counts: so long after as the last call
        was before."""
        now = time.monotonic()
        needed_seconds, self._before = needed_seconds + now - self._before, now
        if self._near(needed_seconds) and now - self._asked > ASK_AGAIN_SECONDS:
            self._asked, self.end = time.monotonic(), self._ask()
        return self._near(needed_seconds)

    def _near(self, needed_seconds: float) -> bool:
        return self.end is not None and time.time() + needed_seconds >= self.end


def slurm_end_time() -> float | None:
    """Return when the SLURM job of this process ends, in seconds since 1970; None outside SLURM or without a limit."""
    job = os.environ.get("SLURM_JOB_ID")
    if not job:  # unset, or emptied to leave a job: squeue would name the end of somebody else's
        return None
    if array := os.environ.get("SLURM_ARRAY_JOB_ID"):  # the number of one of its tasks is also that of the whole array
        job = f"{array}_{os.environ.get('SLURM_ARRAY_TASK_ID')}"
    try:
        command = ["squeue", "--noheader", "--jobs", job, "--Format", "EndTime"]
        asked = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout.split()
        # SLURM prints `NONE` or `N/A` for a job without a limit.
        has_end = asked and asked[0][0].isdigit()
        return time.mktime(time.strptime(asked[0], "%Y-%m-%dT%H:%M:%S")) if has_end else None
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        # A container may lack squeue.
        logger.info("the end of SLURM job %s is unknown (%s): only its --signal stops the run in time", job, error)
        return None
