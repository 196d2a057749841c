"""The records that a run leaves, and that no failure of them stops training: a full disk, a failing tracker."""

import importlib
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from accelerate import Accelerator, PartialState
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from codeparrot.config import Config, RunConfig, TrackingConfig
from codeparrot.training.preemption import StopRequest
from codeparrot.training.run_directory import RunDirectory
from codeparrot.training.tracking import Trackers
from codeparrot.training.watchdog import Watchdog


def tracked(folder: Path, *trackers: Literal["tensorboard", "wandb"], step: int = 0) -> Trackers:
    """Trackers on a real Accelerator, with a fully nested configuration, of a run that goes on from a step."""
    config = Config(run=RunConfig(name="run", dir=str(folder)), tracking=TrackingConfig(trackers=list(trackers)))
    config.evaluate.prompts = ["def f(", "class A"]
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


RECORDER = """
import json, os
class config:
    update = lambda *_, **__: None
class Run:
    log = finish = define_metric = lambda *_, **__: None
def teardown(): pass
def login(prompt, verify):
    assert not prompt and not verify
    return "WANDB_API_KEY" in os.environ
def init(**given):
    with open(os.environ["INITS"], "a") as file:
        file.write(json.dumps({name: given.get(name) for name in ("id", "resume", "mode")}) + "\\n")
    if os.environ.get("UNREACHABLE") and given.get("mode") != "offline":
        raise ConnectionError("no route")
    return Run()
"""


@pytest.fixture
def inits(tmp_path, monkeypatch) -> Callable[[], list[dict[str, Any]]]:
    """Our own W&B; returns what it was started with."""
    install_wandb(tmp_path / "packages", monkeypatch, RECORDER)
    monkeypatch.setenv("INITS", str(tmp_path / "inits"))
    return lambda: [json.loads(line) for line in (tmp_path / "inits").read_text(encoding="utf-8").splitlines()]


def test_a_run_that_is_gone_on_with_is_one_run_of_wandb(tmp_path, inits) -> None:
    for step in (0, 4, 6):
        tracked(tmp_path, "wandb", step=step).close()
    first, second, third = inits()
    assert first == second == third and len(first["id"]) == 8 and first["resume"] == "allow"
    tracked(tmp_path, "wandb").close()
    assert inits()[-1]["id"] != first["id"], "a run that starts anew is another one"


SENDER = """
import json, os
class config:
    update = lambda *_, **__: None
class Run:
    finish = define_metric = lambda *_, **__: None
    def log(self, values, step=None):
        assert step is None
        with open(os.environ["SENT"], "a") as file:
            file.write(json.dumps(values) + "\\n")
login = lambda **_: False
init = lambda **_: Run()
"""


def test_what_steps_repeat_after_a_kill_is_sent_to_wandb_once(tmp_path, monkeypatch) -> None:
    install_wandb(tmp_path / "packages", monkeypatch, SENDER)
    monkeypatch.setenv("SENT", str(tmp_path / "sent"))
    for begin, last in ((0, 3), (1, 4), (0, 1)):
        trackers = tracked(tmp_path, "wandb", step=begin)
        for step in range(begin + 1, last + 1):
            trackers.log({"loss": float(step)}, step)
        if begin:
            trackers.log({"eval_loss": 1.0}, 3)  # the kill left it out
    sent = [json.loads(line) for line in (tmp_path / "sent").read_text(encoding="utf-8").splitlines()]
    losses_sent = [row["step"] for row in sent if "loss" in row]
    assert losses_sent == [1, 2, 3, 4, 1], "a run that starts anew is sent anew"
    assert [row["step"] for row in sent if "eval_loss" in row] == [3]


def test_a_server_that_cannot_be_reached_leaves_wandb_offline(tmp_path, inits, monkeypatch, caplog) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("UNREACHABLE", "1")
    trackers = tracked(tmp_path, "wandb")
    trackers.log({"loss": 1.0}, 1)
    first, second = inits()
    assert first["id"] == second["id"] and second["mode"] == "offline"
    (line,) = (record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING)
    assert line == "W&B cannot be reached (no route): it works offline; `wandb sync` sends the run later"


REAL = """
import logging, sys
from pathlib import Path
from tests.training.test_tracking import tracked
logging.basicConfig()
folder = Path(sys.argv[1])
for begin, last in ((0, 6), (4, 9)):
    trackers = tracked(folder, "wandb", step=begin)
    for step in range(begin + 1, last + 1):
        trackers.log({"loss": 10.0 - step}, step)
        if step in (4, 8):
            trackers.table("samples", ("step", "prompt", "completion"), [[step, "def f(", "x): pass"]], step)
        if begin and step == 6:  # an evaluation that the kill left out
            trackers.log({"eval_loss": 5.0}, step)
    assert "wandb" in trackers._trackers
    trackers.close()
"""
"""Two starts of one run; the second does steps 5 and 6 again."""


@pytest.mark.slow
def test_steps_that_are_done_again_are_in_wandb_once(tmp_path, monkeypatch) -> None:
    """With wandb itself, offline."""
    variables = {**os.environ, "WANDB_MODE": "offline", "WANDB_SILENT": "true", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", REAL, str(tmp_path)], env=variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and "wandb is off" not in done.stderr, done.stderr
    rows, axes, ids = records_of_wandb(tmp_path / "run" / "wandb")
    assert [(row["step"], row["loss"]) for row in rows if "loss" in row] == [(step, 10.0 - step) for step in range(1, 10)]
    assert [row["step"] for row in rows if "samples" in row] == [4, 8]
    assert [(row["step"], row["eval_loss"]) for row in rows if "eval_loss" in row] == [(6, 5.0)]
    assert axes == {("*", "step")} and len(ids) == 1


def records_of_wandb(folder: Path) -> tuple[list[dict[str, Any]], set[tuple[str, str]], set[str]]:
    """Return the history of all offline starts, what lies over what, and the ids."""
    messages: Any = importlib.import_module("wandb.proto.wandb_internal_pb2")
    rows: list[dict[str, Any]] = []
    axes, ids = set(), set()
    for file in sorted(folder.rglob("*.wandb")):
        for data in records(file.read_bytes()):
            record = messages.Record()
            record.ParseFromString(data)
            kind = record.WhichOneof("record_type")
            if kind == "history":
                items = {item.key or item.nested_key[0]: json.loads(item.value_json) for item in record.history.item}
                rows.append(items)
            elif kind == "metric" and record.metric.step_metric:
                axes.add((record.metric.name or record.metric.glob_name, record.metric.step_metric))
            elif kind == "run":
                ids.add(record.run.run_id)
    return rows, axes, ids


def records(content: bytes) -> Iterator[bytes]:
    """Yield the records of a file in the format of LevelDB's log, behind a header of seven bytes."""
    place, parts = 7, b""
    while place + 7 <= len(content):
        left = 32768 - place % 32768
        length, kind = int.from_bytes(content[place + 4 : place + 6], "little"), content[place + 6]
        if left < 7 or not kind:
            place += left
            continue
        parts += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or its last part
            yield parts
            parts = b""


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
