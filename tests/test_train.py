"""The loop, in real processes: exact resume, equality over processes and splits, stopping, refusals."""

import json
import math
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from codeparrot.config import Config, TrainConfig
from codeparrot.eval.tasks.perplexity import Score
from codeparrot.model.families import model_config, num_parameters
from codeparrot.model.flops import flops_per_token
from codeparrot.result import STOPPED
from codeparrot.run.progress import Progress
from codeparrot.train import outcome
from codeparrot.training.agreement import Agreement
from codeparrot.training.left_out import LeftOut
from tests.launching import TINY, curve, kill_behind_step, lines, run, start, stop_behind_step, weights, write_config


@pytest.fixture(scope="module")
def reference(tmp_path_factory, corpus, tokenizer_folder) -> Path:
    """An uninterrupted run of 24 steps on one process, with checkpoints at 8, 16 and 24."""
    folder = tmp_path_factory.mktemp("reference")
    run(write_config(folder / "c.yaml", corpus, tokenizer_folder))
    return folder / "runs" / "tiny"


def test_the_run_directory_is_the_contracts(reference) -> None:
    assert {path.name for path in (reference / "checkpoints").iterdir()} == {f"step_{step:08d}" for step in (8, 16, 24)}
    checkpoint = reference / "checkpoints" / "step_00000024"
    assert {path.name for path in checkpoint.iterdir()} == {"model", "state", "stream.json", "manifest.json"}
    for path in ("config.yaml", "log/rank_00000.log", "plots/loss.png", "metrics.jsonl", "status.json"):
        assert (reference / path).is_file()
    assert json.loads((reference / "status.json").read_text(encoding="utf-8"))["state"] == "finished"
    last = lines(reference)[-1]
    assert set(last) == {
        *("step", "tokens", "loss", "lr", "grad_norm", "tokens_per_second", "mfu", "tflops_per_device", "data_wait_fraction"),
        *("skipped_steps", "peak_memory_bytes", "parameters", "flops"),
    }
    assert (last["step"], last["tokens"]) == (24, 24 * 8 * 32)
    settings = model_config(TINY["model"])
    assert last["parameters"] == num_parameters(settings)
    assert last["flops"] == last["tokens"] * flops_per_token(settings, 32)
    assert curve(reference)[-1][1] < curve(reference)[0][1] - 0.3


def test_the_checkpoint_loads_as_a_transformers_model_with_its_tokenizer(reference) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = reference / "checkpoints" / "step_00000024" / "model"
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer("import os", return_tensors="pt")["input_ids"]
    assert torch.isfinite(model(ids).logits).all()
    assert model.config.eos_token_id == tokenizer.eos_token_id == 0
    tied = model.state_dict()
    assert tied["lm_head.weight"].data_ptr() == tied["transformer.wte.weight"].data_ptr()


@pytest.mark.parametrize(("begin", "state"), [(0, "finished"), (24, "was finished already")])
def test_a_finished_run_says_so_and_how_to_go_further(begin, state) -> None:
    config = Config(train=TrainConfig(max_steps=24))
    saved = SimpleNamespace(saved_step=24)
    nothing = LeftOut(config, cast(Agreement, None), main=True, step=begin)
    result = outcome(config, Progress(begin, 0), Progress(24, 4096), None, saved, nothing, unmeasured=False)
    assert result.text.splitlines() == [
        f"{config.run_directory}: {state}, trained to step 24, 4,096 tokens",
        f"try it: codeparrot complete --checkpoint {config.run_directory}; go further: the same command with "
        f"--resume {config.run_directory} --run.name NAME --train.max_steps 48",
    ]


def test_tokens_are_those_of_the_run_and_not_of_its_evaluation() -> None:
    config = Config(train=TrainConfig(max_steps=24))
    nothing = LeftOut(config, cast(Agreement, None), main=True, step=0)
    score = Score(1.0, math.e, 0.5, 77)
    found = outcome(
        config, Progress(0, 0), Progress(24, 4096), score, SimpleNamespace(saved_step=24), nothing, unmeasured=False
    )
    assert (found.data["tokens"], found.data["eval_tokens"], found.data["bits_per_byte"]) == (4096, 77, 0.5)


