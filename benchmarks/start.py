"""Seconds from `codeparrot train` to the end of the first step of the nano recipe, with the evaluation and samples before it.

The peer is a script that does the least: it imports torch, transformers and accelerate, builds the same model and takes a step
on numbers that it draws. Fresh processes in turns, with warm file caches; the median counts.
"""

import json
import subprocess
import sys
import time
from importlib.resources import files
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.common import DATA, Ratio, corpus, report, tokenizer

ROUNDS = 5
SIZES: dict[str, Any] = {"vocab_size": 4096, "n_positions": 256, "n_embd": 128, "n_layer": 4, "n_head": 4}
BATCH, MICRO_BATCH, SEQ_LENGTH = 8, 4, 256


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


def command(*overrides: str) -> list[str]:
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
    return ["codeparrot", "train", *arguments, *overrides]


def to_first_step(*overrides: str) -> float:
    """Return the seconds until the run says that its first step is done."""
    start = time.perf_counter()
    with subprocess.Popen(command(*overrides), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        seconds = next(time.perf_counter() - start for line in process.stderr if line.startswith("step 1/2 "))
        process.stderr.read()
    return seconds


def of_the_peer() -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "benchmarks.start", "bare"], check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    if sys.argv[1:] == ["bare"]:
        bare()
        return
    Path(DATA / "runs").mkdir(parents=True, exist_ok=True)
    corpus()
    tokenizer(4096)
    ways = {
        "ours": to_first_step,
        "ours in fp32": lambda: to_first_step("--train.precision", "fp32"),
        "without evaluation": lambda: to_first_step("--evaluate.every_steps", "0"),
        "bare": of_the_peer,
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            times[name].append(way())
    found = {name: median(values) for name, values in times.items()}
    report(
        "start: seconds to the first step of configs/nano.yaml",
        [
            Ratio("with the evaluation before it, against a bare script", found["ours"], found["bare"], "seconds", 1.75, False),
            Ratio("without, against a bare script", found["without evaluation"], found["bare"], "seconds", 1.35, False),
        ],
        {"with evaluation, train.precision fp32": f"{found['ours in fp32']:.2f} s", "each": json.dumps(times)},
    )


if __name__ == "__main__":
    main()
