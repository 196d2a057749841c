"""Runs that learn pairs of code and description beside code: the loss of a step is the mean over what is predicted."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from codeparrot.inspect_batch import inspect
from codeparrot.publishing.made_from import data
from tests.conftest import python_sources
from tests.launching import lines, run, write_config
from tests.training.again import check_killed, check_two_processes, copy_of


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pairs")
    rows = [
        json.dumps({"content": text[: 20 + 37 * number % 300], "docstring": f"Do what {number} says.{' More.' * (number % 9)}"})
        for number, text in enumerate(python_sources(120))
    ]
    (folder / "train-0.jsonl").write_text("\n".join(rows[:100]) + "\n", encoding="utf-8")
    (folder / "valid-0.jsonl").write_text("\n".join(rows[100:]) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def trained(corpus: Path, pairs: Path, tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    train: Any = [
        {"path": str(corpus), "name": "code", "weight": 0.5},
        {"path": str(pairs), "name": "pairs", "weight": 0.5, "description": "docstring", "valid": [str(pairs)]},
    ]
    changes: dict[str, Any] = {"stream": {"train": train}, "evaluate": {"every_steps": 12, "sample_tokens": 0}}
    config = write_config(tmp_path_factory.mktemp("run") / "tiny.yaml", corpus, tokenizer_folder, **changes)
    _, log = run(config)
    return config, log


@pytest.mark.slow
def test_a_run_learns_pairs_and_measures_them_apart(trained) -> None:
    config, log = trained
    directory = config.parent / "runs" / "tiny"
    assert "in sources with descriptions pairs instead, predicted are 50%" in log and "% predicted | " in log
    assert all(0 < line["predicted_fraction"] < 1 for line in lines(directory) if "loss" in line)
    own = [line for line in lines(directory) if line.get("set") == "pairs"]
    assert own and all(line["set_loss"] > 0 for line in own)
    shown = inspect(str(directory), 2)
    names = {part["name"] for window in shown.data["windows"] for each in window["documents"] for part in each.get("parts", [])}
    assert names & {"description, given", "code, given"}
    assert max(token for window in shown.data["windows"] for token in window["input_ids"]) < 1 << 20
    card = "\n".join(data(yaml.safe_load((directory / "config.yaml").read_text(encoding="utf-8")), []))
    assert "(pairs), pairs of text and `docstring`" in card


@pytest.mark.slow
@pytest.mark.parametrize("launch", ["ddp", "fsdp", "zero2"])
def test_two_processes_and_other_micro_batches_take_the_steps_of_one(trained, tmp_path, launch) -> None:
    check_two_processes(trained[0], tmp_path, launch)


@pytest.mark.slow
def test_a_run_that_is_killed_goes_on_exactly(trained, tmp_path) -> None:
    check_killed(trained[0], tmp_path)


@pytest.mark.slow
def test_the_set_of_pairs_is_the_same_in_a_run_of_another_seed_and_rate(trained, tmp_path) -> None:
    objective = {"name": "causal", "describe_rate": 0.0}
    other = copy_of(trained[0], tmp_path, objective=objective, run={"seed": 7}, train={"max_steps": 4})
    run(other)
    found = [
        next(line["set_tokens"] for line in reversed(lines(place)) if line.get("set") == "pairs")
        for place in (trained[0].parent / "runs" / "tiny", tmp_path / "tiny")
    ]
    assert found[0] == found[1] > 0