@pytest.mark.parametrize(
    ("step", "unmeasured", "text"),
    [
        (0, False, "stopped at step 0 of 24, before the first one; run the same command again to go on"),
        (9, False, "stopped at step 9 of 24, saved; run the same command again to go on"),
        (24, True, "stopped at step 24 of 24, saved; run the same command again for its evaluation, which was interrupted"),
    ],
)
def test_a_stopped_run_says_what_is_saved_and_what_is_missing(step, unmeasured, text) -> None:
    config = Config(train=TrainConfig(max_steps=24))
    nothing = LeftOut(config, cast(Agreement, None), main=True, step=0)
    saved = SimpleNamespace(saved_step=step)
    result = outcome(config, Progress(0, 0), Progress(step, 4096), None, saved, nothing, unmeasured)
    assert (result.text, result.data["stopped"], result.status) == (text, True, STOPPED)


@pytest.mark.slow
@pytest.mark.parametrize("num_processes", [1, 2, 4])
def test_sigkill_and_resume_twice_give_the_bits_of_the_uninterrupted_run(
    tmp_path, corpus, tokenizer_folder, reference, num_processes
) -> None:
    config = write_config(tmp_path / "c.yaml", corpus, tokenizer_folder)
    if num_processes > 1:
        run(config, "--run.name", "whole", num_processes=num_processes)
    whole = tmp_path / "runs" / "whole" if num_processes > 1 else reference
    tiny = tmp_path / "runs" / "tiny"
    for step in (11, 19):
        # Training waits for saves, so the checkpoint before the kill certainly exists.
        process = start(config, "--checkpoint.background", "false", num_processes=num_processes)
        kill_behind_step(process, tiny / "metrics.jsonl", step)
    _, err = run(config, num_processes=num_processes)
    assert "resumed at step 16" in err or "resumed at step 24" in err
    assert curve(tiny) == curve(whole)
    assert weights(tiny) == weights(whole)


@pytest.mark.slow
def test_two_processes_see_the_losses_of_one(tmp_path, corpus, tokenizer_folder, reference) -> None:
    run(write_config(tmp_path / "c.yaml", corpus, tokenizer_folder), num_processes=2)
    for (step, ours, our_norm), (same, theirs, their_norm) in zip(
        curve(tmp_path / "runs" / "tiny"), curve(reference), strict=True
    ):
        assert step == same
        assert ours == pytest.approx(theirs, rel=1e-5)
        assert our_norm == pytest.approx(their_norm, rel=1e-3)


