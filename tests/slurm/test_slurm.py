"""The scripts in slurm/ on a real SLURM cluster: two nodes, real jobs, real interruptions."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.conftest import python_sources
from tests.launching import ROOT, curve, run, write_config
from tests.slurm.cluster import ENDS, Cluster

STEPS = 400
"""Long enough, at some seconds, to be interrupted."""


def recipe(folder: Path, corpus: Path, tokenizer: Path) -> Path:
    train = {"global_batch_size": 8, "micro_batch_size": 4, "max_steps": STEPS, "precision": "fp32", "log_every_steps": 1}
    # The learning rate does not depend on the length, so a shorter run has the first losses of a longer one.
    schedule = {"name": "constant"}
    return write_config(folder / "c.yaml", corpus, tokenizer, train=train, schedule=schedule, checkpoint={"every_steps": 20})


@pytest.fixture(scope="module")
def reference(tmp_path_factory, corpus, tokenizer_folder) -> Path:
    """The same recipe on one process, without SLURM and without interruption."""
    config = recipe(tmp_path_factory.mktemp("reference"), corpus, tokenizer_folder)
    run(config)
    return config.parent / "runs" / "tiny"


def submit(
    cluster: Cluster, script: str, *arguments: str | Path, options: tuple[str, ...] = (), log: Path, **settings: str
) -> int:
    """Submit a script of the repository as a user does; its output goes to the folder `log`."""
    python = {"VENV": sys.prefix, "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1"}
    output = (
        f"--output={log}/%A_%a.out" if any(option.startswith("--array") for option in options) else f"--output={log}/%j.out"
    )
    return cluster.submit(output, *options, f"slurm/{script}", *arguments, folder=ROOT, **{**python, **settings})


def pretrain(
    cluster: Cluster, config: Path, *arguments: str, options: tuple[str, ...] = ("--nodes=2",), **settings: str
) -> int:
    return submit(cluster, "pretrain.sh", config, *arguments, options=options, log=config.parent, **settings)


def status(run_directory: Path) -> dict[str, Any]:
    return json.loads((run_directory / "status.json").read_text(encoding="utf-8"))


def newest_step(run_directory: Path) -> int:
    """Return the last step in metrics.jsonl."""
    path = run_directory / "metrics.jsonl"
    steps = [json.loads(line)["step"] for line in path.read_text(encoding="utf-8").splitlines()[-1:]] if path.exists() else []
    return max(steps, default=0)


def reach(cluster: Cluster, job: int, run_directory: Path, step: int) -> None:
    """Wait until a job has taken a step."""
    cluster.wait(job, "RUNNING")

    def reached() -> bool:
        assert cluster.state(job) == "RUNNING", cluster.report(job)
        return newest_step(run_directory) >= step

    cluster.until(reached, 120, lambda: f"step {step}\n{cluster.report(job)}")


def seconds_to_import() -> float:
    """Return how long the libraries that training starts with take to load here and now."""
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", "import torch, accelerate, transformers.modeling_utils"], check=True)
    return time.monotonic() - began


def finish(cluster: Cluster, job: int, run_directory: Path, reference: Path, steps: int = STEPS) -> None:
    """Wait for the end of a job, with the losses of the reference."""
    cluster.wait(job, "COMPLETED")
    ours, theirs = curve(run_directory), curve(reference)[:steps]
    assert [step for step, _, _ in ours] == [step for step, _, _ in theirs] == list(range(1, steps + 1))
    assert [loss for _, loss, _ in ours] == pytest.approx([loss for _, loss, _ in theirs], rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("launch", ["ddp", "zero2"])
def test_two_nodes_train_to_the_losses_of_one_process(cluster, tmp_path, corpus, tokenizer_folder, reference, launch) -> None:
    config = recipe(tmp_path, corpus, tokenizer_folder)
    job = pretrain(cluster, config, "--train.max_steps", "60", LAUNCH=launch)
    finish(cluster, job, tmp_path / "runs" / "tiny", reference, steps=60)


@pytest.mark.slow
def test_a_run_goes_on_after_signal_dead_node_and_preemption(cluster, tmp_path, corpus, tokenizer_folder, reference) -> None:
    config, tiny = recipe(tmp_path, corpus, tokenizer_folder), tmp_path / "runs" / "tiny"
    job = pretrain(cluster, config)

    # SLURM's warning before the time limit (--signal=USR1@300) is this signal.
    reach(cluster, job, tiny, 30)
    cluster.run("scancel", "--signal=USR1", str(job))
    cluster.wait(job, "PENDING")
    assert (status(tiny)["state"], status(tiny)["reason"]) == ("stopped", "SIGUSR1")
    stopped = status(tiny)["step"]
    assert (tiny / "checkpoints" / f"step_{stopped:08d}" / "manifest.json").exists()

    # A node dies, SLURM notices and puts the job back into the queue.
    cluster.start_again(job)
    reach(cluster, job, tiny, stopped + 60)
    cluster.kill_node("n2")
    cluster.wait(job, "PENDING")
    cluster.revive_node("n2")

    # SLURM takes the nodes for a more urgent job, and requeues ours by itself.
    cluster.start_again(job)
    reach(cluster, job, tiny, stopped + 120)
    urgent = cluster.submit(
        "--partition=urgent", "--nodes=2", "--exclusive", "--output=/dev/null", "--wrap=true", folder=tmp_path
    )
    cluster.wait(job, "PENDING")
    assert (status(tiny)["state"], status(tiny)["reason"]) == ("stopped", "SIGTERM")
    cluster.wait(urgent, "COMPLETED")

    cluster.start_again(job)
    finish(cluster, job, tiny, reference)
    assert cluster.fact(job, "Restarts") == "3"


@pytest.mark.slow
def test_two_jobs_at_once_and_a_cancelled_one_saves_and_stays_cancelled(
    cluster, tmp_path, corpus, tokenizer_folder, reference
) -> None:
    config = recipe(tmp_path, corpus, tokenizer_folder)
    jobs = [pretrain(cluster, config, "--run.name", name, options=("--nodes=1",)) for name in ("kept", "cancelled")]
    kept, cancelled = (tmp_path / "runs" / name for name in ("kept", "cancelled"))
    reach(cluster, jobs[1], cancelled, 30)
    cluster.run("scancel", str(jobs[1]))
    cluster.until(lambda: status(cancelled)["state"] == "stopped", 60, lambda: cluster.report(jobs[1]))
    finish(cluster, jobs[0], kept, reference)
    assert cluster.state(jobs[1]) == "CANCELLED"
    assert cluster.fact(jobs[1], "Restarts") == "0"
    assert (cancelled / "checkpoints" / f"step_{status(cancelled)['step']:08d}" / "manifest.json").exists()
    ports = [cluster.output(job).partition("meeting at 127.0.0.1:")[2].split()[0] for job in jobs]
    assert ports[0] != ports[1]


@pytest.mark.slow
def test_a_signal_reaches_training_where_slurm_signals_the_task_alone(
    reserved_cluster, tmp_path, corpus, tokenizer_folder
) -> None:
    config, tiny = recipe(tmp_path, corpus, tokenizer_folder), tmp_path / "runs" / "tiny"
    # Like container runtimes, this prefix does not pass on ignored signals.
    container = f"env --default-signal=USR1,TERM,INT PATH={sys.prefix}/bin:/usr/bin:/bin"
    job = pretrain(reserved_cluster, config, options=("--nodes=1",), PROCESSES_PER_NODE="2", CONTAINER=container)
    reach(reserved_cluster, job, tiny, 30)
    reserved_cluster.run("scancel", "--signal=USR1", str(job))
    reserved_cluster.wait(job, "PENDING")
    assert (status(tiny)["state"], status(tiny)["reason"]) == ("stopped", "SIGUSR1")
    reserved_cluster.run("scancel", str(job))


@pytest.mark.slow
def test_a_run_saves_before_its_time_is_over_by_its_own_clock(cluster, tmp_path, corpus, tokenizer_folder) -> None:
    config, tiny = recipe(tmp_path, corpus, tokenizer_folder), tmp_path / "runs" / "tiny"
    # SLURM does not warn before the last second: the run counts its minutes as over when 75 s are left.
    margin = ("--checkpoint.time_limit_margin_seconds", "75", "--train.max_steps", "100000")
    # The first step must lie before that, on a machine that is slow or busy too.
    minutes = 2 if seconds_to_import() < 6 else 3
    job = pretrain(cluster, config, *margin, options=("--nodes=1", f"--time={minutes}", "--signal=USR1@1"))
    reach(cluster, job, tiny, 1)
    cluster.wait(job, "PENDING")
    assert (status(tiny)["state"], status(tiny)["reason"]) == ("stopped", "time limit")
    assert (tiny / "checkpoints" / f"step_{status(tiny)['step']:08d}" / "manifest.json").exists()
    assert cluster.fact(job, "Restarts") == "1"
    cluster.run("scancel", str(job))


@pytest.mark.slow
def test_a_wrong_recipe_ends_in_one_line_before_a_node_is_used(cluster, tmp_path, corpus, tokenizer_folder) -> None:
    config = recipe(tmp_path, corpus, tokenizer_folder)
    wrong = {
        "train.micro_batch_size is 0; it must be at least 1": (("--train.micro_batch_size", "0"), {}),
        'did you mean "optim.lr"?': (("--optim.lrate", "1"), {}),
        "6 processes do not divide stream.lanes 4": ((), {"PROCESSES_PER_NODE": "3"}),
        "LAUNCH=zero9 is not one of": ((), {"LAUNCH": "zero9"}),
    }
    jobs = {said: pretrain(cluster, config, *arguments, **settings) for said, (arguments, settings) in wrong.items()}
    for said, job in jobs.items():
        cluster.wait(job, "FAILED")
        (line,) = cluster.output(job).splitlines()
        assert "error: " in line and said in line
    assert not (tmp_path / "runs").exists()


class Start(NamedTuple):
    """What training leaves behind in one start of a job: its last words in status.json, and perhaps a new checkpoint."""

    state: str
    reason: str = ""
    checkpoint: bool = False


SAVED, IDLE = Start("stopped", "SIGUSR1", True), Start("stopped", "time limit")
NOTHING = Start("")
"""The launcher ends before training begins."""
JOBS = {
    "goes on until it is finished": ([SAVED, SAVED, Start("finished")], "COMPLETED"),
    "does not go on for ever": ([SAVED, IDLE, IDLE], "FAILED"),
    "takes one start without progress": ([IDLE, SAVED, IDLE, Start("finished")], "COMPLETED"),
    "goes on after a failure that came later": ([Start("failed", "CUDA error", True), Start("finished")], "COMPLETED"),
    "goes on after a crash that came later": ([Start("running", "", True), NOTHING, Start("finished")], "COMPLETED"),
    "does not repeat an error of the start": ([Start("failed", "no such file")], "FAILED"),
    "does not repeat an error after a resume": ([SAVED, Start("failed", "loss is not finite")], "FAILED"),
    "does not take the last start's word": ([SAVED, NOTHING, NOTHING], "FAILED"),
    "ends when it never began": ([NOTHING], "FAILED"),
    "ends when its user stopped it": ([Start("stopped", "SIGINT", True)], "FAILED"),
}


@pytest.mark.slow
def test_a_job_is_put_back_into_the_queue_only_for_what_another_start_can_mend(
    cluster, tmp_path, corpus, tokenizer_folder
) -> None:
    # Stands in for the launcher: it does what the test says and fails, as torchrun does on status 75.
    programs = tmp_path / "venv" / "bin"
    programs.mkdir(parents=True)
    program(programs / "codeparrot", f'exec {sys.prefix}/bin/codeparrot "$@"')
    launches = 'case $1 in *accelerate_launch.py) sh "$STARTS/${SLURM_RESTART_COUNT:-0}"; exit 1 ;; esac'
    program(programs / "python", f'{launches}\nexec {sys.prefix}/bin/python "$@"')
    config = recipe(tmp_path, corpus, tokenizer_folder)
    jobs = {}
    for number, (name, (starts, _)) in enumerate(JOBS.items()):
        write_starts(tmp_path / f"starts{number}", tmp_path / "runs" / str(number), starts)
        run_name, folder = ("--run.name", str(number)), str(tmp_path / f"starts{number}")
        venv = str(tmp_path / "venv")
        jobs[name] = pretrain(cluster, config, *run_name, options=("--nodes=1",), VENV=venv, STARTS=folder)
    ended: dict[str, tuple[int, str]] = {}
    started = dict.fromkeys(jobs, 0)

    def all_ended() -> bool:
        for name, job in jobs.items():
            state, restarts = cluster.state(job), int(cluster.fact(job, "Restarts"))
            if state == "PENDING" and restarts > started[name]:
                started[name] = restarts
                cluster.start_again(job, wait=False)
            elif state in ENDS:
                ended[name] = (restarts + 1, state)
        return len(ended) == len(jobs)

    cluster.until(all_ended, 120, lambda: "\n".join(map(cluster.output, jobs.values())))
    assert ended == {name: (len(starts), state) for name, (starts, state) in JOBS.items()}
    assert "two starts in a row brought no new checkpoint" in cluster.output(jobs["does not go on for ever"])


def program(path: Path, line: str) -> None:
    path.write_text(f"#!/bin/sh\n{line}\n", encoding="utf-8")
    path.chmod(0o755)


def write_starts(folder: Path, run_directory: Path, starts: list[Start]) -> None:
    """Write a shell script for each start of a job."""
    folder.mkdir()
    for number, start in enumerate(starts):
        text = json.dumps({"state": start.state, "step": number, "reason": start.reason})
        checkpoint = run_directory / "checkpoints" / f"step_{number:08d}"
        made = f"mkdir -p {checkpoint}; touch {checkpoint}/manifest.json" if start.checkpoint else ""
        said = f"mkdir -p {run_directory}; echo '{text}' > {run_directory}/status.json" if start.state else ""
        (folder / str(number)).write_text(f"{made}\n{said}\n", encoding="utf-8")


@pytest.mark.slow
def test_corpus_then_tokenizer_and_an_array_over_the_checkpoints(cluster, tmp_path, reference, corpus) -> None:
    source = tmp_path / "source"
    for number, text in enumerate(python_sources(30)):
        (source / f"project{number % 5}").mkdir(parents=True, exist_ok=True)
        (source / f"project{number % 5}" / f"module{number}.py").write_text(text, encoding="utf-8")
    one = ("--nodes=1",)
    made, trained = tmp_path / "corpus", tmp_path / "tokenizer"
    first = submit(cluster, "corpus.sh", "--source", source, "--output", made, "--workers", "1", options=one, log=tmp_path)
    second = submit(
        cluster,
        *("tokenizer.sh", "--corpus", made, "--vocab_size", "300", "--output", trained),
        options=(*one, f"--dependency=afterok:{first}"),
        log=tmp_path,
    )
    sampled = (reference, "--problems", "codeparrot", "--samples", "2", "--k", "1", "2", "--max_new_tokens", "8")
    sampled = (*sampled, "--output", tmp_path / "sampled", "--workers", "1")
    shares = submit(cluster, "humaneval.sh", *sampled, options=("--array=0-1",), log=tmp_path)
    scored = submit(cluster, "humaneval.sh", *sampled, options=(*one, f"--dependency=afterany:{shares}"), log=tmp_path)
    array = submit(
        cluster,
        *("evaluate.sh", reference, corpus, "--batch_size", "16"),
        options=("--array=0,2-3",),
        log=tmp_path,
    )
    cluster.wait(first, "COMPLETED")
    cluster.wait(second, "COMPLETED")
    assert list(made.glob("train-*.parquet")) and (trained / "tokenizer.json").exists()

    names = sorted(path.name for path in (reference / "checkpoints").iterdir())
    assert len(names) == 3
    for index in (0, 2):
        cluster.wait(f"{array}_{index}", "COMPLETED")
        result = json.loads((reference / "evaluations" / f"{names[index]}.json").read_text(encoding="utf-8"))
        assert result["checkpoint"].endswith(names[index]) and 1 < result["perplexity"] < 512
    cluster.wait(f"{array}_3", "FAILED")
    assert "has 3 complete checkpoints, not number 3; use --array=0-2" in cluster.output(f"{array}_3")
    assert len(list((reference / "evaluations").iterdir())) == 2

    for index in (0, 1):
        cluster.wait(f"{shares}_{index}", "COMPLETED")
        assert f"share {index} of 2; " in cluster.output(f"{shares}_{index}")
    cluster.wait(scored, "COMPLETED")
    report = json.loads((tmp_path / "sampled" / "report.json").read_text(encoding="utf-8"))
    assert report["samples"] == 2 * report["problems"] and {"pass@1", "pass@2"} <= report.keys()
    assert not list((tmp_path / "sampled").glob("samples-*"))
