"""`codeparrot eval explain`: the measures, the baseline and the command."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

from codeparrot.cli import main
from codeparrot.errors import CodeparrotError
from codeparrot.eval.problems.problem import ProblemSet
from codeparrot.eval.tasks.explain import Explain, Function, Measured, words_of
from tests.eval.test_pairs import write_lines, write_pairs


@pytest.mark.parametrize(
    ("name", "words"),
    [("read_csv", "read csv"), ("Reader.readCSVFile2", "read csv file 2"), ("_private__name", "private name"), ("f", "f")],
)
def test_a_name_becomes_words(name: str, words: str) -> None:
    assert words_of(name) == words


@pytest.mark.slow
def test_measures_are_those_of_sacrebleu_and_rouge_score() -> None:
    measured = Measured()
    assert measured("Read a table.", "Read a table.") == {"chrf": pytest.approx(1), "rouge_l": 1}
    assert measured("", "Read a table.") == {"chrf": 0, "rouge_l": 0}
    # Two of three words, in order, of three: precision and recall 2/3.
    assert measured("read the table", "Read a table.")["rouge_l"] == pytest.approx(2 / 3)
    assert 0.3 < measured("read the table", "Read a table.")["chrf"] < 0.5


@pytest.mark.slow
def test_only_the_first_sentence_counts_and_the_name_stands_beside_it() -> None:
    functions = [
        Function("a", 'def read_table(): ...\n\n"""', "Read a table.", "read table"),
        Function("b", 'def g(): ...\n\n"""', "Write it to a file.", "g"),
    ]
    task, problems = Explain("pairs"), ProblemSet.of("explain-pairs", functions, "pairs")
    completions = {"a": "Read a table.\n\nArgs:\n    none", "b": ""}
    samples = [{"task_id": name, "completion": text, "temperature": 0.0, "sample": 0} for name, text in completions.items()]
    results = task.score(problems, samples)
    assert (results[0]["rouge_l"], results[1]["rouge_l"]) == (1, 0)
    assert results[0]["name_rouge_l"] == pytest.approx(2 * 1 * (2 / 3) / (1 + 2 / 3))
    summary = task.summary(problems, results)
    assert summary["rouge_l"] == 0.5 and summary["intervals"]["rouge_l"]["low"] == 0 and summary["empty"] == 1
    report = {**summary, "problems": 2, "problem_set": {"name": "explain-pairs", "problems": 2}}
    assert "name as words  chrF" in task.text(report) and "says nothing of 1 functions" in task.text(report)


def test_the_functions_are_drawn_in_an_order_and_end_with_quotes(tmp_path: Path) -> None:
    folder = write_pairs(tmp_path / "pairs", train=1, valid=20)
    problems = Explain(str(folder)).load()
    assert len(problems) == 20 and problems.name == "explain-pairs"
    assert problems.problems[0].prompt.endswith('return value\n\n"""')
    assert [each.task_id for each in problems] != sorted(each.task_id for each in problems)
    assert [each.task_id for each in problems] == [each.task_id for each in Explain(str(folder)).load()]
    go = write_lines(tmp_path / "go.jsonl", [{"code": "func F() {}", "docstring": "F is a function.", "language": "go"}])
    with pytest.raises(CodeparrotError, match="no functions in Python"):
        Explain(str(go)).load()


@pytest.mark.slow
def test_the_command_explains_and_goes_on(tokenizer_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    shape: Any = {"vocab_size": 512, "n_positions": 128, "n_embd": 32, "n_layer": 2, "n_head": 2}
    model = GPT2LMHeadModel(GPT2Config(**shape, initializer_range=0.3, bos_token_id=0, eos_token_id=0))
    model.save_pretrained(tmp_path / "model")
    AutoTokenizer.from_pretrained(tokenizer_folder).save_pretrained(tmp_path / "model")
    folder = write_pairs(tmp_path / "pairs", train=1, valid=12)
    output = tmp_path / "out"
    arguments = ["eval", "explain", "--checkpoint", str(tmp_path / "model"), "--pairs", str(folder), "--output", str(output)]
    assert main([*arguments, "--max_new_tokens", "8", "--limit", "4", "--json"]) == 0
    first = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (first["problems"], first["samples"]) == (4, 4)
    before = (output / "samples.jsonl").read_text().splitlines()
    assert main([*arguments, "--max_new_tokens", "8", "--limit", "8", "--json"]) == 0
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (report["problems"], report["samples"]) == (8, 8)
    assert set(before) < set((output / "samples.jsonl").read_text().splitlines())
    rows = [json.loads(line) for line in (output / "results.jsonl").read_text().splitlines()]
    assert sum(row["name_chrf"] for row in rows) / 8 == pytest.approx(report["name_chrf"])
    assert json.loads((output / "report.json").read_text())["intervals"] == report["intervals"]
    assert set(report["against_name"]) == {"chrf", "rouge_l"}
