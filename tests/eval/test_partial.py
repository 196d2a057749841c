"""The score of a part of a set of problems, from samples that another program made."""

import json
from pathlib import Path
from typing import Any

import pytest

from codeparrot.cli import main
from codeparrot.eval.problems.sets import load_problems
from codeparrot.eval.task import Rows
from codeparrot.eval.tasks.humaneval import HumanEval


def lines(*names: str, temperature: float | None = None) -> str:
    rows = ({"task_id": name, "completion": "    pass\n", "temperature": temperature} for name in names)
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every second sample passes, and nothing runs."""

    def score(self: HumanEval, problems: Any, samples: Rows) -> list[dict[str, Any]]:
        known = {problem.task_id for problem in problems}
        assert all(row["task_id"] in known for row in samples)
        return [
            {**row, "passed": index % 2 == 0, "outcome": "passed" if index % 2 == 0 else "failed", "weak": False}
            for index, row in enumerate(samples)
        ]

    monkeypatch.setattr(HumanEval, "score", score)


WHOLE = len(load_problems("codeparrot"))


def scored(path: Path, *options: str) -> list[str]:
    return ["eval", "humaneval", "--problems", "codeparrot", "--samples_file", str(path), "--k", "1", "--json", *options]


def test_the_first_problems_of_a_file_of_samples(judged: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "theirs.jsonl"
    path.write_text(lines(*(f"codeparrot/{number}" for number in range(WHOLE))))
    assert main(scored(path, "--limit", "4")) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert (found["problems"], found["samples"], found["problem_set"]["problems"]) == (4, 4, WHOLE)
    assert found["pass@1"] == 0.5 and f"{WHOLE - 4} samples of other problems are passed over" in err
    page = (tmp_path / "theirs.jsonl_evaluation" / "report.md").read_text()
    assert f"the score of 4 of {WHOLE} problems" in page


def test_the_problems_that_have_samples(judged: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "theirs.jsonl"
    path.write_text(lines("codeparrot/3", "codeparrot/1"))
    assert main(scored(path)) == 1
    assert "no sample of codeparrot/0" in (err := capsys.readouterr().err) and "--partial" in err
    assert main([word for word in scored(path, "--partial") if word != "--json"]) == 0
    out = capsys.readouterr().out
    assert f"2 of {WHOLE} problems, 2 samples" in out and f"the score of 2 of {WHOLE} problems: it does not compare" in out
    # A name that no problem has is a mistake also then, and so are options that mean nothing.
    path.write_text(lines("codeparrot/3", "nobody/1"))
    assert main(scored(path, "--partial")) == 1
    assert "nobody/1 is not one of the problems" in capsys.readouterr().err
    assert main(["eval", "humaneval", "--reference", "--partial"]) == 1
    assert "--samples_file" in capsys.readouterr().err


def test_temperatures_are_scored_on_the_same_problems(judged: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "theirs.jsonl"
    path.write_text(
        lines("codeparrot/0", "codeparrot/1", temperature=0.2) + lines("codeparrot/1", "codeparrot/2", temperature=0.8)
    )
    assert main(scored(path, "--partial")) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["problems"], found["samples"]) == (1, 2) and len(found["by_temperature"]) == 2
    path.write_text(lines("codeparrot/0", temperature=0.2) + lines("codeparrot/1", temperature=0.8))
    assert main(scored(path, "--partial")) == 1
    assert "at each of its temperatures" in capsys.readouterr().err
    # Without --partial, a temperature at which a problem has no sample is left out, and named.
    whole = [f"codeparrot/{number}" for number in range(WHOLE)]
    path.write_text(lines(*whole, temperature=0.2) + lines(*whole[1:], temperature=0.8))
    assert main([word for word in scored(path) if word != "--json"]) == 0
    assert "Temperature 0.8 is left out: some problems have no sample at it." in capsys.readouterr().out
