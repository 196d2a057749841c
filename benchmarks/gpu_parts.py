"""The parts of `make gpu-trial` (gpu.py): each returns what it found, and `passed` where there is something to hold."""

import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any
from unittest import mock

STEPS, WARM_UP = 30, 10
"""Of a measurement of speed: the steps after the warm-up count, in three stretches of which the best is taken."""
TINY_MODEL = ["--model.n_layer", "2", "--model.n_embd", "64", "--model.n_head", "2", "--model.vocab_size", "1024"]
LOSS_TOLERANCE, GRADIENT_TOLERANCE, BF16_TOLERANCE = 1e-5, 1e-4, 2e-2
"""Relative: of the loss and of all gradients together in fp32; of the loss in bf16, which keeps 8 bits."""
LAUNCHED = {"ddp": "DDP", "fsdp": "FSDP2", "zero2": "ZeRO-2"}


@dataclass(frozen=True)
class Trial:
    """What all parts share: `folder` holds the data and the runs."""

    device: str
    tiny: bool
    folder: Path

    def config(self, name: str, *overrides: str) -> list[str]:
        """Return the arguments of a run of configs/NAME.yaml on the trial's data, without evaluation, with few steps."""
        length = "64" if self.tiny else "1024"
        data = ["--tokenizer.path", str(self.folder / "tokenizer"), "--stream.train", str(self.folder / "corpus")]
        data += ["--stream.valid", "[]", "--stream.seq_length", length, "--stream.lanes", "4", "--evaluate.every_steps", "0"]
        run = ["--run.dir", str(self.folder / "runs"), "--train.max_steps", str(STEPS), "--train.log_every_steps", "10"]
        schedule = ["--schedule.warmup_steps", "5", "--checkpoint.every_steps", "0", "--checkpoint.every_minutes", "0"]
        model = TINY_MODEL if self.tiny else []
        return ["--config", str(files("codeparrot.configs") / f"{name}.yaml"), *data, *run, *schedule, *model, *overrides]

    def settings(self, name: str) -> dict[str, Any]:
        """Return the `model` section of configs/NAME.yaml, at the trial's size."""
        from codeparrot.arguments import parse_config

        return parse_config(self.config(name)).model


class _Measured(Exception):
    """Ends a run in place of its last checkpoint, which is 18 GB for xl and measures nothing here."""


def forward(trial: Trial) -> dict[str, Any]:
    """Compare loss and gradients on the device with those of the CPU in fp32, on four layers of `small`."""
    import torch

    from codeparrot.model.families import build_model, model_config

    fields = trial.settings("small") | {"n_layer": 2 if trial.tiny else 4}
    length = 64 if trial.tiny else 256
    torch.manual_seed(0)
    windows = torch.randint(0, fields["vocab_size"], (2, length))

    def loss_and_gradients(device: str, precision: str, compiled: bool) -> tuple[float, torch.Tensor]:
        model = build_model(model_config(fields), activation_checkpointing="none", seed=0, compile=compiled).to(device)
        batch = windows.to(device)
        with torch.autocast(device, torch.bfloat16, enabled=precision == "bf16"):
            loss = model(batch, batch)
        loss.backward()
        gradients = [p.grad.double().flatten().cpu() for p in model.parameters() if p.grad is not None]
        return float(loss), torch.cat(gradients)

    expected, slopes = loss_and_gradients("cpu", "fp32", compiled=False)
    facts: dict[str, Any] = {"passed": True, "loss_cpu": expected}
    for precision in ("fp32", "bf16"):
        for compiled in (False, True):
            loss, gradients = loss_and_gradients(trial.device, precision, compiled)
            name = f"{precision}{'_compiled' if compiled else ''}"
            facts[f"{name}_loss_error"] = abs(loss - expected) / expected
            facts[f"{name}_gradient_error"] = float((gradients - slopes).norm() / slopes.norm())
            if precision == "fp32":
                facts["passed"] &= facts[f"{name}_loss_error"] <= LOSS_TOLERANCE
                facts["passed"] &= facts[f"{name}_gradient_error"] <= GRADIENT_TOLERANCE
            else:
                facts["passed"] &= facts[f"{name}_loss_error"] <= BF16_TOLERANCE
    return facts


