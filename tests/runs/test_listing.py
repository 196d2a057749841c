"""What `codeparrot runs` tells of runs, and of what is none."""

import fcntl
import json
import os
from pathlib import Path
from typing import Any

import pytest

from codeparrot import cli
from codeparrot.errors import CodeparrotError
from codeparrot.runs.listing import duration, runs
from tests.runs.family import write_family, write_run


def listed(folder: Path) -> dict[str, dict[str, Any]]:
    return {run["name"]: run for run in runs(str(folder)).data["runs"]}


def test_a_run_is_told_by_what_it_wrote(tmp_path: Path) -> None:
    write_family(tmp_path)
    found = listed(tmp_path)
    facts = found["cool-100"]
    assert (facts["state"], facts["step"], facts["max_steps"], facts["tokens"]) == ("finished", 150, 1000, 1500)
    assert (facts["bits_per_byte"], facts["pass@1"], facts["tokens_per_second"]) == (1.25, 0.25, 100.0)
    assert (facts["parent"]["name"], facts["parent"]["step"]) == ("a", 100)
    assert (facts["checkpoint"], facts["waiting"], facts["seconds_left"]) == (None, None, None)
    text = runs(str(tmp_path)).text.splitlines()
    assert text[0].split() == ["run", "state", "step", "of", "loss", "bits/byte", "tokens/s", "from"]
    assert next(line for line in text if line.endswith("a@step_200")).startswith("cool-200")


def test_the_newest_checkpoint_and_what_waits_for_the_hub_are_told(tmp_path: Path) -> None:
    run = write_run(tmp_path / "a", range(10, 30, 10))
    for step in (8, 16):
        place = run / "checkpoints" / f"step_{step:08d}"
        place.mkdir(parents=True)
        facts = {"version": 2, "step": step, "tokens": 0, "number": step, "files": {}}
        (place / "manifest.json").write_text(json.dumps(facts), encoding="utf-8")
    entry = {"step": 16, "tokens": 0, "digest": "x", "num_bytes": 1, "time": 0.0}
    ledger = {"version": 1, "repo": "me/x", "branch": "a", "settings": {}, "state": "idle", "error": "", "pushed": []}
    (run / "hub.json").write_text(json.dumps(ledger | {"pending": [entry, entry], "skipped": []}), encoding="utf-8")
    facts = listed(tmp_path)["a"]
    assert (facts["checkpoint"], facts["waiting"]) == (16, 2)
    assert runs(str(tmp_path)).text.splitlines()[1].split()[-2:] == ["2", "wait"]


def test_a_run_whose_process_is_gone_has_died_and_one_that_holds_its_lock_runs(tmp_path: Path) -> None:
    for name in ("alive", "dead"):
        write_run(tmp_path / name, range(10, 60, 10), state="running")
        (tmp_path / name / ".lock").touch()
    with (tmp_path / "alive" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = listed(tmp_path)
        assert (found["alive"]["state"], found["dead"]["state"]) == ("running", "died")
        assert found["alive"]["seconds_left"] == pytest.approx(950 * 10 / 100) and found["dead"]["seconds_left"] is None
        assert list(found) == ["alive", "dead"]


def test_running_ones_come_first_then_those_that_wrote_last(tmp_path: Path) -> None:
    for age, name in enumerate(("b", "a", "c")):
        run = write_run(tmp_path / name, range(10, 30, 10), state="running" if name == "c" else "stopped")
        for file in run.iterdir():
            os.utime(file, (1e9 - age, 1e9 - age))
    with (tmp_path / "c" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert list(listed(tmp_path)) == ["c", "b", "a"]


@pytest.mark.parametrize(
    ("file", "content", "state"),
    [
        ("status.json", b"{", "broken"),
        ("status.json", b'{"state": 5}', "broken"),
        ("config.yaml", b"a: [", "broken"),
        ("config.yaml", b"\xff\xfe\x00", "broken"),
        ("config.yaml", b"- 3", "broken"),
        ("metrics.jsonl", b"\x00\x00\n[1]\n{}\n", "finished"),
        ("hub.json", b"[]", "broken"),
        ("origin.json", b"[]", "finished"),
    ],
)
def test_a_broken_run_is_one_line_and_the_others_are_listed(tmp_path: Path, file: str, content: bytes, state: str) -> None:
    write_run(tmp_path / "good", range(10, 30, 10))
    write_run(tmp_path / "bad", range(10, 30, 10))
    (tmp_path / "bad" / file).write_bytes(content)
    (tmp_path / "notes").mkdir()
    (tmp_path / "a file").touch()
    found = listed(tmp_path)
    assert (found["good"]["state"], found["bad"]["state"], found["notes"]["state"]) == ("finished", state, "no run")
    assert "a file" not in found
    lines = runs(str(tmp_path)).text.splitlines()
    assert [line.partition(" ")[0].rstrip(":") for line in lines].count("bad") == 1
    assert max(map(len, lines)) <= 120


def test_the_table_fits_120_columns(tmp_path: Path) -> None:
    parent = write_run(tmp_path / ("long" * 20), range(10, 30, 10))
    run = write_run(tmp_path / ("longer" * 20), range(10, 30, 10), state="running", parent=(parent, 1_000_000))
    rows = [{"step": 123_456_789, "tokens": 10**15, "loss": 1234.5678, "bits_per_byte": 1234.5, "tokens_per_second": 1e9}]
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    status = {"state": "running", "step": 5, "max_steps": 2**40, "reason": "", "time": 0}
    (run / "status.json").write_text(json.dumps(status))
    with (run / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert max(map(len, runs(str(tmp_path)).text.splitlines())) <= 120


def test_one_run_may_be_named_and_runs_is_meant_where_nothing_is(tmp_path: Path, monkeypatch, capsys) -> None:
    write_family(tmp_path / "runs")
    assert [run["name"] for run in runs(str(tmp_path / "runs" / "a")).data["runs"]] == ["a"]
    monkeypatch.chdir(tmp_path)
    assert cli.main(["runs", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["runs"]) == 5


def test_a_folder_without_runs_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(CodeparrotError, match="holds no run"):
        runs(str(tmp_path / "empty"))
    with pytest.raises(CodeparrotError, match="there is no folder"):
        runs(str(tmp_path / "absent"))


def test_settings_beside_runs_are_no_run(tmp_path: Path) -> None:
    write_run(tmp_path / "a", range(1, 9))
    (tmp_path / "config.yaml").write_text("run: {name: a}", encoding="utf-8")
    assert [run["name"] for run in runs(str(tmp_path)).data["runs"]] == ["a"]


def test_durations_have_two_units() -> None:
    assert [duration(each) for each in (5, 125, 7300, 200000)] == ["5s", "2m", "2h 1m", "2d 7h"]
