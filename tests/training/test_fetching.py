"""What one process fetches before a run begins: its errors, and the end that a request to stop makes of it."""

import threading
import time
from types import SimpleNamespace

import pytest

from codeparrot.errors import CodeparrotError
from codeparrot.stream.readers.patience import patiently, until_broken_off
from codeparrot.training import fetching
from codeparrot.training.agreement import Agreement
from codeparrot.training.fetching import Stopped, fetch_in_one

ALONE = Agreement(SimpleNamespace(num_processes=1))


def never() -> bool:
    return False


def test_what_is_fetched_is_returned_and_others_get_nothing() -> None:
    calls: list[int] = []

    def fetch() -> str:
        while len(calls) < 3:
            time.sleep(0.01)
        return "there"

    assert fetch_in_one(ALONE, never, fetch, lambda: calls.append(0)) == "there"
    assert fetch_in_one(ALONE, never, None) is None


def test_what_it_raises_is_raised() -> None:
    def fails() -> None:
        raise CodeparrotError("no such\nbucket")

    with pytest.raises(CodeparrotError, match=r"^no such bucket$"):
        fetch_in_one(ALONE, never, fails)

    def defect() -> None:
        raise KeyError("a defect")

    with pytest.raises(KeyError):
        fetch_in_one(ALONE, never, defect)


def test_a_request_to_stop_ends_a_transfer() -> None:
    begun, ended = threading.Event(), threading.Event()

    def fetch() -> None:
        counted = until_broken_off(lambda _: None)
        try:
            while True:
                counted(1)
                begun.set()
                time.sleep(0.001)
        finally:
            ended.set()

    with pytest.raises(Stopped):
        fetch_in_one(ALONE, begun.is_set, fetch)
    assert ended.is_set()


def test_a_request_to_stop_ends_the_waiting_for_a_server() -> None:
    begun, ended = threading.Event(), threading.Event()

    def fetch() -> None:
        def refused() -> None:
            begun.set()
            raise ConnectionError("refused")

        try:
            patiently(refused, "s3://bucket/a")
        finally:
            ended.set()

    with pytest.raises(Stopped):
        fetch_in_one(ALONE, begun.is_set, fetch)
    assert ended.is_set()


def test_a_fetch_that_hangs_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "LEFT_BEHIND_SECONDS", 0.01)
    hangs = threading.Event()
    with pytest.raises(Stopped):
        fetch_in_one(ALONE, lambda: True, hangs.wait)
    hangs.set()
