"""The parts of `make gpu-trial` (gpu.py) that start commands as a user does: strategies, resume, generation."""

import fcntl
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.gpu_trial import BF16_TOLERANCE, Trial

RESUMED_STEPS = 100
"""Steps of a run that is stopped and goes on: enough for the signal to arrive before the last, at some milliseconds a step."""
LAUNCHED = {"one process or DDP": "ddp", "FSDP2": "fsdp", "ZeRO-2": "zero2"}
"""Files of launch/ by the names of their parts."""


def strategy(name: str) -> Callable[[Trial], dict[str, Any]]:
    """Return a part that stops a run by SIGTERM, goes on, and compares with an undisturbed run of one process."""

    def part(trial: Trial) -> dict[str, Any]:
        if name.startswith("zero") and find_spec("deepspeed") is None:
            return {"passed": None, "not_run": "deepspeed is not installed"}
        whole, processes = _whole_run(trial), _processes(trial)
        launcher = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch", "--main_process_port", "0"]
        launcher += ["--config_file", str(files("codeparrot.launch") / f"{name}.yaml"), "--num_processes", str(processes)]
        command = [*([sys.executable] if name == "ddp" and processes == 1 else launcher), _script()]
        reached = len(_losses(_small_run(trial, name, command, stop_after=5)))
        ours = _losses(_small_run(trial, name, command))
        same_steps = list(ours) == list(whole) and 5 <= reached < len(whole)
        error = max(abs(ours[step] - whole[step]) / whole[step] for step in whole if step in ours)
        # Under DeepSpeed and FSDP2, casts are in other places than under autocast; the losses agree to bf16's last bits.
        passed = same_steps and error <= BF16_TOLERANCE
        return {"passed": passed, "processes": processes, "stopped_at_step": reached, "loss_error": error}

    return part


def _processes(trial: Trial) -> int:
    """Return how many processes share a run: the largest power of two of the GPUs, at most 8."""
    import torch

    gpus = torch.cuda.device_count() if trial.device == "cuda" else 1
    return 1 << (min(gpus, 8).bit_length() - 1)


def _script() -> str:
    return str(files("codeparrot") / "train.py")


def _whole_run(trial: Trial) -> dict[int, float]:
    """Return the losses of the undisturbed run. The first part that needs them trains, and others wait."""
    with (trial.folder / "whole.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _losses(_small_run(trial, "whole", [sys.executable, _script()]))


def _small_run(trial: Trial, name: str, command: list[str], stop_after: int = 0) -> Path:
    """Train four layers of `small` in other processes; with `stop_after`, stop after so many steps by SIGTERM."""
    run = trial.folder / "runs" / f"strategy_{name}"
    if (run / "status.json").is_file() and json.loads((run / "status.json").read_text())["state"] == "finished":
        return run
    layers, windows = [] if trial.tiny else ["--model.n_layer", "4"], 4 * max(2, _processes(trial))
    batch = ["--train.global_batch_size", str(windows), "--train.micro_batch_size", "4", "--stream.lanes", str(windows)]
    length = ["--train.max_steps", str(RESUMED_STEPS // (2 if trial.tiny else 1)), "--train.log_every_steps", "1"]
    arguments = trial.config("small", "--run.name", run.name, *layers, *batch, *length)
    # The paths of the DeepSpeed files are relative to the folder above launch/.
    place = Path(str(files("codeparrot.launch"))).parent
    output = trial.folder / f"{run.name}.out"
    with output.open("ab") as sink:
        process = subprocess.Popen([*command, *arguments], stdout=sink, stderr=sink, cwd=place)
        while stop_after and process.poll() is None:
            if len(_losses(run)) >= stop_after:
                process.send_signal(signal.SIGTERM)
                break
            time.sleep(0.02)
        process.wait()
    state = json.loads((run / "status.json").read_text())["state"] if (run / "status.json").is_file() else "failed"
    if state != ("stopped" if stop_after else "finished"):
        from codeparrot.verify.trials import reason

        said = output.read_text(errors="replace")
        error = RuntimeError(f"{name}: {state}; it said: {reason(said)}")
        error.add_note(said[-2000:])
        raise error
    return run


def _losses(run: Path) -> dict[int, float]:
    from codeparrot.run.metrics import read_lines

    path = run / "metrics.jsonl"
    return {line["step"]: line["loss"] for line in read_lines(path) if "loss" in line} if path.is_file() else {}


def generation(trial: Trial) -> dict[str, Any]:
    """Complete a prompt and sample solutions on the device; run their unit tests where a sandbox is possible."""
    _whole_run(trial)
    run, device = trial.folder / "runs" / "strategy_whole", ["--device", trial.device]
    began = time.perf_counter()
    completed = _command("complete", "--checkpoint", str(run), "--prompt", "def add(a, b):", "--max_new_tokens", "16", *device)
    seconds = time.perf_counter() - began
    limit = ["--limit", "4", "--samples", "2", "--k", "1", "--max_new_tokens", "16", "--output", str(trial.folder / "eval")]
    evaluation = ["eval", "humaneval", "--checkpoint", str(run), "--problems", "codeparrot", *limit, *device]
    sampled = _command(*evaluation, "--share", "0/1")
    scored = _command(*evaluation)
    failed = completed.get("error") or sampled.get("error")
    facts = {"passed": failed is None, "complete_seconds": seconds, "pass@1": scored.get("pass@1")}
    return facts | ({"error": failed} if failed else {"not_scored": scored.get("error")})


def _command(*arguments: str) -> dict[str, Any]:
    """Run a command; return its facts, or its last line under `error`."""
    done = subprocess.run(
        [sys.executable, "-m", "codeparrot", *arguments, "--json"], capture_output=True, text=True, check=False
    )
    return json.loads(done.stdout) if done.returncode == 0 else {"error": done.stderr.strip().splitlines()[-1][:300]}
