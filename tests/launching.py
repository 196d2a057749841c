"""Starting real training processes, as a user does."""

import contextlib
import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.warm import Warm

ROOT = Path(__file__).parents[1]
SCRIPTS = Path(sys.executable).parent

TINY = {
    "model": {
        **{"family": "gpt2", "vocab_size": 512, "n_positions": 32, "n_embd": 32, "n_layer": 2, "n_head": 2},
        **{"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0},
    },
    "train": {"global_batch_size": 8, "micro_batch_size": 2, "max_steps": 24, "precision": "fp32", "log_every_steps": 1},
    "optim": {"lr": 3e-3},
    "schedule": {"warmup_steps": 4},
    "evaluate": {"every_steps": 0},
    "checkpoint": {"every_steps": 8},
}


def write_config(path: Path, corpus: Path, tokenizer: Path, **changes: dict[str, Any]) -> Path:
    """Write a configuration of a tiny run in the folder of `path`; `changes` are merged into its sections."""
    import yaml

    data = {"stream": {"train": str(corpus), "valid": str(corpus), "seq_length": 32, "lanes": 4, "block_windows": 10}}
    sections: dict[str, dict[str, Any]] = {
        "run": {"name": "tiny", "dir": str(path.parent / "runs")},
        "tokenizer": {"path": str(tokenizer)},
        **data,
        **TINY,
    }
    for section, values in changes.items():
        sections[section] = {**sections.get(section, {}), **values}
    path.write_text(yaml.safe_dump(sections), encoding="utf-8")
    return path


def train_command(num_processes: int, launch: str = "ddp") -> list[str]:
    """Return the command that starts training: the plain one for one process, else with the launch configuration `launch`."""
    if num_processes == 1 and launch == "ddp":
        return [str(SCRIPTS / "codeparrot"), "train"]
    launcher = [str(SCRIPTS / "accelerate"), "launch", "--config_file", str(ROOT / "launch" / f"{launch}.yaml")]
    # A free port for every launch, so that the runs of different tests do not meet.
    port = ["--main_process_port", "0", "--num_processes", str(num_processes)]
    return [*launcher, *port, str(ROOT / "codeparrot" / "train.py")]


def require(program: str, why: str) -> None:
    """Skip the test if a program is missing; in continuous integration, fail."""
    if shutil.which(program) is None:
        missing = f"{program} is not installed ({why}); .ci/packages installs it as root"
        pytest.fail(missing) if os.environ.get("CI") == "true" else pytest.skip(missing)


def start(
    config: Path,
    *arguments: str,
    num_processes: int = 1,
    launch: str = "ddp",
    command: list[str] | None = None,
    environment: dict[str, str] | None = None,
    warm: bool = True,
) -> "subprocess.Popen[str] | Warm":
    """Start training in its own process group, in the folder to which the launch configurations' paths are relative.

    Warm (`tests.warm`), unless a test is about the start itself.
    """
    command = [*(command or train_command(num_processes, launch)), "--config", str(config), *arguments]
    return started(command, ROOT, environment, warm=warm)


def started(
    command: list[str], cwd: Path, environment: dict[str, str] | None = None, warm: bool = True
) -> "subprocess.Popen[str] | Warm":
    """Start a command in its own session."""
    variables = {**(environment or os.environ), "OMP_NUM_THREADS": "1"}
    if warm:
        return Warm(command, variables, cwd)
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, **pipes, start_new_session=True, cwd=cwd, env=variables)


def completed(
    command: list[str], cwd: Path, environment: dict[str, str] | None = None, timeout: float = 300
) -> "subprocess.CompletedProcess[str]":
    """Run a command to its end, in a warm process."""
    process = started(command, cwd, environment)
    out, err = process.communicate(timeout=timeout)
    assert process.returncode is not None
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def run(
    config: Path,
    *arguments: str,
    num_processes: int = 1,
    launch: str = "ddp",
    command: list[str] | None = None,
    status: int = 0,
    largest_file: int | None = None,
    environment: dict[str, str] | None = None,
) -> tuple[str, str]:
    """Train to the end; return stdout and stderr. Writing more than `largest_file` bytes to a file fails, as on a full disk."""
    options: dict[str, Any] = {"num_processes": num_processes, "launch": launch, "command": command, "environment": environment}
    process = start(config, *arguments, **options)
    if largest_file is not None:
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (largest_file, largest_file))
    out, err = process.communicate(timeout=300)
    assert process.returncode == status, err[-3000:]
    return out, err


def stop_behind_step(
    process: "subprocess.Popen[str] | Warm", metrics: Path, step: int, number: int, after_seconds: float = 0.0
) -> tuple[int, str]:
    """Send a signal to the whole process group once `step` is in metrics.jsonl, or some time later.

    Returns:
        The exit status and stderr.
    """
    deadline = time.monotonic() + 240
    while not metrics.exists() or f'"step": {step},' not in metrics.read_text(encoding="utf-8"):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()[1][-3000:]
        time.sleep(0.005)
    time.sleep(after_seconds)
    if number == signal.SIGKILL:
        kill_tree(process)
    else:
        os.killpg(process.pid, number)
    err = process.communicate(timeout=120)[1]
    assert process.returncode is not None
    return process.returncode, err


def kill_tree(process: "subprocess.Popen[str] | Warm") -> None:
    """SIGKILL a launcher and its processes, which run in their own sessions: a dying node takes all of them."""
    for child in psutil.Process(process.pid).children(recursive=True):
        child.kill()
    os.killpg(process.pid, signal.SIGKILL)


def workers(process: "subprocess.Popen[str] | Warm", num_processes: int) -> list[psutil.Process]:
    """Return the training processes of a launcher, by rank."""
    if isinstance(process, Warm):  # forked in the order of their ranks, with the command of what they are forked from
        forked = sorted(psutil.Process(process.pid).children(), key=lambda child: child.pid)
        assert len(forked) == num_processes
        return forked
    ranks = {}
    for child in psutil.Process(process.pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):  # it ended just now, as a compiler does
            rank = child.environ().get("RANK")
            if rank is not None and "train.py" in " ".join(child.cmdline()):
                ranks.setdefault(int(rank), child)
    assert len(ranks) == num_processes
    return [ranks[rank] for rank in sorted(ranks)]


def kill_behind_step(process: "subprocess.Popen[str] | Warm", metrics: Path, step: int) -> None:
    stop_behind_step(process, metrics, step, signal.SIGKILL)


def lines(run_directory: Path) -> list[dict[str, Any]]:
    text = (run_directory / "metrics.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def weights(run_directory: Path, step: int = 24) -> str:
    """Return the SHA-256 of the weights of a checkpoint."""
    path = run_directory / "checkpoints" / f"step_{step:08d}" / "model" / "model.safetensors"
    return hashlib.sha256(path.read_bytes()).hexdigest()


def curve(run_directory: Path) -> list[tuple[int, float, float]]:
    """Step, loss and gradient norm of each line; they must be equal to the last bit."""
    return [(line["step"], line["loss"], line["grad_norm"]) for line in lines(run_directory) if "loss" in line]
