"""Pairs of code and description to evaluate on: of `corpus pairs`, and in CodeSearchNet's format."""

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from codeparrot.errors import CodeparrotError
from codeparrot.eval.pairs import Pair, has_split, load_pairs


def write_pairs(folder: Path, **splits: int) -> Path:
    """Write a folder like those of `corpus pairs`, with so many pairs in each split."""
    folder.mkdir(exist_ok=True)
    for split, count in splits.items():
        rows = [
            {
                **{"repo_name": f"owner/{split}", "path": "a.py", "name": f"read_{number}", "signature": "def read():"},
                **{"content": f"def read_{number}():\n    value = {number}\n    return value"},
                **{"docstring": f"Read number {number}.\n\nMore.", "summary": f"Read number {number}."},
            }
            for number in range(count)
        ]
        pq.write_table(pa.Table.from_pylist(rows), folder / f"{split}-00000-of-00001.parquet")
    return folder


def write_lines(file: Path, rows: list[Any]) -> Path:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(gzip.compress(text.encode()) if file.suffix == ".gz" else text.encode())
    return file


def test_a_split_of_corpus_pairs_is_read(tmp_path: Path) -> None:
    folder = write_pairs(tmp_path / "pairs", train=5, valid=3)
    found = load_pairs(str(folder), "valid").pairs
    assert [pair.task_id for pair in found] == [f"owner/valid/a.py:read_{number}" for number in range(3)]
    assert found[1] == Pair(
        "owner/valid/a.py:read_1", "def read_1():\n    value = 1\n    return value", "Read number 1.", "read_1", "python"
    )
    assert has_split(str(folder), "train") and not has_split(str(folder), "test")


def test_the_same_pairs_are_drawn_from_a_seed_and_fewer_are_some_of_more(tmp_path: Path) -> None:
    folder = write_pairs(tmp_path / "pairs", valid=40, train=1)
    drawn = [{pair.task_id for pair in load_pairs(str(folder), "valid", limit, seed=1).pairs} for limit in (5, 10, 0)]
    assert [len(each) for each in drawn] == [5, 10, 40]
    assert drawn[0] < drawn[1] < drawn[2]
    assert drawn[0] != {pair.task_id for pair in load_pairs(str(folder), "valid", 5, seed=2).pairs}


def test_codesearchnet_is_read_as_its_archive_holds_it(tmp_path: Path) -> None:
    code = 'def read(path):\n    """Read a table. All of it."""\n    return open(path)'
    python = {"code": code, "docstring": "Read a table. All of it.", "language": "python", "func_name": "A.read", "url": "u1"}
    go = {"code": "func Read() {}", "docstring": "Read reads\nall.", "language": "go"}
    write_lines(tmp_path / "final" / "jsonl" / "valid" / "python_valid_0.jsonl.gz", [python, go, python])
    write_lines(tmp_path / "final" / "jsonl" / "train" / "python_train_0.jsonl.gz", [go])
    found = load_pairs(str(tmp_path), "valid").pairs
    assert found[0] == Pair("u1", "def read(path):\n    return open(path)", "Read a table.", "A.read", "python")
    assert found[1] == Pair("python_valid_0.jsonl.gz:2", "func Read() {}", "Read reads all.", "", "go")
    assert found[2].task_id == "u1#2"


def test_python_that_does_not_parse_is_left_out_since_its_docstring_would_stay(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = {"code": 'def show(x):\n    """Show x to all."""\n    print x', "docstring": "Show x to all.", "language": "Python"}
    new = {**old, "code": old["code"].replace("print x", "print(x)")}
    go = {"code": "func Show(", "docstring": "Show shows.", "language": "go"}
    file = write_lines(tmp_path / "pairs.jsonl", [old, new, go, old])
    found = load_pairs(str(file), "valid")
    assert [pair.code for pair in found.pairs] == ["def show(x):\n    print(x)", "func Show("]
    assert "pairs.jsonl: 2 functions of valid are left out: no Python 3" in " ".join(capsys.readouterr().err.split())
    assert found.num_unreadable == 2
    assert load_pairs(str(write_pairs(tmp_path / "pairs", valid=2)), "valid").num_unreadable == 0
    with pytest.raises(CodeparrotError, match=r"no pairs .* 1 are no Python 3"):
        load_pairs(str(write_lines(tmp_path / "old.jsonl", [old])), "valid")


@pytest.mark.parametrize(
    ("row", "message"),
    [({"code": "x"}, "line 1: a pair is"), ([1], "line 1: a pair is"), ({"code": "x", "docstring": ""}, "no pairs")],
)
def test_what_is_no_pair_is_refused_by_its_place(tmp_path: Path, row: Any, message: str) -> None:
    file = write_lines(tmp_path / "pairs.jsonl", [row])
    with pytest.raises(CodeparrotError, match=message):
        load_pairs(str(file), "valid")


def test_a_corpus_is_no_pairs(tmp_path: Path) -> None:
    pq.write_table(pa.table({"content": ["x"]}), tmp_path / "valid-0.parquet")
    with pytest.raises(CodeparrotError, match="codeparrot corpus pairs"):
        load_pairs(str(tmp_path), "valid")
