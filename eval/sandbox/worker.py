"""A worker: a sandbox for tests and one for programs. It judges one program at a time.

The two meet only in a socket made for the run, which carries plain data. A program has its own process. A test's process serves
the programs of its problem one after another: nothing of a program but data is ever in it.
"""

import selectors
import signal
import socket
import time
from contextlib import suppress
from typing import Any

from codeparrot.errors import CodeparrotError
from codeparrot.eval.problems.problem import Problem, Translated
from codeparrot.eval.sandbox.bubblewrap import PACKET_BYTES, Limits, Sandbox, next_packet
from codeparrot.eval.sandbox.inside.codec import Malformed, decode
from codeparrot.eval.sandbox.inside.toolchain import Steps
from codeparrot.eval.sandbox.mounts import numpy_folders
from codeparrot.eval.sandbox.tools import TOGETHER, Tools
from codeparrot.eval.sandbox.verdict import Outcome, Report, Run, Speed

NEEDS = "it needs user namespaces: sysctl kernel.unprivileged_userns_clone=1, kernel.apparmor_restrict_unprivileged_userns=0"
STOP_SECONDS = 10.0
"""Time in which a sandbox must report after it was told to stop. Generous: it reports at once."""
ENDING_SECONDS = 1.0
"""Time in which a process whose channel has closed may end by itself: how it ended is part of the verdict."""
STARTS = 3
"""Starts that may fail in a row: a machine may be short of processes or memory for a moment."""


