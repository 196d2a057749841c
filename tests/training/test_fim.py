"""A run with fill-in-the-middle resumes exactly, is the same on two processes, and says what it did."""

import json
import re
from pathlib import Path

import pytest

from codeparrot.inspect_batch import inspect
from codeparrot.publishing.made_from import recipe
from codeparrot.run.checkpoint import read_manifest
from codeparrot.tokenizer.train import train
from tests.launching import curve, lines, run, write_config


@pytest.fixture(scope="module")
def tokenizer(corpus, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer") / "t"
    train(str(corpus), str(folder), vocab_size=512, sample_bytes=300_000)
    return folder


@pytest.mark.slow
def test_a_run_resumes_exactly_and_is_the_same_on_two_processes(tmp_path, corpus, tokenizer) -> None:
    config = write_config(
        *(tmp_path / "c.yaml", corpus, tokenizer),
        objective={"name": "causal", "fim_rate": 0.5},
        train={"max_steps": 8},
        evaluate={"every_steps": 4, "sample_tokens": 0, "micro_batch_size": 64},
        checkpoint={"every_steps": 4},
    )
    _, said = run(config)
    whole = tmp_path / "runs" / "tiny"
    assert re.search(r"objective +causal language modelling; fill-in-the-middle in 50% of the documents", said)
    assert re.search(r"middles +[1-9][\d,]* tokens of middles at each evaluation", said) and " | middle_loss " in said
    measured = {line["step"]: line["middle_loss"] for line in lines(whole) if "eval_loss" in line}
    assert list(measured) == [0, 4, 8] and measured[8] < measured[0]

    # From the checkpoint of step 4, on its own and in the folder of the run.
    run(config, "--run.name", "again", "--resume", str(whole / "checkpoints" / "step_00000004"))
    again = tmp_path / "runs" / "again"
    assert curve(again) == curve(whole)[4:]
    assert [line["middle_loss"] for line in lines(again) if "eval_loss" in line] == [measured[8]]

    # Two processes: the same batches and middles; sums are rounded in another order.
    run(config, "--run.name", "two", num_processes=2)
    two = tmp_path / "runs" / "two"
    assert [loss for _, loss, _ in curve(two)] == pytest.approx([loss for _, loss, _ in curve(whole)], rel=1e-5)
    middles = [line["middle_loss"] for line in lines(two) if "eval_loss" in line]
    assert middles == pytest.approx(list(measured.values()), rel=1e-5)

    shown = inspect(str(whole), 6)
    for word in ("- prefix, tokens ", "- suffix, tokens ", "- middle, tokens ", "<fim_middle>", "<fim_suffix>", "<fim_prefix>"):
        assert word in shown.text
    parts = [part for window in shown.data["windows"] for document in window["documents"] for part in document.get("parts", [])]
    assert {part["name"] for part in parts} == {"prefix", "suffix", "middle"}
    assert inspect(str(two), 6).data["windows"] == shown.data["windows"]
    manifest = read_manifest(whole / "checkpoints" / "step_00000008")
    assert any(
        "fill-in-the-middle in 50% of the documents, in 50% of these the suffix first" in line
        for line in recipe(manifest["config"], None)
    )

    # Other settings are another run; naming the checkpoint begins the stream anew.
    _, said = run(config, "--objective.fim_rate", "0.6", status=1)
    assert "objective.fim_rate: 0.5 -> 0.6" in said
    named = str(whole / "checkpoints" / "step_00000004")
    _, said = run(config, "--objective.fim_rate", "0.6", "--run.name", "other", "--resume", named)
    assert "fim_rate 0.5 fim_spm_rate 0.5 fim_level character, not fim_rate 0.6" in said and "starts at its beginning" in said
    assert json.loads((tmp_path / "runs" / "other" / "origin.json").read_text())["step"] == 4
