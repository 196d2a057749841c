"""The parts of `make gpu-trial` (gpu.py): each returns what it found, and `passed` where there is something to hold."""

import contextlib
import os
import subprocess
from collections.abc import Callable
from typing import Any
from unittest import mock

from benchmarks.gpu_launched import LAUNCHED, generation, strategy
from benchmarks.gpu_trial import BF16_TOLERANCE, GRADIENT_TOLERANCE, LOSS_TOLERANCE, Trial

WARM_UP = 10
"""Steps before a measurement of speed; the others count, in two stretches of which the best is taken."""
CORES_A_PART = 4
"""Cores that each of the gates has that run side by side."""
OF_OTHERS_BYTES = 2e9
"""GPU memory in use beyond this is that of other processes; up to this it is this process's context."""


class _Measured(Exception):
    """Ends a run in place of its last checkpoint, which is 18 GB for xl and measures nothing here."""


def machine(trial: Trial) -> dict[str, Any]:
    """Describe the machine; fail if its GPU cannot be used. The trial's own process uses none: some allow a single process."""
    import torch
    from torch.cuda import nccl

    from benchmarks.common import machine as described

    facts: dict[str, Any] = {"machine": described(), "side_by_side": max(1, (os.cpu_count() or 1) // CORES_A_PART)}
    if trial.device == "cpu":
        return facts
    free, whole = torch.cuda.mem_get_info()
    torch.ones(1, device="cuda").sum().item()
    facts |= {
        "gpus": torch.cuda.device_count(),
        "capability": list(torch.cuda.get_device_capability()),
        "free_memory_bytes": free,
        "memory_bytes": whole,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "nccl": list(nccl.version()),
    }
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        asked = ["nvidia-smi", "--query-gpu=driver_version,compute_mode,memory.used,utilization.gpu", "--format=csv,noheader"]
        facts["nvidia_smi"] = subprocess.run(asked, capture_output=True, text=True, timeout=30, check=True).stdout.splitlines()
    if "Exclusive" in str(facts.get("nvidia_smi")):
        facts["side_by_side"] = 1
    if (used := whole - free) > OF_OTHERS_BYTES:
        facts["note"] = f"{used / 1e9:.1f} GB of the GPU are in use by other processes: speeds and what fits are too low"
    return facts


def forward(trial: Trial) -> dict[str, Any]:
    """Compare loss and gradients on the device with those of the CPU in fp32, on four layers of `small`."""
    import torch

    from codeparrot.model import attention
    from codeparrot.model.families import build_model, model_config

    fields = trial.settings("small") | {"n_layer": 2 if trial.tiny else 4}
    length = 64 if trial.tiny else 256
    torch.manual_seed(0)
    windows = torch.randint(0, fields["vocab_size"], (2, length))

    def loss_and_gradients(device: str, precision: str, compiled: bool) -> tuple[float, torch.Tensor]:
        model = build_model(model_config(fields), activation_checkpointing="none", seed=0, compile=compiled).to(device)
        batch = windows.to(device)
        with attention.kernels(torch.device(device), "auto"):
            with torch.autocast(device, torch.bfloat16, enabled=precision == "bf16"):
                loss = model(batch, batch)
            loss.backward()
        gradients = [p.grad.double().flatten().cpu() for p in model.parameters() if p.grad is not None]
        return float(loss), torch.cat(gradients)

    expected, slopes = loss_and_gradients("cpu", "fp32", compiled=False)
    facts: dict[str, Any] = {"passed": True, "loss_cpu": expected}
    for precision in ("fp32", "bf16"):
        for compiled in (False, True) if not trial.tiny or precision == "bf16" else (False,):  # compiling is most of its time
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
        import torch

        size = 2 if trial.tiny else micro_batch  # `forward` has compiled this shape
        name = f"{config}_{'compiled' if compiled else 'eager'}_{micro_batch}_{checkpointing}"
        batch = ["--train.micro_batch_size", str(size), "--train.global_batch_size", str(4 * size)]
        how = ["--train.compile", str(compiled).lower(), "--train.activation_checkpointing", checkpointing]
        lines = [line for line in _train(trial, config, "--run.name", name, *batch, *how) if line["step"] > WARM_UP]
        best = max(lines, key=lambda line: line["tokens_per_second"])
        names = ("tokens_per_second", "mfu", "tflops_per_device", "peak_memory_bytes", "data_wait_fraction")
        reserved = {"reserved_memory_bytes": torch.cuda.max_memory_reserved()} if trial.device == "cuda" else {}
        return {key: best[key] for key in names} | reserved

    return part


def plain(config: str, micro_batch: int) -> Callable[[Trial], dict[str, Any]]:
    """Return a part that measures the bare loop of a plain GPT-2, compiled as a whole."""

    def part(trial: Trial) -> dict[str, Any]:
        import torch

        from benchmarks.plain_gpt2 import PlainGPT2, bare_loop

        fields, size = trial.settings(config), 2 if trial.tiny else micro_batch
        model = PlainGPT2(fields).to(trial.device)
        if trial.device == "cuda":
            model.compile()
        shape = (size, 64 if trial.tiny else 1024)
        counts = {"micro_batches": 4, "warm_up": 3, "steps": 2 if trial.tiny else 20}
        rate = bare_loop(model, model, shape, vocab_size=fields["vocab_size"], precision="bf16", **counts)
        memory = {"peak_memory_bytes": torch.cuda.max_memory_allocated()} if trial.device == "cuda" else {}
        return {"tokens_per_second": rate, **memory}

    return part


def kernels(trial: Trial) -> dict[str, Any]:
    """Profile forward and backward of `small`, compiled: the twelve kernels that take longest, and those of attention."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    from codeparrot.model import attention
    from codeparrot.model.families import build_model, model_config

    fields, shape, cuda = trial.settings("small"), (2, 64) if trial.tiny else (16, 1024), trial.device == "cuda"
    model = build_model(model_config(fields), activation_checkpointing="none", seed=0, compile=cuda).to(trial.device)
    batch = torch.randint(0, fields["vocab_size"], shape).to(trial.device)

    def step() -> None:
        with attention.kernels(torch.device(trial.device), "auto"):
            with torch.autocast(trial.device, torch.bfloat16):
                loss = model(batch, batch)
            loss.backward()

    for _ in range(3):
        step()
    with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]) as profiler:
        step()
        if cuda:
            torch.cuda.synchronize()
    times, launches = times_of(profiler.key_averages(), cuda)
    whole = sum(times.values())
    words = ("flash", "fmha", "attention", "sdpa", "cudnn_generated")
    return {
        "kernels": len(times),
        "launches": launches,
        "dearest": {name: round(value / whole, 4) for name, value in list(times.items())[:12]},
        "attention": [name for name in times if any(word in name.lower() for word in words)],
    }


def times_of(events: Any, cuda: bool) -> tuple[dict[str, float], int]:
    """Return the time of each kernel, the longest first, and how often kernels ran; on a CPU those of operations.

    The profiler counts a kernel on a GPU twice: as itself, and as device time of the operation that started it.
    """
    from torch._C._autograd import DeviceType

    kind, time_of = (DeviceType.CUDA, "self_device_time_total") if cuda else (DeviceType.CPU, "self_cpu_time_total")
    own = [event for event in events if event.device_type == kind and not event.is_user_annotation]
    own = sorted((event for event in own if getattr(event, time_of) > 0), key=lambda event: -getattr(event, time_of))
    return {event.key[:90]: getattr(event, time_of) for event in own}, sum(event.count for event in own)


PARTS: dict[str, Callable[[Trial], dict[str, Any]]] = {
    "machine": machine,
    "forward": forward,
    "waits": waits,
    **{part: strategy(name) for part, name in LAUNCHED.items()},
    "generation": generation,
    "small, compiled, 16": speed("small", True, 16),
    "plain small, compiled, 16": plain("small", 16),
    "xl, compiled, 8": speed("xl", True, 8),
    "kernels": kernels,
    "small, eager, 16": speed("small", False, 16),
    "small, compiled, 32": speed("small", True, 32),
    "xl, compiled, 16": speed("xl", True, 16),
    "xl, compiled, 16, selective": speed("xl", True, 16, "selective"),
    "xl, eager, 4": speed("xl", False, 4),
    "plain xl, compiled, 8": plain("xl", 8),
}
GATES = ("forward", "waits", *LAUNCHED, "generation")
"""What must hold. They measure no speed, so they may run side by side."""
ALIKE_WHEN_TINY = ("xl, compiled, 8", "small, compiled, 32", "xl, compiled, 16", "xl, eager, 4", "plain xl, compiled, 8")
"""What differs from another part in nothing but the sizes."""