class Worker:
    """Runs one program at a time. `handle` takes a message and returns the run if the message ended it."""

    def __init__(
        self, limits: Limits, processor: int, unsafe: bool, selector: selectors.BaseSelector, tools: Tools | None = None
    ) -> None:
        # Test and program share a processor. They alternate, so a second CPU only adds wake-ups, which cost a third.
        self._limits, self._processor, self._unsafe, self._selector = limits, processor, unsafe, selector
        self._tools = tools
        self._sandboxes = {part: self._new(part) for part in ("test", "program")}
        self._run: Run | None = None
        self._session: tuple[Any, ...] | None = None
        """Task and order of the test's process, while there is one."""
        self._ending = False
        """Whether the test's process was told to end, or ended, and its report has not come yet."""
        self._socket: socket.socket | None = None
        """Carries programs' channels to the test's process and its verdicts back."""
        self.deadline = float("inf")
        """When to stop the run, on the monotonic clock."""
        self._failed_starts = 0

    @property
    def busy(self) -> bool:
        return self._run is not None

    def judge(self, problem: Problem, completion: str, weak: bool, speed: Speed) -> None:
        """Start a program with time limits that fit the machine's speed."""
        source = problem.prompt + completion
        cpu_seconds, wall_seconds = self._limits.cpu_seconds * speed.scale, self._limits.wall_seconds * speed.scale
        own_cpu_seconds = cpu_seconds
        if isinstance(problem, Translated):
            assert self._tools is not None
            session, task, order = self._tools.orders(problem, completion, weak, speed.scale)
            weak = task == TOGETHER
            if Steps.of(order).build:
                # What its compiler takes counts among the costs of the run.
                cpu_seconds += self._limits.build_cpu_seconds * speed.scale
                wall_seconds += self._limits.build_cpu_seconds * speed.scale
        elif weak:
            session, task, order = ("observe",), "weak", (source, problem.test, problem.entry_point)
        else:
            session = ("test", problem.prompt, problem.test, problem.entry_point)
            task, order = "program", (source, problem.entry_point)
        run = Run(session, weak, cpu_seconds, wall_seconds * max(1.0, speed.wall))
        self._start(run, task, order, own_cpu_seconds)
        if self._session is None:
            self._open_session(run)
        elif self._session == session and not self._ending:
            self._hand_over(run)
        else:
            # The report on the old session opens the new one.
            self._end_session()

    def calibrate(self) -> None:
        """Start a fixed piece of work; the run that ends says how long it took."""
        self._start(Run((), False, cpu_seconds=60.0, wall_seconds=120.0), "calibrate", (), 60.0)

    def _start(self, run: Run, task: str, order: tuple[Any, ...], cpu_seconds: float) -> None:
        self._run = run
        self._started = time.monotonic()
        run.end, end = socket.socketpair()
        self._sandboxes["program"].run(task, order, cpu_seconds, end)
        self._set_deadline(run)

    def _set_deadline(self, run: Run) -> None:
        # A sandbox that is still starting has the run waiting in its socket.
        ready = all(sandbox.ready for sandbox in self._sandboxes.values())
        self.deadline = time.monotonic() + run.wall_seconds if ready else float("inf")

    def _open_session(self, run: Run) -> None:
        self._session, self._ending = run.session, False
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.setblocking(False)
        self._selector.register(self._socket, selectors.EVENT_READ, (self, "session"))
        # The time for a verdict bounds its time.
        self._sandboxes["test"].run(run.session[0], run.session[1:], float("inf"), theirs)
        self._hand_over(run)

    def _hand_over(self, run: Run) -> None:
        """Give the test's process its end of the channel to the program."""
        assert self._socket is not None and run.end is not None
        with run.end, suppress(BrokenPipeError, ConnectionResetError):
            # If the process has ended, its report says so.
            socket.send_fds(self._socket, [b"x"], [run.end.fileno()])
        run.end = None

    def _end_session(self) -> None:
        if not self._ending:
            self._ending = True
            self._sandboxes["test"].stop()

    def _close_socket(self) -> None:
        if self._socket is not None:
            self._selector.unregister(self._socket)
            self._socket.close()
            self._socket = None

    def handle(self, part: str) -> Run | None:
        """Take one message from a sandbox or from the test's process (`session`); return the run if that ended it."""
        run = self._run
        if part == "session":
            self._hear_verdict(run)
        else:
            report = self._hear_report(part)
            if report is not None and run is not None:
                self._note(run, part, report)
        if run is None or not run.ended:
            return None
        run.seconds = time.monotonic() - self._started
        self._run, self.deadline = None, float("inf")
        if run.end is not None:
            run.end.close()
        return run

    def _hear_verdict(self, run: Run | None) -> None:
        if self._socket is None:
            return
        try:
            data = next_packet(self._socket)
        except BlockingIOError:
            # The readable data belonged to an earlier session, which has been closed since.
            return
        if not data or run is None or run.end is not None:
            # It has ended, or speaks unasked: only its report counts.
            self._close_socket()
            self._end_session()
            return
        run.said = _checked(data)
        if run.said["outcome"] == Outcome.OUT_OF_MEMORY:
            self._end_session()
        if run.program is None:
            self._sandboxes["program"].stop(ENDING_SECONDS if run.said["outcome"] == "gone" else 0.0)

    def _hear_report(self, part: str) -> Report | None:
        """Take one message from a sandbox; return the report if it is one, or if the sandbox has ended."""
        sandbox = self._sandboxes[part]
        message = sandbox.receive()
        if message == ("ready",):
            self._failed_starts = 0
            if self._run is not None:
                self._set_deadline(self._run)
            return None
        if message is None and not sandbox.ready:
            self._failed_starts += 1
            if self._failed_starts == STARTS:
                raise CodeparrotError(f"the sandbox does not start: {sandbox.why_not_started()} ({NEEDS})")
        report = Report(-signal.SIGKILL, 0.0, "lost", "") if message is None else Report(*message[1:])
        if part == "test":
            # The test may have spoken before it ended.
            self._hear_verdict(self._run)
            self._close_socket()
            self._session = None
        if message is None or report.left:
            self._replace(part)
        return report

    def _note(self, run: Run, part: str, report: Report) -> None:
        if part == "program":
            run.program = report
            if not run.session and run.end is not None and report.status == 0:
                run.said = decode(run.end.recv(PACKET_BYTES))
        elif run.session and run.end is not None and not run.timed_out:
            # The report was on another problem's test.
            self._open_session(run)
        elif run.session and run.said is None:
            run.test = report
            if run.program is None:
                self._sandboxes["program"].stop()

    def stop(self) -> None:
        """End the run at its deadline; both sandboxes then report. A sandbox that does not report in time is killed."""
        assert self._run is not None
        for part, heard in (("program", self._run.program), ("test", self._run.said or self._run.test)):
            if heard is None and self._run.timed_out:
                self._sandboxes[part].kill()
            elif heard is None and part == "test":
                self._end_session()
            elif heard is None:
                self._sandboxes[part].stop()
        self._run.timed_out = True
        self.deadline = time.monotonic() + STOP_SECONDS

    def _new(self, part: str) -> Sandbox:
        packages = numpy_folders() if part == "test" else []
        if self._tools is None:
            sandbox = Sandbox(self._limits, packages, self._processor, self._unsafe)
        else:
            wide, binds = self._tools.widened, self._tools.binds
            sandbox = Sandbox(wide, packages, self._processor, self._unsafe, binds, own=self._limits)
        self._selector.register(sandbox, selectors.EVENT_READ, (self, part))
        return sandbox

    def _replace(self, part: str) -> None:
        self._discard(part)
        self._sandboxes[part] = self._new(part)

    def _discard(self, part: str) -> None:
        self._selector.unregister(self._sandboxes[part])
        self._sandboxes[part].close()

    def drop(self) -> None:
        """Give up the run and replace both sandboxes."""
        if self._run is not None and self._run.end is not None:
            self._run.end.close()
        self._run, self.deadline = None, float("inf")
        self._close_socket()
        self._session = None
        for part in self._sandboxes:
            self._replace(part)

    def close(self) -> None:
        """End both sandboxes and whatever runs in them."""
        self._close_socket()
        for part in self._sandboxes:
            self._discard(part)


def _checked(data: bytes) -> dict[str, str]:
    """Return the test process's message if it is valid, an error otherwise: an outcome, and a detail for people."""
    try:
        said = decode(data)
        outcome, detail = said["outcome"], said["detail"]
        return {"outcome": outcome if outcome == "gone" else Outcome(outcome), "detail": str(detail)}
    except (Malformed, TypeError, KeyError, ValueError):
        return {"outcome": Outcome.ERROR, "detail": "the test's process sent an invalid verdict"}
