"""The command from a checkpoint to its report; samples that survive a kill, several processes and a job array."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

from codeparrot.cli import main
from codeparrot.eval.compare import compare
from codeparrot.eval.problems.sets import load_problems
from codeparrot.eval.samples import read_all
from codeparrot.eval.sampling import Key
from codeparrot.eval.tasks.humaneval import humaneval
from tests.launching import ROOT, SCRIPTS, completed, require, started
from tests.warm import Warm

PROBLEMS = ["--problems", "codeparrot"]
NUM_PROBLEMS = len(load_problems("codeparrot"))


@pytest.fixture(scope="module")
def run(tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with one checkpoint of a model that solves nothing."""
    torch.manual_seed(0)
    shape: Any = {"vocab_size": 512, "n_positions": 512, "n_embd": 32, "n_layer": 2, "n_head": 2}
    model = GPT2LMHeadModel(GPT2Config(**shape, initializer_range=0.3, bos_token_id=0, eos_token_id=0))
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    checkpoint = folder / "checkpoints" / "step_00001000"
    model.save_pretrained(checkpoint / "model")
    AutoTokenizer.from_pretrained(tokenizer_folder).save_pretrained(checkpoint / "model")
    (checkpoint / "manifest.json").write_text(json.dumps({"step": 1000, "tokens": 5000}))
    return folder


@pytest.fixture
def sandboxed() -> None:
    require("bwrap", "generated programs run in it")


def command(*arguments: str | Path, num_processes: int = 1) -> list[str]:
    words = ["eval", "humaneval", *PROBLEMS, *map(str, arguments)]
    if num_processes == 1:
        return [str(SCRIPTS / "codeparrot"), *words]
    launcher = [str(SCRIPTS / "accelerate"), "launch", "--config_file", str(ROOT / "launch" / "ddp.yaml")]
    return [*launcher, "--main_process_port", "0", "--num_processes", str(num_processes), "-m", "codeparrot", *words]


def start(*arguments: str | Path) -> "subprocess.Popen[str] | Warm":
    return started(command(*arguments), ROOT)


def evaluate(*arguments: str | Path, capsys, status: int = 0) -> dict[str, Any]:
    """Run the command in this process and return what it prints."""
    capsys.readouterr()
    found = main(["eval", "humaneval", *PROBLEMS, *map(str, arguments), "--json"])
    out, err = capsys.readouterr()
    assert found == status, err
    return json.loads(out)


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


SAMPLED = ("--samples", "4", "--temperature", "0", "0.8", "--max_new_tokens", "24", "--workers", "2")
NUM_SAMPLES = NUM_PROBLEMS * 5


def test_a_checkpoint_is_scored_and_its_files_are_as_documented(run, sandboxed, capsys) -> None:
    report = evaluate("--checkpoint", run, *SAMPLED, "--k", "1", "4", capsys=capsys)
    folder = run / "eval" / "codeparrot" / "step_00001000"
    assert (report["problems"], report["samples"], report["tokens"]) == (NUM_PROBLEMS, NUM_SAMPLES, 5000)
    assert 0 <= report["pass@1"] <= 1 and 0 <= report["pass@4"] <= 1
    results, samples = rows(folder / "results.jsonl"), rows(folder / "samples.jsonl")
    assert [row["task_id"] for row in results] == [row["task_id"] for row in samples]
    for row in results:
        assert row["passed"] == (row["outcome"] == "passed") and isinstance(row["completion"], str)
        assert row["temperature"] in (0.0, 0.8) and row["sample"] in range(4)
    assert json.loads((folder / "report.json").read_text())["pass@1"] == report["pass@1"]
    assert "| 0.8 | 4 |" in (folder / "report.md").read_text()
    assert json.loads((folder / "settings.json").read_text())["prompt_style"] == report["settings"]["prompt_style"] == "healed"
    assert len({row["task_id"] for row in samples if row.get("healed")}) == report["prompts_healed"] > 0
    assert f"healed in {report['prompts_healed']} of {NUM_PROBLEMS} problems" in (folder / "report.md").read_text()
    assert (folder / "pass_at_k.png").stat().st_size > 5000 and (run / "plots" / "pass_at_k.png").stat().st_size > 5000

    # Run again: nothing is generated. More samples: only the missing ones. Other settings: refused, naming the difference.
    before = (folder / "samples.jsonl").read_bytes()
    assert evaluate("--checkpoint", run, *SAMPLED, "--k", "1", "4", capsys=capsys) == report
    assert (folder / "samples.jsonl").read_bytes() == before
    assert main(["eval", "humaneval", *PROBLEMS, "--checkpoint", str(run), *SAMPLED, "--top_p", "0.5"]) == 1
    err = capsys.readouterr().err
    *said, error = err.splitlines()
    assert "top_p 0.95 (now 0.5)" in error and "--output" in error and all(line.startswith("loading ") for line in said)

    # The file can be scored like one from elsewhere, with the same verdicts.
    again = evaluate("--samples-file", folder / "samples.jsonl", "--output", run / "again", "--k", "1", capsys=capsys)
    assert again["by_temperature"][1]["pass@1"] == report["by_temperature"][1]["pass@1"]
    found = compare([str(folder), str(run / "again")], k=[1])
    assert all(each["p_value"] == 1.0 and each["difference"]["mean"] == 0.0 for each in found.data["comparisons"])


