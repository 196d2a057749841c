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

ROUNDS, SECONDS = 15, 0.4
BATCH, MICRO_BATCH, SEQ_LENGTH = 8, 4, 256
MODEL = {"family": "gpt2", "vocab_size": 4096, "n_positions": 256, "n_embd": 128, "n_layer": 4, "n_head": 4}
MODEL |= {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
BUSY_LOOP = [sys.executable, "-c", "while True: pass"]
VARIABLES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
DEFAULT = "default"
SITUATIONS = ("alone", "beside a busy loop", "beside another training")


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


def measure(trainer: Trainer, other: Trainer) -> list[float]:
    """Return the tokens a second of one process in each of SITUATIONS."""
    alone = trainer.rate()
    with busy():
        beside = trainer.rate()
    other.start()
    together = trainer.rate()
    other.answer()
    return [alone, beside, together]


def main() -> None:
    if sys.argv[1:] == ["train"]:
        train()
        return
    ways = list(dict.fromkeys([DEFAULT, SPINS, *sys.argv[1:]]))
    trainers = {way: (Trainer(way), Trainer(way)) for way in ways}
    rounds = {way: [] for way in ways}
    for _ in range(ROUNDS):
        for way, pair in trainers.items():
            rounds[way].append(measure(*pair))
    found = {way: [median(column) for column in zip(*rows, strict=True)] for way, rows in rounds.items()}
    best = {way: [max(column) for column in zip(*rows, strict=True)] for way, rows in rounds.items()}
    facts = {
        f"{way} spins, {situation}": f"{value:,.0f} tokens/s (best moment {most:,.0f})"
        for way in ways
        for situation, value, most in zip(SITUATIONS, found[way], best[way], strict=True)
    }
    ours, default = found[SPINS], found[DEFAULT]
    ratios = [
        Ratio("alone, against the default", ours[0], default[0], "tokens/s", 0.97),
        Ratio("beside a busy loop, against alone", ours[1], ours[0], "tokens/s", 0.45),
        Ratio("beside a busy loop, against the default there", ours[1], default[1], "tokens/s", 1.0),
    ]
    report(f"openmp: training GPT-2 4x128 in fp32, waiting threads spin {SPINS} times", ratios, facts)


if __name__ == "__main__":
    main()
