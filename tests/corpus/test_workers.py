import os
import signal
import time

import pytest

from codeparrot.corpus.workers import AHEAD, Workers
from codeparrot.errors import CodeparrotError


def slow_if_even(number: int) -> int:
    time.sleep(0.02 * (number % 2 == 0))
    return number


def refuse(number: int) -> int:
    raise CodeparrotError(f"number {number} is bad")


@pytest.mark.parametrize("number", [1, 2])
def test_results_come_in_the_order_of_the_work(number: int) -> None:
    with Workers(number) as workers:
        assert list(workers.map(slow_if_even, range(20))) == list(range(20))


@pytest.mark.parametrize("number", [1, 2])
def test_errors_of_a_worker_reach_the_caller(number: int) -> None:
    with Workers(number) as workers, pytest.raises(CodeparrotError, match="number 7 is bad"):
        list(workers.map(refuse, [7, 8]))


class Heavy:
    """A function that says how often it was packed."""

    times = 0

    def __call__(self, number: int) -> int:
        return number

    def __reduce__(self) -> tuple[type, tuple[()]]:
        Heavy.times += 1
        return Heavy, ()


def test_what_a_function_carries_is_packed_once_whatever_the_number_of_tasks() -> None:
    with Workers(2) as workers:
        assert list(workers.map(Heavy(), range(100))) == list(range(100))
    assert Heavy.times == 1


def blocked_signals(_: int) -> set[int]:
    return set(signal.pthread_sigmask(signal.SIG_BLOCK, []))


def test_workers_never_see_ctrl_c() -> None:
    with Workers(2) as workers:
        assert all(signal.SIGINT in blocked for blocked in workers.map(blocked_signals, range(4)))
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def die(status: int) -> None:
    os._exit(status)


def test_a_killed_worker_is_an_error_and_no_hang() -> None:
    with Workers(2) as workers, pytest.raises(CodeparrotError, match="memory"):
        list(workers.map(die, [1, 1]))


def test_work_is_taken_only_as_fast_as_results_are_wanted() -> None:
    taken = []
    with Workers(2) as workers:
        results = workers.map(slow_if_even, (taken.append(number) or number for number in range(1000)))
        for _ in range(3):
            next(results)
        results.close()
    assert len(taken) <= 3 + AHEAD * 2
