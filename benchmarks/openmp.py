"""Tokens a second of training where OpenMP's threads soon sleep, as in every command, alone and beside other work.

The peer is the library's default, which spins for long. A process for each way of waiting is asked to train for a moment, in
turns, so that all meet the same machine; the median moment of each counts.

    python -m benchmarks.openmp [GOMP_SPINCOUNT ...]      shows further values beside the two
"""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from statistics import median

from benchmarks.common import Ratio, report
from codeparrot.launcher import SPINS

ROUNDS, SECONDS = {"alone": 45, "beside a busy loop": 15, "beside another training": 15}, 0.4
BATCH, MICRO_BATCH, SEQ_LENGTH = 8, 4, 256
MODEL = {"family": "gpt2", "vocab_size": 4096, "n_positions": 256, "n_embd": 128, "n_layer": 4, "n_head": 4}
MODEL |= {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
BUSY_LOOP = [sys.executable, "-c", "while True: pass"]
VARIABLES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
DEFAULT = "default"


def train() -> None:
    """Take steps for as many seconds as a line of the input says, again and again; answer with the tokens a second."""
    import torch

    from codeparrot.config import OptimConfig
    from codeparrot.model.families import build_model, model_config
    from codeparrot.model.hardware import keep_freed_memory
    from codeparrot.optim.adamw import AdamW

    keep_freed_memory()
    model = build_model(model_config(MODEL), seed=0)
    optimizer = AdamW().build(model, vars(OptimConfig(lr=1e-3)))
    batch = torch.randint(0, 4096, (MICRO_BATCH, SEQ_LENGTH))
    for line in sys.stdin:
        start, steps = time.perf_counter(), 0
        while time.perf_counter() - start < float(line):
            for _ in range(BATCH // MICRO_BATCH):
                (model(batch, batch) / (BATCH // MICRO_BATCH)).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            steps += 1
        print(steps * BATCH * SEQ_LENGTH / (time.perf_counter() - start), flush=True)


class Trainer:
    """A process that trains when it is asked to, with threads that wait in one way."""

    def __init__(self, spins: str) -> None:
        environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
        if spins != DEFAULT:
            environment["GOMP_SPINCOUNT"] = spins
        command = [sys.executable, "-m", "benchmarks.openmp", "train"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
        self.rate()  # loads torch, and warms up

    def start(self) -> None:
        assert self._process.stdin
        print(SECONDS, file=self._process.stdin, flush=True)

    def answer(self) -> float:
        assert self._process.stdout
        return float(self._process.stdout.readline())

    def rate(self) -> float:
        """Return the tokens a second of a moment of training."""
        self.start()
        return self.answer()


@contextlib.contextmanager
def busy() -> Iterator[None]:
    """Keep one core busy inside."""
    process = subprocess.Popen(BUSY_LOOP)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def measure(situation: str, trainer: Trainer, other: Trainer) -> float:
    """Return the tokens a second of a moment of one process."""
    if situation == "alone":
        return trainer.rate()
    if situation == "beside a busy loop":
        with busy():
            return trainer.rate()
    other.start()
    rate = trainer.rate()
    other.answer()
    return rate


def main() -> None:
    if sys.argv[1:] == ["train"]:
        train()
        return
    ways = list(dict.fromkeys([DEFAULT, SPINS, *sys.argv[1:]]))
    trainers = {way: (Trainer(way), Trainer(way)) for way in ways}
    rates: dict[tuple[str, str], list[float]] = {(way, situation): [] for way in ways for situation in ROUNDS}
    for situation, rounds in ROUNDS.items():
        for number in range(rounds):
            for way in ways if number % 2 else reversed(ways):
                rates[way, situation].append(measure(situation, *trainers[way]))
    found = {key: median(values) for key, values in rates.items()}
    facts = {
        f"{way} spins, {situation}": f"{value:,.0f} tokens/s (best moment {max(rates[way, situation]):,.0f})"
        for (way, situation), value in found.items()
    }
    alone, beside = found[SPINS, "alone"], found[SPINS, "beside a busy loop"]
    ratios = [
        Ratio("alone, against the default", alone, found[DEFAULT, "alone"], "tokens/s", 0.97),
        Ratio("beside a busy loop, against alone", beside, alone, "tokens/s", 0.45),
        Ratio("beside a busy loop, against the default there", beside, found[DEFAULT, "beside a busy loop"], "tokens/s", 1.0),
    ]
    report(f"openmp: training GPT-2 4x128 in fp32, waiting threads spin {SPINS} times", ratios, facts)


if __name__ == "__main__":
    main()
