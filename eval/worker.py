"""A worker: a sandbox for tests and one for programs, which judge one program at a time.

The two meet only in a socket made for the run, over which plain data goes. What each is to run lies in a file of its own (the
sheet) that the other never sees; the test's process leaves the verdict in its sheet.
"""

import os
import selectors
import signal
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from typing import Any, NamedTuple

from codeparrot.errors import CodeparrotError
from codeparrot.eval.inside.codec import Malformed, decode, encode
from codeparrot.eval.problems import Problem
from codeparrot.eval.sandbox import PACKET_BYTES, Limits, Sandbox

MAX_SHEET_BYTES = 1 << 28
OUT_OF_MEMORY_STATUS = 77
"""Exit status of a process that had no memory left to say so (inside/zygote.py)."""
STOP_SECONDS = 10.0
"""Within which a sandbox reports after it was told to stop. Generous: it does so at once."""


class Outcome(StrEnum):
    """How a program ended."""

    PASSED = "passed"
    FAILED = "failed"
    ERROR = "error"
    TIMED_OUT = "timed_out"
    OUT_OF_MEMORY = "out_of_memory"
    KILLED = "killed"


@dataclass(frozen=True)
class Verdict:
    """What came of one program."""

    outcome: Outcome
    detail: str = ""
    """For people: the exception and its line, the assertion, the limit. It may be the program's own words."""
    weak: bool = False
    """Whether test and program shared a process (inside/weak.py)."""
    seconds: float = 0.0
    """From start to verdict, on this machine's clock."""

    @property
    def passed(self) -> bool:
        return self.outcome is Outcome.PASSED


class Doubt(Enum):
    """Whether something outside the program may have caused its verdict."""

    NONE = auto()
    SPEED = auto()
    """It used its CPU time, which counts where the machine is as fast as when the limit was scaled."""
    BUSY = auto()
    """It waited too long, or was killed: other processes may have taken what it needed."""


class Report(NamedTuple):
    """What a sandbox says about a process that it ran."""

    status: int
    """Exit status, or minus the signal."""
    cpu_seconds: float
    why: str
    """Why it was ended: `stopped`, `cpu`, `lost` when the sandbox ended with it, or nothing."""
    left: str
    """What it left behind, which is gone with the sandbox."""


