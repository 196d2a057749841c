"""The facts known about a run, and the verdict that follows from them."""

import signal
import socket
from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from typing import Any, NamedTuple

OUT_OF_MEMORY_STATUS = 77
"""Exit status of a process that had no memory left to say so (inside/zygote.py)."""


SHORT_OF = ("[Errno 11]", "[Errno 12]", "[Errno 98]", "can't start new thread")
"""In an error, signs that the machine was short of processes or memory, or that an earlier program still holds a port."""


class Outcome(StrEnum):
    """How a program ended."""

    PASSED = "passed"
    FAILED = "failed"
    ERROR = "error"
    COMPILE_ERROR = "compile_error"
    """It could not be built; a language without a compiler has none."""
    TIMED_OUT = "timed_out"
    OUT_OF_MEMORY = "out_of_memory"
    KILLED = "killed"


@dataclass(frozen=True)
class Verdict:
    """The judgement on one program."""

    outcome: Outcome
    detail: str = ""
    """For people: the exception and its line, the assertion, or the limit. The program may have written it."""
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
    """It used up its CPU time, which counts if the machine is as fast as when the limit was scaled."""
    BUSY = auto()
    """It waited too long, was killed or was refused something: other processes may have taken the resources it needed."""
    LOST = auto()
    """A sandbox ended by itself, and what it would have reported is not known: that says nothing about the program."""


class Speed(NamedTuple):
    """The results of a calibration."""

    scale: float
    """Seconds of CPU time here for one second on the reference machine."""
    wall: float
    """Seconds that pass for one second of CPU time: more than one if others compute too."""


class Report(NamedTuple):
    """A sandbox's report on a process that it ran."""

    status: int
    """Exit status, or minus the signal."""
    cpu_seconds: float
    why: str
    """Why it was ended: `stopped`, `cpu`, `lost` if the sandbox ended with it, or empty."""
    left: str
    """What it left behind; ending the sandbox removes that."""


@dataclass
class Run:
    """One program with its test. It has ended once the program's process has ended and the test's has spoken or ended."""

    session: tuple[Any, ...]
    """Task and order of the test's process; the same process judges the next program with the same session. Empty: no test."""
    weak: bool
    cpu_seconds: float
    wall_seconds: float
    end: socket.socket | None = None
    """The test's end of the channel, until it is handed over."""
    program: Report | None = None
    test: Report | None = None
    said: Any = None
    """What the test's process said."""
    timed_out: bool = False
    seconds: float = 0.0

    @property
    def ended(self) -> bool:
        return self.program is not None and (not self.session or self.said is not None or self.test is not None)

    def verdict(self) -> tuple[Verdict, Doubt]:
        outcome, detail, doubt = self._merged()
        return Verdict(outcome, detail, self.weak, self.seconds), doubt

    def _merged(self) -> tuple[Outcome, str, Doubt]:
        assert self.program is not None
        # One that closed its channel was given time to end; what it does in that time counts for nothing.
        gave_up = self.program.why == "stopped" and self.said is not None and self.said.get("outcome") == "gone"
        if self.program.why == "cpu" or (self.program.cpu_seconds > self.cpu_seconds and not (gave_up and not self.timed_out)):
            return Outcome.TIMED_OUT, f"more than {self.cpu_seconds:.3g} s of CPU time", Doubt.SPEED
        if self.timed_out:
            return Outcome.TIMED_OUT, f"more than {self.wall_seconds:.3g} s", Doubt.BUSY
        if self.program.why == "lost":
            return Outcome.KILLED, "its sandbox ended", Doubt.LOST
        if self.said is None:
            assert self.test is not None
            outcome, detail, _ = _of_process(self.test, "the test's process")
            return outcome, detail, Doubt.LOST if self.test.why == "lost" else Doubt.BUSY
        if self.said.get("outcome") == "gone":
            return _of_process(self.program, "the program's process")
        outcome, detail = Outcome(self.said["outcome"]), self.said["detail"]
        refused = outcome is Outcome.ERROR and any(sign in detail for sign in SHORT_OF)
        return outcome, detail, Doubt.BUSY if refused or outcome is Outcome.OUT_OF_MEMORY else Doubt.NONE


def _of_process(report: Report, whose: str) -> tuple[Outcome, str, Doubt]:
    """Return the verdict on a process that ended before it was done."""
    if report.status == OUT_OF_MEMORY_STATUS:
        return Outcome.OUT_OF_MEMORY, f"{whose} had no memory left", Doubt.BUSY
    if report.why == "stopped":
        return Outcome.ERROR, f"{whose} closed its channel", Doubt.NONE
    if report.status < 0:
        return Outcome.KILLED, f"{whose} ended by {signal.Signals(-report.status).name}", Doubt.BUSY
    return Outcome.ERROR, f"{whose} ended itself with status {report.status}", Doubt.NONE
