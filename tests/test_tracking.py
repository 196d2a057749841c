"""What must not stop training: a full disk, a tracker that fails."""

import json
import logging
import os
from pathlib import Path

import pytest

from codeparrot.config import Config, TrackingConfig
from codeparrot.tracking import MetricsLog, Trackers, read_lines


def steps(path: Path) -> list[int]:
    return [line["step"] for line in read_lines(path)]


def test_a_resumed_run_has_one_line_a_step_and_drops_a_line_that_was_cut(tmp_path) -> None:
    path = tmp_path / "metrics.jsonl"
    log = MetricsLog(path, 0)
    for step in range(1, 8):
        log.append({"step": step})
    path.write_bytes(path.read_bytes() + b'{"step": 8, "lo')
    resumed = MetricsLog(path, 5)
    assert steps(path) == [1, 2, 3, 4, 5]
    resumed.append({"step": 6})
    assert steps(path) == [1, 2, 3, 4, 5, 6]


def test_lines_that_do_not_fit_the_disk_are_written_later_whole(tmp_path, monkeypatch, caplog) -> None:
    path = tmp_path / "metrics.jsonl"
    log = MetricsLog(path, 0)
    log.append({"step": 1})
    logging.getLogger("codeparrot").propagate = True

    def half(self, lines: bytes) -> None:
        with self._path.open("ab") as file:
            end = file.tell()
            file.write(lines[:4])
            file.flush()
            file.truncate(end)
        raise OSError(28, "No space left on device")

    whole = MetricsLog._write
    monkeypatch.setattr(MetricsLog, "_write", half)
    with caplog.at_level(logging.WARNING, logger="codeparrot"):
        log.append({"step": 2})
        log.append({"step": 3})
    assert caplog.text.count("No space left") == 1
    assert steps(path) == [1]
    monkeypatch.setattr(MetricsLog, "_write", whole)
    log.append({"step": 4})
    assert steps(path) == [1, 2, 3, 4]


def test_a_full_device_is_reported_and_survived() -> None:
    """/dev/full answers every write as a full disk does."""
    log = MetricsLog.__new__(MetricsLog)
    log._path, log._pending, log._warned = Path("/dev/full"), [], False
    log.append({"step": 1})
    assert [json.loads(line) for line in log._pending] == [{"step": 1}]


def test_a_tracker_that_fails_is_left_out_and_training_goes_on(caplog) -> None:
    class Broken:
        calls = 0

        def init_trackers(self, *_: object) -> None:
            self.calls += 1

        def log(self, *_: object, **__: object) -> None:
            self.calls += 1
            raise ConnectionError("no route")

        def end_training(self) -> None:
            self.calls += 1

    broken = Broken()
    logging.getLogger("codeparrot").propagate = True
    trackers = Trackers(broken, Config(tracking=TrackingConfig(trackers=["tensorboard"])), {})
    with caplog.at_level(logging.WARNING, logger="codeparrot"):
        trackers.log({"loss": 1.0}, 1)
        trackers.log({"loss": 1.0}, 2)
        trackers.close()
    assert broken.calls == 2
    assert caplog.text.count("trackers are off from here on: ConnectionError: no route") == 1


def test_without_a_key_wandb_is_offline(monkeypatch, tmp_path) -> None:
    class Silent:
        def init_trackers(self, *_: object) -> None:
            pass

    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    Trackers(Silent(), Config(tracking=TrackingConfig(trackers=["wandb"])), {})
    assert os.environ.pop("WANDB_MODE") == "offline"


@pytest.mark.parametrize("text", ["", '{"step": 1}', '{"step": 1}\n{"st'])
def test_a_cut_file_is_read_as_far_as_it_is_whole(tmp_path, text) -> None:
    (tmp_path / "m.jsonl").write_text(text, encoding="utf-8")
    assert steps(tmp_path / "m.jsonl") == ([1] if text.count("\n") else [])
