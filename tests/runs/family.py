"""Run directories that look as if they had been trained."""

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

from codeparrot.arguments import parse_config
from codeparrot.config import Config


def write_run(
    folder: Path,
    steps: range,
    *,
    state: str = "finished",
    parent: tuple[Path, int] | None = None,
    rows: tuple[dict[str, Any], ...] = (),
) -> Path:
    """Write a run of 10 tokens a step, whose loss falls with the steps, and with the square of those behind its parent."""
    folder.mkdir(parents=True)
    begin = parent[1] if parent else 0
    lines = [
        {"step": step, "tokens": 10 * step, "loss": 3 + 5 / (1 + step / 20) - (step - begin) ** 2 / 1e5 * bool(parent)}
        | {"tokens_per_second": 100.0}
        for step in steps
    ]
    evaluated = {"step": steps[-1], "tokens": 10 * steps[-1], "perplexity": 20.0, "bits_per_byte": 1.25}
    text = "".join(json.dumps(row) + "\n" for row in [*lines, evaluated, *rows])
    (folder / "metrics.jsonl").write_text(text, encoding="utf-8")
    (folder / "config.yaml").write_text("train: {max_steps: 1000}\n", encoding="utf-8")
    status = {"state": state, "step": steps[-1], "max_steps": 1000, "reason": "", "time": 0}
    (folder / "status.json").write_text(json.dumps(status), encoding="utf-8")
    origin: dict[str, Any] = {"step": 0, "stream": {}, "from": None}
    if parent:
        facts = {"run": str(parent[0]), "name": parent[0].name, "step": parent[1], "tokens": 10 * parent[1]}
        origin["parent"] = facts | {"digest": "d", "commit": None}
    (folder / "origin.json").write_text(json.dumps(origin), encoding="utf-8")
    return folder


def write_parent(run: Path, step: int, config: Config, origin: dict[str, Any] | None = None) -> None:
    """Write what is read of a checkpoint when a command names it: its manifest."""
    place = run / "checkpoints" / f"step_{step:08d}"
    place.mkdir(parents=True)
    facts = {"version": 2, "step": step, "tokens": 10 * step, "number": step, "files": {}, "config": asdict(config)}
    (place / "manifest.json").write_text(json.dumps(facts | {"origin": origin or {}}), encoding="utf-8")


def with_parent(folder: Path, command: str) -> Path:
    """Write the run that a command names behind --from into a folder; return the folder."""
    run, step = re.findall(r"--from (\S+)@step_(\d+)", command)[0]
    settings = ["--tokenizer.path", "t", "--stream.train", "c", "--schedule.name", "wsd", "--train.max_steps", "1000000"]
    write_parent(folder / run, int(step), parse_config(settings))
    return folder


def write_family(folder: Path) -> list[Path]:
    """Write a parent, two cool-downs of it, one of these, and a run of its own."""
    a = write_run(folder / "a", range(10, 310, 10))
    scores = {"step": 150, "tokens": 1500, "pass@1": 0.25}
    first = write_run(folder / "cool-100", range(110, 160, 10), parent=(a, 100), rows=(scores,))
    second = write_run(folder / "cool-200", range(210, 260, 10), parent=(a, 200))
    third = write_run(folder / "cooler", range(160, 180, 10), parent=(first, 150))
    return [a, first, second, third, write_run(folder / "other", range(10, 60, 10))]
