"""What the benchmarks share: real text, a tokenizer, a description of the machine, and a table of ratios."""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

DATA = Path("data/benchmarks")

# Finds the commands of this interpreter's environment, whether or not it is activated.
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


def codeparrot(*arguments: str) -> dict[str, Any]:
    """Run a command; return its facts."""
    done = subprocess.run(["codeparrot", *arguments, "--json"], check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


@dataclass(frozen=True)
class Ratio:
    """A figure beside its peer's, measured in the same run."""

    name: str
    ours: float
    peer: float
    unit: str
    target: float
    higher_is_better: bool = True

    @property
    def value(self) -> float:
        return self.ours / self.peer

    @property
    def reached(self) -> bool:
        return self.value >= self.target if self.higher_is_better else self.value <= self.target


def machine() -> str:
    """Return processor, cores and versions."""
    import torch

    model = next(
        (
            line.split(":")[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    devices = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{model}, {os.cpu_count()} cores{devices}, Python {platform.python_version()}, torch {torch.__version__}"


def report(title: str, ratios: list[Ratio], facts: Mapping[str, object]) -> None:
    """Print the figures for people and, in one line, for programs."""
    print(f"\n{title}\n{machine()}")
    for name, value in facts.items():
        print(f"  {name:<48} {value}")
    for ratio in ratios:
        sign = ">=" if ratio.higher_is_better else "<="
        mark = "" if ratio.reached else "   MISSED"
        print(
            f"  {ratio.name:<48} {ratio.ours:>12,.4g} / {ratio.peer:>12,.4g} {ratio.unit:<10} = {ratio.value:5.2f}"
            f"   (target {sign} {ratio.target}){mark}"
        )
    print(
        json.dumps({"title": title, "machine": machine(), "facts": facts, "ratios": [asdict(r) for r in ratios]}, default=str)
    )


def corpus(max_bytes: int = 100_000_000) -> Path:
    """Build a corpus of this machine's Python sources once."""
    folder = DATA / f"corpus-{max_bytes}"
    if not folder.exists():
        command = ["codeparrot", "corpus", "build", "--source", "python", "--output", str(folder)]
        subprocess.run([*command, "--max_bytes", str(max_bytes)], check=True)
    return folder


def tokenizer(vocab_size: int = 32768) -> Path:
    """Train a tokenizer on that corpus once."""
    folder = DATA / f"tokenizer-{vocab_size}"
    if not folder.exists():
        command = ["codeparrot", "tokenizer", "train", "--corpus", str(corpus()), "--output", str(folder)]
        subprocess.run([*command, "--vocab_size", str(vocab_size)], check=True)
    return folder
