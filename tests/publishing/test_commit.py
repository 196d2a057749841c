"""Every item of the queue is pushed exactly once, in order, whatever the Hub does."""

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi

from codeparrot.arguments import load_config
from codeparrot.errors import CodeparrotError
from codeparrot.publishing.ledger import Ledger
from codeparrot.publishing.uploader import Turn, push_all
from tests.hub_server.fixture import HubServer
from tests.publishing.runs import add_checkpoint, make_run

COMMAND = [sys.executable, "-c", "from codeparrot.cli import entry; entry()"]
STEPS = (8, 16, 24)


@pytest.fixture
def run(tmp_path: Path, tokenizer_folder: Path, request: pytest.FixtureRequest) -> Path:
    """A run with three checkpoints; its branch is named after the test."""
    name = "".join(each if each.isalnum() else "-" for each in request.node.name)[:80].strip("-")
    return make_run(tmp_path / name, tokenizer_folder, STEPS)


def queue_of(run: Path) -> Ledger:
    ledger = Ledger(run)
    ledger.open(load_config(run / "config.yaml").hub)
    return ledger


def push(run: Path, patience_seconds: float = 60) -> list[Turn]:
    turns: list[Turn] = []
    push_all(queue_of(run), patience_seconds, turns.append)
    return turns


def titles(hub: HubServer, branch: str) -> list[str]:
    return [commit.title.split(":")[0] for commit in hub.commits("me/model", branch)[1:]]


def assert_all_there(hub: HubServer, run: Path, steps: tuple[int, ...] = STEPS) -> None:
    """Every checkpoint is one commit, in order; each holds the weights of its checkpoint; the ledger says the same."""
    commits = hub.commits("me/model", run.name)
    assert titles(hub, run.name) == [f"step {step}" for step in steps]
    for step, commit in zip(steps, commits[1:], strict=True):
        weights = run / "checkpoints" / f"step_{step:08d}" / "model" / "model.safetensors"
        assert hub.files("me/model", commit.oid)["model.safetensors"] == weights.read_bytes()
    facts = Ledger(run).read()
    assert [each["commit"] for each in facts["pushed"]] == [commit.oid for commit in commits[1:]]
    assert not facts["pending"]


FAULTS: dict[str, Callable[[HubServer], object]] = {
    "refused": lambda hub: hub.faults.refuse(),
    "too-many": lambda hub: hub.faults.answer(429, times=3, retry_after=0),
    "error": lambda hub: hub.faults.answer(500, times=4),
    "bad-gateway": lambda hub: hub.faults.answer(502, times=4, path="/commit/"),
    "gateway-time-out": lambda hub: hub.faults.answer(504, times=2, path="preupload"),
    "stalled": lambda hub: hub.faults.stall(None, times=1, path="/commit/"),
    "cut": lambda hub: hub.faults.cut_upload(1000, times=2),
    "commit-cut": lambda hub: hub.faults.cut_upload(1000, method="POST", path="/commit/", times=2),
    "answer-lost": lambda hub: hub.faults.lose_answer(times=2, path="/commit/"),
    "parent-stale": lambda hub: hub.faults.reject_parent(times=2),
    "denied": lambda hub: hub.faults.deny(),
    "at-random": lambda hub: [
        hub.faults.answer(503, share=0.15, seed=1),
        hub.faults.lose_answer(share=0.1, seed=2),
        hub.faults.cut_upload(500, share=0.2, seed=3),
        hub.faults.reject_parent(share=0.2, seed=4),
    ],
}


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_of_the_hub_is_outlived_and_doubles_nothing(here: HubServer, run: Path, fault: str) -> None:
    FAULTS[fault](here)
    ledger = queue_of(run)
    deadline, turns = time.monotonic() + 120, []

    def look(turn: Turn) -> None:
        turns.append(turn)
        assert time.monotonic() < deadline
        # Faults without an end are removed by hand.
        if turn.state == "denied":
            here.faults.allow()
        if fault == "refused":
            here.faults.accept()

    monitor_timeout(ledger, 1.0)
    push_all(ledger, 120, look)
    push_all(ledger, 120, look)  # an error that waiting does not cure ends the first
    assert any(request["fault"] for request in here.requests) or any(turn.error for turn in turns), "the fault was not met"
    assert_all_there(here, run)