@pytest.mark.slow
def test_a_run_of_two_processes_goes_on_with_one_and_sees_the_same_batches(
    tmp_path, corpus, tokenizer_folder, reference
) -> None:
    config = write_config(tmp_path / "c.yaml", corpus, tokenizer_folder)
    tiny = tmp_path / "runs" / "tiny"
    kill_behind_step(start(config, "--checkpoint.background", "false", num_processes=2), tiny / "metrics.jsonl", 13)
    run(config, "--train.micro_batch_size", "4")
    for (_, ours, _), (_, theirs, _) in zip(curve(tiny), curve(reference), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("num_processes", [1, 2])
def test_ctrl_c_finishes_the_step_saves_and_says_how_to_go_on(
    tmp_path, corpus, tokenizer_folder, reference, num_processes
) -> None:
    config = write_config(tmp_path / "c.yaml", corpus, tokenizer_folder, checkpoint={"every_steps": 0})
    tiny = tmp_path / "runs" / "tiny"
    process = start(config, "--train.max_steps", "24", num_processes=num_processes)
    status, err = stop_behind_step(process, tiny / "metrics.jsonl", 5, signal.SIGINT)
    assert "what is done is saved first" in err
    if num_processes == 1:
        assert status == 75
    (saved,) = (tiny / "checkpoints").glob("step_*")
    step = int(saved.name[5:])
    assert 5 <= step < 24
    run(config, "--train.max_steps", "24", num_processes=num_processes)
    for (_, ours, _), (_, theirs, _) in zip(curve(tiny), curve(reference), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-5)


@pytest.mark.slow
def test_the_same_command_goes_on_where_a_named_checkpoint_was_only_the_beginning(
    tmp_path, corpus, tokenizer_folder, reference
) -> None:
    config = write_config(tmp_path / "c.yaml", corpus, tokenizer_folder)
    command = ["--resume", str(reference / "checkpoints" / "step_00000008")]
    process = start(config, *command)
    stop_behind_step(process, tmp_path / "runs" / "tiny" / "metrics.jsonl", 12, signal.SIGINT)
    _, err = run(config, *command)
    assert "resumed at step 8" not in err and "resumed at step" in err
    newest = tmp_path / "runs" / "tiny" / "checkpoints" / "step_00000024"
    # Going back to where it began would lose its steps.
    _, err = run(config, *command, "--optim.lr", "1e-3", status=1)
    assert f"{newest} was trained with other settings (optim.lr: 0.003 -> 0.001)" in err and f"--resume {newest}" in err
    _, err = run(tmp_path / "runs" / "tiny" / "config.yaml", "--train.max_steps", "26", status=1)
    assert "(train.max_steps: 24 -> 26)" in err and newest.exists()
    _, err = run(config, "--resume", str(newest), "--train.max_steps", "26")
    assert "resumed at step 24" in err


@pytest.mark.slow
def test_a_run_without_a_whole_checkpoint_does_not_begin_again_in_silence(
    tmp_path, corpus, tokenizer_folder, reference
) -> None:
    config = write_config(tmp_path / "c.yaml", corpus, tokenizer_folder)
    tiny = tmp_path / "runs" / "tiny"
    shutil.copytree(reference, tiny)
    for place in (tiny / "checkpoints").iterdir():
        shutil.rmtree(place / "state")
    _, err = run(config, status=1)
    assert "none is complete" in err and str(tiny) in err and "run.name" in err and "Traceback" not in err
    assert curve(tiny) == curve(reference) and weights(tiny) == weights(reference)
    shutil.rmtree(tiny / "checkpoints")
    _, err = run(config)
    assert "step 24 was reached and there is no checkpoint: the run begins again" in err
    assert (tiny / "metrics.jsonl.before").read_bytes() == (reference / "metrics.jsonl").read_bytes()
    assert curve(tiny) == curve(reference) and weights(tiny) == weights(reference)


@pytest.mark.slow
def test_checkpoints_that_do_not_fit_the_disk_cost_no_step_and_no_older_checkpoint(
    tmp_path, corpus, tokenizer_folder, reference
) -> None:
    config = write_config(tmp_path / "c.yaml", corpus, tokenizer_folder)
    tiny = tmp_path / "runs" / "tiny"
    kill_behind_step(start(config, "--checkpoint.background", "false"), tiny / "metrics.jsonl", 11)
    _, err = run(config, status=1, largest_file=250_000)
    assert "checkpoint of step 16 was not written" in err and "it needs 514,560 bytes" in err and "bytes free" in err
    assert "make room on the disk" in err and "it goes on from step 8" in err and "Traceback" not in err
    assert curve(tiny) == curve(reference)
    assert [path.name for path in (tiny / "checkpoints").iterdir()] == ["step_00000008"]
    run(config)
    assert curve(tiny) == curve(reference) and weights(tiny) == weights(reference)


@pytest.mark.slow
def test_checkpoints_are_due_by_time(tmp_path, corpus, tokenizer_folder) -> None:
    by_time = {"every_steps": 0, "every_minutes": 1e-6, "keep_last": 100}
    run(write_config(tmp_path / "c.yaml", corpus, tokenizer_folder, train={"max_steps": 4}, checkpoint=by_time))
    saved = sorted(path.name for path in (tmp_path / "runs" / "tiny" / "checkpoints").iterdir())
    assert saved == [f"step_{step:08d}" for step in (1, 2, 3, 4)]


@pytest.mark.slow
def test_a_finished_run_is_not_trained_again(reference) -> None:
    before = (reference / "metrics.jsonl").read_text(encoding="utf-8")
    out, _ = run(reference / "config.yaml")
    assert "trained to step 24" in out
    assert (reference / "metrics.jsonl").read_text(encoding="utf-8") == before


@pytest.mark.slow
def test_a_changed_configuration_is_refused_with_the_difference_and_loses_nothing(reference) -> None:
    before = {path: path.stat().st_mtime_ns for path in reference.rglob("*") if path.is_file() and path.name != ".lock"}
    _, err = run(reference / "config.yaml", "--optim.lr", "0.5", status=1)
    assert "optim.lr: 0.003 -> 0.5" in err and "--resume" in err and "run.name" in err
    assert "Traceback" not in err
    _, err = run(reference / "config.yaml", "--resume", "never", status=1)
    assert "holds 3 checkpoints" in err
    after = {path: path.stat().st_mtime_ns for path in before}
    changed = [path.name for path in before if before[path] != after[path]]
    assert changed in ([], ["rank_00000.log"])


@pytest.mark.slow
def test_a_named_checkpoint_goes_on_with_changed_settings_in_another_run(tmp_path, reference) -> None:
    source = reference / "checkpoints" / "step_00000008"
    arguments = ["--run.name", "branch", "--run.dir", str(tmp_path), "--resume", str(source), "--optim.lr", "1e-3"]
    run(reference / "config.yaml", *arguments)
    steps = [step for step, _, _ in curve(tmp_path / "branch")]
    assert steps == list(range(9, 25))
    _, err = run(reference / "config.yaml", "--run.name", "x", "--run.dir", str(tmp_path), "--resume", "nowhere", status=1)
    assert "cannot resume from nowhere" in err


@pytest.mark.slow
def test_evaluation_samples_and_trackers_are_written(tmp_path, corpus, tokenizer_folder) -> None:
    config = write_config(
        *(tmp_path / "c.yaml", corpus, tokenizer_folder),
        train={"max_steps": 4, "log_every_steps": 2, "precision": "bf16", "global_batch_size": 8, "micro_batch_size": 4},
        evaluate={"every_steps": 2, "micro_batch_size": 128, "sample_tokens": 8, "prompts": ["def f("]},
        tracking={"trackers": ["tensorboard"]},
        schedule={"warmup_steps": 1},
    )
    out, _ = run(config, "--json")
    tiny = tmp_path / "runs" / "tiny"
    evaluations = [line for line in lines(tiny) if "eval_loss" in line]
    assert [line["step"] for line in evaluations] == [0, 2, 4]
    assert evaluations[0]["perplexity"] == pytest.approx(512, rel=0.1)  # a new model has learned nothing
    assert 0 < evaluations[0]["bits_per_byte"] < 9
    facts = json.loads(out)
    assert facts["loss"] == evaluations[-1]["eval_loss"] and facts["step"] == 4
    samples = [json.loads(line) for line in (tiny / "log" / "samples.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [(sample["step"], sample["prompt"]) for sample in samples] == [(0, "def f("), (2, "def f("), (4, "def f(")]
    assert list(tiny.rglob("events.out.tfevents*"))


@pytest.mark.slow
def test_a_llama_is_trained_by_changing_the_yaml(tmp_path, corpus, tokenizer_folder) -> None:
    sizes = {"vocab_size": 512, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    config = write_config(tmp_path / "c.yaml", corpus, tokenizer_folder, train={"max_steps": 3}, schedule={"warmup_steps": 1})
    text = json.loads(json.dumps({"family": "llama", **sizes, "num_attention_heads": 2, "max_position_embeddings": 32}))
    import yaml

    settings = yaml.safe_load(config.read_text(encoding="utf-8"))
    config.write_text(yaml.safe_dump({**settings, "model": text}), encoding="utf-8")
    out, _ = run(config)
    assert "trained to step 3" in out
    folder = tmp_path / "runs" / "tiny" / "checkpoints" / "step_00000003" / "model"
    assert json.loads((folder / "config.json").read_text(encoding="utf-8"))["model_type"] == "llama"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model.vocab_size", "100"], "model.vocab_size 100 is smaller than the 512 tokens"),
        (["--model.n_lyer", "3"], 'did you mean "n_layer"'),
        (["--stream.seq_length", "64"], "stream.seq_length 64 is longer than model.n_positions 32"),
        (["--tokenizer.path", "/nowhere/t"], "/nowhere/t"),
        (["--stream.train", "/nowhere/*.parquet"], "stream.train: /nowhere/*.parquet matches nothing"),
        (["--run.dir", "/proc/nowhere"], "cannot write /proc/nowhere/"),
        (["--train.precision", "fp16"], "train.precision fp16 needs a GPU"),
    ],
)
def test_what_does_not_fit_fails_in_one_line(tmp_path, corpus, tokenizer_folder, arguments, message) -> None:
    _, err = run(write_config(tmp_path / "c.yaml", corpus, tokenizer_folder), *arguments, status=1)
    assert message in err
    assert err.strip().splitlines()[-1].startswith("codeparrot: error: ") and "Traceback" not in err


@pytest.mark.slow
def test_a_second_trainer_in_the_same_run_directory_is_refused(tmp_path, corpus, tokenizer_folder) -> None:
    import fcntl

    config = write_config(tmp_path / "c.yaml", corpus, tokenizer_folder)
    (tmp_path / "runs" / "tiny").mkdir(parents=True)
    with (tmp_path / "runs" / "tiny" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _, err = run(config, status=1)
    assert "another process is training in" in err


@pytest.mark.slow
def test_several_processes_asked_for_and_one_started_is_an_error(tmp_path, corpus, tokenizer_folder) -> None:
    import subprocess

    from tests.launching import ROOT, SCRIPTS

    config = write_config(tmp_path / "c.yaml", corpus, tokenizer_folder)
    command = [str(SCRIPTS / "accelerate"), "launch", "--cpu", "--num_processes", "2", str(ROOT / "codeparrot" / "train.py")]
    done = subprocess.run([*command, "--config", str(config)], capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode != 0
    assert "was asked for 2 processes and started one" in done.stderr
