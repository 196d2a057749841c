"""A mirror beside real training: the run is the same, and goes on from its copies when nothing else is left."""

import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from codeparrot import files
from codeparrot.run import checkpoint
from tests.launching import (
    ROOT,
    completed,
    curve,
    kill_behind_step,
    run,
    start,
    stop_behind_step,
    train_command,
    weights,
    workers,
    write_config,
)
from tests.mirror.made import content
from tests.s3_server.fixture import S3Server, s3

__all__ = ["s3"]
pytestmark = pytest.mark.slow
ADDRESS = "s3://bucket/mirrors/tiny"
OFTEN: dict[str, Any] = {"every_steps": 4, "keep_last": 2, "keep_every_steps": 16, "mirror": ADDRESS}


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory, corpus: Path, tokenizer_folder: Path) -> Path:
    """A run without a mirror."""
    folder = tmp_path_factory.mktemp("reference")
    run(write_config(folder / "c.yaml", corpus, tokenizer_folder))
    return folder / "runs" / "tiny"


def configure(tmp_path: Path, corpus: Path, tokenizer: Path, **checkpoint: Any) -> tuple[Path, Path]:
    """Return a configuration file and its run directory."""
    config = write_config(tmp_path / "c.yaml", corpus, tokenizer, checkpoint=OFTEN | checkpoint)
    return config, tmp_path / "runs" / "tiny"


def environment(s3: S3Server) -> dict[str, str]:
    return {**os.environ, **s3.environment}


def whole(s3: S3Server) -> list[str]:
    """Return the copies on the server, after checking that each has all of its files and nothing else is there."""
    keys = copied(s3)
    steps = sorted({name.split("/")[1] for name in keys if name.startswith("checkpoints/")})
    for step in steps:
        body = s3.client.get_object(Bucket="bucket", Key=f"mirrors/tiny/checkpoints/{step}/manifest.json")["Body"].read()
        described = {name: file["bytes"] for name, file in json.loads(body)["files"].items()}
        there = {name.split("/", 2)[2]: size for name, size in keys.items() if name.startswith(f"checkpoints/{step}/")}
        assert there == described | {"manifest.json": len(body)}
    assert {name for name in keys if "/" not in name} == {"run.json", "config.yaml", "metrics.jsonl"}
    return steps


def wait_for(s3: S3Server, key: str) -> None:
    """Wait until a file is at the mirror."""
    until(lambda: key in copied(s3))


def copied(s3: S3Server) -> dict[str, int]:
    return s3.holds("mirrors/tiny/")


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def wait_for_step(process: Any, folder: Path, step: int) -> None:
    metrics = folder / "metrics.jsonl"
    until(lambda: process.poll() is not None or (metrics.exists() and f'"step": {step},' in metrics.read_text()))
    assert process.poll() is None


def kill_training(process: Any) -> None:
    """SIGKILL the processes that train, and not the one beside them."""
    everyone = psutil.Process(process.pid).children(recursive=True)
    for child in everyone:
        if "codeparrot.mirror.copier" not in child.cmdline():
            child.kill()
    os.kill(process.pid, signal.SIGKILL)
    process.wait(60)


def wait_until_free(folder: Path) -> None:
    """Wait until the copier of a killed run has ended."""
    until(lambda: files.is_free(folder / ".mirror.copying"))