class Worker:
    """Runs one task at a time. `handle` takes what a sandbox says; the run has ended when it returns True."""

    def __init__(self, limits: Limits, unsafe: bool, selector: selectors.BaseSelector) -> None:
        self._limits, self._unsafe, self._selector = limits, unsafe, selector
        self._sandboxes = {part: self._new(part) for part in ("test", "program")}
        self._running: dict[str, Report | None] = {}
        self.deadline = float("inf")
        """When the run is to be stopped, on the monotonic clock."""

    @property
    def busy(self) -> bool:
        return bool(self._running)

    def judge(self, problem: Problem, completion: str, weak: bool, scale: float) -> None:
        """Start a program with its limits of time multiplied by `scale`."""
        self._weak, self._cpu_seconds = weak, self._limits.cpu_seconds * scale
        self._wall_seconds = self._limits.wall_seconds * scale
        source = problem.prompt + completion
        if weak:
            self._start(("observe", ()), ("weak", (source, problem.test, problem.entry_point)))
        else:
            test = (problem.prompt, problem.test, problem.entry_point)
            self._start(("test", test), ("program", (source, problem.entry_point)))

    def calibrate(self) -> None:
        """Start a fixed piece of work; `seconds` is then what it took."""
        self._weak, self._cpu_seconds, self._wall_seconds = False, 60.0, 120.0
        self._start(("calibrate", ()), ("calibrate", ()))

    def _start(self, *tasks: tuple[str, tuple[Any, ...]]) -> None:
        self._ends = socket.socketpair()
        self._started = time.monotonic()
        self._timed_out = False
        self._running = dict.fromkeys(self._sandboxes)
        for part, (task, order), end in zip(self._sandboxes, tasks, self._ends, strict=True):
            sheet = os.memfd_create("sheet", os.MFD_CLOEXEC)
            os.pwrite(sheet, encode(order, MAX_SHEET_BYTES), 0)
            # The test waits for the program's answers, so that its own CPU time is bounded by the time to the verdict.
            seconds = self._cpu_seconds if part == "program" else self._wall_seconds
            with end:
                self._sandboxes[part].run(task, seconds, end.fileno(), sheet)
            if part == "test":
                self._sheet = sheet
            else:
                os.close(sheet)
        self._set_deadline()

    def _set_deadline(self) -> None:
        # A sandbox that is still starting has the run in its mail box.
        ready = all(sandbox.ready for sandbox in self._sandboxes.values())
        self.deadline = time.monotonic() + self._wall_seconds if ready else float("inf")

    def handle(self, part: str) -> bool:
        """Take one message from the sandbox for `part` and return whether the run has ended with it."""
        sandbox = self._sandboxes[part]
        message = sandbox.receive()
        if message == ("ready",):
            if self.busy:
                self._set_deadline()
            return False
        if message is None:
            if not sandbox.ready:
                raise CodeparrotError(f"the sandbox does not start: {sandbox.why_not_started()}")
            self._replace(part)
            if not self.busy or self._running[part] is not None:
                return False
            report = Report(-signal.SIGKILL, 0.0, "lost", "")
        else:
            report = Report(*message[1:])
            if report.left:
                self._replace(part)
        self._running[part] = report
        if part == "test" and self._running["program"] is None:
            self._sandboxes["program"].stop()
        return None not in self._running.values()

    def stop(self) -> None:
        """End the run at its deadline; the reports of both sandboxes follow. A sandbox that gives none in time is killed."""
        for part, report in self._running.items():
            if report is None and self._timed_out:
                self._sandboxes[part].kill()
            elif report is None:
                self._sandboxes[part].stop()
        self._timed_out = True
        self.deadline = time.monotonic() + STOP_SECONDS

    def finish(self) -> tuple[Verdict, Doubt]:
        """Return the verdict of the run that has ended."""
        seconds = time.monotonic() - self._started
        outcome, detail, doubt = self._merged(*self._taken())
        return Verdict(outcome, detail, self._weak, seconds), doubt

    def calibrated(self) -> float:
        """Return the CPU seconds of the calibration that has ended."""
        return self._taken()[2]["seconds"]

    def _taken(self) -> tuple[Report, Report, dict[str, Any]]:
        test, program = self._running["test"], self._running["program"]
        assert test is not None and program is not None
        self._running = {}
        self.deadline = float("inf")
        said = {}
        with suppress(Malformed):
            said = decode(os.pread(self._sheet, PACKET_BYTES, 0))
        os.close(self._sheet)
        # Not overwritten: the process ended before its verdict, and what lies there is what it was given.
        return test, program, said if type(said) is dict else {}

    def _merged(self, test: Report, program: Report, said: dict[str, Any]) -> tuple[Outcome, str, Doubt]:
        if program.why == "cpu" or program.cpu_seconds > self._cpu_seconds:
            return Outcome.TIMED_OUT, f"more than {self._cpu_seconds:.3g} s of CPU time", Doubt.SPEED
        if self._timed_out or test.why == "cpu":
            return Outcome.TIMED_OUT, f"more than {self._wall_seconds:.3g} s", Doubt.BUSY
        if "lost" in (test.why, program.why):
            return Outcome.KILLED, "its sandbox ended", Doubt.BUSY
        outcome, detail = said.get("outcome", ""), said.get("detail", "")
        if outcome == "gone":
            return _ended(program, "the program's process")
        if not outcome:
            return _ended(test, "the test's process")
        return Outcome(outcome), detail, Doubt.NONE

    def _new(self, part: str) -> Sandbox:
        sandbox = Sandbox(self._limits, self._unsafe)
        self._selector.register(sandbox, selectors.EVENT_READ, (self, part))
        return sandbox

    def _replace(self, part: str) -> None:
        self._discard(part)
        self._sandboxes[part] = self._new(part)

    def _discard(self, part: str) -> None:
        self._selector.unregister(self._sandboxes[part])
        self._sandboxes[part].close()

    def drop(self) -> None:
        """Give up the run: its sandboxes are replaced."""
        os.close(self._sheet)
        self._running = {}
        self.deadline = float("inf")
        for part in self._sandboxes:
            self._replace(part)

    def close(self) -> None:
        """End both sandboxes and whatever runs in them."""
        if self.busy:
            os.close(self._sheet)
        for part in self._sandboxes:
            self._discard(part)


def _ended(report: Report, whose: str) -> tuple[Outcome, str, Doubt]:
    """Return the verdict on a process that ended before it was done."""
    if report.status == OUT_OF_MEMORY_STATUS:
        return Outcome.OUT_OF_MEMORY, f"{whose} had no memory left", Doubt.NONE
    if report.why == "stopped":
        return Outcome.ERROR, f"{whose} closed its channel", Doubt.NONE
    if report.status < 0:
        return Outcome.KILLED, f"{whose} ended by {signal.Signals(-report.status).name}", Doubt.BUSY
    return Outcome.ERROR, f"{whose} ended itself with status {report.status}", Doubt.NONE
