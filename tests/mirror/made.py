"""Checkpoints without training: files of drawn bytes, published as the saver does."""

import json
import random
from dataclasses import asdict
from pathlib import Path
from typing import Any

from codeparrot.config import Config
from codeparrot.run import checkpoint

NAMES = (
    "model/model.safetensors",
    "model/config.json",
    "state/moments-00000.safetensors",
    "state/training.json",
    "stream.json",
)


def config_of(run: Path, mirror: object, **settings: Any) -> Config:
    config = Config()
    config.run.name, config.run.dir = run.name, str(run.parent)
    config.checkpoint.mirror = str(mirror)
    for name, value in settings.items():
        setattr(config.checkpoint, name, value)
    return config


def save(run: Path, step: int, seed: int | None = None, number: int = 0) -> Path:
    """Write a checkpoint of a step; its content is drawn with the seed, or else the step."""
    drawn = random.Random(step if seed is None else seed)
    partial = checkpoint.partial_of(run / "checkpoints", step)
    checkpoint.begin(partial)
    for index, name in enumerate(NAMES):
        (partial / name).parent.mkdir(exist_ok=True)
        (partial / name).write_bytes(drawn.randbytes(50_000 >> index))
    (run / "log").mkdir(exist_ok=True)
    with (run / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": step, "tokens": step, "loss": 1.0}) + "\n")
    facts = {"step": step, "tokens": step * 10, "number": number, "config": asdict(Config())}
    return checkpoint.publish(partial, facts, checkpoint.describe(partial, [*NAMES]))


def content(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