def test_a_run_with_a_mirror_is_the_run_without_and_its_copies_are_what_it_keeps(
    tmp_path: Path, corpus: Path, tokenizer_folder: Path, reference: Path, s3: S3Server
) -> None:
    config, folder = configure(tmp_path, corpus, tokenizer_folder)
    out, err = run(config, "--json", environment=environment(s3))
    assert curve(folder) == curve(reference) and weights(folder) == weights(reference)
    assert (
        whole(s3)
        == ["step_00000016", "step_00000020", "step_00000024"]
        == sorted(each.name for each in (folder / "checkpoints").iterdir())
    )
    assert json.loads(out)["mirror"] == {"address": ADDRESS, "copied": 3, "waiting": 0, "skipped": 0}
    assert f"checkpoints are copied to {ADDRESS}" in err and "step 24 is at the mirror" in err
    for path in folder.rglob("*"):
        assert path.is_dir() or b"secret" not in path.read_bytes()
    newest = content(folder / "checkpoints" / "step_00000024")
    for name, data in newest.items():
        key = f"mirrors/tiny/checkpoints/step_00000024/{name}"
        assert s3.client.get_object(Bucket="bucket", Key=key)["Body"].read() == data
    # Another run is refused before anything is written.
    before = s3.holds()
    _, err = run(config, "--run.name", "other", status=1, environment=environment(s3))
    assert f'checkpoint.mirror {ADDRESS} holds the checkpoints of another run, "tiny"' in err.splitlines()[-1]
    assert s3.holds() == before and not (tmp_path / "runs" / "other").exists()


@pytest.mark.parametrize(("num_processes", "launch"), [(1, "ddp"), (2, "ddp"), (2, "fsdp")])
def test_a_run_whose_directory_is_gone_ends_with_the_bits_of_the_uninterrupted_one(
    tmp_path: Path, corpus: Path, tokenizer_folder: Path, reference: Path, s3: S3Server, num_processes: int, launch: str
) -> None:
    config, folder = configure(tmp_path, corpus, tokenizer_folder)
    how: dict[str, Any] = {"num_processes": num_processes, "launch": launch, "environment": environment(s3)}
    expected = reference
    if num_processes == 2:
        run(config, "--run.name", "whole", "--checkpoint.mirror", "", num_processes=2, launch=launch)
        expected = tmp_path / "runs" / "whole"
    process = start(config, **how)
    wait_for_step(process, folder, 13)
    kill_training(process)
    # The copier sends what is whole before it ends by itself. Then the machine is lost.
    wait_until_free(folder)
    # Training may have been removing an old one.
    newest = next(place.name for place in checkpoint.steps(folder / "checkpoints") if not checkpoint.fault(place))
    assert f"checkpoints/{newest}/manifest.json" in copied(s3), (folder / "log" / "mirror.log").read_text()
    shutil.rmtree(folder)
    with s3.slow(0.02):
        _, err = run(config, **how)
    assert f"fetched {newest}" in err and "every file as its manifest says" in err
    assert curve(folder) == curve(expected) and weights(folder) == weights(expected)
    assert whole(s3) == ["step_00000016", "step_00000020", "step_00000024"]


@pytest.mark.parametrize("num_processes", [1, 2])
def test_a_request_to_stop_ends_the_fetch_at_a_start_and_the_next_start_goes_on_with_it(
    tmp_path: Path, corpus: Path, tokenizer_folder: Path, reference: Path, s3: S3Server, num_processes: int
) -> None:
    config, folder = configure(tmp_path, corpus, tokenizer_folder)
    how: dict[str, Any] = {"num_processes": num_processes, "environment": environment(s3)}
    run(config, **how)
    shutil.rmtree(folder)
    # One process alone is asked.
    process = start(config, **how)
    with s3.slow(0.5):
        until(lambda: any((folder / "checkpoints").glob(".partial_fetched_*/**/*.*")))
        os.kill(workers(process, num_processes)[-1].pid if num_processes > 1 else process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=60)
    if num_processes > 1:  # the launcher reports it
        assert process.returncode == 1 and err.count("exitcode  : 75") == num_processes, err
    else:
        assert process.returncode == 75 and "Traceback" not in err, err
    assert "stopped before the first step, while a checkpoint was fetched; run the same command again" in out
    status = json.loads((folder / "status.json").read_text())  # by which a job script starts it again
    assert (status["state"], status["reason"]) == ("stopped", "SIGINT")
    (partial,) = (folder / "checkpoints").iterdir()
    assert partial.name == ".partial_fetched_step_00000024" and any(partial.rglob("*.*"))
    _, err = run(config, **how)
    assert "fetched step_00000024" in err and [each.name for each in (folder / "checkpoints").iterdir()] == ["step_00000024"]
    assert num_processes > 1 or weights(folder) == weights(reference)