def monitor_timeout(ledger: Ledger, seconds: float) -> None:
    settings = ledger.settings
    settings.timeout_seconds = seconds
    ledger.open(settings)


@pytest.mark.slow
def test_the_hub_says_how_long_to_wait_and_is_obeyed(here: HubServer, run: Path) -> None:
    here.faults.answer(429, times=1, retry_after=2, path="/commit/")
    first, *_ = push(run)
    assert (first.state, first.wait_seconds) == ("unreachable", 2)
    assert_all_there(here, run)


@pytest.mark.slow
def test_waits_double_up_to_a_limit(here: HubServer, run: Path) -> None:
    here.faults.refuse()
    from codeparrot.publishing.uploader import LONGEST_WAIT_SECONDS, Uploader

    uploader = Uploader(queue_of(run))
    waits = [uploader.turn().wait_seconds for _ in range(20)]
    assert waits[0] < 0.1 < 1 < waits[7]
    assert max(waits) <= 1.25 * LONGEST_WAIT_SECONDS and min(waits[14:]) >= 0.75 * LONGEST_WAIT_SECONDS


def test_an_uploader_ends_when_its_run_goes_elsewhere(here: HubServer, run: Path) -> None:
    from codeparrot.publishing.uploader import Uploader

    ledger = queue_of(run)
    uploader = Uploader(ledger)
    assert uploader.turn().commit
    settings = ledger.settings
    settings.branch += "-elsewhere"
    ledger.open(settings)
    with pytest.raises(CodeparrotError, match=rf"goes to me/model@{settings.branch} now"):
        uploader.turn()
    assert titles(here, run.name) == ["step 8"]
    assert [entry.step for entry in ledger.pending()] == list(STEPS), "all of them wait for the next one"


def test_a_commit_is_the_run_as_of_its_step(here: HubServer, run: Path) -> None:
    push(run)
    for step, commit in zip(STEPS, here.commits("me/model", run.name)[1:], strict=True):
        files = here.files("me/model", commit.oid)
        logged = [json.loads(line)["step"] for line in files["metrics.jsonl"].decode().splitlines()]
        assert max(logged) == step and len(logged) == 2 * (STEPS.index(step) + 1)
        assert commit.title == f"step {step}: {step * 256:,} tokens, eval loss {6.0 - step / 100:.4f}"
        card = files["README.md"].decode()
        assert f"step {step} of 24" in card and "model-index" in card and f'revision="{run.name}"' in card
        assert files["plots/loss.png"].startswith(b"\x89PNG")
        assert not any(name.startswith("checkpoint/") for name in files)


def test_a_commit_claims_no_measure_of_an_earlier_step(here: HubServer, run: Path) -> None:
    log = run / "metrics.jsonl"
    log.write_text("".join(line for line in log.open() if not ('"step": 24' in line and "eval_loss" in line)), encoding="utf-8")
    push(run)
    last = here.commits("me/model", run.name)[-1]
    assert last.title == "step 24: 6,144 tokens"
    card = here.files("me/model", last.oid)["README.md"].decode()
    assert "model-index" not in card and "| 16 | 4,096 | 5.84 |" in card


