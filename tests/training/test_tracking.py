"""The records that a run leaves, and that no failure of them stops training: a full disk, a failing tracker."""

import json
import logging
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Literal

import pytest
import yaml
from accelerate import Accelerator, PartialState
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from codeparrot.config import Config, RunConfig, TrackingConfig
from codeparrot.training.preemption import StopRequest
from codeparrot.training.run_directory import RunDirectory
from codeparrot.training.tracking import Trackers
from codeparrot.training.watchdog import Watchdog


def tracked(folder: Path, *trackers: Literal["tensorboard", "wandb"], step: int = 0, resume: str = "auto") -> Trackers:
    """Trackers on a real Accelerator, with a fully nested configuration, of a run that goes on from a step."""
    config = Config(run=RunConfig(name="run", dir=str(folder)), tracking=TrackingConfig(trackers=list(trackers)))
    config.evaluate.prompts, config.resume = ["def f(", "class A"], resume
    logging.getLogger("codeparrot").propagate = True
    return Trackers(Accelerator(cpu=True), config, asdict(config), step)


def losses(folder: Path) -> list[tuple[int, float]]:
    """Return the losses that TensorBoard reads from a run."""
    events = EventAccumulator(str(folder / "run" / "codeparrot"))
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars("loss")] if "loss" in events.Tags()["scalars"] else []


def install_wandb(folder: Path, monkeypatch, source: str) -> None:
    """Put our own W&B where Python looks for packages."""
    (folder / "wandb-1.0.dist-info").mkdir(parents=True)
    (folder / "wandb-1.0.dist-info" / "METADATA").write_text("Name: wandb\nVersion: 1.0\n", encoding="utf-8")
    (folder / "wandb.py").write_text(source, encoding="utf-8")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "wandb", raising=False)


@pytest.fixture(autouse=True)
def no_key_of_wandb(monkeypatch, tmp_path) -> Iterator[None]:
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("WANDB_MODE", "")  # so that it is restored
    monkeypatch.delenv("WANDB_MODE")
    yield
    sys.modules.pop("wandb", None)


def test_tensorboard_gets_every_metric_and_the_configuration(tmp_path, caplog) -> None:
    with caplog.at_level(logging.WARNING, logger="codeparrot"):
        trackers = tracked(tmp_path, "tensorboard")
        trackers.log({"loss": 2.0}, 1)
        trackers.log({"loss": 1.0}, 2)
        trackers.close()
    assert losses(tmp_path) == [(1, 2.0), (2, 1.0)]
    assert not caplog.records
    (told,) = tmp_path.rglob("hparams.yml")
    settings = yaml.safe_load(told.read_text(encoding="utf-8"))
    assert settings["optim.lr"] == Config().optim.lr
    assert settings["model.family"] == "gpt2"
    assert settings["evaluate.prompts"] == "['def f(', 'class A']"


@pytest.mark.parametrize("ahead_seconds", [3600, 0, -3600])
def test_tensorboard_shows_what_a_resumed_run_repeats_whatever_the_clocks_said(tmp_path, monkeypatch, ahead_seconds) -> None:
    now = time.time()
    for begin, clock in ((0, now + ahead_seconds), (4, now), (8, now)):
        monkeypatch.setattr(time, "time", lambda clock=clock: clock)
        trackers = tracked(tmp_path, "tensorboard", step=begin)
        for step in range(begin + 1, begin + 7):
            trackers.log({"loss": float(begin)}, step)
        trackers.close()
    assert losses(tmp_path) == [(step, 0.0 if step < 5 else 4.0 if step < 9 else 8.0) for step in range(1, 15)]


BROKEN_AT = {
    "its start": "login = lambda **_: False\ndef init(**_): raise ConnectionError('no route')",
    "a step": """
class config:
    update = lambda *_, **__: None
class Run:
    define_metric = lambda *_, **__: None
    def log(self, *_, **__): raise ConnectionError("no route")
login = lambda **_: False
init = lambda **_: Run()
""",
}


@pytest.mark.parametrize("source", BROKEN_AT.values(), ids=BROKEN_AT)
@pytest.mark.parametrize("order", [("wandb", "tensorboard"), ("tensorboard", "wandb")])
def test_a_tracker_that_fails_is_reported_once_and_the_other_goes_on(tmp_path, monkeypatch, caplog, order, source) -> None:
    install_wandb(tmp_path / "packages", monkeypatch, source)
    with caplog.at_level(logging.WARNING, logger="codeparrot"):
        trackers = tracked(tmp_path, *order)
        trackers.log({"loss": 2.0}, 1)
        trackers.log({"loss": 1.0}, 2)
        trackers.close()
    assert [record.getMessage() for record in caplog.records] == ["wandb is off from here on: ConnectionError: no route"]
    assert losses(tmp_path) == [(1, 2.0), (2, 1.0)]


