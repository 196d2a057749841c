"""A task that defines only its requests and scores gets samples, files, a report and a command."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

from codeparrot.cli import COMMANDS, main
from codeparrot.errors import CodeparrotError
from codeparrot.eval.command import command
from codeparrot.eval.compare import compare
from codeparrot.eval.plots import draw_over_tokens
from codeparrot.eval.problems.problem import ProblemSet
from codeparrot.eval.task import Rows, Task
from codeparrot.eval.tasks import TASKS, Entry
from codeparrot.generation.requests import Request


@dataclass(frozen=True)
class Snippet:
    task_id: str
    prompt: str


SNIPPETS = [Snippet(f"longest/{count}", "x = 1\n" * count) for count in (1, 9, 4)]


SETTINGS = {"kind": "plain"}


class Longest(Task[Snippet]):
    """Continue the text; longer is better."""

    @property
    def settings(self) -> dict[str, Any]:
        return dict(SETTINGS)

    def load(self) -> ProblemSet[Snippet]:
        return ProblemSet.of("longest", SNIPPETS, "this test")

    def request(self, problem: Snippet, tokenizer: Any) -> Request:
        return Request(problem.prompt, stop=("\n",))

    def answer(self, problem: Snippet, text: str) -> str:
        return f"{problem.task_id}: {text}"

    def score(self, problems: ProblemSet[Snippet], samples: Rows) -> list[dict[str, Any]]:
        return [{**sample, "passed": len(sample["completion"]) > 20} for sample in samples]

    def summary(self, problems: ProblemSet[Snippet], results: Rows) -> dict[str, Any]:
        return {"long": sum(row["passed"] for row in results) / len(results)}


longest = command(Longest(), max_new_tokens=12)


@pytest.fixture(scope="module")
def run(tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    shape: Any = {"vocab_size": 512, "n_positions": 64, "n_embd": 32, "n_layer": 1, "n_head": 2}
    model = GPT2LMHeadModel(GPT2Config(**shape, initializer_range=0.3, bos_token_id=0, eos_token_id=0))
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    checkpoint = folder / "checkpoints" / "step_00001000"
    model.save_pretrained(checkpoint / "model")
    AutoTokenizer.from_pretrained(tokenizer_folder).save_pretrained(checkpoint / "model")
    (checkpoint / "manifest.json").write_text(json.dumps({"step": 1000, "tokens": 5000}))
    return folder


def test_a_task_is_sampled_scored_and_reported(run: Path) -> None:
    result = longest(str(run), samples=3, temperature=[0.0, 0.9])
    folder = run / "eval" / "longest" / "step_00001000"
    rows = [json.loads(line) for line in (folder / "results.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["task_id"] for row in rows[::4]] == [snippet.task_id for snippet in SNIPPETS], "in the order of the problems"
    assert len(rows) == result.data["samples"] == 12 and result.data["problems"] == 3
    assert all(row["completion"].startswith(f"{row['task_id']}: ") and "\n" not in row["completion"] for row in rows)
    assert result.data["long"] == sum(row["passed"] for row in rows) / 12 and 0 < result.data["long"] < 1
    assert json.loads((folder / "report.json").read_text()) == result.data
    assert result.text.splitlines() == ["longest: 3 problems, 12 samples", f"long  {result.data['long']:.4f}", f"{folder}/"]
    assert not draw_over_tokens(run, run / "plots" / "pass_at_k.png"), "its numbers are no pass@k"
    assert compare([str(folder), str(folder)], k=[1]).data["comparisons"][0]["p_value"] == 1.0


def test_samples_that_are_there_are_kept_and_those_of_other_settings_refused(run: Path, tmp_path: Path, monkeypatch) -> None:
    output = str(tmp_path)
    longest(str(run), output=output)
    before = (tmp_path / "samples.jsonl").read_text(encoding="utf-8")
    longest(str(run), output=output, samples=2, temperature=[0.0, 0.5])
    after = (tmp_path / "samples.jsonl").read_text(encoding="utf-8")
    assert len(after.splitlines()) == 9 and set(before.splitlines()) < set(after.splitlines())
    monkeypatch.setitem(SETTINGS, "kind", "fancy")
    with pytest.raises(CodeparrotError, match=r"kind plain \(now fancy\)"):
        longest(str(run), output=output)


def test_a_registered_task_is_a_command(run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from codeparrot.cli import Command

    assert {name.removeprefix("eval ") for name in COMMANDS if name.startswith("eval ")} == {*TASKS, "compare"}
    entry = Entry("tests.eval.test_task:longest", "length")
    monkeypatch.setitem(COMMANDS, "eval longest", Command(entry.target, entry.summary, goes_on=entry.goes_on))
    assert main(["eval", "longest", "--checkpoint", str(run), "--limit", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["problems"] == 2
    assert main(["eval", "longest", "--checkpoint", str(run), "--samples", "0"]) == 1
    assert "--samples 0 is out of range" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["eval", "longest", "--help"])
    out = " ".join(capsys.readouterr().out.split())
    assert "Continue the text; longer is better" in out and "default: 12" in out
