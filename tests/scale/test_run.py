"""A series is planned, made, interrupted and taken up again."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from codeparrot.cli import main
from tests.launching import SCRIPTS, lines, started, write_config
from tests.scale.series import EVALUATED, NAMES, SMALL, as_json, scale_run, starts, terminated_when_begun
from tests.warm import BELOW


def test_a_dry_run_prints_the_rule_and_the_runs_and_writes_nothing(recipe, capsys) -> None:
    before = sorted(recipe.parent.rglob("*"))
    assert scale_run(recipe, *SMALL, "--dry_run") == 0
    text = capsys.readouterr().out
    assert "width = 32 * depth / 2, in heads of 16" in text and "0.003 * (width / 32) ^ -0.5" in text
    assert [line.split()[0] for line in text.splitlines() if line.startswith("tiny-")] == NAMES
    facts = as_json(recipe, capsys, *SMALL, "--dry_run")
    assert [run["name"] for run in facts["runs"]] == NAMES and {run["loss"] for run in facts["runs"]} == {None}
    assert sorted(recipe.parent.rglob("*")) == before


def test_a_recipe_that_ships_is_known_by_its_name_and_settings_are_overridden(capsys) -> None:
    assert main(["scale", "run", "nano", "--dry_run", "--sizes", "2", "--lengths", "1", "--optim.lr", "0.1", "--json"]) == 0
    runs = json.loads(capsys.readouterr().out)["runs"]
    assert [(run["depth"], run["width"], run["heads"], run["lr"]) for run in runs] == [(3, 96, 3, 0.11547), (4, 128, 4, 0.1)]
    assert runs[-1]["steps"] == 1000


def test_lengths_have_one_name_and_an_older_one_is_understood(recipe, capsys) -> None:
    """A budget is FLOPs everywhere else."""
    said = [as_json(recipe, capsys, "--sizes", "1", flag, "2", "--dry_run") for flag in ("--lengths", "--budgets")]
    assert said[0] == said[1] and len(said[0]["runs"]) == 2
    assert scale_run(recipe, "--sizes", "1", "--lengths", "2", "--dry_run") == 0
    assert "\nlengths     " in (text := capsys.readouterr().out) and "budget" not in text
    with pytest.raises(SystemExit):
        main(["scale", "run", "--help"])
    assert "--lengths LENGTHS" in (text := capsys.readouterr().out) and "--budgets" not in text


def test_the_help_of_a_series_leaves_out_what_its_runs_cannot_have(capsys) -> None:
    with pytest.raises(SystemExit):
        main(["scale", "run", "--help"])
    shown = {word for line in capsys.readouterr().out.splitlines() if (word := line.strip().split(" ")[0]).startswith("--")}
    assert {"--optim.lr", "--hub.repo", "--schedule.name", "--output", "--run.name"} <= shown
    assert not shown & {"--resume", "--from", "--parent", "--hub.branch", "--run.dir", "--schedule.decay_now"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sizes", "3"], "--sizes 3: a base of 2 layers has 2 depths"),
        (["--sizes", "0"], "sizes is 0; it must be at least 1"),
        (["--workers", "0"], "workers is 0; it must be at least 1"),
        (["--lengths", "0"], "lengths is 0; it must be at least 1"),
        (["--sizes", "1", "--lengths", "20"], "are less than a step; give more --tokens_per_parameter, fewer --lengths"),
        (["--depths", "0"], "depths is 0; it must be at least 1"),
        (["--tokens", "0"], "tokens is 0.0; it must be above 0"),
        (["--tokens", "1e6", "--tokens_per_parameter", "5"], "are two ways to say how long runs are: give one of them"),
        (["--tokens_per_parameter", "-1"], "tokens_per_parameter is -1.0; it must be above 0"),
        (["--stream.valid", "[]"], "stream.valid is empty: a law is fitted to losses on validation documents"),
        (["--resume", "never"], "resume is never: each run of a series begins anew"),
        (["--model", '{"from": "x"}'], "begins with weights of its own, at step 0; leave model.from out"),
        (["--from", "runs/none@step_2"], "begins with weights of its own, at step 0; leave --from out"),
        (["--checkpoint.mirror", "s3://bucket/a"], "checkpoint.mirror is set: each run of a series would need one of its own"),
        (["--hub.branch", "one"], "hub.branch is set: each run of a series has a branch of its own"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_written(arguments, message, recipe, capsys) -> None:
    assert scale_run(recipe, *arguments) == 1
    assert message in capsys.readouterr().err
    assert not (recipe.parent / "scale").exists()


@pytest.mark.slow
def test_every_run_is_trained_once_and_finished_ones_are_kept(recipe, behave, capsys) -> None:
    facts = as_json(recipe, capsys, *SMALL)
    assert starts(recipe) == dict.fromkeys(NAMES, 1) and not facts["stopped"]
    assert {run["loss"] for run in facts["runs"]} == {2.5}
    for run in facts["runs"]:
        config = yaml.safe_load(Path(run["config"]).read_text(encoding="utf-8"))
        assert config["run"]["name"] == run["name"] and config["model"]["n_layer"] == run["depth"]
        assert Path(run["run"]) == recipe.parent / "scale" / "runs" / run["name"]
        assert not {"sizes", "output", "slurm", "workers"} & set(config)
    # A third length: only its runs are missing.
    assert scale_run(recipe, *SMALL, "2") == 0
    said = capsys.readouterr()
    assert "2 of 3 runs are finished already" in said.err and "codeparrot scale fit" in said.out
    assert starts(recipe) == dict.fromkeys([*NAMES, "tiny-d1-t2"], 1)
    assert scale_run(recipe, *SMALL) == 0
    assert "also holds runs of other series, which `scale fit` reads too: tiny-d1-t2" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("state", "status", "ends", "said"),
    [
        ("stopped", 75, 75, "stopped in run 2 of 2, tiny-d1-t1; the same command goes on with what is done"),
        ("running", 130, 130, "interrupted; the same command goes on with what is done"),
        ("failed", 1, 1, "tiny-d1-t1 failed (as told): its own words are above"),
        ("stopped", 0, 1, "tiny-d1-t1 failed (as told)"),
    ],
)
def test_a_run_that_does_not_end_ends_the_series_and_the_same_command_goes_on(
    state, status, ends, said, recipe, behave, capsys
) -> None:
    behave(tiny_d1_t1=[state, status])
    assert scale_run(recipe, *SMALL) == ends
    out = capsys.readouterr()
    assert said in out.out + out.err
    assert starts(recipe) == dict.fromkeys(NAMES, 1)
    behave()
    assert scale_run(recipe, *SMALL) == 0
    assert "1 of 2 runs are finished already" in capsys.readouterr().err
    assert starts(recipe) == {**dict.fromkeys(NAMES, 1), "tiny-d1-t1": 2}


@pytest.mark.slow
def test_a_signal_goes_on_to_the_run_at_work(recipe, behave, capsys) -> None:
    behave(tiny_d1_t1=["waits", 0])
    before = signal.getsignal(signal.SIGTERM)
    with terminated_when_begun(recipe, "tiny-d1-t1"):
        assert scale_run(recipe, *SMALL) == 75
    assert "stopped in run 2 of 2" in capsys.readouterr().out
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "key"),
    [
        (["--optim.lr", "0.1"], "optim.lr"),
        (["--lr_exponent", "1"], "optim.lr"),
        (["--model.n_head", "4"], "model.n_head"),
        (["--stream.valid", "elsewhere"], "stream.valid"),
        (["--schedule.warmup_steps", "8"], "schedule.warmup_steps"),
    ],
)
def test_a_run_that_was_made_with_other_settings_is_noticed(change, key, recipe, behave, capsys) -> None:
    assert scale_run(recipe, *SMALL) == 0
    assert scale_run(recipe, *SMALL, *change) == 1
    assert f"was made with {key} " in (said := capsys.readouterr().err) and "name another --output" in said
    assert starts(recipe) == dict.fromkeys(NAMES, 1)


@pytest.mark.slow
def test_settings_that_change_no_loss_may_change_and_a_run_that_has_not_begun_has_no_past(recipe, behave, capsys) -> None:
    assert scale_run(recipe, *SMALL) == 0
    assert scale_run(recipe, *SMALL, "--train.micro_batch_size", "4", "--checkpoint.keep_last", "1") == 0
    assert scale_run(recipe, "--depths", "1", "--tokens_per_parameter", "3", "--slurm") == 0
    assert scale_run(recipe, "--depths", "1", "--tokens_per_parameter", "3", "--optim.lr", "0.5") == 0
    written = yaml.safe_load((recipe.parent / "scale" / "configs" / "tiny-d1-t3.yaml").read_text(encoding="utf-8"))
    assert written["optim"]["lr"] == pytest.approx(0.5 * 2**0.5, rel=1e-5)


@pytest.mark.slow
def test_two_series_in_one_folder_wait_for_each_other(recipe, behave, capsys) -> None:
    from codeparrot import files

    (recipe.parent / "scale").mkdir()
    with files.locked(recipe.parent / "scale" / ".lock"):
        assert scale_run(recipe, *SMALL) == 1
    assert "another `codeparrot scale run` is at work in" in capsys.readouterr().err
    assert starts(recipe) == {}


def test_the_array_starts_each_configuration_once_in_the_way_of_pretrain_sh(recipe, capsys) -> None:
    folder = recipe.parent / "with spaces"
    facts = as_json(recipe, capsys, *SMALL, "--slurm", "--output", str(folder))
    script = Path(facts["array"])
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0
    text = script.read_text(encoding="utf-8")
    assert "#SBATCH --array=0-1\n" in text and "#SBATCH --requeue\n" in text and "#SBATCH --signal=USR1@300\n" in text
    pretrain = recipe.parent / "slurm" / "pretrain.sh"
    pretrain.parent.mkdir()
    pretrain.write_text('#!/usr/bin/env bash\nprintf "%s\\n" "$#" "$1"\n', encoding="utf-8")
    pretrain.chmod(0o755)
    given = []
    for task in range(2):
        variables = {**os.environ, "SLURM_ARRAY_TASK_ID": str(task)}
        said = subprocess.run(
            [str(script)], cwd=recipe.parent, env=variables, capture_output=True, text=True, check=True
        ).stdout
        count, config = said.splitlines()
        assert count == "1"
        given.append(config)
    assert given == [run["config"] for run in facts["runs"]] and len({*given}) == 2
    assert all(Path(config).is_file() for config in given)


@pytest.mark.slow
@pytest.mark.timeout(1200)  # six runs, on a busy machine
def test_a_series_is_interrupted_goes_on_and_is_fitted(tmp_path, corpus, tokenizer_folder, capsys) -> None:
    model = {"n_layer": 3, "n_embd": 48, "n_head": 3, "vocab_size": 512, "n_positions": 32}
    recipe = write_config(tmp_path / "recipe.yaml", corpus, tokenizer_folder, model=model, **EVALUATED)
    asked = ["--sizes", "3", "--tokens_per_parameter", "0.1", "0.4"]
    command = [
        str(SCRIPTS / "codeparrot"),
        "scale",
        "run",
        "--config",
        str(recipe),
        "--output",
        str(tmp_path / "scale"),
        *asked,
    ]
    # The runs are forked from the command's process and stay in its process group, which takes the signal as from a terminal.
    environment = {**os.environ, BELOW: "1"}
    process = started(command, tmp_path, environment)
    second = tmp_path / "scale" / "runs" / "tiny-d1-t0.4"
    deadline = time.monotonic() + 240
    while not (second / "metrics.jsonl").exists() or '"step": 5,' not in (second / "metrics.jsonl").read_text():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 75, err[-3000:]
    assert "stopped in run 2 of 6, tiny-d1-t0.4; the same command goes on with what is done" in out

    process = started([*command, "--json"], tmp_path, environment)
    out, err = process.communicate(timeout=580)
    assert process.returncode == 0, err[-3000:]
    assert "1 of 6 runs are finished already" in err and "left, at the speed of the run before" in err
    facts = json.loads(out)
    for run in facts["runs"]:
        measured = [line for line in lines(Path(run["run"])) if line.get("eval_loss") is not None]
        assert run["loss"] == measured[-1]["eval_loss"] and measured[-1]["tokens"] == run["tokens"]
        assert [line["step"] for line in lines(Path(run["run"])) if "loss" in line] == sorted(
            {line["step"] for line in lines(Path(run["run"])) if "loss" in line}
        )
    capsys.readouterr()
    fitted = main(["scale", "fit", str(tmp_path / "scale"), "--output", str(tmp_path / "law"), "--draws", "5", "--json"])
    said = capsys.readouterr()
    assert fitted == 0, said.err
    law = json.loads(said.out)
    assert law["runs"] == 6 and law["counted"] == "total" and law["largest"]["parameters"] == facts["runs"][-1]["parameters"]
