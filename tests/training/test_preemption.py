"""Stopping: the first signal asks, the second ends; the end of a job asks in time; all processes stop together."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from codeparrot.training import preemption
from codeparrot.training.preemption import SAME_REQUEST_SECONDS, StopRequest, TimeLimit
from tests.launching import curve, lines, run, start, stop_behind_step, workers, write_config


def test_the_first_signal_only_asks_and_a_repeated_one_at_once_is_the_same_request(capfd) -> None:
    with StopRequest() as stop:
        assert not stop.requested
        os.kill(os.getpid(), signal.SIGUSR1)
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.requested and stop.reason == "SIGUSR1"
    assert capfd.readouterr().err.count("what is done is saved first") == 1


def test_signals_are_what_they_were_afterwards() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGUSR1)
    with StopRequest():
        assert signal.getsignal(signal.SIGINT) is not before[0]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGUSR1)) == before


@pytest.mark.slow
def test_the_second_ctrl_c_ends_the_process_at_once() -> None:
    code = (
        "import time; from codeparrot.training.preemption import StopRequest\n"
        "with StopRequest():\n"
        "    print('ready', flush=True)\n"
        "    time.sleep(60); time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    time.sleep(SAME_REQUEST_SECONDS + 0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == -signal.SIGINT
    assert "stopped at once" in err


def test_the_time_limit_is_reached_when_no_more_is_left_than_a_save_needs() -> None:
    limit = TimeLimit(lambda: time.time() + 100)
    assert not limit.reached(50) and limit.reached(150)
    assert not TimeLimit(lambda: None).reached(1e9)


def test_the_time_limit_leaves_room_for_the_step_in_which_the_others_hear_of_it(monkeypatch) -> None:
    limit, now = TimeLimit(lambda: time.time() + 100), time.monotonic()
    # Only the module's clock: event loops of other threads wait by that of the process.
    monkeypatch.setattr(preemption, "time", SimpleNamespace(monotonic=lambda: now + 10, time=time.time))
    assert not limit.reached(80)
    monkeypatch.setattr(preemption, "time", SimpleNamespace(monotonic=lambda: now + 35, time=time.time))
    assert limit.reached(80)  # steps take 25 s


def test_a_time_limit_that_was_moved_is_asked_for_again(monkeypatch) -> None:
    ends = iter([time.time() + 10, time.time() + 10_000])
    limit = TimeLimit(lambda: next(ends))
    assert limit.reached(50)
    monkeypatch.setattr("codeparrot.training.preemption.ASK_AGAIN_SECONDS", -1.0)
    assert not limit.reached(50)


def test_the_deadline_stops_the_run_with_its_reason() -> None:
    stop = StopRequest()
    stop.at(lambda: True)
    assert stop.requested and stop.reason == "time limit"


def status_of(run_directory: Path) -> dict:
    return json.loads((run_directory / "status.json").read_text(encoding="utf-8"))


@pytest.mark.slow
@pytest.mark.parametrize("launch", ["ddp", "zero3"])
def test_a_signal_to_one_process_stops_all_at_the_same_step_and_the_run_goes_on(
    tmp_path, corpus, tokenizer_folder, launch
) -> None:
    config = write_config(
        tmp_path / "c.yaml", corpus, tokenizer_folder, train={"max_steps": 150}, checkpoint={"every_steps": 0}
    )
    tiny = tmp_path / "runs" / "tiny"
    process = start(config, num_processes=2, launch=launch)
    deadline = time.monotonic() + 240
    while not (tiny / "metrics.jsonl").exists() or len(curve(tiny)) < 5:
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()[1][-3000:]
        time.sleep(0.01)
    workers(process, 2)[1].send_signal(signal.SIGUSR1)
    _, err = process.communicate(timeout=200)
    status = status_of(tiny)
    assert (status["state"], status["reason"]) == ("stopped", "SIGUSR1"), err[-3000:]
    (saved,) = (tiny / "checkpoints").glob("step_*")
    assert int(saved.name[5:]) == status["step"] == curve(tiny)[-1][0]
    # torchrun reports the first process that ended: 75, everything is saved.
    assert "exitcode  : 75" in err
    _, err = run(config, "--train.max_steps", "150", "--train.log_every_steps", "100", num_processes=2, launch=launch)
    assert f"resumed at step {status['step']}" in err and status_of(tiny)["state"] == "finished"


@pytest.mark.slow
def test_a_signal_during_start_up_ends_the_run_before_its_first_step(tmp_path, corpus, tokenizer_folder) -> None:
    config = write_config(tmp_path / "c.yaml", corpus, tokenizer_folder)
    process = start(config)
    log, deadline = tmp_path / "runs" / "tiny" / "log" / "rank_00000.log", time.monotonic() + 120
    while not log.exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.001)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 75, err
    assert "stopped at step 0 of 24" in out and status_of(tmp_path / "runs" / "tiny")["reason"] == "SIGTERM"


@pytest.mark.slow
@pytest.mark.parametrize("num_processes", [1, 2])
def test_an_evaluation_is_interrupted(tmp_path, corpus, tokenizer_folder, num_processes) -> None:
    slow = {"every_steps": 2, "micro_batch_size": 1, "sample_tokens": 0, "max_tokens": 64_000}
    config = write_config(
        tmp_path / "c.yaml", corpus, tokenizer_folder, evaluate=slow, checkpoint={"every_steps": 0}, train={"max_steps": 24}
    )
    tiny = tmp_path / "runs" / "tiny"
    # The line of the step is written a moment before the evaluation begins: 2,000 windows, one by one, which takes seconds.
    process = start(config, num_processes=num_processes)
    status, err = stop_behind_step(process, tiny / "metrics.jsonl", 2, signal.SIGTERM, after_seconds=0.2)
    assert "was interrupted" in err and status_of(tiny)["state"] == "stopped"
    assert status_of(tiny)["step"] <= 3
    assert [line for line in (tiny / "metrics.jsonl").read_text(encoding="utf-8").splitlines() if '"eval_loss"' in line][
        1:
    ] == []
    assert num_processes > 1 or status == 75


@pytest.mark.slow
def test_an_interrupted_last_evaluation_is_made_by_the_same_command(tmp_path, corpus, tokenizer_folder) -> None:
    slow = {"every_steps": 1, "micro_batch_size": 4, "sample_tokens": 0, "max_tokens": 32}
    config = write_config(
        tmp_path / "c.yaml", corpus, tokenizer_folder, evaluate=slow, train={"max_steps": 2}, schedule={"warmup_steps": 0}
    )
    tiny = tmp_path / "runs" / "tiny"
    # The line of the step is written a moment before the evaluation of the whole set begins, which takes seconds.
    process = start(config, "--json")
    deadline = time.monotonic() + 240
    while not (tiny / "metrics.jsonl").exists() or '"step": 2,' not in (tiny / "metrics.jsonl").read_text(encoding="utf-8"):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 75 and "the evaluation at step 2 was interrupted" in err, err
    # The perplexity of step 1 is none of step 2.
    assert json.loads(out)["stopped"] and "perplexity" not in json.loads(out)
    assert status_of(tiny)["state"] == "stopped" and status_of(tiny)["step"] == 2
    out, err = run(config)
    evaluations = [line for line in lines(tiny) if "eval_loss" in line]
    assert [(line["step"], line["eval_sample"]) for line in evaluations] == [(0, True), (1, True), (2, False)]
    assert f"was finished already, trained to step 2, 512 tokens: loss {evaluations[-1]['eval_loss']:.4f}" in out
    assert status_of(tiny)["state"] == "finished"
    # It is made once.
    run(config)
    assert len([line for line in lines(tiny) if "eval_loss" in line]) == 3


@pytest.mark.slow
def test_a_signal_during_the_evaluation_before_training_starts_no_step(tmp_path, corpus, tokenizer_folder) -> None:
    slow = {"every_steps": 20, "micro_batch_size": 1, "sample_tokens": 0, "max_tokens": 0}
    config = write_config(tmp_path / "c.yaml", corpus, tokenizer_folder, evaluate=slow)
    process = start(config)
    running, deadline = tmp_path / "runs" / "tiny" / "status.json", time.monotonic() + 120
    while not running.exists():  # it is written a moment before the evaluation begins, which takes seconds
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.001)
    time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 75 and "the evaluation at step 0 was interrupted" in err, err
    assert "stopped at step 0 of 24" in out and "cannot draw" not in err


def test_a_sample_is_broken_off(tmp_path, corpus, tokenizer_folder) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config

    from codeparrot.generation.engine import Engine
    from codeparrot.generation.requests import Request

    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    model = AutoModelForCausalLM.from_config(GPT2Config(vocab_size=512, n_positions=64, n_embd=16, n_layer=1, n_head=1))
    asked: list[int] = []

    def broken_off() -> bool:
        asked.append(1)
        return len(asked) == 3

    with Engine(model, tokenizer) as engine:
        engine.submit(Request("def ", max_new_tokens=30, ends=frozenset()))
        assert list(engine.run(broken_off)) == []
    assert len(asked) == 3
