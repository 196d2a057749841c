"""Pushing during real training: the branch holds what was trained, and training is not affected."""

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from codeparrot.arguments import load_config
from codeparrot.publishing.beside_training import Pushes
from tests.hub_server.fixture import HubServer
from tests.launching import ROOT, completed, curve, kill_tree, run, start, weights, write_config
from tests.publishing.runs import add_checkpoint, make_run
from tests.publishing.test_commit import COMMAND, assert_all_there

LOGITS = """
import sys, torch
from transformers import AutoModelForCausalLM, AutoTokenizer
ids = torch.arange(24)[None]
at_hub = AutoModelForCausalLM.from_pretrained("me/model", revision=sys.argv[1])
assert torch.equal(at_hub(ids).logits, AutoModelForCausalLM.from_pretrained(sys.argv[2])(ids).logits)
assert AutoTokenizer.from_pretrained("me/model", revision=sys.argv[1]).eos_token_id == 0
print("equal")
"""
EVALUATE = {"every_steps": 8, "sample_tokens": 0, "micro_batch_size": 64}
HUB: dict[str, Any] = {"repo": "me/model", "retry_seconds": 0.1, "timeout_seconds": 5.0}


@pytest.fixture(scope="module")
def reference(tmp_path_factory, corpus, tokenizer_folder) -> Path:
    """A run that is not pushed."""
    folder = tmp_path_factory.mktemp("reference")
    run(write_config(folder / "c.yaml", corpus, tokenizer_folder, evaluate=EVALUATE))
    return folder / "runs" / "tiny"


@pytest.fixture
def working(hub: HubServer) -> Iterator[HubServer]:
    yield hub
    hub.faults.clear()


def configure(tmp_path: Path, corpus: Path, tokenizer: Path, name: str, **hub: Any) -> tuple[Path, Path]:
    """Return a configuration file and its run directory. Each test has its own branch."""
    changes = {"evaluate": EVALUATE, "hub": HUB | {"branch": name} | hub}
    config = write_config(tmp_path / "c.yaml", corpus, tokenizer, run={"name": name}, **changes)
    return config, tmp_path / "runs" / name


def measures(run_directory: Path) -> list[dict[str, Any]]:
    """The numbers that training computed: metrics.jsonl without times."""
    kept = ("step", "tokens", "loss", "grad_norm", "lr", "eval_loss")
    rows = [json.loads(line) for line in (run_directory / "metrics.jsonl").read_text().splitlines()]
    return [{name: row[name] for name in kept if name in row} for row in rows]


