"""The order in which programs run, and when a verdict counts."""

from collections.abc import Iterator

import pytest

from codeparrot.eval.problems.problem import Problem
from codeparrot.eval.sandbox.scheduling import LOSSES, REFERENCE, Job, Queue
from codeparrot.eval.sandbox.verdict import Doubt, Outcome, Verdict

PLAIN = Problem("plain", "", "f", "")
REFERENCED = Problem("referenced", "", "f", "", "reference")
PASSED, FAILED, LATE = Verdict(Outcome.PASSED), Verdict(Outcome.FAILED), Verdict(Outcome.TIMED_OUT)
LOST = Verdict(Outcome.KILLED, "its sandbox ended")


def test_a_doubtful_verdict_counts_the_second_time_and_nothing_runs_beside_it() -> None:
    queue = Queue([(PLAIN, "slow"), (PLAIN, "other")], {})
    slow, other = queue.next([]), queue.next([])
    assert slow is not None and other is not None
    assert list(queue.settle(slow, LATE, Doubt.BUSY)) == []
    assert queue.next([other]) is None  # it waits until the other has ended
    assert list(queue.settle(other, PASSED, Doubt.NONE)) == [(1, PASSED)]
    again = queue.next([])
    assert again is not None and again.alone and again.completion == "slow"
    assert queue.next([again]) is None
    assert list(queue.settle(again, LATE, Doubt.BUSY)) == [(0, LATE)]
    assert queue.next([]) is None


def test_nothing_starts_beside_a_program_that_has_to_run_alone() -> None:
    jobs: Iterator[tuple[Problem, str]] = iter([(PLAIN, str(number)) for number in range(100)])
    queue = Queue(jobs, {})
    for _ in range(32):
        job = queue.next([])
        assert job is not None
        list(queue.settle(job, LATE, Doubt.BUSY))
    alone = queue.next([])
    assert alone is not None and alone.alone
    assert queue.next([alone]) is None


def test_jobs_are_taken_as_they_are_needed() -> None:
    taken: list[int] = []

    def jobs() -> Iterator[tuple[Problem, str]]:
        for number in range(1000):
            taken.append(number)
            yield PLAIN, str(number)

    queue = Queue(jobs(), {})
    for _ in range(3):
        queue.next([])
    assert len(taken) == 3


def test_a_worker_stays_with_its_problem_among_the_next_few_and_takes_one_that_no_other_has() -> None:
    first, second = (Problem(name, "", "f", "") for name in ("first", "second"))
    queue = Queue([(first, "0"), (first, "1"), (second, "2"), (first, "3"), (second, "4")], {}, lookahead=3)
    one = queue.next([], None)
    assert one is not None and one.index == 0
    other = queue.next([one], None)
    assert other is not None and other.index == 2
    for served, expected in ((first, 1), (second, 4), (first, 3)):
        job = queue.next([], served)
        assert job is not None and job.index == expected
    assert queue.next([]) is None


def start(queue: Queue) -> Job:
    job = queue.next([])
    assert job is not None
    return job


def ways(queue: Queue, *passes: bool) -> list[bool]:
    """Settle runs of the reference solution; return the way of each, weak or not."""
    found = []
    for passed in passes:
        job = start(queue)
        assert (job.index, job.completion) == (REFERENCE, "reference")
        assert queue.next([job]) is None  # the problem's programs wait
        found.append(job.weak)
        assert list(queue.settle(job, Verdict(Outcome.PASSED if passed else Outcome.FAILED, weak=job.weak), Doubt.NONE)) == []
    return found


@pytest.mark.parametrize(
    ("passes", "ran", "weak"),
    [
        ([True, True], [False, False], False),
        ([False, True, True], [False, False, False], False),
        ([True, False, True], [False, False, False], False),
        ([False, False, True, True], [False, False, True, True], True),
        ([True, False, False, True, True], [False, False, False, True, True], True),
        ([False, False, False, False], [False, False, True, True], False),
        ([False, False, True, False, False], [False, False, True, True, True], False),
    ],
)
def test_the_way_of_a_problem_is_what_runs_of_its_reference_solution_agree_on(
    passes: list[bool], ran: list[bool], weak: bool
) -> None:
    known: dict[Problem, bool] = {}
    queue = Queue([(REFERENCED, "wrong"), (REFERENCED, "wrong too")], known)
    assert ways(queue, *passes) == ran
    assert known == {REFERENCED: weak}
    first = start(queue)
    assert first.weak == weak and first.completion == "wrong"
    # A failing program is not run the other way.
    assert list(queue.settle(first, FAILED, Doubt.NONE)) == [(0, FAILED)]


def test_the_reference_solution_as_a_job_has_the_verdict_that_its_runs_agree_on() -> None:
    queue = Queue([(REFERENCED, "reference")], {})
    assert list(queue.settle(start(queue), FAILED, Doubt.NONE)) == []
    assert list(queue.settle(start(queue), PASSED, Doubt.NONE)) == []
    assert list(queue.settle(start(queue), PASSED, Doubt.NONE)) == [(0, PASSED)]
    assert queue.next([]) is None


def test_a_reference_that_passes_neither_way_leaves_its_problem_with_the_strong_one() -> None:
    queue = Queue([(REFERENCED, "reference")], {})
    ways(queue, False, False, False, False)
    job = start(queue)
    assert (job.index, job.weak) == (0, False)


@pytest.mark.parametrize("index", [0, REFERENCE])
def test_a_lost_run_is_repeated_alone_and_says_nothing(index: int) -> None:
    problem = PLAIN if index == 0 else REFERENCED
    queue = Queue([(problem, "program")], {})
    for runs in range(1, LOSSES):
        job = start(queue)
        assert (job.index, job.lost, job.alone) == (index, runs - 1, runs > 1)
        assert list(queue.settle(job, LOST, Doubt.LOST)) == []
    job = start(queue)
    found = list(queue.settle(job, PASSED, Doubt.NONE))
    assert found == ([(0, PASSED)] if index == 0 else [])
    if index == REFERENCE:
        assert ways(queue, True) == [False]  # one of two that must agree was that one


def test_a_lost_run_does_not_stand_for_the_first_of_two_time_outs() -> None:
    queue = Queue([(PLAIN, "slow")], {})
    for doubt in (Doubt.LOST, Doubt.BUSY):
        assert list(queue.settle(start(queue), LATE, doubt)) == []
    assert list(queue.settle(start(queue), LATE, Doubt.BUSY)) == [(0, LATE)]


def test_a_program_under_which_every_sandbox_ends_gets_that_as_its_verdict() -> None:
    queue = Queue([(PLAIN, "ends it")], {})
    found = [each for _ in range(LOSSES) for each in queue.settle(start(queue), LOST, Doubt.LOST)]
    assert found == [(0, Verdict(Outcome.KILLED, f"its sandbox ended, in each of {LOSSES} runs"))]
