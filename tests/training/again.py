"""A run that is done again in another way, beside what it was."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.launching import curve, kill_behind_step, lines, run, start


def copy_of(config: Path, folder: Path, **changes: Mapping[str, Any]) -> Path:
    """Write the configuration of a run in another folder; `changes` are of `train`, `checkpoint` and so on, by section."""
    settings = yaml.safe_load(config.read_text(encoding="utf-8"))
    for section, values in changes.items():
        settings[section] = {**settings.get(section, {}), **values}
    settings["run"]["dir"] = str(folder)
    (folder / "again.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    return folder / "again.yaml"


def check_two_processes(config: Path, folder: Path, launch: str) -> None:
    """Check that two processes with micro-batches of one window take the steps of the run."""
    run(copy_of(config, folder, train={"micro_batch_size": 1}), num_processes=2, launch=launch)
    one, two = (
        [line for line in lines(place) if "loss" in line] for place in (config.parent / "runs" / "tiny", folder / "tiny")
    )
    assert [line["tokens"] for line in one] == [line["tokens"] for line in two]
    assert [line["loss"] for line in two] == pytest.approx([line["loss"] for line in one], abs=1e-5)
    assert [line["grad_norm"] for line in two] == pytest.approx([line["grad_norm"] for line in one], rel=1e-4)


def check_killed(config: Path, folder: Path) -> Path:
    """Check that the run goes on exactly behind a SIGKILL; return the configuration that went on."""
    again, directory = copy_of(config, folder, checkpoint={"background": False}), folder / "tiny"
    kill_behind_step(start(again), directory / "metrics.jsonl", 12)
    newest = sorted(place.name for place in (directory / "checkpoints").glob("step_*[0-9]"))[-1]
    _, log = run(again)
    assert f"resumed at step {int(newest.removeprefix('step_'))}" in log and newest < "step_00000024"
    assert curve(directory) == curve(config.parent / "runs" / "tiny")
    return again
