"""The runs that `codeparrot verify` compares: small, in processes of their own, started as a user starts them.

The data are Python's own sources; the model is a GPT-2 of 43,000 parameters in float32. A run takes 24 steps, with a checkpoint
every 8, in about ten seconds, most of which are start-up.
"""

import json
import os
import re
import subprocess
import sys
import sysconfig
import time
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from codeparrot.errors import CodeparrotError
from codeparrot.run.metrics import read_lines

STEPS, SAVE_EVERY, KILL_AT = 24, 8, 13
VOCABULARY = 512
MASKED_TOKENIZER = "tokenizer_masked"
BERT = {
    **{"family": "bert", "vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2},
    **{"intermediate_size": 128, "max_position_embeddings": 32, "initializer_range": 0.1},
    **{"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0},
}
START_SECONDS = 600
"""Longest wait for the step at which a run is killed: a first start imports and compiles much."""


class Launch(NamedTuple):
    """How a run is started: a file of launch/ and a number of processes."""

    strategy: str
    processes: int

    @property
    def name(self) -> str:
        if self.processes == 1:
            return "one process"
        return {"ddp": "DDP", "fsdp": "FSDP2"}.get(self.strategy, self.strategy.replace("zero", "ZeRO-"))

    def command(self) -> list[str]:
        package = Path(str(files("codeparrot")))
        script = str(package / "train.py")
        if self.processes == 1:
            return [sys.executable, script]
        launcher = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch", "--main_process_port", "0"]
        config = str(files("codeparrot.launch") / f"{self.strategy}.yaml")
        return [*launcher, "--config_file", config, "--num_processes", str(self.processes), script]


class Trials:
    """Runs of one recipe, in one folder.

    Args:
        folder: empty folder for data and runs.
        processes: the most processes of any run; lanes and batch are sized for it.
        cpu: do not use GPUs.
    """

    def __init__(self, folder: Path, processes: int, cpu: bool) -> None:
        self.folder, self._cpu = folder, cpu
        self.config = folder / "config.yaml"
        make_data(folder)
        self.config.write_text(json.dumps(recipe(folder, processes)), encoding="utf-8")  # JSON is YAML

    def path(self, name: str) -> Path:
        return self.folder / "runs" / name

    def checkpoint(self, name: str, step: int = STEPS) -> Path:
        return self.path(name) / "checkpoints" / f"step_{step:08d}"

    @property
    def masked(self) -> tuple[str, ...]:
        """Return the overrides with which a run trains a BERT on hidden tokens."""
        tokenizer = str(self.folder / MASKED_TOKENIZER)
        return ("--objective", json.dumps({"name": "masked"}), "--model", json.dumps(BERT), "--tokenizer.path", tokenizer)

    def train(self, name: str, launch: Launch, *overrides: str) -> Path:
        """Train to the end; return the run.

        Raises:
            CodeparrotError: training failed.
        """
        process = self._start(name, launch, overrides)
        status = process.wait()
        if status != 0:
            self._raise(name, launch, f"ended with status {status}")
        return self.path(name)

    def train_and_kill(self, name: str, launch: Launch) -> Path:
        """Train, and kill all processes after step 13, as when a node loses power."""
        import psutil

        # Training waits for each save, so that there certainly is a checkpoint to go on from.
        process = self._start(name, launch, ("--checkpoint.background", "false"))
        deadline = time.monotonic() + START_SECONDS
        while not any(line["step"] >= KILL_AT for line in self.metrics(name)):
            if process.poll() is not None or time.monotonic() > deadline:
                self._raise(name, launch, f"did not get to step {KILL_AT}")
            time.sleep(0.005)
        for child in [*psutil.Process(process.pid).children(recursive=True), process]:
            child.kill()
        process.wait()
        return self.path(name)

    def metrics(self, name: str) -> list[dict[str, Any]]:
        path = self.path(name) / "metrics.jsonl"
        return [line for line in read_lines(path) if "loss" in line] if path.exists() else []

    def _start(self, name: str, launch: Launch, overrides: Sequence[str]) -> "subprocess.Popen[bytes]":
        environment = {**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
        if self._cpu:
            environment["CUDA_VISIBLE_DEVICES"] = ""
        arguments = ["--config", str(self.config), "--run.name", name, *overrides]
        with self._output(name).open("wb") as output:
            # The paths of the DeepSpeed files are relative to the folder above launch/.
            place = Path(str(files("codeparrot.launch"))).parent
            return subprocess.Popen(
                [*launch.command(), *arguments],
                stdout=output,
                stderr=output,
                cwd=place,
                env=environment,
                start_new_session=True,
            )

    def _output(self, name: str) -> Path:
        return self.folder / f"{name}.out"

    def _raise(self, name: str, launch: Launch, what: str) -> None:
        said = reason(self._output(name).read_text(encoding="utf-8", errors="replace"))
        raise CodeparrotError(f"{launch.name} x {launch.processes} {what}; it said: {said} (all of it: {self._output(name)})")


def reason(output: str) -> str:
    """Return the most telling line of a failed run's output: its own error, an exception, or the launcher's on a signal."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    for pattern in (r"error: .", r"^[\w.]*(Error|Exception|Interrupt): .", r"failed \(exitcode"):
        if found := [line for line in lines if re.search(pattern, line)]:
            return found[0][:300]
    return lines[-1][:300] if lines else "nothing"


def make_data(folder: Path) -> None:
    """Write a corpus of the standard library's modules and train a tokenizer on it."""
    import pyarrow as pa
    import pyarrow.parquet as parquet

    from codeparrot.tokenizer.train import train

    modules = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))
    texts = [path.read_text(encoding="utf-8", errors="replace") for path in modules]
    (folder / "corpus").mkdir()
    for part in range(2):
        table = pa.table({"path": [path.name for path in modules[part::2]], "content": texts[part::2]})
        parquet.write_table(table, folder / "corpus" / f"train-{part:05d}-of-00002.parquet", row_group_size=16)
    size: Any = {"vocab_size": VOCABULARY, "sample_bytes": 1_000_000}
    # Without sentinels: no middle is taken out, and the tokens are those that the tolerances were measured on.
    train(str(folder / "corpus"), str(folder / "tokenizer"), **size, sentinels=False)
    train(str(folder / "corpus"), str(folder / MASKED_TOKENIZER), **size, sentinels=False, objectives=["masked"])


def recipe(folder: Path, processes: int) -> dict[str, Any]:
    """Return the configuration of all runs. `processes`, 2 or 1 processes can share its lanes and batch."""
    lanes = 2 * processes if processes % 2 else processes
    return {
        "run": {"name": "trial", "dir": str(folder / "runs")},
        "tokenizer": {"path": str(folder / "tokenizer")},
        "stream": {"train": str(folder / "corpus"), "seq_length": 32, "lanes": lanes, "block_windows": 10},
        "model": {
            **{"family": "gpt2", "vocab_size": VOCABULARY, "n_positions": 32, "n_embd": 32, "n_layer": 2, "n_head": 2},
            **{"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0},
        },
        "train": {
            **{"global_batch_size": 4 * lanes, "micro_batch_size": 2, "max_steps": STEPS, "precision": "fp32"},
            "log_every_steps": 1,
        },
        "optim": {"lr": 3e-3},
        "schedule": {"warmup_steps": 4},
        "evaluate": {"every_steps": 0},
        "checkpoint": {"every_steps": SAVE_EVERY},
    }
