"""This version reads what version 0.1 wrote: a run with its checkpoint and evaluation, a corpus, windows.

tests/artefacts/0.1/ holds the bytes that version wrote (without pictures and the second checkpoint), and expected/ below it the
output of that version: the run to its end at step 8, a batch, a perplexity.
"""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from codeparrot.cli import main
from tests.launching import ROOT, SCRIPTS, completed, require

OLD = ROOT / "tests" / "artefacts" / "0.1"
CHECKPOINT = "runs/old/checkpoints/step_00000004"
EVALUATION = "runs/old/eval/problems/step_00000004"


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the artefacts in the working folder, since their paths are relative."""
    shutil.copytree(OLD, tmp_path, dirs_exist_ok=True)
    (tmp_path / "runs").mkdir()
    (tmp_path / "run").rename(tmp_path / "runs" / "old")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def expected(name: str) -> Any:
    return json.loads((OLD / "expected" / name).read_text(encoding="utf-8"))


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """Run a command in this process and return its result."""
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def losses(path: Path) -> dict[int, float]:
    return {line["step"]: line["loss"] for line in map(json.loads, path.read_text().splitlines()) if "loss" in line}


@pytest.mark.slow
def test_a_run_goes_on_from_its_checkpoint_with_the_batches_that_it_would_have_seen(old: Path) -> None:
    done = completed([str(SCRIPTS / "codeparrot"), "train", "--config", "config.yaml"], old)
    assert done.returncode == 0, done.stderr
    assert "resumed at step 4" in done.stderr
    ours, theirs = losses(old / "runs" / "old" / "metrics.jsonl"), losses(OLD / "expected" / "metrics.jsonl")
    assert list(theirs) == list(range(1, 9)) and ours == pytest.approx(theirs, rel=1e-5)
    end = old / "runs" / "old" / "checkpoints" / "step_00000008"
    assert json.loads((end / "stream.json").read_text(encoding="utf-8")) == expected("stream.json")


def test_a_batch_of_a_run_is_the_one_that_it_was(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "inspect", "--run", "runs/old", "--step", "6") == expected("inspect.json")


def test_a_checkpoint_has_the_perplexity_that_it_had(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = said(capsys, "eval", "perplexity", "--checkpoint", CHECKPOINT, "--data", "corpus")
    assert found["tokens"] == expected("perplexity.json")["tokens"]
    assert found["loss"] == pytest.approx(expected("perplexity.json")["loss"], rel=1e-5)


def test_a_corpus_is_reported(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = said(capsys, "corpus", "report", "--corpus", "corpus", "--html", "corpus.html")
    recorded = json.loads((OLD / "corpus" / "statistics.json").read_text(encoding="utf-8"))
    # A search that finds nothing is reported differently from how it is recorded.
    same = recorded.keys() - {"secrets", "contamination"}
    assert recorded["documents"] == 24 and {name: found[name] for name in same} == {name: recorded[name] for name in same}
    assert "<html" in (old / "corpus.html").read_text(encoding="utf-8")


def test_windows_are_trained_on(old: Path) -> None:
    from codeparrot.config import StreamConfig
    from codeparrot.stream import ConstantLengthDataset, make_encoder

    config = StreamConfig(train="windows", valid="windows", seq_length=64, lanes=2)
    encoder = make_encoder((old / "tokenizer" / "tokenizer.json").read_text(encoding="utf-8"), 0)
    batch = next(ConstantLengthDataset(config, encoder, seed=0).batches(8))
    windows = {tuple(window) for window in np.load("windows/train-00000.npy").reshape(-1, 64).tolist()}
    assert batch.shape == (8, 64) and {tuple(window) for window in batch.tolist()} <= windows


def test_an_evaluation_is_complete_and_compared(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    require("bwrap", "generated programs run in it")
    samples = (old / EVALUATION / "samples.jsonl").read_bytes()
    recorded = json.loads((old / EVALUATION / "report.json").read_text(encoding="utf-8"))
    command = ["eval", "humaneval", "--checkpoint", CHECKPOINT, "--problems", "problems.jsonl"]
    command += ["--samples", "2", "--temperature", "0.5", "--max_new_tokens", "8", "--k", "1"]
    assert main(command) == 1, "that version knew no healing"
    assert "prompt_style exact (now healed)" in capsys.readouterr().err
    found = said(capsys, *command, "--prompt_style", "exact")
    assert (old / EVALUATION / "samples.jsonl").read_bytes() == samples, "nothing is generated again"
    for row, before in zip(found["by_temperature"], recorded["by_temperature"], strict=True):
        # The interval of none of two problems had no width then; now it ends at 1 - 0.025 ** (1 / 2).
        assert before["pass@1"].pop("high") == 0 and row["pass@1"].pop("high") == pytest.approx(0.8419, abs=1e-4)
        assert row == before
    shutil.copytree(OLD / "run" / "eval" / "problems" / "step_00000004", old / "before")
    compared = said(capsys, "eval", "compare", "before", EVALUATION, "--k", "1")["comparisons"]
    assert [(each["p_value"], each["difference"]["mean"]) for each in compared] == [(1.0, 0.0)]


def test_a_resolved_configuration_means_what_it_meant(old: Path) -> None:
    import yaml

    from codeparrot.arguments import load_config
    from codeparrot.config import Config
    from codeparrot.setting import in_todays_names, renamed

    path = old / "runs" / "old" / "config.yaml"
    config = load_config(path)
    for section, fields in in_todays_names(yaml.safe_load(path.read_text(encoding="utf-8")), renamed(Config)).items():
        for name, value in fields.items() if isinstance(fields, dict) else ():
            assert (config.model if section == "model" else vars(getattr(config, section)))[name] == value, f"{section}.{name}"


@pytest.mark.slow
def test_the_order_of_a_run_is_that_in_which_it_was_begun_unless_another_is_asked_for(old: Path) -> None:
    """Version 0.1 knew the order of the documents only, and did not record it."""

    def train(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return completed([str(SCRIPTS / "codeparrot"), "train", "--config", "config.yaml", *arguments], old)

    refused = train("--stream.order", "windows")
    assert refused.returncode == 1
    assert "was trained with other settings (stream.order: documents -> windows)" in refused.stderr
    data = train("--stream.train", "corpus/valid-00000-of-00001.parquet")
    assert data.returncode == 1 and "stream.train holds different files" in data.stderr
    # A new phase from its checkpoint, in the order asked for; and one that goes on in its order.
    phase = train("--run.name", "phase", "--resume", CHECKPOINT, "--stream.order", "windows")
    assert phase.returncode == 0, phase.stderr
    assert "stream.order documents; set it back to go on at its position: the stream starts at its beginning" in phase.stderr
    on = train("--run.name", "on", "--resume", CHECKPOINT)
    assert on.returncode == 0, on.stderr
    assert "the run was begun with stream.order documents and goes on in it" in on.stderr
    recorded = {name: (old / "runs" / name / "config.yaml").read_text(encoding="utf-8") for name in ("phase", "on")}
    assert "order: windows" in recorded["phase"] and "order: documents" in recorded["on"]
    assert losses(old / "runs" / "on" / "metrics.jsonl")[8] == pytest.approx(
        losses(OLD / "expected" / "metrics.jsonl")[8], rel=1e-5
    )
    # Other data: the position means nothing there, and neither does the order.
    other = train("--run.name", "other", "--resume", CHECKPOINT, "--stream.train", "corpus/valid-00000-of-00001.parquet")
    assert other.returncode == 0, other.stderr
    assert "order: windows" in (old / "runs" / "other" / "config.yaml").read_text(encoding="utf-8")
    # What is recorded is what a resume takes, whatever would be derived today.
    new = train("--run.name", "new", "--train.max_steps", "4", "--stream.block_windows", "7")
    assert new.returncode == 0, new.stderr
    again = train("--run.name", "new", "--train.max_steps", "6")
    assert again.returncode == 1 and "max_steps" in again.stderr
    again = train("--run.name", "longer", "--resume", "runs/new", "--train.max_steps", "6")
    assert again.returncode == 0, again.stderr
    assert "block_windows: 7" in (old / "runs" / "longer" / "config.yaml").read_text(encoding="utf-8")
    assert "starts at its beginning" not in again.stderr
