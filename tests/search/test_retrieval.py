"""`codeparrot eval retrieval`: ranks, measures, BM25 and the command."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from codeparrot.cli import main
from codeparrot.errors import CodeparrotError
from codeparrot.eval.pairs import Pair
from codeparrot.run.reports import reports_of
from codeparrot.search.retrieval.command import of_settings, retrieval
from codeparrot.search.retrieval.measures import Search, measures, ranks_by_vectors, ranks_by_words, searches
from tests.eval.test_pairs import write_lines, write_pairs


def unit(rows: list[list[float]]) -> Any:
    found = np.array(rows, np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def test_ranks_are_those_of_a_sort_and_ties_count_half() -> None:
    candidates = unit([[1, 0], [1, 1], [0, 1], [0, 1]])
    ranks = ranks_by_vectors(unit([[1, 0], [1, 0], [0, 1]]), candidates, [0, 1, 2])
    assert ranks.tolist() == [1, 2, 1.5]
    random = np.random.default_rng(0)
    many = unit(random.normal(size=(600, 8)).tolist())
    queries = unit(random.normal(size=(600, 8)).tolist())
    order = np.argsort(-(queries @ many.T), axis=1)
    assert ranks_by_vectors(queries, many, range(600)).tolist() == [1 + list(row).index(i) for i, row in enumerate(order)]


def test_measures_are_those_of_the_definition() -> None:
    found = measures(np.array([1.0, 2.0, 4.0, 20.0]))
    assert found["mrr"]["mean"] == pytest.approx((1 + 0.5 + 0.25 + 0.05) / 4)
    assert (found["recall@1"]["mean"], found["recall@10"]["mean"]) == (0.25, 0.75)
    assert all(each["low"] <= each["mean"] <= each["high"] for each in found.values())


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_vectors_that_are_no_numbers_are_refused_and_get_no_rank(broken: float) -> None:
    good, bad = unit([[1, 0], [0, 1]]), np.array([[1, 0], [broken, 0]], np.float32)
    for queries, candidates in ((good, bad), (bad, good)):
        with pytest.raises(CodeparrotError, match="not finite"):
            ranks_by_vectors(queries, candidates, [0, 1])


def test_bm25_finds_shared_words_and_a_query_without_any_ranks_by_chance() -> None:
    candidates = ["def read_csv(path): ...", "def write_json(value): ...", "", "def addNumbers(a, b): ..."]
    search = Search("s", "s", ["Write a JSON value", "add two numbers", "???", "unknown"], candidates, [1, 3, 0, 2])
    assert ranks_by_words(search).tolist() == [1, 1, 2.5, 2.5]


def pair(number: int, language: str = "python") -> Pair:
    return Pair(f"t{number}", f"def f{number}(a):\n    return a.b{number} + {number}", f"Say {number}.", f"f{number}", language)


def test_each_search_has_the_right_candidates() -> None:
    pairs = [*map(pair, range(4)), pair(9)._replace(summary="Say 0."), pair(5)._replace(code="def f(:")]
    found = {search.name: search for search in searches(pairs)}
    assert list(found) == ["description", "description_no_names", "clone", "clone_no_names"]
    assert found["description"].right == [1, 2, 3, 5]  # two functions are described alike
    assert found["clone"].right == found["clone_no_names"].right == [0, 1, 2, 3, 4]
    assert found["description_no_names"].candidates[1] == "def v0(v1):\n    return v1.v2 + 1"
    assert found["description_no_names"].candidates[5] == "def f(:"
    assert ".b1 + 1" in found["clone"].queries[1] and "f1" not in found["clone"].queries[1]
    assert [search.name for search in searches([*pairs, pair(7, "go")])] == ["description"]


def test_a_missing_bm25s_is_named_before_anything_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bm25s", None)
    with pytest.raises(ModuleNotFoundError, match="bm25s"):
        retrieval("nowhere", "nowhere")


def test_other_settings_have_a_default_folder_of_their_own() -> None:
    chosen = {"split": "valid", "candidates": 1000, "whiten_on": 2000, "pooling": "auto", "seed": 0}
    assert of_settings("pairs", chosen) == "pairs"
    assert of_settings("pairs", {**chosen, "split": "test", "seed": 3}) == "pairs-split-test-seed-3"
    others = {"split": "test", "candidates": 0, "whiten_on": 0, "pooling": "last", "seed": 1}
    assert len({of_settings("pairs", {**chosen, name: value}) for name, value in others.items()}) == len(others)


@pytest.mark.slow
def test_the_command_prints_a_table_and_writes_its_files(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_pairs(tmp_path / "pairs", train=30, valid=12)
    arguments = [
        "eval",
        "retrieval",
        "--checkpoint",
        str(checkpoint),
        "--pairs",
        str(folder),
        "--output",
        str(tmp_path / "out"),
    ]
    assert main([*arguments, "--json"]) == 0
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [each["search"] for each in report["searches"]] == ["description", "description_no_names", "clone", "clone_no_names"]
    for each in report["searches"]:
        assert list(each["systems"]) == ["bm25", "model", "model, whitened"]
        assert each["queries"] == each["candidates"] == 12
        assert all(0 < system["mrr"]["mean"] <= 1 for system in each["systems"].values())
    assert report["searches"][0]["systems"]["bm25"]["mrr"]["mean"] == 1  # its number is in the description
    assert json.loads((tmp_path / "out" / "report.json").read_text()) == report
    rows = [json.loads(line) for line in (tmp_path / "out" / "ranks.jsonl").read_text().splitlines()]
    assert len(rows) == 48
    own = [row["ranks"]["model"] for row in rows if row["search"] == "description"]
    assert np.mean([1 / rank for rank in own]) == pytest.approx(report["searches"][0]["systems"]["model"]["mrr"]["mean"])
    run = tmp_path / "run" / "eval" / "retrieval-pairs"
    shutil.copytree(tmp_path / "out", run / "step_00000001")
    assert [step for step, _ in reports_of(tmp_path / "run")] == [1], "a push passes over what is no report, with a warning"
    assert main(["eval", "compare", str(tmp_path / "out"), str(run / "step_00000001"), "--json"]) == 0
    compared = json.loads(capsys.readouterr().out.splitlines()[-1])["comparisons"]
    assert len(compared) == 4 * 2 * 3 and all(each["p_value"] == 1 for each in compared)
    assert main([*arguments, "--seed", "1", "--output", str(tmp_path / "other")]) == 0
    assert main(["eval", "compare", str(tmp_path / "out"), str(tmp_path / "other")]) == 1
    assert "are of other queries or candidates" in capsys.readouterr().err
    assert main([*arguments, "--whiten_on", "0", "--candidates", "5"]) == 0
    printed = capsys.readouterr().out
    assert "5 queries among 5 functions" in printed and "MRR" in printed and "whitened" not in printed


@pytest.mark.slow
def test_codesearchnet_and_bad_options(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"code": f"func F{n}() {{}}", "docstring": f"F{n} is number {n}.", "language": "go"} for n in range(4)]
    file = write_lines(tmp_path / "go.jsonl", rows)
    arguments = ["eval", "retrieval", "--checkpoint", str(checkpoint), "--pairs", str(file), "--output", str(tmp_path / "out")]
    assert main(arguments) == 1
    assert "--whiten_on 0" in capsys.readouterr().err
    assert main([*arguments, "--candidates", "1"]) == 1
    assert "--candidates 1 is out of range" in capsys.readouterr().err
    old = {"code": "def f(x):\n    print x", "docstring": "Print it.", "language": "python"}
    write_lines(file, [*rows, old])
    assert main([*arguments, "--whiten_on", "0"]) == 0
    printed = capsys.readouterr()
    assert "description -> code: 4 queries" in printed.out and "1 function is left out" in printed.out
    assert json.loads((tmp_path / "out" / "report.json").read_text())["unreadable"] == 1
