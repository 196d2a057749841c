"""What a run leaves out as damaged is listed once, counted, and left out again by whoever goes on with the run."""

import json
import shutil
from pathlib import Path

import pytest

from codeparrot.config import Config, RunConfig, StreamConfig
from codeparrot.stream.readers.rows import Behind, Damaged, LineAt, Place
from codeparrot.training.left_out import LeftOut
from tests.launching import curve, kill_behind_step, lines, run, start, write_config


class Alone:
    def gather(self, item):
        return [item]


def left_out(folder: Path, step: int, on_error: str = "skip", main: bool = True) -> LeftOut:
    config = Config(run=RunConfig(name="r", dir=str(folder)), stream=StreamConfig(on_error=on_error))  # type: ignore[arg-type]
    config.run_directory.mkdir(exist_ok=True)
    return LeftOut(config, Alone(), main, step)  # type: ignore[arg-type]


GROUP = Damaged(Place("row group", 3, "a.parquet"), "cannot read {}: bad", 20)
LINE = Damaged(LineAt("b.jsonl", 70), "{} is not JSON", 1)
REST = Damaged(Behind(9, "c.jsonl.gz"), "cannot read {}: cut", None)


def test_a_place_is_counted_once_and_its_line_says_where_it_is(tmp_path, caplog) -> None:
    counted = left_out(tmp_path, 0)
    assert counted.add(2, [GROUP, LINE]) == {"damaged_places": 2, "damaged_documents": 21}
    assert counted.add(4, [GROUP, LINE, REST]) == {"damaged_places": 3, "damaged_documents": 21}
    assert [json.loads(line) for line in (tmp_path / "r" / "damaged.jsonl").read_text(encoding="utf-8").splitlines()] == [
        {"step": 2, "file": "a.parquet", "row_group": 3, "documents": 20, "problem": "cannot read: bad"},
        {"step": 2, "file": "b.jsonl", "byte": 70, "documents": 1, "problem": "is not JSON"},
        {"step": 4, "file": "c.jsonl.gz", "behind_line": 9, "documents": None, "problem": "cannot read: cut"},
    ]
    assert str(counted).startswith("left out as damaged: 21 documents and an unknown number at 1 of the places, 3 places")


def test_a_run_that_goes_on_keeps_what_lies_before_its_checkpoint_and_meets_the_rest_again(tmp_path) -> None:
    counted = left_out(tmp_path, 0)
    counted.add(2, [GROUP])
    counted.add(6, [GROUP, LINE])
    again = left_out(tmp_path, 4)
    assert again.counts == {"damaged_places": 1, "damaged_documents": 20}
    assert again.add(6, [LINE, GROUP]) == {"damaged_places": 2, "damaged_documents": 21}
    steps = [json.loads(line)["step"] for line in (tmp_path / "r" / "damaged.jsonl").read_text(encoding="utf-8").splitlines()]
    assert steps == [2, 6]


def test_a_run_that_stops_at_damage_writes_nothing_and_neither_do_other_processes(tmp_path) -> None:
    assert left_out(tmp_path, 0, "stop").add(1, []) == {}
    assert str(left_out(tmp_path, 0, "stop")) == ""
    left_out(tmp_path, 0, main=False).add(1, [GROUP])
    assert not (tmp_path / "r" / "damaged.jsonl").exists()


@pytest.mark.slow
def test_a_killed_run_of_two_processes_leaves_out_the_same_as_one_that_went_through(tmp_path, corpus, tokenizer_folder) -> None:
    shutil.copytree(corpus, tmp_path / "data")
    rows = b"".join(json.dumps({"content": f"x = {number}\n" * 9}).encode() + b"\n" for number in range(60))
    rows = rows.replace(b'"x = 7\\', b"\0x = 7\\").replace(b'"x = 42\\', b"\xffx = 42\\")
    (tmp_path / "data" / "train-extra.jsonl").write_bytes(rows)
    for file in ("train-00001-of-00003.parquet", "valid-00000-of-00001.parquet"):
        content = bytearray((tmp_path / "data" / file).read_bytes())
        content[200:260] = bytes(60)
        (tmp_path / "data" / file).write_bytes(content)
    config = write_config(
        *(tmp_path / "c.yaml", tmp_path / "data", tokenizer_folder),
        stream={"on_error": "skip"},
        evaluate={"every_steps": 12, "micro_batch_size": 64},
    )
    out, err = run(config, "--run.name", "whole")
    whole, tiny = tmp_path / "runs" / "whole", tmp_path / "runs" / "tiny"
    kill_behind_step(start(config, num_processes=2), tiny / "metrics.jsonl", 11)
    run(config, num_processes=2)
    listed = [
        [json.loads(line) for line in (each / "damaged.jsonl").read_text(encoding="utf-8").splitlines()]
        for each in (whole, tiny)
    ]
    places = [
        sorted((Path(line["file"]).name, line.get("byte"), line.get("row_group"), line["documents"]) for line in each)
        for each in listed
    ]
    assert places[0] == places[1] == sorted(set(places[0]))
    assert {place[0] for place in places[0]} == {
        "train-extra.jsonl",
        "train-00001-of-00003.parquet",
        "valid-00000-of-00001.parquet",
    }
    losses = [{step: loss for step, loss, _ in curve(each)} for each in (whole, tiny)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    last = [line for line in lines(tiny) if "loss" in line][-1]
    assert last["damaged_places"] == len(places[0]) and "warning: left out: " in err and "left out as damaged: " in out
