"""What `codeparrot plan` predicts against what real processes on the CPU use: peak memory of tensors, and time after a probe.

Memory is what torch's CPU allocator holds, counted by allocations.c: resident memory would mostly show Python, libraries and
what the heap keeps. It does not depend on the load of the machine. The models are small, and both kinds are among them: one
whose activations weigh most, and one whose parameters do.
"""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.common import DATA, Ratio, codeparrot, corpus, report, tokenizer

ROOT = Path(__file__).parents[1]
VOCABULARY, STEPS = 4096, 2
MODELS = {"activations": (4, 256, 256, 4), "parameters": (6, 512, 128, 2)}
"""Layers, width, tokens a window, windows a micro-batch."""
MOST_OVER, MOST_UNDER = 1.10, 0.97
WORKER = "worker"
NAMES = {"ddp": "DDP", "fsdp": "FSDP2", "zero1": "ZeRO-1", "zero2": "ZeRO-2", "zero3": "ZeRO-3"}
PROBED_STEPS = 200


@dataclass(frozen=True)
class Point:
    launch: str
    processes: int
    model: str
    precision: str
    checkpointing: bool
    micro_batches: int

    def __str__(self) -> str:
        saved = ", checkpointing" if self.checkpointing else ""
        name = NAMES[self.launch] if self.processes > 1 else "one process"
        return f"{name} x {self.processes}, {self.model}, {self.precision}, {self.micro_batches} micro-batches{saved}"


POINTS = [
    *(Point(launch, 2, "activations", "bf16", False, 2) for launch in NAMES),
    *(Point(launch, 2, "activations", "fp32", True, 1) for launch in NAMES),
    *(Point(launch, 2, "parameters", "fp32", False, 2) for launch in NAMES),
    *(Point(launch, 2, "parameters", "bf16", True, 1) for launch in NAMES),
    *(Point(launch, 4, "activations", "bf16", True, 2) for launch in NAMES),
    Point("ddp", 1, "activations", "fp32", False, 1),
]


def write_settings(point: Point, folder: Path, data: str, tokens: str, vocabulary: int, **train: Any) -> Path:
    """Write the settings of a run in `folder`."""
    layers, width, length, windows = MODELS[point.model]
    no_dropout = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    sizes = {"vocab_size": vocabulary, "n_positions": length, "n_embd": width, "n_layer": layers, "n_head": width // 64}
    sections = {
        "run": {"name": "measured", "dir": str(folder)},
        "tokenizer": {"path": tokens},
        # fastokens keeps its tables in the memory that is counted.
        "stream": {"train": data, "seq_length": length, "lanes": point.processes, "encoder": "tokenizers"},
        "model": {"family": "gpt2", **sizes, **no_dropout},
        "train": {
            **{"global_batch_size": windows * point.micro_batches * point.processes, "micro_batch_size": windows},
            **{"precision": point.precision, "activation_checkpointing": "full" if point.checkpointing else "none"},
            **{"max_steps": STEPS, "log_every_steps": 1, **train},
        },
        "evaluate": {"every_steps": 0},
        "checkpoint": {"every_steps": 0},
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "settings.json"
    path.write_text(json.dumps(sections))
    return path


def counter(folder: Path) -> Path:
    """Build the library that counts allocations."""
    library = folder / "allocations.so"
    source = Path(__file__).with_name("allocations.c")
    command = ["cc", "-O2", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl", "-lpthread"]
    subprocess.run(command, check=True)
    return library


def measured_bytes(point: Point, settings: Path) -> int:
    """Train for two steps in real processes; return the peak of the first process's tensors in the second step."""
    folder = settings.parent
    shutil.rmtree(folder / "measured", ignore_errors=True)
    answer = folder / "peak.json"
    launcher = [
        str(Path(sys.executable).parent / "accelerate"),
        "launch",
        "--config_file",
        str(ROOT / f"launch/{point.launch}.yaml"),
    ]
    several = [*launcher, "--main_process_port", "0", "--num_processes", str(point.processes), "--module"]
    start = several if point.processes > 1 else [sys.executable, "-m"]
    command = [*start, "benchmarks.plan", WORKER, str(answer), "--config", str(settings)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "LD_PRELOAD": str(counter(folder))}
    done = subprocess.run(command, check=False, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(answer.read_text())


def work(answer: Path, arguments: list[str]) -> None:
    """Train as `codeparrot train` does, and note the peak of each step."""
    import ctypes

    import codeparrot.train as loop
    from codeparrot.cli import entry
    from codeparrot.training import parts

    library = ctypes.CDLL(None)
    library.live_bytes.restype = library.peak_bytes.restype = ctypes.c_size_t
    build, step = parts.build_model, loop._step
    before = 0

    def building(*given: Any, **options: Any) -> Any:
        nonlocal before
        before = library.live_bytes()
        return build(*given, **options)

    def stepping(*given: Any) -> Any:
        library.restart_peak()
        done = step(*given)
        if os.environ.get("RANK", "0") == "0":
            answer.write_text(json.dumps(library.peak_bytes() - before))
        return done

    parts.build_model, loop._step = building, stepping
    entry(["train", *arguments])


def predicted_bytes(point: Point, settings: Path) -> int:
    """Return what a plan says of the same run."""
    found = _plan(settings, "--gpus", str(point.processes), "--gpu", "cpu", "--launch", point.launch)
    return found["strategies"][NAMES[point.launch] if point.processes > 1 else "one process"]["total_bytes"]


def _plan(settings: Path, *flags: str) -> dict[str, Any]:
    return codeparrot("plan", "--config", str(settings), *flags)


def probe(folder: Path, data: str, tokens: str, vocabulary: int) -> tuple[float, float]:
    """Return the tokens a second that a probe predicts, and those of a run on one process just afterwards."""
    point = Point("ddp", 1, "activations", "fp32", False, 1)
    settings = write_settings(point, folder, data, tokens, vocabulary, max_steps=PROBED_STEPS, log_every_steps=10)
    predicted = _plan(settings, "--gpu", "cpu", "--probe")["tokens_per_second"]
    shutil.rmtree(folder / "measured", ignore_errors=True)
    codeparrot("train", "--config", str(settings))
    from codeparrot.plan.runs import read_run

    return predicted, read_run(str(folder / "measured")).tokens_per_second


def main() -> None:
    if sys.argv[1:2] == [WORKER]:
        work(Path(sys.argv[2]), sys.argv[3:])
        return
    folder = DATA / "plan"
    data, tokens = str(corpus().absolute()), str(tokenizer(VOCABULARY).absolute())
    ratios = []
    for point in POINTS:
        settings = write_settings(point, folder.absolute(), data, tokens, VOCABULARY)
        predicted, measured = predicted_bytes(point, settings) / 1e6, measured_bytes(point, settings) / 1e6
        ratios.append(Ratio(str(point), predicted, measured, "MB", MOST_OVER, higher_is_better=False))
        print(f"{point!s:<70} {predicted:8.1f} {measured:8.1f} MB  {predicted / measured:.3f}", flush=True)
    low = min(ratios, key=lambda ratio: ratio.value)
    speed = Ratio(
        "tokens/s after a probe, and of the run", *probe(folder.absolute(), data, tokens, VOCABULARY), "tokens/s", 1.15, False
    )
    floors = [replace(low, name=f"lowest: {low.name}", target=MOST_UNDER, higher_is_better=True)]
    floors.append(replace(speed, target=0.85, higher_is_better=True))
    report("plan: predicted / measured, GPT-2 on CPU processes", [*ratios, *floors, speed], {"points": len(ratios)})


if __name__ == "__main__":
    main()
