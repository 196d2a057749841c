"""Which program runs next, and when a verdict counts.

Four rules. A problem with a reference solution waits until runs of that solution agree on the way: the strong one, or the
weaker one where only that lets the reference pass. A verdict that a busy machine may have caused (a time-out, a kill) counts
when it comes a second time, with nothing else running. A program whose sandbox ended runs again: only one under which every
sandbox ends gets that as its verdict. A worker stays with its problem while the next few jobs include programs of it, since the
process of its test is already running; otherwise jobs run in the order they came.
"""

from collections import deque
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace

from codeparrot.eval.problems.problem import Problem, Translated
from codeparrot.eval.sandbox.verdict import Doubt, Verdict

MAX_PARKED = 256
"""Most jobs taken from the caller that wait for a reference solution."""
MAX_DOUBTED = 32
"""Most programs that wait for a moment when nothing else runs."""
LOSSES = 4
"""Runs that end with their sandbox before that is the program's doing; all but the first have the machine to themselves."""
AGREEING = 2
"""Runs of a reference solution that must agree on whether it passes: two, and a third where they differ."""


@dataclass(frozen=True)
class Job:
    index: int
    """Position in the caller's jobs; REFERENCE for a reference solution."""
    problem: Problem
    completion: str
    weak: bool = False
    doubted: bool = False
    """Whether its first verdict was doubtful."""
    lost: int = 0
    """Runs of it that ended with their sandbox."""

    @property
    def alone(self) -> bool:
        """Whether nothing may run beside it."""
        return self.doubted or self.lost > 0


REFERENCE = -1


class Queue:
    """The jobs of one call.

    Args:
        jobs: taken as they are needed.
        weak: problems whose way is known, and whether it is the weaker one; this adds to it.
        lookahead: jobs to choose from.
    """

    def __init__(self, jobs: Iterable[tuple[Problem, str]], weak: dict[Problem, bool], lookahead: int = 1) -> None:
        self._lookahead = lookahead
        self._jobs = enumerate(jobs)
        self._more = True
        self._weak = weak
        self._ready: deque[Job] = deque()
        self._parked: dict[Problem, list[Job]] = {}
        self._tried: dict[tuple[Problem, bool], list[bool]] = {}
        """Whether the runs of a reference solution passed, each way."""
        self._doubted: deque[Job] = deque()
        self._alone = False
        """Whether it is the turn of the doubted programs."""

    def next(self, running: Collection[Job], served: Problem | None = None) -> Job | None:
        """Return a job to start now, or None when there is none before one of the running ones has ended.

        Args:
            running: the other workers' jobs.
            served: the problem whose test has a process on this worker.
        """
        while len(self._ready) < self._lookahead and self._more and sum(map(len, self._parked.values())) < MAX_PARKED:
            self._take()
        if not self._doubted:
            self._alone = False
        elif len(self._doubted) >= MAX_DOUBTED or not (self._ready or self._more or running):
            self._alone = True
        if self._alone:
            return None if running else self._doubted.popleft()
        if not self._ready or any(job.alone for job in running):
            return None
        choice = self._choice(running, served)
        job = self._ready[choice]
        del self._ready[choice]
        return job

    def _choice(self, running: Collection[Job], served: Problem | None) -> int:
        others = [job.problem for job in running]
        unserved = None
        for index in range(min(self._lookahead, len(self._ready))):
            problem = self._ready[index].problem
            if problem is served:
                return index
            if unserved is None and not any(problem is other for other in others):
                unserved = index
        return unserved or 0

    def _take(self) -> None:
        item = next(self._jobs, None)
        if item is None:
            self._more = False
            return
        index, (problem, completion) = item
        job = Job(index, problem, completion)
        if isinstance(problem, Translated) and problem.together:
            self._weak[problem] = True
        if problem in self._weak or not problem.canonical_solution:
            self._ready.append(replace(job, weak=self._weak.get(problem, False)))
        elif problem in self._parked:
            self._parked[problem].append(job)
        else:
            self._parked[problem] = [job]
            self._ready.append(Job(REFERENCE, problem, problem.canonical_solution))

    def settle(self, job: Job, verdict: Verdict, doubt: Doubt) -> Iterator[tuple[int, Verdict]]:
        """Take the verdict on a job and yield the verdicts that are now final."""
        if doubt is Doubt.LOST and job.lost + 1 < LOSSES:
            self._doubted.append(replace(job, lost=job.lost + 1))
        elif doubt in (Doubt.SPEED, Doubt.BUSY) and not job.doubted:
            self._doubted.append(replace(job, doubted=True))
        elif job.index != REFERENCE:
            often = f", in each of {LOSSES} runs" if doubt is Doubt.LOST else ""
            yield job.index, replace(verdict, detail=f"{verdict.detail}{often}")
        else:
            yield from self._count(Job(REFERENCE, job.problem, job.completion, job.weak), verdict)

    def _count(self, reference: Job, verdict: Verdict) -> Iterator[tuple[int, Verdict]]:
        """Count a run of a reference solution; go on to the next way, or to the problem's programs, once enough runs agree."""
        tried = self._tried.setdefault((reference.problem, reference.weak), [])
        tried.append(verdict.passed)
        if tried.count(verdict.passed) < AGREEING:
            self._ready.append(reference)
        elif not verdict.passed and not reference.weak:
            self._ready.append(replace(reference, weak=True))
        else:
            yield from self._release(reference.problem, reference.weak and verdict.passed, verdict)

    def _release(self, problem: Problem, weak: bool, verdict: Verdict) -> Iterator[tuple[int, Verdict]]:
        """Record a problem's way, now known, and release the jobs that waited for it."""
        self._weak[problem] = weak
        for job in self._parked.pop(problem):
            if job.completion == problem.canonical_solution and verdict.weak == weak:
                # This completion has just run, as the reference solution.
                yield job.index, verdict
            else:
                self._ready.append(replace(job, weak=weak))