def test_a_tracker_that_is_not_installed_is_reported_with_the_remedy(tmp_path, monkeypatch, caplog) -> None:
    version = metadata.version

    def version_of_others(name: str) -> str:
        if name == "wandb":
            raise metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(metadata, "version", version_of_others)
    with caplog.at_level(logging.INFO, logger="codeparrot"):
        trackers = tracked(tmp_path, "wandb", "tensorboard")
        trackers.log({"loss": 2.0}, 1)
        trackers.close()
    (line,) = (record.getMessage() for record in caplog.records)
    assert line == "wandb is not installed, the run goes on without it; install it with: pip install -e '.[wandb]'"
    assert losses(tmp_path) == [(1, 2.0)]


def test_without_a_key_wandb_is_offline(tmp_path, monkeypatch, caplog) -> None:
    install_wandb(tmp_path / "packages", monkeypatch, BROKEN_AT["a step"])
    with caplog.at_level(logging.INFO, logger="codeparrot"):
        tracked(tmp_path, "wandb")
    assert [record.getMessage() for record in caplog.records] == [
        "W&B has no key here: it works offline; `wandb sync` sends the run later"
    ]


@pytest.mark.parametrize("damage", [bytes(8), b"\xff\xe9abc", b"", b"a b/c"])
def test_a_damaged_id_of_wandb_is_replaced_with_a_word(tmp_path, monkeypatch, caplog, damage) -> None:
    install_wandb(tmp_path / "packages", monkeypatch, BROKEN_AT["a step"])
    kept = tmp_path / "run" / "wandb" / "run_id"
    tracked(tmp_path, "wandb")
    first = kept.read_bytes()
    tracked(tmp_path, "wandb", step=4)
    assert kept.read_bytes() == first and len(first) == 8
    kept.write_bytes(damage)
    with caplog.at_level(logging.WARNING, logger="codeparrot"):
        trackers = tracked(tmp_path, "wandb", step=4)
    assert trackers._trackers and len(kept.read_text(encoding="ascii")) == 8
    (warning,) = caplog.messages
    assert warning == f"{kept} is damaged: W&B shows what comes now as a new run"


def test_tensorboard_shows_what_came_after_going_back(tmp_path) -> None:
    for number, (begin, last) in enumerate(((0, 6), (4, 8), (2, 5), (5, 6))):
        trackers = tracked(tmp_path, "tensorboard", step=begin)
        for step in range(begin + 1, last + 1):
            trackers.log({"loss": 10.0 * number + step}, step)
        trackers.close()
    assert losses(tmp_path) == [(1, 1.0), (2, 2.0), (3, 23.0), (4, 24.0), (5, 25.0), (6, 36.0)]


def test_tensorboard_shows_a_run_that_is_gone_on_with_once(tmp_path) -> None:
    for first, last, begin in ((1, 6, 0), (5, 8, 4)):
        trackers = tracked(tmp_path, "tensorboard", step=begin)
        for step in range(first, last + 1):
            trackers.log({"loss": begin + step}, step)
        trackers.close()
    assert losses(tmp_path) == [(1, 1.0), (2, 2.0), (3, 3.0), (4, 4.0), (5, 9.0), (6, 10.0), (7, 11.0), (8, 12.0)]
    assert len(list(tmp_path.rglob("hparams.yml"))) == 1


def test_a_tracker_that_cannot_be_imported_is_reported(tmp_path, monkeypatch, caplog) -> None:
    install_wandb(tmp_path / "packages", monkeypatch, "raise TypeError('Descriptors cannot be created directly')")
    trackers = tracked(tmp_path, "wandb", "tensorboard")
    trackers.log({"loss": 2.0}, 1)
    trackers.close()
    (line,) = (record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING)
    assert line == "wandb is off from here on: TypeError: Descriptors cannot be created directly"
    assert losses(tmp_path) == [(1, 2.0)]


def test_trackers_leave_the_processes_together(tmp_path, monkeypatch) -> None:
    """After closing trackers, processes agree on how the run ended."""
    monkeypatch.setattr(PartialState, "destroy_process_group", lambda *_: pytest.fail("the process group is gone"))
    tracked(tmp_path, "tensorboard").close()


@pytest.mark.parametrize(("begin", "state"), [(2, "stopped"), (3, "finished"), (5, "finished")])
def test_a_run_at_or_beyond_its_last_step_is_finished(tmp_path, begin, state) -> None:
    config = Config(run=RunConfig(name="run", dir=str(tmp_path)))
    config.train.max_steps = 3
    config.run_directory.mkdir()
    with RunDirectory(config, main=True).status(StopRequest(), begin, Watchdog(Accelerator(cpu=True), 60, 60)):
        pass
    assert json.loads((config.run_directory / "status.json").read_text(encoding="utf-8"))["state"] == state
