"""A process that dies or hangs is named, soon."""

import json
import os
import re
import signal
import time
from types import SimpleNamespace

import pytest

from codeparrot.errors import CodeparrotError
from codeparrot.training.watchdog import Peer, Watchdog, suspects
from tests.launching import start, workers, write_config

ALONE = SimpleNamespace(process_index=0, num_processes=1)


@pytest.mark.slow
def test_time_is_short_after_the_first_steps_only() -> None:
    said: list[str] = []
    with Watchdog(ALONE, startup_seconds=1e6, timeout_seconds=0.5, fatal=said.append) as watchdog:
        time.sleep(1.5)
        for step in range(1, 4):
            watchdog.beat(step, "training")
        time.sleep(1.5)
        assert not said
        watchdog.beat(4, "training")
        for _ in range(30):
            time.sleep(0.1)
            watchdog.beat(4, "evaluation")
        assert not said
        deadline = time.monotonic() + 60
        while not said and time.monotonic() < deadline:
            time.sleep(0.1)
    (text,) = said
    assert re.fullmatch(r"nothing was finished for \d+ s: all processes wait in step 4 \(evaluation\).*", text)


@pytest.mark.parametrize(("rank", "named"), [(1, ["the first machine"]), (0, [])])
def test_without_the_store_the_first_machine_is_the_one_that_is_gone(monkeypatch, rank, named) -> None:
    class Gone:
        def check(self, keys):
            raise RuntimeError("connection reset by peer")

    monkeypatch.setattr("codeparrot.training.watchdog._store", Gone)
    watchdog = Watchdog(SimpleNamespace(process_index=rank, num_processes=3), 1.0, 1.0)
    assert [peer.host for peer in watchdog.missing()] == named
    assert ("process 0 (the first machine" in watchdog._suspects()) == bool(named)


def test_the_error_that_ended_a_process_is_what_the_others_say(monkeypatch) -> None:
    said: dict[str, bytes] = {}

    class Store:
        def set(self, key, text):
            said[key] = text.encode()

        def get(self, key):
            return said[key]

        def check(self, keys):
            return keys[0] in said

    monkeypatch.setattr("codeparrot.training.watchdog._store", Store)
    monkeypatch.setattr("codeparrot.training.watchdog.INTERVAL_SECONDS", 0.01)
    first, second, third = (Watchdog(SimpleNamespace(process_index=rank, num_processes=3), 1.0, 1.0) for rank in range(3))
    with pytest.raises(CodeparrotError, match="line 21"), first.explaining():
        raise CodeparrotError("line 21 of\n0.jsonl is damaged")
    for other in (second, third):
        with pytest.raises(CodeparrotError) as raised, other.explaining(), other.explaining():
            raise RuntimeError("connection closed by peer")
        assert str(raised.value) == "process 0 (?) ended: line 21 of 0.jsonl is damaged"
    assert [key for key in said if "ended" in key] == ["codeparrot/ended/0"]


def test_those_behind_are_the_suspects() -> None:
    peers = [Peer(0, "a", 7, "training", 9), Peer(1, "b", 6, "training", 9), Peer(2, "c", 7, "training", 9)]
    assert "the others are in step 7 and wait for process 1 (b) in step 6 (training)" in suspects(peers)
    evaluating = [Peer(0, "a", 7, "samples", 9), Peer(1, "b", 7, "evaluation", 9)]
    assert "process 1 (b) in step 7 (evaluation)" in suspects(evaluating)
    assert "all processes wait in step 7 (training)" in suspects([peers[0], peers[2]])


def test_a_process_that_is_lost_before_the_first_step_is_lost_during_the_start() -> None:
    watchdog = Watchdog(SimpleNamespace(process_index=0, num_processes=1), 1.0, 1.0)
    lost = [Peer(1, "a"), Peer(2, "b", 6, "training")]
    assert watchdog._account(lost) == "process 1 (a, during the start), process 2 (b, last step 6) died or hangs"


@pytest.mark.slow
@pytest.mark.parametrize(("launch", "number"), [("ddp", signal.SIGKILL), ("fsdp", signal.SIGKILL), ("zero2", signal.SIGSTOP)])
def test_a_process_that_dies_or_hangs_ends_the_run_with_its_name_and_step(
    tmp_path, corpus, tokenizer_folder, launch, number
) -> None:
    steps = {"max_steps": 100_000, "timeout_minutes": 0.1}
    config = write_config(tmp_path / "c.yaml", corpus, tokenizer_folder, train=steps, checkpoint={"every_steps": 0})
    tiny = tmp_path / "runs" / "tiny"
    process = start(config, num_processes=2, launch=launch)
    wait_for_step(process, tiny, 6)
    os.kill(workers(process, 2)[1].pid, number)
    _, err = process.communicate(timeout=200)
    assert process.returncode not in (0, 75)
    named = re.search(r"process 1 \(\S+, last step (\d+)\) died or hangs", err)
    assert named, err[-3000:]
    status = json.loads((tiny / "status.json").read_text(encoding="utf-8"))
    assert status["state"] == "failed" and named[0] in status["reason"]
    assert abs(int(named[1]) - status["step"]) <= 1
    assert "process 0 (" not in status["reason"]


def wait_for_step(process, run_directory, step: int) -> None:
    deadline = time.monotonic() + 240
    metrics = run_directory / "metrics.jsonl"
    while not metrics.exists() or f'"step": {step},' not in metrics.read_text(encoding="utf-8"):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()[1][-3000:]
        time.sleep(0.01)