def test_with_the_state_a_branch_holds_all_of_the_checkpoint_and_nothing_of_earlier_ones(here: HubServer, run: Path) -> None:
    ledger = queue_of(run)
    settings = ledger.settings
    settings.state = True
    ledger.open(settings)
    last = run / "checkpoints" / "step_00000024"
    (last / "state" / "training.json").rename(last / "state" / "training-other.json")
    manifest = json.loads((last / "manifest.json").read_text())
    manifest["files"]["state/training-other.json"] = manifest["files"].pop("state/training.json")
    (last / "manifest.json").write_text(json.dumps(manifest))
    push_all(ledger, 60, lambda turn: None)
    kept = {name for name in here.files("me/model", run.name) if name.startswith("checkpoint/")}
    assert kept == {"checkpoint/manifest.json", "checkpoint/stream.json", "checkpoint/state/training-other.json"}


def test_a_checkpoint_that_is_damaged_is_named_and_never_pushed(here: HubServer, run: Path) -> None:
    weights = run / "checkpoints" / "step_00000016" / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    push(run)
    assert titles(here, run.name) == ["step 8", "step 24"]
    (skipped,) = Ledger(run).read()["skipped"]
    assert skipped["step"] == 16 and "SHA-256" in skipped["reason"]


def test_behind_the_newest_alone_is_pushed_if_asked_for_and_the_others_are_named(here: HubServer, run: Path) -> None:
    ledger = queue_of(run)
    settings = ledger.settings
    settings.when_behind = "newest"
    ledger.open(settings)
    push_all(ledger, 60, lambda turn: None)
    assert titles(here, run.name) == ["step 24"]
    assert [each["step"] for each in ledger.read()["skipped"]] == [8, 16]


def test_a_branch_of_another_run_is_not_mixed_with(here: HubServer, run: Path, tokenizer_folder: Path, tmp_path: Path) -> None:
    push(run)
    other = make_run(tmp_path / "other", tokenizer_folder, branch=run.name)
    add_checkpoint(other, 8, load_config(other / "config.yaml"), seed=99)
    (turn,) = push(other)
    assert turn.state == "conflict" and "another run" in turn.error and "hub.branch" in turn.error
    assert_all_there(here, run)


def test_a_lost_hub_json_is_made_again_from_the_branch(here: HubServer, run: Path) -> None:
    push(run)
    Ledger(run).path.unlink()
    push(run)
    assert_all_there(here, run)


def test_somebody_elses_commit_on_the_branch_stays(here: HubServer, run: Path) -> None:
    ledger = queue_of(run)
    turns = []

    def between(turn: Turn) -> None:
        turns.append(turn)
        if len(turns) == 1:
            operation = {"path_or_fileobj": b"hello", "path_in_repo": "notes.txt", "commit_message": "by hand"}
            here.api().upload_file(repo_id="me/model", revision=run.name, **operation)

    push_all(ledger, 60, between)
    assert titles(here, run.name) == ["step 8", "by hand", "step 16", "step 24"]
    assert here.files("me/model", run.name)["notes.txt"] == b"hello"


