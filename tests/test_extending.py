"""The examples of docs/extending.md are complete: added to a copy of the package, they do what the page says."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from docs.draw_rooms import FOLDERS
from tests.launching import ROOT, completed, write_config

PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
NEW_FILE = re.compile(r"^File `([^`]+)`:\n\n```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINE = re.compile(r"^Line in `([^`]+)`, in `(\w+)`:\n\n```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to import `codeparrot` from, with every example of the page in it."""
    place = tmp_path_factory.mktemp("extended")
    for folder, name in sorted(FOLDERS.items(), key=lambda item: item[1]):
        shutil.copytree(ROOT / folder, place / name.replace(".", "/"), ignore=shutil.ignore_patterns("__pycache__"))
    for file, code in NEW_FILE.findall(PAGE):
        assert not inside(place, file).exists()
        inside(place, file).write_text(code, encoding="utf-8")
    for file, registry, line in LINE.findall(PAGE):
        text = inside(place, file).read_text(encoding="utf-8")
        changed, count = re.subn(
            rf"(?m)^({registry}\b.*[{{\[(])$", lambda found, line=line: f"{found[1]}\n{line.rstrip()}", text
        )
        assert count == 1, f"{file} has no {registry} that a line can be added to"
        inside(place, file).write_text(changed, encoding="utf-8")
    return place


def inside(package: Path, file: str) -> Path:
    """Return where a file of the repository lies in the package."""
    folder = Path(file).parts[0]
    return package / FOLDERS[folder].replace(".", "/") / Path(*Path(file).parts[1:])


def run(package: Path, *words: str, status: int = 0, cwd: Path | None = None) -> str:
    code = "from codeparrot.cli import entry; entry()"
    environment = {**os.environ, "PYTHONPATH": str(package)}
    command = [sys.executable, "-P", "-c", code, *words]
    done = completed(command, cwd or package, environment)
    assert done.returncode == status, done.stderr
    return done.stdout


def losses(folder: Path) -> list[float]:
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [row["loss"] for row in map(json.loads, lines) if "loss" in row]


def test_every_example_has_its_file_and_its_line() -> None:
    assert len(NEW_FILE.findall(PAGE)) == len(LINE.findall(PAGE)) == PAGE.count("\n## A")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "card"),
    [
        (["--objective.name", "noisy", "--objective.share", "0.5"], "50% of the input replaced"),
        (["--optim.name", "amsgrad"], "AMSGrad, lr 0.003"),
    ],
)
def test_it_trains_two_steps_and_resumes(words, card, package, corpus, tokenizer_folder, tmp_path) -> None:
    def train(name: str, steps: int, every: int) -> list[float]:
        settings: dict[str, Any] = {"checkpoint": {"every_steps": every}, "schedule": {"name": "constant", "warmup_steps": 0}}
        config = write_config(tmp_path / f"{name}.yaml", corpus, tokenizer_folder, run={"name": name}, **settings)
        stop = ["--train.max_steps", "4"] if steps == 4 else ["--train.max_steps", "2"]
        run(package, "train", "--config", str(config), *words, *stop, *resumed(name))
        return losses(tmp_path / "runs" / name)

    def resumed(name: str) -> list[str]:
        first = tmp_path / "runs" / "first" / "checkpoints" / "step_00000002"
        return ["--resume", str(first)] if name == "second" else []

    whole, first, second = train("whole", 4, 0), train("first", 2, 0), train("second", 4, 0)
    assert len(whole) == 4 and whole == [*first, *second]
    manifest = json.loads((tmp_path / "runs" / "whole" / "checkpoints" / "step_00000004" / "manifest.json").read_text())
    assert card in lines_of_card(package, manifest["config"])