def waits(trial: Trial) -> dict[str, Any]:
    """Train with an error wherever the host waits for the device, in the steps from the third to the logged one."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    import codeparrot.train as loop

    class Refuse(TorchDispatchMode):
        """The same on a CPU: reading a tensor's value is what would wait."""

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func is torch.ops.aten._local_scalar_dense.default:
                raise RuntimeError("a step that is not logged reads a value of a tensor")
            return func(*args, **(kwargs or {}))

    step_of_loop, refuse, checked = loop._step, Refuse(), []

    def step(training: Any, batches: Any, number: int, monitor: Any) -> Any:
        refused = 3 <= number % 10 < 9
        if trial.device == "cuda":
            torch.cuda.set_sync_debug_mode("error" if refused else "default")
        checked.extend([number] if refused else [])
        if trial.device == "cuda" or not refused:
            return step_of_loop(training, batches, number, monitor)
        with refuse:
            return step_of_loop(training, batches, number, monitor)

    with mock.patch.object(loop, "_step", step):
        _train(trial, "small", "--run.name", "waits", "--train.global_batch_size", "8", "--train.micro_batch_size", "4")
    return {"passed": len(checked) >= 12, "steps_checked": len(checked)}


def _train(trial: Trial, config: str, *overrides: str) -> list[dict[str, Any]]:
    """Train to the last step, without a checkpoint there; return the lines of metrics.jsonl."""
    from codeparrot.arguments import parse_config
    from codeparrot.run.metrics import read_lines
    from codeparrot.train import train
    from codeparrot.training.saver import Saver

    settings = parse_config(trial.config(config, *overrides))
    with mock.patch.object(Saver, "save", side_effect=_Measured), contextlib.suppress(_Measured):
        train(settings)
    return [line for line in read_lines(settings.run_directory / "metrics.jsonl") if "tokens_per_second" in line]


def speed(config: str, compiled: bool, micro_batch: int, checkpointing: str = "none") -> Callable[[Trial], dict[str, Any]]:
    """Return a part that measures the whole loop."""

    def part(trial: Trial) -> dict[str, Any]:
        size = min(micro_batch, 4) if trial.tiny else micro_batch
        name = f"{config}_{'compiled' if compiled else 'eager'}_{micro_batch}_{checkpointing}"
        batch = ["--train.micro_batch_size", str(size), "--train.global_batch_size", str(4 * size)]
        how = ["--train.compile", str(compiled).lower(), "--train.activation_checkpointing", checkpointing]
        lines = [line for line in _train(trial, config, "--run.name", name, *batch, *how) if line["step"] > WARM_UP]
        best = max(lines, key=lambda line: line["tokens_per_second"])
        names = ("tokens_per_second", "mfu", "tflops_per_device", "peak_memory_bytes", "data_wait_fraction")
        return {key: best[key] for key in names}

    return part


def plain(config: str, micro_batch: int) -> Callable[[Trial], dict[str, Any]]:
    """Return a part that measures the bare loop of a plain GPT-2, compiled as a whole."""

    def part(trial: Trial) -> dict[str, Any]:
        import torch

        from benchmarks.plain_gpt2 import PlainGPT2, bare_loop

        fields, size = trial.settings(config), 2 if trial.tiny else micro_batch
        model = PlainGPT2(fields).to(trial.device)
        model.compile()
        shape = (size, 64 if trial.tiny else 1024)
        counts = {"micro_batches": 4, "warm_up": 3, "steps": 2 if trial.tiny else 20}
        rate = bare_loop(model, model, shape, vocab_size=fields["vocab_size"], precision="bf16", **counts)
        memory = {"peak_memory_bytes": torch.cuda.max_memory_allocated()} if trial.device == "cuda" else {}
        return {"tokens_per_second": rate, **memory}

    return part


