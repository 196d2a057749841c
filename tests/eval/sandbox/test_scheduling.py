"""The order in which programs run, and when a verdict counts."""

from collections.abc import Iterator

from codeparrot.eval.problems.problem import Problem
from codeparrot.eval.sandbox.scheduling import REFERENCE, Job, Queue
from codeparrot.eval.sandbox.verdict import Outcome, Verdict

PLAIN = Problem("plain", "", "f", "")
REFERENCED = Problem("referenced", "", "f", "", "reference")
PASSED, FAILED, LATE = Verdict(Outcome.PASSED), Verdict(Outcome.FAILED), Verdict(Outcome.TIMED_OUT)


def test_a_doubtful_verdict_counts_the_second_time_and_nothing_runs_beside_it() -> None:
    queue = Queue([(PLAIN, "slow"), (PLAIN, "other")], {})
    slow, other = queue.next([]), queue.next([])
    assert slow is not None and other is not None
    assert list(queue.settle(slow, LATE, doubtful=True)) == []
    assert queue.next([other]) is None  # it waits until the other has ended
    assert list(queue.settle(other, PASSED, doubtful=False)) == [(1, PASSED)]
    again = queue.next([])
    assert again is not None and again.alone and again.completion == "slow"
    assert queue.next([again]) is None
    assert list(queue.settle(again, LATE, doubtful=True)) == [(0, LATE)]
    assert queue.next([]) is None


def test_nothing_starts_beside_a_program_that_has_to_run_alone() -> None:
    jobs: Iterator[tuple[Problem, str]] = iter([(PLAIN, str(number)) for number in range(100)])
    queue = Queue(jobs, {})
    for _ in range(32):
        job = queue.next([])
        assert job is not None
        list(queue.settle(job, LATE, doubtful=True))
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


def test_the_way_of_a_problem_is_decided_by_its_reference_solution_alone() -> None:
    weak: dict[Problem, bool] = {}
    queue = Queue([(REFERENCED, "wrong"), (REFERENCED, "wrong too")], weak)
    reference = start(queue)
    assert (reference.index, reference.completion, reference.weak) == (REFERENCE, "reference", False)
    assert queue.next([reference]) is None
    list(queue.settle(reference, FAILED, doubtful=False))
    reference = start(queue)
    assert (reference.completion, reference.weak) == ("reference", True)
    list(queue.settle(reference, Verdict(Outcome.PASSED, weak=True), doubtful=False))
    assert weak == {REFERENCED: True}
    first = start(queue)
    assert first.weak and first.completion == "wrong"
    # A failing program is not run the other way.
    assert list(queue.settle(first, FAILED, doubtful=False)) == [(0, FAILED)]


def test_a_reference_that_fails_both_ways_leaves_its_problem_with_the_strong_one() -> None:
    weak: dict[Problem, bool] = {}
    queue = Queue([(REFERENCED, "reference")], weak)
    list(queue.settle(start(queue), FAILED, doubtful=False))
    list(queue.settle(start(queue), Verdict(Outcome.ERROR, weak=True), doubtful=False))
    assert weak == {REFERENCED: False}
    job = start(queue)
    assert (job.index, job.weak) == (0, False)


def test_the_reference_solution_as_a_job_runs_once() -> None:
    queue = Queue([(REFERENCED, "reference")], {})
    assert list(queue.settle(start(queue), PASSED, doubtful=False)) == [(0, PASSED)]
    assert queue.next([]) is None