def codeparrot(hub: HubServer, *arguments: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    done = completed([*COMMAND, *arguments], ROOT, hub.environment())
    assert done.returncode == status, done.stderr
    return done


@pytest.mark.slow
def test_a_run_is_a_branch_with_a_commit_a_checkpoint_until_it_is_promoted(
    tmp_path, corpus, tokenizer_folder, reference, working
) -> None:
    hub = working
    hub.api().create_repo("me/model", private=True)
    hub.api().create_branch("me/model", branch="bystander")
    before = {branch: hub.commits("me/model", branch) for branch in ("main", "bystander")}
    # Only one checkpoint is kept, yet each is pushed.
    config, folder = configure(tmp_path, corpus, tokenizer_folder, "branch")
    _, err = run(config, environment=hub.environment())
    assert measures(folder) == measures(reference)
    assert_all_there(hub, folder, (8, 16, 24))
    assert {branch: hub.commits("me/model", branch) for branch in before} == before
    assert [line for line in err.splitlines() if "is on me/model@branch: commit" in line]
    model = folder / "checkpoints" / "step_00000024" / "model"
    command = [sys.executable, "-c", LOGITS, "branch", str(model)]
    assert "equal" in completed(command, ROOT, hub.environment()).stdout

    hub.forget_requests()
    promoted = json.loads(codeparrot(hub, "hub", "promote", "--run", str(folder), "--json").stdout)
    assert hub.lfs_bytes == 0, "weights are copied on the Hub, not sent"
    assert hub.files("me/model", "main") == hub.files("me/model", "branch")
    assert [commit.oid for commit in hub.commits("me/model", "main")] == [before["main"][0].oid, promoted["main"]]
    assert hub.commits("me/model", "bystander") == before["bystander"]
    assert "already" in codeparrot(hub, "hub", "promote", "--run", str(folder)).stdout
    for path in folder.rglob("*"):
        assert path.is_dir() or hub.token.encode() not in path.read_bytes()
    assert hub.token not in err


@pytest.mark.slow
def test_faults_all_along_change_no_step_and_lose_and_double_nothing(
    tmp_path, corpus, tokenizer_folder, reference, working
) -> None:
    hub = working
    config, folder = configure(tmp_path, corpus, tokenizer_folder, "faulty")
    hub.faults.answer(502, share=0.3, seed=1, path="/commit/")
    hub.faults.lose_answer(share=0.4, seed=2, path="/commit/")
    hub.faults.reject_parent(share=0.4, seed=3)
    hub.faults.stall(0.3, share=0.2, seed=4)
    hub.faults.cut_upload(500, share=0.2, seed=5)
    run(config, environment=hub.environment())
    assert measures(folder) == measures(reference)
    assert weights(folder) == weights(reference)
    assert_all_there(hub, folder, (8, 16, 24))


@pytest.mark.slow
def test_trainer_and_uploader_killed_in_the_middle_of_a_push(tmp_path, corpus, tokenizer_folder, working) -> None:
    hub = working
    config, folder = configure(tmp_path, corpus, tokenizer_folder, "killed")
    hub.faults.stall(None, path="/commit/killed")
    hub.forget_requests()
    process = start(config, "--checkpoint.keep_last", "1", num_processes=2, environment=hub.environment())
    hub.wait_for_request("/commit/killed", fault="stall", seconds=240)
    while not (folder / "checkpoints" / "step_00000016" / "manifest.json").exists():
        assert process.poll() is None
        time.sleep(0.02)
    kill_tree(process)
    process.communicate()
    hub.faults.clear()
    codeparrot(hub, "hub", "push", "--run", str(folder))
    saved = tuple(sorted(int(place.name[5:]) for place in (folder / "checkpoints").glob("step_*")))
    assert saved[:2] == (8, 16), "what is not pushed is not pruned"
    assert_all_there(hub, folder, saved)


@pytest.mark.slow
def test_a_hub_that_is_never_there_is_a_normal_state_and_push_follows_later(
    tmp_path, corpus, tokenizer_folder, reference, working
) -> None:
    hub = working
    config, folder = configure(tmp_path, corpus, tokenizer_folder, "offline", finish_minutes=0.0)
    hub.faults.refuse()
    out, err = run(config, "--checkpoint.keep_last", "1", "--json", environment=hub.environment())
    assert json.loads(out)["hub"] == {"repo": "me/model", "branch": "offline", "pushed": 0, "pending": 3, "skipped": 0}
    assert err.count("works offline") == 1 and f"codeparrot hub push --run {folder}" in err
    assert measures(folder) == measures(reference)
    status = json.loads(codeparrot(hub, "hub", "status", "--run", str(folder), "--json").stdout)
    assert [each["step"] for each in status["pending"]] == [8, 16, 24] and not status["uploader"]
    hub.faults.accept()
    codeparrot(hub, "hub", "push", "--run", str(folder))
    assert_all_there(hub, folder, (8, 16, 24))


@pytest.mark.slow
def test_a_run_is_resumed_from_the_hub_on_another_machine(tmp_path, corpus, tokenizer_folder, reference, working) -> None:
    hub = working
    (tmp_path / "here").mkdir()
    config, _ = configure(tmp_path / "here", corpus, tokenizer_folder, "resumed", state=True)
    run(config, environment=hub.environment())
    sixteen, last = hub.commits("me/model", "resumed")[2:4]
    (tmp_path / "there").mkdir()
    config, folder = configure(tmp_path / "there", corpus, tokenizer_folder, "resumed", state=True)
    arguments = ["--resume", f"hub:me/model@{sixteen.oid}", "--run.name", "elsewhere"]
    _, err = run(config, *arguments, environment=hub.environment(tmp_path / "home"))
    folder = folder.with_name("elsewhere")
    assert "fetched step_00000016 from the Hub" in err and "resumed at step 16" in err
    assert curve(folder) == curve(reference) and weights(folder) == weights(reference)
    assert hub.commits("me/model", "resumed")[-1] == last, "the same checkpoint is recognised, not pushed twice"


@pytest.mark.slow
def test_ctrl_c_while_the_rest_goes_up_ends_at_once_and_loses_nothing(tmp_path, corpus, tokenizer_folder, working) -> None:
    hub = working
    config, folder = configure(tmp_path, corpus, tokenizer_folder, "waiting", timeout_seconds=300.0)
    hub.faults.stall(None, path="/commit/waiting")
    process = start(config, environment=hub.environment())
    while not (folder / "status.json").exists() or '"finished"' not in (folder / "status.json").read_text():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.05)
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "3 checkpoints are still to be pushed to me/model@waiting" in err
    hub.faults.clear()
    codeparrot(hub, "hub", "push", "--run", str(folder))
    assert_all_there(hub, folder, (8, 16, 24))