def kernels(trial: Trial) -> dict[str, Any]:
    """Profile forward and backward of `small`, compiled: the twelve dearest kernels, and those of attention."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    from codeparrot.model.families import build_model, model_config

    fields, shape = trial.settings("small"), (2, 64) if trial.tiny else (16, 1024)
    model = build_model(model_config(fields), activation_checkpointing="none", seed=0, compile=trial.device == "cuda")
    model = model.to(trial.device)
    batch = torch.randint(0, fields["vocab_size"], shape).to(trial.device)
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if trial.device == "cuda" else [])]

    def step() -> None:
        with torch.autocast(trial.device, torch.bfloat16):
            loss = model(batch, batch)
        loss.backward()

    for _ in range(3):
        step()
    with profile(activities=activities) as profiler:
        step()
        if trial.device == "cuda":
            torch.cuda.synchronize()
    time_of = "self_device_time_total" if trial.device == "cuda" else "self_cpu_time_total"
    events = sorted(profiler.key_averages(), key=lambda event: -getattr(event, time_of))
    shares = {event.key[:90]: getattr(event, time_of) for event in events if getattr(event, time_of) > 0}
    whole = sum(shares.values())
    words = ("flash", "fmha", "attention", "sdpa", "cudnn_generated")
    return {
        "kernels": len(shares),
        "dearest": {name: round(value / whole, 4) for name, value in list(shares.items())[:12]},
        "attention": [name for name in shares if any(word in name.lower() for word in words)],
    }


def strategy(name: str) -> Callable[[Trial], dict[str, Any]]:
    """Return a part that stops a run of one launched process by SIGTERM, goes on, and compares with an undisturbed run."""

    def part(trial: Trial) -> dict[str, Any]:
        whole = _losses(trial, "whole", _small_run(trial, "whole", [sys.executable, _script()]))
        launcher = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch", "--main_process_port", "0"]
        launcher += ["--config_file", str(files("codeparrot.launch") / f"{name}.yaml"), "--num_processes", "1", _script()]
        stopped = _small_run(trial, name, launcher, stop_after=5)
        reached = len(_losses(trial, name, stopped))
        ours = _losses(trial, name, _small_run(trial, name, launcher))
        same_steps = list(ours) == list(whole) and 5 <= reached < len(whole)
        error = max(abs(ours[step] - whole[step]) / whole[step] for step in whole if step in ours)
        # Under DeepSpeed and FSDP2, casts come in other places than under autocast; the losses agree to bf16's last bits.
        return {"passed": same_steps and error <= BF16_TOLERANCE, "stopped_at_step": reached, "loss_error": error}

    return part


def _script() -> str:
    return str(files("codeparrot") / "train.py")


def _small_run(trial: Trial, name: str, command: list[str], stop_after: int = 0) -> Path:
    """Train four layers of `small` for 30 steps in bf16 in another process; stop it by SIGTERM after that many steps."""
    run = trial.folder / "runs" / f"strategy_{name}"
    if (run / "status.json").is_file() and json.loads((run / "status.json").read_text())["state"] == "finished":
        return run
    layers = [] if trial.tiny else ["--model.n_layer", "4"]
    batch = ["--train.global_batch_size", "8", "--train.micro_batch_size", "4", "--train.log_every_steps", "1"]
    arguments = trial.config("small", "--run.name", run.name, *layers, *batch)
    # The paths of the DeepSpeed files are relative to the folder above launch/.
    place = Path(str(files("codeparrot.launch"))).parent
    output = trial.folder / f"{run.name}.out"
    with output.open("ab") as sink:
        process = subprocess.Popen([*command, *arguments], stdout=sink, stderr=sink, cwd=place)
        while stop_after and process.poll() is None:
            if len(_losses(trial, name, run)) >= stop_after:
                process.send_signal(signal.SIGTERM)
                break
            time.sleep(0.02)
        process.wait()
    state = json.loads((run / "status.json").read_text())["state"] if (run / "status.json").is_file() else "failed"
    if state != ("stopped" if stop_after else "finished"):
        from codeparrot.verify.trials import reason

        raise RuntimeError(f"{name}: {state}; it said: {reason(output.read_text(errors='replace'))}")
    return run


def _losses(trial: Trial, name: str, run: Path) -> dict[int, float]:
    from codeparrot.run.metrics import read_lines

    path = run / "metrics.jsonl"
    return {line["step"]: line["loss"] for line in read_lines(path) if "loss" in line} if path.is_file() else {}


def generation(trial: Trial) -> dict[str, Any]:
    """Complete a prompt and sample solutions on the device; run their unit tests where a sandbox is possible."""
    run = _small_run(trial, "whole", [sys.executable, _script()])
    device = ["--device", trial.device]
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


PARTS: dict[str, Callable[[Trial], dict[str, Any]]] = {
    "forward": forward,
    "waits": waits,
    "small, compiled, 16": speed("small", True, 16),
    "plain small, compiled, 16": plain("small", 16),
    "xl, compiled, 8": speed("xl", True, 8),
    "kernels": kernels,
    **{LAUNCHED[name]: strategy(name) for name in LAUNCHED},
    "generation": generation,
    "small, eager, 16": speed("small", False, 16),
    "small, compiled, 32": speed("small", True, 32),
    "xl, compiled, 16": speed("xl", True, 16),
    "xl, compiled, 16, selective": speed("xl", True, 16, "selective"),
    "xl, eager, 4": speed("xl", False, 4),
    "plain xl, compiled, 4": plain("xl", 4),
}
