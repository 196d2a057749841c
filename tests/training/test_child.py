"""A run that begins at a checkpoint of another is that run, to the last bit, until its learning rate falls."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.launching import (
    ROOT,
    SCRIPTS,
    curve,
    kill_behind_step,
    lines,
    run,
    start,
    started,
    train_command,
    weights,
    write_config,
)

pytestmark = pytest.mark.slow

SCHEDULE = {"name": "wsd", "warmup_steps": 4, "decay_fraction": 0.25}
AT, LAST = 16, 20
"""Step at which the children begin, and at which they end with decay_now 0.2. The parent is constant up to step 18."""


@pytest.fixture(scope="module")
def begin(tmp_path_factory: pytest.TempPathFactory, corpus: Path, tokenizer_folder: Path) -> Path:
    """The folder of a parent that two processes trained: 24 steps, a checkpoint each 8."""
    folder = tmp_path_factory.mktemp("family")
    changes: Any = {"schedule": SCHEDULE, "run": {"name": "a"}, "train": {"log_every_steps": 1}}
    config = write_config(folder / "tiny.yaml", corpus, tokenizer_folder, **changes)
    run(config, num_processes=2)
    return folder


@pytest.fixture
def family(begin: Path, tmp_path: Path) -> Path:
    """A copy of the parent's run directory, in a folder of runs of its own."""
    shutil.copytree(begin / "runs", tmp_path / "runs")
    return tmp_path / "runs"


def child(family: Path, name: str, *arguments: str, **options: Any) -> Any:
    """Start a cool-down of step 16, by this line alone."""
    words = ["--from", f"{family / 'a'}@step_{AT}", "--run.name", name, "--schedule.decay_now", "0.2", *arguments]
    return started([*train_command(options.get("num_processes", 1), options.get("launch", "ddp")), *words], ROOT)


def ended(process: Any, status: int = 0) -> str:
    err = process.communicate(timeout=300)[1]
    assert process.returncode == status, err[-3000:]
    return err


def windows(directory: Path, step: int) -> Any:
    from codeparrot.inspect_batch import inspect

    return inspect(str(directory), step, text=False).data["windows"]


def test_a_child_is_its_parent_to_the_last_bit_until_its_rate_falls_and_goes_on_exactly_when_killed(family: Path) -> None:
    """The parent was trained by two processes, the child by one."""
    ended(child(family, "whole"))
    parent, whole = curve(family / "a"), curve(family / "whole")
    assert [step for step, *_ in whole] == list(range(AT + 1, LAST + 1)), "its metrics begin behind the parent's step"
    # Two processes add gradients in another order than one; so the same child is also trained by two.
    assert whole[0][1] == pytest.approx(parent[AT][1], rel=1e-6)
    ended(child(family, "two", num_processes=2))
    assert curve(family / "two")[0] == parent[AT], "loss and gradient of the first step: its data and weights are the parent's"
    assert windows(family / "two", AT + 1) == windows(family / "a", AT + 1)
    rates = [line["lr"] / 3e-3 for line in lines(family / "whole") if "lr" in line]
    assert rates == pytest.approx([0.75, 0.5, 0.25, 0.0])
    # Killed before its first checkpoint it begins at the parent again, killed behind one it goes on from that.
    process = child(family, "killed", "--checkpoint.every_steps", "2", "--checkpoint.background", "false")
    kill_behind_step(process, family / "killed" / "metrics.jsonl", AT + 3)
    shutil.rmtree(family / "a")
    killed = family / "killed"
    assert [*(killed / "checkpoints").glob("step_*")], "it has a checkpoint of its own"
    ended(child(family, "killed", "--checkpoint.every_steps", "2", "--checkpoint.background", "false"))
    assert curve(killed) == whole and weights(killed, LAST) == weights(family / "whole", LAST)