def test_reference_solutions_all_pass_and_wrong_samples_do_not(tmp_path, sandboxed, capsys) -> None:
    assert evaluate("--reference", "--k", "1", capsys=capsys)["pass@1"] == 1.0
    problems = load_problems("codeparrot").problems
    lines = [
        {"task_id": each.task_id, "completion": text}
        for number, each in enumerate(problems)
        for text in (each.canonical_solution if number < 6 else "    return 17", "    raise KeyError")
    ]
    path = tmp_path / "theirs.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    report = evaluate("--samples_file", path, "--k", "1", "2", capsys=capsys)
    assert report["pass@1"] == pytest.approx(3 / len(problems)) and report["pass@2"] == pytest.approx(6 / len(problems))
    folder = tmp_path / "theirs.jsonl_evaluation"
    assert [row["outcome"] for row in rows(folder / "results.jsonl")][:2] == ["passed", "error"]
    # Two runs that differ on half a dozen problems, compared.
    path.write_text("".join(json.dumps({"task_id": p.task_id, "completion": p.canonical_solution}) + "\n" for p in problems))
    evaluate("--samples_file", path, "--output", tmp_path / "all", "--k", "1", capsys=capsys)
    found = compare([str(tmp_path / "all"), str(folder)], k=[1])
    assert found.data["comparisons"][0]["p_value"] < 0.01 and "they differ" in found.text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "line 1: not JSON"),
        ('{"task_id": "codeparrot/0"}', "line 1: a sample is"),
        ('{"task_id": "nobody/0", "completion": "x"}', "not one of the problems"),
        ('{"task_id": "codeparrot/0", "completion": "x"}', f"codeparrot/1 and {NUM_PROBLEMS - 2} more problems"),
    ],
)
def test_samples_that_are_none_are_refused_in_one_line(tmp_path, text, message, capsys) -> None:
    (tmp_path / "samples.jsonl").write_text(text + "\n")
    assert main(["eval", "humaneval", *PROBLEMS, "--samples_file", str(tmp_path / "samples.jsonl")]) == 1
    err = capsys.readouterr().err
    assert message in err and len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give one of --checkpoint"),
        (["--reference", "--checkpoint", "x"], "give one of --checkpoint"),
        (["--reference", "--samples", "0"], "--samples 0"),
        (["--reference", "--top_p", "1.5"], "--top_p 1.5"),
        (["--reference", "--temperature", "-1"], "--temperature"),
        (["--checkpoint", "/nowhere/x"], "/nowhere/x"),
        (["--checkpoint", "/nowhere/x.gguf"], "/nowhere/x.gguf"),
        (["--reference", "--strip_prompt", "--prompt_style", "exact"], "--strip_prompt is --prompt_style stripped"),
        (["--reference", "--chat", "--prompt_style", "exact"], "--chat asks in a conversation"),
        (["--reference", "--chat", "--strip_prompt"], "no style stripped"),
        (["--reference", "--output", __file__], "is a file, not a folder"),
        (["--reference", "--output", f"{__file__}/x"], "is a file, not a folder"),
    ],
)
def test_mistakes_are_one_line(arguments, message, capsys) -> None:
    assert main(["eval", "humaneval", *PROBLEMS, *arguments]) == 1
    err = capsys.readouterr().err
    assert message in err and len(err.splitlines()) == 1