def lines_of_card(package: Path, config: dict[str, Any]) -> str:
    code = "import json, sys; from codeparrot.publishing.made_from import recipe; print(recipe(json.loads(sys.argv[1]), None))"
    command = [sys.executable, "-P", "-c", code, json.dumps(config)]
    environment = {**os.environ, "PYTHONPATH": str(package)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


@pytest.mark.slow
def test_a_setting_out_of_range_is_refused(package, corpus, tokenizer_folder, tmp_path) -> None:
    config = write_config(tmp_path / "c.yaml", corpus, tokenizer_folder)
    words = ["--objective.name", "noisy", "--objective.share", "2"]
    run(package, "train", "--config", str(config), *words, status=1)


def build(package: Path, folder: Path, *words: str) -> tuple[str, dict[str, Any]]:
    """Return the card and the statistics of a corpus of the files in `folder`."""
    lenient = ["--near_duplicates.threshold", "0", "--valid_fraction", "0", "--workers", "1"]
    run(package, "corpus", "build", "--output", "built", "--overwrite", "true", *lenient, *words, cwd=folder)
    statistics = json.loads((folder / "built" / "statistics.json").read_text(encoding="utf-8"))
    return (folder / "built" / "README.md").read_text(encoding="utf-8"), statistics


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """A folder with plain modules, a module of plans, one of tabs, and a notebook."""
    folder = tmp_path / "raw"
    folder.mkdir()
    for number in range(6):
        (folder / f"module{number}.py").write_text(
            f"def function{number}(value):\n    result = value + {number}\n    return result\n\n\n" * 30
        )
    (folder / "plans.py").write_text("def plan(value):\n    # TODO: write it\n    result = value\n    return result\n\n\n" * 20)
    (folder / "tabs.py").write_text("def tabbed(value):\n\tresult = value\n\treturn result\n\n\n" * 30)
    cell = {"cell_type": "code", "source": ["def noted(value):\n", "    result = value * 2\n", "    return result\n"] * 30}
    (folder / "lesson.ipynb").write_text(json.dumps({"cells": [cell, {"cell_type": "markdown", "source": ["words"]}]}))
    return tmp_path


@pytest.mark.slow
def test_a_filter_shows_on_the_card(package, raw) -> None:
    card, statistics = build(package, raw, "--source", "raw", "--filters.max_todos", "3")
    assert "more than 3 lines that say TODO" in card and "max_todos: 3" in card
    assert statistics["removed"]["todos"]["files"] == 1 and statistics["settings"]["filters"]["max_todos"] == 3


@pytest.mark.slow
def test_a_stage_shows_on_the_card(package, raw) -> None:
    card, statistics = build(package, raw, "--source", "raw", "--tabs.width", "4")
    assert "## Tabs" in card and "Files in which tabs became spaces: 1." in card
    assert statistics["tabs"]["files"] == 1 and statistics["tabs"]["kinds"] == {"tab": 60}


@pytest.mark.slow
def test_a_source_is_read(package, raw) -> None:
    card, statistics = build(package, raw, "--source", "notebooks:raw")
    assert "notebooks:raw" in card and statistics["documents"] == 1


@pytest.mark.slow
def test_a_task_scores(package, tokenizer_folder, tmp_path) -> None:
    from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

    tokenizer: Any = AutoTokenizer.from_pretrained(tokenizer_folder)
    sizes: Any = {"vocab_size": 512, "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 64}
    model = GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=tokenizer.eos_token_id, eos_token_id=tokenizer.eos_token_id))
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    report = json.loads(run(package, "eval", "next_line", "--checkpoint", str(tmp_path / "model"), "--json", cwd=tmp_path))
    assert report["problems"] == report["samples"] == 3 and report["exact_match"] == 0.0


@pytest.mark.slow
def test_a_command_has_flags_and_a_status(package, tokenizer_folder, raw) -> None:
    words = ["tokenizer", "count", "--tokenizer", str(tokenizer_folder), "--folder", "raw"]
    assert run(package, *words, cwd=raw).startswith("8 files, ")
    counts = json.loads(run(package, *words, "--most", "300", "--json", status=1, cwd=raw))["files"]
    assert len(counts) == 8
    assert "Most tokens that a file may have" in run(package, "tokenizer", "count", "--help")