@pytest.mark.parametrize("launch", ["fsdp", "zero3"])
def test_a_child_that_splits_the_weights_is_the_child_of_a_parent_that_does_not(family: Path, launch: str, monkeypatch) -> None:
    """The parent was trained by DDP; FSDP2 and ZeRO-3 take its weights and moments apart."""
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(family.parent / "extensions"))
    ended(child(family, "split", num_processes=2, launch=launch))
    ended(child(family, "whole"))
    parent, split, whole = (curve(family / name) for name in ("a", "split", "whole"))
    assert [step for step, *_ in split] == list(range(AT + 1, LAST + 1))
    assert split[0][1:] == pytest.approx(parent[AT][1:], rel=1e-5), "data and weights of its first step are the parent's"
    # The second step shows the moments: the first update has used them.
    assert [loss for _, loss, _ in split] == pytest.approx([loss for _, loss, _ in whole], rel=1e-5)
    assert windows(family / "split", AT + 1) == windows(family / "a", AT + 1)


def test_a_child_that_has_no_checkpoint_begins_at_its_parent_again(family: Path) -> None:
    ended(child(family, "whole"))
    process = child(family, "killed", "--checkpoint.every_steps", "0")
    kill_behind_step(process, family / "killed" / "metrics.jsonl", AT + 1)
    ended(child(family, "killed", "--checkpoint.every_steps", "0"))
    assert curve(family / "killed") == curve(family / "whole")


def test_a_child_says_where_it_began(family: Path) -> None:
    ended(child(family, "cool"))
    from codeparrot.run import checkpoint

    origin = json.loads((family / "cool" / "origin.json").read_text(encoding="utf-8"))
    place = family / "a" / "checkpoints" / f"step_{AT:08d}"
    digest = checkpoint.digest_of(checkpoint.read_manifest(place))
    tokens = AT * 8 * 32
    assert origin["parent"] == {
        **{"run": str(family / "a"), "name": "a", "step": AT, "tokens": tokens, "digest": digest, "commit": None}
    }
    manifest = checkpoint.read_manifest(family / "cool" / "checkpoints" / f"step_{LAST:08d}")
    assert manifest["origin"] == origin and manifest["config"]["parent"] == f"{family / 'a'}@step_{AT}"
    # config.yaml alone goes on with it.
    shutil.rmtree(family / "a")
    shutil.rmtree(family / "cool" / "checkpoints" / f"step_{LAST:08d}", ignore_errors=True)
    err = run(family / "cool" / "config.yaml", status=1)[1]
    assert "there is no run" in err.splitlines()[-1] and "Traceback" not in err


def test_a_child_keeps_what_fixes_the_data_and_the_model(family: Path) -> None:
    for flag, value in (("--stream.block_windows", "5"), ("--optim.name", "muon"), ("--run.seed", "1")):
        err = ended(child(family, "other", flag, value), status=1)
        assert "keeps its data, their order, the model" in err.splitlines()[-1] and flag[2:] in err
        assert not [*(family / "other" / "checkpoints").glob("*")]
    ended(child(family, "rate", "--optim.weight_decay", "0.2", "--schedule.decay_shape", "1-sqrt"))
    from codeparrot.arguments import load_config

    assert load_config(family / "rate" / "config.yaml").optim.weight_decay == 0.2


def test_a_finished_child_says_how_to_go_further_and_that_works(family: Path) -> None:
    process = child(family, "cool")
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err[-3000:]
    advice = out.strip().rpartition("go further: codeparrot ")[2].replace("NAME", "further").split()
    ended(started([str(SCRIPTS / "codeparrot"), *advice], ROOT))
    assert [step for step, *_ in curve(family / "further")] == list(range(LAST + 1, 2 * LAST + 1))


def test_a_run_that_was_resumed_from_another_is_its_relative_too(family: Path, begin: Path) -> None:
    place = family / "a" / "checkpoints" / "step_00000016"
    changes = ["--run.dir", str(family), "--run.name", "b", "--resume", str(place), "--optim.lr", "1e-3"]
    ended(start(begin / "tiny.yaml", *changes))
    origin = json.loads((family / "b" / "origin.json").read_text(encoding="utf-8"))
    assert (origin["parent"]["name"], origin["parent"]["step"]) == ("a", 16)