def test_two_uploaders_of_one_run_that_do_not_see_each_other_double_nothing(
    here: HubServer, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two machines whose shared file system does not carry locks."""
    other = tmp_path / "elsewhere" / run.name
    shutil.copytree(run, other)
    commit = HfApi.create_commit

    def the_other_is_faster(api: HfApi, *arguments: Any, **options: Any) -> Any:
        monkeypatch.setattr(HfApi, "create_commit", commit)
        push(other)
        return commit(api, *arguments, **options)

    monkeypatch.setattr(HfApi, "create_commit", the_other_is_faster)
    push(run)
    assert_all_there(here, run)
    assert_all_there(here, other)


def test_a_branch_begins_empty_whatever_is_on_main(here: HubServer, run: Path, tokenizer_folder: Path, tmp_path: Path) -> None:
    api = here.api()
    api.create_repo("me/used")
    api.upload_file(repo_id="me/used", path_or_fileobj=b"old", path_in_repo="old.bin")
    ledger = queue_of(run)
    settings = ledger.settings
    settings.repo = "me/used"
    ledger.open(settings)
    push_all(ledger, 60, lambda turn: None)
    first = here.commits("me/used", run.name)[1]
    assert "old.bin" not in here.files("me/used", first.oid) and "old.bin" in here.files("me/used", "main")


@pytest.mark.slow
def test_sigkill_in_the_middle_of_a_push_costs_nothing(here: HubServer, run: Path) -> None:
    for path in ("preupload", "/lfs/models", "/commit/"):
        rule = here.faults.stall(None, path=path, times=1)
        here.forget_requests()
        process = subprocess.Popen([*COMMAND, "hub", "push", "--run", run], env=here.environment(), stderr=subprocess.DEVNULL)
        here.wait_for_request(path, fault="stall")
        process.send_signal(signal.SIGKILL)
        process.wait()
        here.faults.remove(rule)
    done = subprocess.run(
        [*COMMAND, "hub", "push", "--run", run, "--json"], env=here.environment(), capture_output=True, check=True
    )
    assert json.loads(done.stdout)["pending"] == 0
    assert_all_there(here, run)


@pytest.mark.slow
def test_ctrl_c_is_one_line_and_the_same_command_goes_on(here: HubServer, run: Path) -> None:
    rule = here.faults.stall(None, path="/commit/", times=1)
    here.forget_requests()
    command = [*COMMAND, "hub", "push", "--run", run]
    process = subprocess.Popen(command, env=here.environment(), stderr=subprocess.PIPE, text=True)
    here.wait_for_request("/commit/", fault="stall")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    here.faults.remove(rule)
    assert process.returncode == 130 and "Traceback" not in err
    assert err.splitlines()[-1] == "codeparrot: interrupted; the same command goes on with what is done"
    subprocess.run(command, env=here.environment(), check=True, capture_output=True)
    assert_all_there(here, run)


def test_giving_up_says_what_is_left_and_what_was_the_matter(here: HubServer, run: Path) -> None:
    here.faults.answer(503, path="/commit/")
    command = [*COMMAND, "hub", "push", "--run", run, "--patience_minutes", "0.001"]
    done = subprocess.run(command, env=here.environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert (
        "3 of 3 checkpoints are not on me/model@" in done.stderr and "503" in done.stderr and "goes on with them" in done.stderr
    )


def test_a_second_push_of_the_same_run_is_refused(here: HubServer, run: Path) -> None:
    with queue_of(run).pushing() as free:
        assert free
        command = [*COMMAND, "hub", "push", "--run", run]
        done = subprocess.run(command, env=here.environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "being pushed already" in done.stderr


@pytest.mark.slow
def test_no_token_is_in_any_file_or_output_whatever_fails(here: HubServer, run: Path) -> None:
    outputs = []
    for fault in (
        here.faults.deny,
        lambda: here.faults.answer(500, path="/commit/"),
        lambda: here.faults.lose_answer(path="/commit/"),
    ):
        fault()
        command = [*COMMAND, "--debug", "hub", "push", "--run", run, "--patience_minutes", "0.001"]
        done = subprocess.run(command, env=here.environment(), capture_output=True, text=True, check=False)
        outputs += [done.stdout, done.stderr]
        here.faults.clear()
    push(run)
    files = [path.read_bytes() for path in run.rglob("*") if path.is_file()]
    assert here.token.startswith("hf_") and len(files) > 10
    for text in [*map(str.encode, outputs), *files, *here.files("me/model", run.name).values()]:
        assert here.token.encode() not in text


def test_what_drawing_needs_is_imported_before_there_is_anything_to_push(
    here: HubServer, tmp_path: Path, tokenizer_folder
) -> None:
    run = make_run(tmp_path / "early", tokenizer_folder)
    queue_of(run)
    code = (
        "import sys; from pathlib import Path; from codeparrot.publishing import uploader\n"
        f"assert uploader.main(Path({str(run)!r})) == 0 and 'matplotlib.backends.backend_agg' in sys.modules"
    )
    # During training it would cost the steps half a second of a processor.
    subprocess.run([sys.executable, "-c", code], env=here.environment(), stdin=subprocess.DEVNULL, check=True)
