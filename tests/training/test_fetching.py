"""What one process fetches before a run begins: its errors, and the end that a request to stop makes of it."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from codeparrot.config import Config
from codeparrot.errors import CodeparrotError
from codeparrot.run.status import STATUS
from codeparrot.stream.readers.patience import patiently, until_broken_off
from codeparrot.training import fetching
from codeparrot.training.agreement import Agreement
from codeparrot.training.fetching import Stopped, fetch_in_one
from codeparrot.training.preemption import StopRequest
from codeparrot.training.run_directory import write_stopped

ALONE = Agreement(SimpleNamespace(num_processes=1))
HANGS = """
import sys, threading, time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from codeparrot import cli
from codeparrot.training import fetching
from codeparrot.training.agreement import Agreement
from codeparrot.training.preemption import StopRequest

def hangs():
    with ThreadPoolExecutor(1) as threads:
        threads.submit(time.sleep, 600).result()

def main(_):
    stop = StopRequest()
    stop.request("SIGINT")
    try:
        fetching.fetch_in_one(Agreement(SimpleNamespace(num_processes=1)), stop, hangs)
    except fetching.Stopped:
        print("stopped")
    return 75

fetching.LEFT_BEHIND_SECONDS = 0.5
cli.main = main
cli.entry([])
"""


def asked(when: Callable[[], bool]) -> StopRequest:
    """Return a request to stop that comes at some time."""
    stop = StopRequest()
    stop.at(when)
    return stop


def never() -> StopRequest:
    return StopRequest()


def test_what_is_fetched_is_returned_and_others_get_nothing() -> None:
    calls: list[int] = []

    def fetch() -> str:
        while len(calls) < 3:
            time.sleep(0.01)
        return "there"

    assert fetch_in_one(ALONE, never(), fetch, lambda: calls.append(0)) == "there"
    assert fetch_in_one(ALONE, never(), None) is None


def test_what_it_raises_is_raised() -> None:
    def fails() -> None:
        raise CodeparrotError("no such\nbucket")

    with pytest.raises(CodeparrotError, match=r"^no such bucket$"):
        fetch_in_one(ALONE, never(), fails)

    def defect() -> None:
        raise KeyError("a defect")

    with pytest.raises(KeyError):
        fetch_in_one(ALONE, never(), defect)


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
        fetch_in_one(ALONE, asked(begun.is_set), fetch)
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
        fetch_in_one(ALONE, asked(begun.is_set), fetch)
    assert ended.is_set()


def test_a_fetch_that_hangs_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "LEFT_BEHIND_SECONDS", 0.01)
    hangs = threading.Event()
    with pytest.raises(Stopped):
        fetch_in_one(ALONE, asked(lambda: True), hangs.wait)
    hangs.set()


@pytest.mark.slow
def test_the_end_of_the_process_does_not_wait_for_threads_that_a_fetch_has_started() -> None:
    done = subprocess.run([sys.executable, "-c", HANGS], check=False, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (75, "stopped\n"), done.stderr


def test_all_processes_know_why_the_start_is_stopped() -> None:
    class OfTwo:
        def any(self, *flags: bool) -> list[bool]:
            return [flags[0], True]

        def gather(self, item: str) -> list[str]:
            return [item, "SIGUSR1"]

    stop = StopRequest()
    with pytest.raises(Stopped):
        fetch_in_one(OfTwo(), stop, None)  # type: ignore[arg-type]
    assert stop.reason == "SIGUSR1"


def test_job_scripts_see_that_a_start_was_stopped_before_the_run_began(tmp_path: Path) -> None:
    config = Config()
    config.run.dir, config.train.max_steps = str(tmp_path), 24
    place = config.run_directory / STATUS
    write_stopped(config, "SIGUSR1")
    assert not place.parent.exists()
    place.parent.mkdir()
    for before, expected in [
        (None, ("stopped", 0, "SIGUSR1")),
        ({"state": "running", "step": 16}, ("stopped", 16, "SIGUSR1")),  # killed: nobody has the lock
        ({"state": "finished", "step": 16}, ("stopped", 16, "SIGUSR1")),
        ({"state": "finished", "step": 24}, ("finished", 24, "")),
    ]:
        if before:
            place.write_text(json.dumps({"reason": ""} | before))
        write_stopped(config, "SIGUSR1")
        found = json.loads(place.read_text())
        assert (found["state"], found["step"], found["reason"]) == expected
