"""Nothing but checkpoints, configuration and data can stop a resume."""

import json
import shutil
from pathlib import Path

import pytest

from codeparrot.config import Config, RunConfig
from codeparrot.errors import CodeparrotError
from codeparrot.loading import find_model
from codeparrot.run.curves import read
from codeparrot.run.origin import ORIGIN, read_origin
from codeparrot.run.reports import reports_of
from codeparrot.training.run_directory import RunDirectory, write_config
from tests.launching import curve, lines, run, weights
from tests.launching import write_config as write_recipe
from tests.publishing.test_card import report

ZEROS = bytes(512)
SIDE_FILES = ("metrics.jsonl", "anomalies.jsonl", "log/samples.jsonl", "status.json", "origin.json")


@pytest.mark.slow
def test_a_run_goes_on_from_its_checkpoints_whatever_has_become_of_the_files_beside_them(
    tmp_path, corpus, tokenizer_folder
) -> None:
    sampled = {"every_steps": 8, "sample_tokens": 2, "prompts": ["def "], "micro_batch_size": 64}
    config = write_recipe(tmp_path / "c.yaml", corpus, tokenizer_folder, evaluate=sampled)
    run(config)
    whole, tiny = tmp_path / "runs" / "whole", tmp_path / "runs" / "tiny"
    shutil.copytree(tiny, whole)
    for step in (16, 24):
        shutil.rmtree(tiny / "checkpoints" / f"step_{step:08d}")
    for name in SIDE_FILES:
        path = tiny / name
        content = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        # A crashed node left zeros in the middle and at the end.
        path.write_bytes(b"".join([*content[:2], ZEROS + b"\n", b"\n", *content[2:], ZEROS]))
    (tiny / "config.yaml").write_bytes(ZEROS)
    (tiny / "log" / "rank_00000.log").unlink()
    (tiny / "log" / "rank_00000.log").mkdir()
    (tiny / "plots" / "loss.png").write_bytes(ZEROS)
    _, err = run(config)
    assert "resumed at step 8" in err and "Traceback" not in err
    for name in SIDE_FILES[:3]:
        assert err.count(f"{name}: passed over 2 lines that are damaged, blank or foreign") == 1
    assert err.count("cannot write") == 1 and "rank_00000.log" in err
    assert curve(tiny) == curve(whole) and weights(tiny) == weights(whole)
    assert len(lines(tiny)) == len(lines(whole))
    assert json.loads((tiny / "status.json").read_text(encoding="utf-8"))["state"] == "finished"
    assert read_origin(tiny) == read_origin(whole)
    assert (tiny / "config.yaml").read_bytes() == (whole / "config.yaml").read_bytes()


@pytest.mark.slow
def test_a_diverged_run_ends_with_its_advice_and_not_in_its_samples(tmp_path, corpus, tokenizer_folder) -> None:
    config = write_recipe(
        *(tmp_path / "c.yaml", corpus, tokenizer_folder),
        optim={"lr": 1e30, "clip_norm": 0.0},
        schedule={"name": "constant", "warmup_steps": 0},
        evaluate={"every_steps": 4, "sample_tokens": 4, "micro_batch_size": 64},
        train={"max_skipped_steps": 6},
    )
    _, err = run(config, status=1)
    assert "no samples at step 4: the model's probabilities are not finite" in err
    assert "steps in a row up to step" in err and "lower optim.lr" in err and "Traceback" not in err
    samples = (tmp_path / "runs" / "tiny" / "log" / "samples.jsonl").read_text(encoding="utf-8").splitlines()
    assert {json.loads(line)["step"] for line in samples} == {0}


def test_files_that_cannot_be_written_at_the_start_end_a_new_run_and_no_other(tmp_path, caplog) -> None:
    config = Config(run=RunConfig(name="run", dir=str(tmp_path)))
    for name in (ORIGIN, "config.yaml"):
        (tmp_path / "run" / name).mkdir(parents=True)
    with pytest.raises(CodeparrotError, match=r"cannot write .*config\.yaml: .*\(run\.dir\)"):
        write_config(config)
    (tmp_path / "run" / "checkpoints" / "step_00000004").mkdir(parents=True)
    RunDirectory(config, main=True).write_origin({"step": 0, "stream": {}, "from": None})
    write_config(config)
    assert [text.count("cannot write") for text in caplog.messages] == [1, 1]


@pytest.mark.parametrize("content", ["", "\0" * 64, "[]", "{}", '{"step": 0}', '{"step": "0", "stream": {}, "from": null}'])
def test_an_origin_that_no_run_wrote_is_refused_with_what_to_do(tmp_path, content) -> None:
    (tmp_path / ORIGIN).write_text(content, encoding="utf-8")
    with pytest.raises(CodeparrotError, match=r"origin\.json cannot be read .*train it on to write it"):
        read_origin(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        *("", "\0" * 64, "[1]", "{}", '{"best": {}}', report("humaneval", 0.5).replace('"mean": 0.5', '"mean": "much"')),
        report("humaneval", 0.5).replace('"humaneval"', "7"),
        *(
            json.dumps(json.loads(report("humaneval", 0.5)) | other)
            for other in (
                {"problems": "all"},
                {"samples": None},
                {"settings": []},
                {"tokens": 10**400},
                {"pass@1": float("inf")},
            )
        ),
    ],
)
def test_a_report_that_no_evaluation_wrote_is_passed_over_and_named(tmp_path, content, caplog) -> None:
    def write(step: str, text: str) -> Path:
        path = tmp_path / "eval" / "humaneval" / step / "report.json"
        path.parent.mkdir(parents=True)
        path.write_text(text, encoding="utf-8")
        return path

    write("step_00000008", report("humaneval", 0.25))
    damaged, foreign = write("step_00000016", content), write("step_best", report("humaneval", 0.5))
    assert [(step, found["pass@1"]) for step, found in reports_of(tmp_path)] == [(8, 0.25)]
    assert [str(path) in text for path, text in zip((damaged, foreign), caplog.messages, strict=True)] == [True, True]


def test_a_picture_of_a_run_is_drawn_beside_damaged_lines(tmp_path) -> None:
    rows = [json.dumps({"step": step, "tokens": step, "loss": 1.0}).encode() for step in range(1, 5)]
    (tmp_path / "metrics.jsonl").write_bytes(b"\n".join([rows[0], ZEROS, b"", *rows[1:], ZEROS]))
    assert read(tmp_path).loss.tokens == [1, 2, 3, 4]


@pytest.mark.parametrize("content", [b"", ZEROS, b"[]", b"[" * 100_000])
def test_a_run_means_its_newest_checkpoint_whose_manifest_can_be_read(tmp_path, content, caplog) -> None:
    for step, text in ((8, b"{}"), (16, content)):
        model = tmp_path / "checkpoints" / f"step_{step:08d}" / "model"
        model.mkdir(parents=True)
        (model / "config.json").write_text("{}", encoding="utf-8")
        (model.parent / "manifest.json").write_bytes(text)
    assert find_model(str(tmp_path)) == str(tmp_path / "checkpoints" / "step_00000008" / "model")
    assert "passing over" in caplog.text and "step_00000016" in caplog.text
