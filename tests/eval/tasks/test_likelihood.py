"""`codeparrot eval likelihood`: its files, its report, and what it refuses."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

from codeparrot.cli import main
from codeparrot.errors import CodeparrotError
from codeparrot.eval.compare import compare
from codeparrot.eval.tasks.likelihood import likelihood, summary
from codeparrot.run.reports import reports_of

OWN = {"task_id": "a", "prompt": "def f():\n", "entry_point": "f", "test": "def check(candidate):\n    assert candidate\n"}


@pytest.fixture(scope="module")
def run(tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with two checkpoints: of a model that finds all tokens equally likely, and of a random one."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    shape: Any = {"vocab_size": 512, "n_positions": 64, "n_embd": 32, "n_layer": 2, "n_head": 2}
    torch.manual_seed(0)
    for step in (1000, 2000):
        model = GPT2LMHeadModel(GPT2Config(**shape, initializer_range=0.3, bos_token_id=0, eos_token_id=0))
        if step == 1000:
            torch.nn.init.zeros_(model.transformer.wte.weight)  # and of the head, which is the same
        checkpoint = folder / "checkpoints" / f"step_{step:08d}"
        model.save_pretrained(checkpoint / "model")
        AutoTokenizer.from_pretrained(tokenizer_folder).save_pretrained(checkpoint / "model")
        (checkpoint / "manifest.json").write_text(json.dumps({"step": step, "tokens": 5 * step}))
    return folder


@pytest.fixture(scope="module")
def evaluations(run: Path) -> list[Path]:
    """Evaluations of both checkpoints on the project's own problems."""
    checkpoints = sorted((run / "checkpoints").iterdir())
    return [Path(likelihood(str(each), problems="codeparrot").data["output"]) for each in checkpoints]


def test_a_model_that_knows_nothing_needs_the_bits_of_the_vocabulary_for_each_token(run, evaluations, tokenizer_folder) -> None:
    folder = evaluations[0]
    assert folder == run / "eval" / "likelihood-codeparrot" / "step_00001000"
    rows = [json.loads(line) for line in (folder / "likelihood.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["task_id"] for row in rows] == [f"codeparrot/{number}" for number in range(51)]
    assert all(row["bits"] == pytest.approx(9 * row["tokens"]) for row in rows)  # 512 tokens
    assert (rows[0]["bytes"], rows[0]["bits_per_byte"]) == (len("    return a + b"), rows[0]["bits"] / rows[0]["bytes"])
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    mean = sum(row["bits_per_byte"] for row in rows) / len(rows)
    assert report["solution_bits_per_byte"] == pytest.approx(mean)
    assert report["interval"]["low"] < mean < report["interval"]["high"]
    assert (report["problems"], report["without_solution"], report["tokens"]) == (51, 0, 5000)
    assert report["bytes"] == sum(row["bytes"] for row in rows) and report["problem_set"]["name"] == "codeparrot"


def test_the_reports_of_a_run_hold_them(run, evaluations, caplog) -> None:
    assert [(step, report["problems"]) for step, report in reports_of(run)] == [(1000, 51), (2000, 51)]
    assert not caplog.messages


def test_the_command_prints_one_object(run, tmp_path, capsys) -> None:
    words = ["eval", "likelihood", "--checkpoint", str(run), "--problems", "codeparrot", "--limit", "3", "--batch_size", "1"]
    assert main([*words, "--output", str(tmp_path / "out"), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["problems"] == 3 and math.isfinite(report["solution_bits_per_byte"])
    assert (tmp_path / "out" / "likelihood.jsonl").read_text(encoding="utf-8").count("\n") == 3


def test_problems_without_a_solution_are_counted_and_some_need_one(run, tmp_path) -> None:
    path = tmp_path / "own.jsonl"
    rows = [{**OWN, "canonical_solution": "    return 1\n"}, {**OWN, "task_id": "b"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = likelihood(str(run), problems=str(path), output=str(tmp_path / "out"))
    assert result.data["problems"] == 1 and result.data["without_solution"] == 1
    assert "problems with no reference solution are left out: 1" in result.text
    path.write_text(json.dumps(rows[1]) + "\n")
    with pytest.raises(CodeparrotError, match=r"own\.jsonl: none of the problems has a reference solution"):
        likelihood(str(run), problems=str(path), output=str(tmp_path / "out"))


def test_two_evaluations_are_compared_problem_by_problem(evaluations, tmp_path) -> None:
    first, second = map(str, evaluations)
    result = compare([first, second])
    (found,) = result.data["comparisons"]
    assert found["measure"] == "solution_bits_per_byte" and result.data["problems"] == 51
    assert found["first"] < found["second"] and found["p_value"] < 0.001
    assert found["difference"]["mean"] == pytest.approx(found["first"] - found["second"])
    assert "51 problems" in result.text and "they differ" in result.text
    (same,) = compare([first, f"{first}/likelihood.jsonl"]).data["comparisons"]
    assert same["difference"]["mean"] == 0 and same["p_value"] == 1


def test_the_middles_of_a_function_are_drawn_together(tmp_path) -> None:
    """Six functions that differ, each many times, are no more than six."""
    folders: list[str] = []
    rows: list[dict[str, Any]] = []
    for number in range(2):
        rows = [
            {"task_id": f"{function}/{gap}", "bits": 8 * (function + number * (function > 2)), "bytes": 8, "group": function}
            for function in range(6)
            for gap in range(20)
        ]
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "likelihood.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        folders.append(str(folder))
    (found,) = compare(folders).data["comparisons"]
    assert found["difference"]["mean"] == -0.5 and found["p_value"] > 0.2
    assert summary([{**row, "bits_per_byte": row["bits"] / 8} for row in rows])["interval"]["low"] < 3


def test_evaluations_of_other_kinds_or_problems_are_not_compared(evaluations, run, tmp_path) -> None:
    first = str(evaluations[0])
    tests = tmp_path / "tests"
    tests.mkdir()
    (tests / "results.jsonl").write_text(json.dumps({"task_id": "a", "temperature": 0.2, "passed": True}) + "\n")
    with pytest.raises(CodeparrotError, match="one of the evaluations is of likelihood, the other of unit tests"):
        compare([str(tests), first])
    some = likelihood(str(run), problems="codeparrot", limit=50, output=str(tmp_path / "some")).data["output"]
    with pytest.raises(CodeparrotError, match=r"of different problems \(1 are in only one"):
        compare([first, some])
    (tmp_path / "some" / "likelihood.jsonl").write_text('{"task_id": "codeparrot/0", "bits": "x", "bytes": 0}\n')
    with pytest.raises(CodeparrotError, match=r"likelihood.jsonl, line 1: not a likelihood"):
        compare([first, some])
