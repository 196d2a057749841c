"""A recipe, and a stand-in for training, of all tests of series."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from codeparrot.scale import running
from tests.launching import write_config
from tests.scale.series import EVALUATED

TRAINER = """
import json, pathlib, sys, time, yaml
config = yaml.safe_load(open(sys.argv[2]))
run = pathlib.Path(config["run"]["dir"]) / config["run"]["name"]
behave = json.loads((pathlib.Path(sys.argv[2]).parent.parent.parent / "behave.json").read_text()).get(run.name, ["finished", 0])
run.mkdir(parents=True, exist_ok=True)
with open(run / "started", "a") as file:
    file.write("x")
state, status = behave
steps = config["train"]["max_steps"]
if state == "waits":
    time.sleep(60)
(run / "metrics.jsonl").write_text(json.dumps({"step": steps, "tokens": 1, "eval_loss": 2.5}) + chr(10))
(run / "config.yaml").write_text(open(sys.argv[2]).read())
(run / "status.json").write_text(json.dumps({"state": state, "step": steps, "reason": "as told"}))
print(json.dumps({"resumed_from_step": 0}))
sys.exit(status)
"""
"""Stands for training: ends as behave.json says of the run."""


@pytest.fixture
def recipe(tmp_path: Path, corpus: Path, tokenizer_folder: Path) -> Path:
    return write_config(tmp_path / "recipe.yaml", corpus, tokenizer_folder, **EVALUATED)


@pytest.fixture
def behave(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    (recipe.parent / "trainer.py").write_text(TRAINER, encoding="utf-8")
    command = [sys.executable, "-S", "-c", f"import sys; sys.path += {sys.path!r}; exec({TRAINER!r})", "--config"]
    monkeypatch.setattr(running, "command_of", lambda config: [*command, str(config)])

    def tell(**states: Any) -> None:
        (recipe.parent / "behave.json").write_text(json.dumps({k.replace("_", "-"): v for k, v in states.items()}))

    tell()
    yield tell