def test_training_killed_in_the_middle_of_a_copy_leaves_none_that_counts_and_the_next_start_sends_what_was_left(
    tmp_path: Path, corpus: Path, tokenizer_folder: Path, reference: Path, s3: S3Server
) -> None:
    config, folder = configure(tmp_path, corpus, tokenizer_folder)
    process = start(config, environment=environment(s3))
    with s3.slow(0.3):
        wait_for(s3, "run.json")
        # All of it dies at once, as a machine does: training and copier.
        until(lambda: any("/" in name for name in copied(s3)))
        kill_behind_step(process, folder / "metrics.jsonl", 5)
    assert not any(name.endswith("manifest.json") for name in copied(s3))
    run(config, environment=environment(s3))
    assert curve(folder) == curve(reference) and weights(folder) == weights(reference)
    assert whole(s3) == ["step_00000016", "step_00000020", "step_00000024"]


def test_a_server_that_is_dead_neither_ends_nor_changes_training_and_gets_the_rest_from_the_next_start(
    tmp_path: Path, corpus: Path, tokenizer_folder: Path, reference: Path, s3: S3Server
) -> None:
    config, folder = configure(tmp_path, corpus, tokenizer_folder)
    stop_behind_step(start(config, environment=environment(s3)), folder / "metrics.jsonl", 6, signal.SIGTERM)
    with s3.dead():
        short = {**environment(s3), "CODEPARROT_PATIENCE_SECONDS": "2"}
        process = start(config, environment=short)
        status, err = stop_behind_step(process, folder / "metrics.jsonl", 24, signal.SIGINT, after_seconds=8)
    assert status in (0, 75), err
    assert "the run goes on from" in err and "copies wait" in err
    assert "checkpoints are still to be copied" in err and "the same command sends what is left" in err
    assert curve(folder) == curve(reference) and weights(folder) == weights(reference)
    run(config, environment=environment(s3))
    assert whole(s3) == ["step_00000016", "step_00000020", "step_00000024"]


def test_a_server_that_does_not_answer_at_the_start_of_a_new_run_is_said_in_one_line(
    tmp_path: Path, corpus: Path, tokenizer_folder: Path, s3: S3Server
) -> None:
    config, folder = configure(tmp_path, corpus, tokenizer_folder)
    short = {**environment(s3), "CODEPARROT_PATIENCE_SECONDS": "1"}
    with s3.dead():
        _, err = run(config, status=1, environment=short)
    assert err.splitlines()[-1].startswith(f"codeparrot: error: checkpoint.mirror: cannot read {ADDRESS}: ")
    with s3.denying():
        _, err = run(config, status=1, environment=short)
    assert "access denied" in err.splitlines()[-1] and not folder.exists()
    missing = ["--checkpoint.mirror", "s3://no-such-bucket/tiny"]
    _, err = run(config, *missing, status=1, environment=short)
    assert "s3://no-such-bucket" in err.splitlines()[-1] and not folder.exists()


def test_a_child_goes_on_from_its_own_mirror_where_parent_and_child_are_gone(
    tmp_path: Path, corpus: Path, tokenizer_folder: Path, s3: S3Server
) -> None:
    config, parent = configure(tmp_path, corpus, tokenizer_folder, mirror="")
    run(config, "--train.max_steps", "8")
    child = tmp_path / "runs" / "child"
    words = ["--from", str(parent), "--run.name", "child", "--checkpoint.mirror", ADDRESS, "--train.max_steps", "16"]
    command = [*train_command(1), *words]
    done = completed(command, ROOT, environment(s3))
    assert done.returncode == 0, done.stderr
    expected = weights(child, 16)
    shutil.rmtree(parent)
    shutil.rmtree(child)
    done = completed(command, ROOT, environment(s3))
    assert done.returncode == 0, done.stderr
    assert "fetched step_00000016" in done.stderr and weights(child, 16) == expected