def generated(folder: Path) -> dict[Key, str]:
    return {key: row["completion"] for key, row in read_all(folder).items()}


@pytest.fixture(scope="module")
def reference(run, tmp_path_factory) -> dict[Key, str]:
    """The samples of one uninterrupted process."""
    require("bwrap", "one share of one is everything, so it is scored")
    folder = tmp_path_factory.mktemp("reference")
    process = start("--checkpoint", run, *SAMPLED, "--share", "0/1", "--output", folder)
    process.communicate(timeout=300)
    return generated(folder)


@pytest.mark.slow
def test_a_kill_in_the_middle_costs_the_samples_at_work_alone(run, tmp_path, reference) -> None:
    arguments = ("--checkpoint", run, *SAMPLED, "--share", "0/1", "--batch_size", "3", "--output", tmp_path)
    process, path = start(*arguments), tmp_path / "samples.jsonl"
    deadline = time.monotonic() + 240
    while not path.exists() or path.read_bytes().count(b"\n") < 10:
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()[1][-3000:]
        time.sleep(0.002)
    process.kill()
    process.communicate()
    before = generated(tmp_path)
    assert 10 <= len(before) < len(reference)
    with path.open("ab") as file:
        file.write(b'{"task_id": "codeparrot/0", "compl')  # a line that is cut, as a kill leaves it
    # Another number of processes, in two shares, continues from the existing samples.
    for share in ("0/2", "1/2"):
        arguments = ("--checkpoint", run, *SAMPLED, "--batch_size", "7", "--output", tmp_path, "--share", share)
        done = completed(command(*arguments, num_processes=2 if share == "0/2" else 1), ROOT)
        assert done.returncode == 0, done.stderr[-3000:]
    assert len(list(tmp_path.glob("samples-*.jsonl"))) == 3
    assert generated(tmp_path) == reference and before.items() <= reference.items()


@pytest.mark.slow
def test_ctrl_c_keeps_what_was_sampled_and_says_how_to_go_on(run, tmp_path, reference) -> None:
    arguments = ("--checkpoint", run, *SAMPLED, "--batch_size", "2", "--output", tmp_path)
    process, path = start(*arguments), tmp_path / "samples.jsonl"
    deadline = time.monotonic() + 240
    while not path.exists() or path.read_bytes().count(b"\n") < 5:
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()[1][-3000:]
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 75, err[-3000:]
    found = generated(tmp_path)
    assert f"{len(found)} of {NUM_SAMPLES} samples are done; run the same command again" in out
    assert 5 <= len(found) < NUM_SAMPLES and found.items() <= reference.items()
    assert not (tmp_path / "results.jsonl").exists()


def test_a_temperature_that_is_named_twice_is_one(run, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[float]] = []
    monkeypatch.setattr("codeparrot.eval.evaluate.Evaluation.run", lambda self, *_: seen.append(self.temperatures))
    humaneval(str(run), problems="codeparrot", temperature=[0.8, 0.2, 0.8])
    assert seen == [[0.8, 0.2]]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--checkpoint", "runs/nowhere"], 'there is no folder "runs/nowhere"'),
        (["--samples_file", "nowhere.jsonl"], "there is no file nowhere.jsonl"),
    ],
)
def test_a_wrong_path_is_told_before_problems_are_fetched(
    arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "runs").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("codeparrot.eval.problems.sets.load_problems", lambda name: pytest.fail("fetched"))
    assert main(["eval", "humaneval", *arguments]) == 1
    assert said in capsys.readouterr().err
