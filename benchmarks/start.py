"""Seconds from `codeparrot train` to the end of the first step of the nano recipe, with the evaluation and samples before it.

The peer is a script that does the least: it imports torch, transformers and accelerate, builds the same model and takes a step
on numbers that it draws. Fresh processes in turns, with warm file caches; the median counts. Seconds of processors are those of
all threads, and depend less on other work on the machine. What imports cost is in the table by package, before the first step.
"""

import json
import math
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from heapq import nlargest
from importlib.resources import files
from importlib.util import find_spec
from itertools import takewhile
from operator import itemgetter
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import psutil

from benchmarks.common import DATA, Ratio, corpus, report, tokenizer

ROUNDS = 5
PROFILES = 3
SIZES: dict[str, Any] = {"vocab_size": 4096, "n_positions": 256, "n_embd": 128, "n_layer": 4, "n_head": 4}
BATCH, MICRO_BATCH, SEQ_LENGTH = 8, 4, 256
FIRST_STEP = "step 1/2 "
"""What ours and the peer write to stderr when the first step is done."""
PEER = (sys.executable, "-m", "benchmarks.start", "bare")
_IMPORT = re.compile(r"import time: +(\d+) \| +\d+ \| +(\S+)")


class Start(NamedTuple):
    """What a start costs until the first step is done. What a process does when it ends is not counted."""

    seconds: float
    processor_seconds: float


def bare() -> None:
    """Take one step with as little as possible around it."""
    import torch
    from accelerate import Accelerator
    from transformers import GPT2Config, GPT2LMHeadModel

    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=BATCH // MICRO_BATCH)
    model = GPT2LMHeadModel(GPT2Config(**SIZES, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0))
    model, optimizer = accelerator.prepare(model, torch.optim.AdamW(model.parameters(), lr=1e-3))
    for _ in range(BATCH // MICRO_BATCH):
        batch = torch.randint(0, SIZES["vocab_size"], (MICRO_BATCH, SEQ_LENGTH))
        with accelerator.accumulate(model):
            accelerator.backward(model(input_ids=batch, labels=batch).loss)
            if accelerator.sync_gradients:
                accelerator.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
    print(FIRST_STEP, file=sys.stderr, flush=True)


def ours(*overrides: str, python: Sequence[str] = ()) -> list[str]:
    name = f"start_{time.time_ns()}"
    arguments = [
        "--config",
        str(files("codeparrot.configs") / "nano.yaml"),
        "--run.name",
        name,
        "--run.dir",
        str(DATA / "runs"),
    ]
    arguments += ["--tokenizer.path", str(tokenizer(4096)), "--stream.train", str(corpus()), "--stream.valid", str(corpus())]
    arguments += ["--train.max_steps", "2", "--schedule.warmup_steps", "1", "--train.log_every_steps", "1"]
    return [sys.executable, *python, "-m", "codeparrot", "train", *arguments, *overrides]


def to_first_step(command: Sequence[str]) -> Start:
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        if not any(line.startswith(FIRST_STEP) for line in process.stderr):
            raise SystemExit(f"no first step: {' '.join(command)}")
        times = psutil.Process(process.pid).cpu_times()
        found = Start(time.perf_counter() - start, times.user + times.system + times.children_user + times.children_system)
        process.stderr.read()
    return found


def import_seconds() -> dict[str, float]:
    """Return the seconds that the modules of each package took, each at its fastest of some starts, before the first step."""
    fastest: dict[str, float] = {}
    for _ in range(PROFILES):
        with subprocess.Popen(
            ours(python=("-X", "importtime")), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stderr
            for line in takewhile(lambda line: not line.startswith(FIRST_STEP), process.stderr):
                if found := _IMPORT.match(line):
                    fastest[found[2]] = min(fastest.get(found[2], math.inf), int(found[1]) / 1e6)
            process.stderr.read()
    packages: dict[str, float] = {}
    for module, seconds in fastest.items():
        package = module.partition(".")[0]
        packages[package] = packages.get(package, 0.0) + seconds
    return packages


def main() -> None:
    if sys.argv[1:] == ["bare"]:
        bare()
        return
    Path(DATA / "runs").mkdir(parents=True, exist_ok=True)
    corpus()
    tokenizer(4096)
    ways: dict[str, Callable[[], Sequence[str]]] = {
        "ours": ours,
        "ours in fp32": lambda: ours("--train.precision", "fp32"),
        "without evaluation": lambda: ours("--evaluate.every_steps", "0"),
        "bare": lambda: PEER,
    }
    starts: dict[str, list[Start]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            starts[name].append(to_first_step(way()))
    seconds = {name: median(each.seconds for each in found) for name, found in starts.items()}
    processors = {name: median(each.processor_seconds for each in found) for name, found in starts.items()}
    packages = import_seconds()
    report(
        "start: seconds to the first step of configs/nano.yaml",
        [
            Ratio(
                "with the evaluation before it, against a bare script", seconds["ours"], seconds["bare"], "seconds", 1.4, False
            ),
            Ratio("without, against a bare script", seconds["without evaluation"], seconds["bare"], "seconds", 1.1, False),
            Ratio("with, processors", processors["ours"], processors["bare"], "seconds", 1.4, False),
            Ratio("without, processors", processors["without evaluation"], processors["bare"], "seconds", 1.1, False),
        ],
        {
            "with evaluation, train.precision fp32": f"{seconds['ours in fp32']:.2f} s",
            "all imports before the first step": f"{sum(packages.values()):.2f} s",
            **{f"  {name}": f"{taken:.2f} s" for name, taken in nlargest(10, packages.items(), key=itemgetter(1))},
            "scipy is installed, which transformers imports": find_spec("scipy") is not None,
            "each, seconds and of processors": json.dumps(starts),
        },
    )


if __name__ == "__main__":
    main()