@pytest.mark.slow
def test_without_a_token_a_run_queues_says_how_to_log_in_and_leaves_the_push_to_others(
    tmp_path, corpus, tokenizer_folder, working
) -> None:
    hub = working
    config, folder = configure(tmp_path, corpus, tokenizer_folder, "tokenless")
    environment = {name: value for name, value in hub.environment(tmp_path / "home").items() if name != "HF_TOKEN"}
    _, err = run(config, environment=environment)
    assert err.count("works offline (there is no token here (log in: `hf auth login`") == 1
    codeparrot(hub, "hub", "push", "--run", str(folder))
    assert_all_there(hub, folder, (8, 16, 24))


@pytest.mark.slow
def test_a_token_that_is_not_accepted_ends_the_start_with_one_line(tmp_path, corpus, tokenizer_folder, working) -> None:
    config, folder = configure(tmp_path, corpus, tokenizer_folder, "rejected")
    environment = working.environment() | {"HF_TOKEN": "hf_wrongwrongwrong"}
    _, err = run(config, status=1, environment=environment)
    error = err.splitlines()[-1]
    assert error.startswith("codeparrot: error: hub.repo me/model@rejected cannot be pushed to") and "hf auth login" in error
    assert "hf_wrong" not in err and not (folder / "metrics.jsonl").exists()


@pytest.mark.slow
def test_a_damaged_hub_json_ends_no_resume_even_if_nothing_says_whose_the_branch_is(
    tmp_path, tokenizer_folder, working, monkeypatch, caplog
) -> None:
    for name, value in working.environment().items():
        monkeypatch.setenv(name, value)
    folder = make_run(tmp_path / "lost", tokenizer_folder, (8,))
    codeparrot(working, "hub", "push", "--run", str(folder))
    config = load_config(folder / "config.yaml")
    add_checkpoint(folder, 16, config)
    shutil.rmtree(folder / "checkpoints" / "step_00000008")
    (folder / "hub.json").write_bytes(bytes(99))
    for attempt in range(2):
        with Pushes(config, main=True) as pushes:
            assert pushes._begin() is None and pushes.published() == {16}
        assert ("it is now hub.json.damaged" in caplog.text) is (attempt == 0)
        assert "nothing is pushed: me/model@lost holds the checkpoints of another run" in caplog.text
        caplog.clear()
    (folder / "hub.json").unlink()
    (folder / ".hub.lock").unlink()
    (folder / ".hub.lock").mkdir()
    with Pushes(config, main=True) as pushes:
        assert pushes._begin() is None and pushes.published() == {16}
        (folder / ".hub.lock").rmdir()
        assert pushes.published() == {16} and (folder / "hub.json").exists()
    assert "cannot begin to push to the Hub" in caplog.text and "no checkpoint is removed until it can" in caplog.text
