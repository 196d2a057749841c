"""A run is one run of W&B: after kills, after going back to an older checkpoint, and without a server."""

import importlib
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.training.test_tracking import (
    install_wandb,
    no_key_of_wandb,  # noqa: F401 - a fixture of every test here
    tracked,
)

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


HISTORY = """
import json, os
from pathlib import Path
class config:
    update = lambda *_, **__: None
def runs():
    place = Path(os.environ["SERVER"])
    return json.loads(place.read_text()) if place.exists() else {}
class Run:
    finish = define_metric = lambda *_, **__: None
    offline = "OFFLINE" in os.environ
    def __init__(self, name): self.name = name
    @property
    def step(self): return len(runs().get(self.name, []))
    def log(self, values, step=None):
        rows = runs()
        rows.setdefault(self.name, []).append(values)
        Path(os.environ["SERVER"]).write_text(json.dumps(rows))
def teardown(): pass
login = lambda **_: "OFFLINE" not in os.environ
def init(id=None, resume=None, resume_from=None, **_):
    if resume_from is None:
        assert resume == "allow"
        return Run(id)
    assert resume is None and id is None and "OFFLINE" not in os.environ
    if "REFUSED" in os.environ:
        raise RuntimeError("failed to rewind run:\\n run is not in a terminal state")
    name, _, row = resume_from.partition("?_step=")
    rows = runs()
    rows[name] = rows[name][: int(row) + 1]
    Path(os.environ["SERVER"]).write_text(json.dumps(rows))
    return Run(name)
"""
"""A server that can rewind runs, unless it is told to refuse."""


def starts_of(folder: Path, *starts: tuple[str, int, int]) -> None:
    """Start a run again and again: with a `resume`, from a step, to a step. Losses tell the starts apart."""
    for number, (resume, begin, last) in enumerate(starts):
        trackers = tracked(folder, "wandb", step=begin, resume=resume)
        for step in range(begin + 1, last + 1):
            trackers.log({"loss": 10.0 * number + step}, step)
        assert "wandb" in trackers._trackers
        trackers.close()


def histories(folder: Path) -> list[list[tuple[int, float]]]:
    found = json.loads((folder / "server").read_text(encoding="utf-8"))
    return [[(row["step"], row["loss"]) for row in rows] for rows in found.values()]


def test_what_a_run_abandons_by_going_back_is_taken_back_from_wandb(tmp_path, monkeypatch, caplog) -> None:
    install_wandb(tmp_path / "packages", monkeypatch, HISTORY)
    monkeypatch.setenv("SERVER", str(tmp_path / "server"))
    older, newer = (str(tmp_path / "run" / "checkpoints" / f"step_0000000{step}") for step in (2, 6))
    with caplog.at_level(logging.INFO, logger="codeparrot"):
        # The third start was killed before its first checkpoint, and the fourth behind one; both go on with the same command.
        starts_of(tmp_path, ("auto", 0, 6), (older, 2, 4), (older, 2, 5), (older, 4, 7), ("auto", 6, 8))
    (history,) = histories(tmp_path)
    assert history == [(1, 1.0), (2, 2.0), (3, 13.0), (4, 14.0), (5, 25.0), (6, 36.0), (7, 37.0), (8, 48.0)]
    assert caplog.messages == ["W&B: the run goes back to step 2, and steps 3 to 6 are taken back"]
    # Back once more, from a history that was rewound.
    starts_of(tmp_path, (newer, 6, 7))
    assert histories(tmp_path) == [[*history[:6], (7, 7.0)]]


@pytest.mark.parametrize("refused", [False, True])
def test_a_start_that_goes_back_and_is_killed_before_it_logs_leaves_nothing_out(tmp_path, monkeypatch, refused) -> None:
    install_wandb(tmp_path / "packages", monkeypatch, HISTORY)
    monkeypatch.setenv("SERVER", str(tmp_path / "server"))
    if refused:
        monkeypatch.setenv("REFUSED", "1")
    older = str(tmp_path / "run" / "checkpoints" / "step_00000002")
    starts_of(tmp_path, ("auto", 0, 6), (older, 2, 2), (older, 2, 4))
    assert histories(tmp_path)[-1][-2:] == [(3, 23.0), (4, 24.0)]
    assert len(histories(tmp_path)[-1]) == (2 if refused else 4)


def test_a_run_without_a_key_is_not_rewound(tmp_path, monkeypatch, caplog) -> None:
    install_wandb(tmp_path / "packages", monkeypatch, HISTORY)
    monkeypatch.setenv("SERVER", str(tmp_path / "server"))
    older = str(tmp_path / "run" / "checkpoints" / "step_00000002")
    starts_of(tmp_path, ("auto", 0, 6))
    monkeypatch.setenv("OFFLINE", "1")  # read when the module is imported: what lies in rows.txt was counted online
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    with caplog.at_level(logging.WARNING, logger="codeparrot"):
        starts_of(tmp_path, (older, 2, 3))
    assert any("cannot take back" in line and "it has no key here, or is offline" in line for line in caplog.messages)


@pytest.mark.parametrize("why", ["REFUSED", "OFFLINE"])
def test_where_wandb_takes_nothing_back_what_comes_is_a_run_of_its_own(tmp_path, monkeypatch, caplog, why) -> None:
    install_wandb(tmp_path / "packages", monkeypatch, HISTORY)
    monkeypatch.setenv("SERVER", str(tmp_path / "server"))
    monkeypatch.setenv(why, "1")
    older = str(tmp_path / "run" / "checkpoints" / "step_00000002")
    with caplog.at_level(logging.WARNING, logger="codeparrot"):
        starts_of(tmp_path, ("auto", 0, 6), (older, 2, 4), (older, 2, 5), ("auto", 4, 6))
    first, second = histories(tmp_path)
    assert first == [(step, float(step)) for step in range(1, 7)]
    assert second == [(3, 13.0), (4, 14.0), (5, 25.0), (6, 36.0)], "nothing is shown twice, nothing is left out"
    ids = list(json.loads((tmp_path / "server").read_text(encoding="utf-8")))
    reason = {"REFUSED": "failed to rewind run: run is not in a terminal state"}.get(why, "it was offline, or an earlier")
    (line,) = caplog.messages
    assert line.startswith(f"W&B cannot take back steps 3 to 6 of run {ids[0]} ({reason}")
    assert line.endswith(f": what comes now is a new W&B run, {ids[1]}, from step 3 on")


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
