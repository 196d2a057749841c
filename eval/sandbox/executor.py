"""Verdicts on generated programs, from outside the processes that run them.

A verdict `passed` means that the test's assertions ran and held. A program cannot obtain it any other way: the test runs in its
own sandbox, in a process that no line of the program ever enters. The program's process, in another sandbox, holds one
descriptor. Only plain data crosses it, and the test's side rebuilds it as exact builtin types (inside/codec.py): no object of
the program, hence no `__eq__`, crosses. What that process says decides nothing: the test compares its answers. The
verdict itself leaves the test's process through a file that the program's sandbox never sees. So whatever the program does to
its own process (exit status, builtins, frames, memory, descriptors, threads), it can only answer, and to answer correctly is to
solve the problem.

A test that needs live objects (functions, generators, classes of the program) cannot work over such a channel. That is a
property of the problem, and its reference solution reveals it before anything is judged: if several runs of the solution agree
that it passes the weaker way (inside/weak.py) and not the strong one, the problem's verdicts are reached the weaker way and
marked `weak`.

Nothing outlives a program: its process group's namespace is emptied after it, and a sandbox in which a process or a file was
left is thrown away. Cost: two forks per program, 2 to 4 ms of CPU time (benchmarks/execution.py).
"""

import os
import selectors
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import Self

from codeparrot.errors import CodeparrotError
from codeparrot.eval.problems.problem import Problem
from codeparrot.eval.sandbox.bubblewrap import Limits
from codeparrot.eval.sandbox.scheduling import LOSSES, Job, Queue
from codeparrot.eval.sandbox.tools import Tools
from codeparrot.eval.sandbox.verdict import Doubt, Outcome, Run, Speed, Verdict
from codeparrot.eval.sandbox.worker import Worker

__all__ = ["Executor", "Limits", "Outcome", "Verdict"]

REFERENCE_SECONDS = 0.0022
"""Duration of the calibration on the reference machine of the limits: one core of an AMD EPYC 9004 (Zen 4)."""
SLOWER = 1.25
"""A machine that has slowed by more than this factor since the limits were scaled is busy: time-outs do not count there."""
LOOKAHEAD = 4
"""Jobs per worker that are taken early, so that a worker can be given more programs of its current problem."""
WARNING = "codeparrot: warning: unsafe: generated programs run WITHOUT a sandbox and can do whatever this user can"


def check_possible() -> None:
    """Start a sandbox and end it; a fraction of a second.

    Raises:
        CodeparrotError: none is possible here; the error says what is missing.
    """
    with Executor(num_workers=1):
        pass


class Executor:
    """A pool of sandboxes. Use as a context manager; `judge` may be called several times, one after the other.

    Args:
        limits: what a program may use.
        num_workers: programs at a time; by default as many as this process may use processors.
        unsafe: run without a sandbox. Programs can then do whatever this user can.
        languages: of the problems that are not in Python; their tools are in every sandbox.

    Raises:
        CodeparrotError: on entering, if a sandbox is not possible here, or a language's tool is missing.
    """

    def __init__(
        self,
        limits: Limits | None = None,
        num_workers: int | None = None,
        unsafe: bool = False,
        languages: Iterable[str] = (),
    ) -> None:
        self.limits = limits or Limits()
        self.num_workers = num_workers or len(os.sched_getaffinity(0))
        self.unsafe = unsafe
        self.languages = tuple(sorted(set(languages)))
        self.speed = Speed(1.0, 1.0)
        """This machine's speed when the pool was started."""
        self.weak: dict[Problem, bool] = {}
        """The problems whose way of judging is known, and whether it is the weaker one."""
        self._workers: list[Worker] = []
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        if self.unsafe:
            print(WARNING, file=sys.stderr)
        with ExitStack() as stack:
            tools = stack.enter_context(Tools(self.limits, self.languages, self.unsafe)) if self.languages else None
            self._selector = stack.enter_context(selectors.DefaultSelector())
            processors = sorted(os.sched_getaffinity(0))
            for index in range(self.num_workers):
                processor = processors[index % len(processors)]
                self._workers.append(Worker(self.limits, processor, self.unsafe, self._selector, tools))
                stack.callback(self._workers[-1].close)
            # All at once: programs will see the speed of a full pool.
            self.speed = self._calibrated(self._workers)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        self._workers.clear()

    def judge(self, jobs: Iterable[tuple[Problem, str]]) -> Iterator[tuple[int, Verdict]]:
        """Yield the index and the verdict of each job, in the order in which they end.

        A job is a problem and a completion; the program is the prompt plus the completion. Jobs are taken as workers become
        free, a few ahead.
        """
        queue = Queue(jobs, self.weak, LOOKAHEAD * self.num_workers)
        running: dict[Worker, Job] = {}
        served: dict[Worker, Problem] = {}
        timed_out: dict[Worker, Verdict] = {}
        try:
            while True:
                for worker in self._workers:
                    job = None if worker.busy else queue.next(running.values(), served.get(worker))
                    if job is not None:
                        if job.alone:
                            # Nothing of what ran before is to take part in the verdict that counts.
                            worker.drop()
                        speed = self._calibrated([worker]) if job.alone else self.speed
                        worker.judge(job.problem, job.completion, job.weak, speed)
                        running[worker], served[worker] = job, job.problem
                if not running:
                    return
                for worker, run in self._wait():
                    if worker in timed_out:
                        slower = run.said is None or run.said[0] / REFERENCE_SECONDS > SLOWER * self.speed.scale
                        doubt = Doubt.BUSY if slower else Doubt.NONE
                        yield from queue.settle(running.pop(worker), timed_out.pop(worker), doubt)
                        continue
                    verdict, doubt = run.verdict()
                    if doubt is Doubt.SPEED and not running[worker].alone:
                        timed_out[worker] = verdict
                        worker.calibrate()
                    else:
                        yield from queue.settle(running.pop(worker), verdict, doubt)
        finally:
            # The caller stopped early, or a sandbox could not be started.
            for worker in running:
                if worker in self._workers and worker.busy:
                    worker.drop()

    def _calibrated(self, workers: list[Worker]) -> Speed:
        """Return the speed at which the slowest of the workers runs now.

        Raises:
            CodeparrotError: the sandboxes end before they have said so, again and again.
        """
        for worker in workers:
            worker.calibrate()
        found: list[tuple[float, float]] = []
        lost = 0
        while len(found) < len(workers):
            for worker, run in self._wait():
                if run.said is not None:
                    found.append(run.said)
                    continue
                lost += 1
                if lost == LOSSES * len(workers):
                    raise CodeparrotError(f"the sandboxes start and end at once, {lost} times: is the machine out of memory?")
                worker.calibrate()
        return Speed(max(seconds for seconds, _ in found) / REFERENCE_SECONDS, max(wall for _, wall in found))

    def _wait(self) -> list[tuple[Worker, Run]]:
        """Wait for the sandboxes, stop the runs that are over their time, and return those that have ended."""
        now = time.monotonic()
        first = min(worker.deadline for worker in self._workers)
        events = self._selector.select(None if first == float("inf") else max(0.0, first - now))
        runs = [(key.data[0], key.data[0].handle(key.data[1])) for key, _ in events]
        overdue = [worker for worker in self._workers if worker.deadline < time.monotonic()]
        if overdue:
            # Workers that ended meanwhile are heard first: a caller slow to take verdicts must not cost a program its own.
            heard = {key.data[0] for key, _ in self._selector.select(0)}
            for worker in overdue:
                if worker not in heard:
                    worker.stop()
        return [(worker, run) for worker, run in runs if run is not None]
