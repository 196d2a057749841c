"""What a child takes from its parent, before anything is loaded."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from codeparrot.arguments import parse_config
from codeparrot.cli import main
from codeparrot.config import Config
from codeparrot.errors import CodeparrotError
from codeparrot.optim.schedule import learning_rate
from codeparrot.run.begun import begun as goes_on_from
from codeparrot.runs.child import inherit
from tests.runs.family import write_parent

LEAST = ["--tokenizer.path", "t", "--stream.train", "c", "--model.n_layer", "3"]


def saved(run: Path, step: int, *arguments: str, origin: dict[str, Any] | None = None) -> None:
    write_parent(run, step, parse_config([*LEAST, "--run.name", run.name, "--run.dir", str(run.parent), *arguments]), origin)


@pytest.fixture
def parent(tmp_path: Path) -> Path:
    run = tmp_path / "a"
    for step in (400, 800):
        saved(run, step, "--schedule.name", "wsd", "--optim.lr", "0.01", "--hub.repo", "me/x", "--hub.branch", "long")
    return run


def config_of(*words: str) -> Config:
    return parse_config(inherit(Config, words, "codeparrot train"))


@pytest.mark.parametrize("named", ["@step_400", "@400", "@step_00000400", "/checkpoints/step_00000400"])
def test_settings_that_are_not_given_are_the_parents(parent: Path, named: str) -> None:
    child = config_of("--from", f"{parent}{named}", "--run.name", "cool", "--schedule.decay_now=0.2", "--model.n_head", "2")
    assert (child.optim.lr, child.tokenizer.path, child.stream.train) == (0.01, "t", "c")
    assert child.model == {"family": "gpt2", "n_layer": 3, "n_head": 2}
    assert child.run_directory == parent.parent / "cool" and child.parent == f"{parent}@step_400"
    assert (child.hub.repo, child.hub.branch) == ("me/x", ""), "it has a branch of its own"
    assert (child.train.max_steps, child.schedule.decay_fraction) == (500, 0.2)


def test_the_settings_that_are_printed_are_those_of_the_child(parent: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        config_of("--from", f"{parent}@step_400", "--run.name", "cool", "--schedule.decay_now", "0.2", "--print_config")
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed["train"]["max_steps"] == 500 and printed["run"]["dir"] == str(parent.parent)


def test_a_run_folder_means_its_newest_checkpoint_and_the_one_that_a_child_began_at(parent: Path) -> None:
    assert config_of("--from", str(parent), "--run.name", "new", "--train.max_steps", "2000").parent == f"{parent}@step_800"
    begun = {"parent": {"run": str(parent), "name": "a", "step": 400, "tokens": 4000, "digest": digest(parent, 400)}}
    saved(parent.parent / "old", 450, "--train.max_steps", "500", origin=begun)
    assert config_of("--from", str(parent), "--run.name", "old").parent == f"{parent}@step_400"


def digest(run: Path, step: int) -> str:
    from codeparrot.run import checkpoint

    return checkpoint.digest_of(checkpoint.read_manifest(run / "checkpoints" / f"step_{step:08d}"))


def test_a_file_may_name_the_parent_and_yields_to_what_the_parent_implies(parent: Path, tmp_path: Path) -> None:
    file = tmp_path / "cool.yaml"
    file.write_text(f"from: {parent}@step_800\nrun: {{name: cool}}\nschedule: {{decay_now: 0.5}}\ntrain: {{max_steps: 1000}}\n")
    child = config_of("--config", str(file))
    assert (child.train.max_steps, child.schedule.decay_fraction, child.optim.lr) == (1600, 0.5, 0.01)


def test_config_yaml_of_a_child_goes_on_without_its_parent(parent: Path, tmp_path: Path) -> None:
    child = config_of("--from", f"{parent}@step_400", "--run.name", "cool", "--schedule.decay_now", "0.13")
    file = tmp_path / "config.yaml"
    file.write_text(child.to_yaml(), encoding="utf-8")
    assert config_of("--config", str(file)) == child and parse_config(["--config", str(file)]) == child


def test_a_child_with_checkpoints_goes_on_when_its_parent_is_gone(parent: Path) -> None:
    words = ["--from", f"{parent}@step_400", "--run.name", "cool", "--schedule.decay_now", "0.2"]
    before = config_of(*words)
    begun = {"parent": {"run": str(parent), "name": "a", "step": 400, "tokens": 4000, "digest": digest(parent, 400)}}
    write_parent(before.run_directory, 450, before, begun)
    (parent / "checkpoints" / "step_00000400" / "manifest.json").unlink()
    assert config_of(*words) == before
    with pytest.raises(CodeparrotError, match=r"cool began at .*a@step_400 and not at .*a@step_800; choose another run.name"):
        config_of("--from", f"{parent}@step_800", *words[2:])


def test_a_damaged_checkpoint_of_its_own_is_passed_over(parent: Path) -> None:
    child = parent.parent / "cool"
    words = ("--from", f"{parent}@step_400", "--run.name", "cool", "--schedule.decay_now", "0.2")
    begun_at = {"run": str(parent), "name": "a", "step": 400, "tokens": 4000, "digest": digest(parent, 400)}
    saved(child, 420, "--schedule.name", "wsd", origin={"parent": begun_at})
    damaged = child / "checkpoints" / "step_00000440"
    damaged.mkdir()
    (damaged / "manifest.json").write_text('{"step": 4', encoding="utf-8")
    assert config_of(*words).train.max_steps == 500


def test_a_child_of_a_run_that_began_with_other_weights_does_not_need_them(tmp_path: Path) -> None:
    run = tmp_path / "b"
    saved(run, 400, "--schedule.name", "wsd", "--model", '{"from": "gone"}')
    child = config_of("--from", f"{run}@step_400", "--run.name", "cool", "--schedule.decay_now", "0.2")
    assert child.model["from"] == "gone"
    assert goes_on_from(child) == run / "checkpoints" / "step_00000400"


@pytest.mark.parametrize(("step", "share"), [(1, 0.05), (7, 0.33), (400, 0.1), (999, 0.9)])
def test_all_steps_behind_the_parent_decay_and_the_last_ends_at_the_final_value(
    tmp_path: Path, step: int, share: float
) -> None:
    saved(tmp_path / "a", step, "--schedule.name", "constant", "--optim.lr", "1.0", "--schedule.final_fraction", "0.1")
    flags = ["--schedule.name", "wsd", "--schedule.decay_now", str(share)]
    child = config_of("--from", f"{tmp_path / 'a'}@{step}", "--run.name", "child", *flags)
    last, schedule = child.train.max_steps, child.schedule
    assert last == max(step + 1, round(step / (1 - share)))
    shape: Any = {key: value for key, value in vars(schedule).items() if key != "decay_now"}
    rates = [learning_rate(each, peak=1.0, max_steps=last, **shape) for each in range(step - 1, last)]
    assert rates[0] == 1.0 and rates[-1] == pytest.approx(0.1)
    assert all(later < earlier for earlier, later in pairwise(rates))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--from", "A@step_5", "--run.name", "child"],
            r"a has no checkpoint of that step; its checkpoints are of step 400, 800",
        ),
        (["--from", "Ax@step_400", "--run.name", "child"], r'there is no run ".*ax"; did you mean ".*a"'),
        (["--from", "A@step_400"], r"give it a name: --run.name a-cool"),
        (["--from", "A@step_400", "--run.name", "a"], r"is that run itself; choose another run.name"),
        (
            ["--from", "A@400", "--run.name", "child", "--resume", "x"],
            "name two checkpoints to begin at; leave one of them out",
        ),
        (["--from", "hub:me/x", "--run.name", "child"], r"a run begins at a checkpoint on this machine; fetch it"),
        (
            ["--from", "A@400", "--run.name", "child", "--train.max_steps", "300"],
            r"max_steps 300 leaves nothing to train; set",
        ),
        (
            ["--from", "A@400", "--run.name", "child", "--schedule.decay_now", "0.2", "--train.max_steps", "600"],
            r"from step 400 ends the run at step 500, of which 100 decay; leave --train.max_steps out",
        ),
        (
            ["--from", "A@400", "--run.name", "child", "--schedule.decay_now", "1"],
            r"decay_now is 1.0; it must be 0 or more and below",
        ),
        (
            ["--from", "A@400", "--run.name", "child", "--schedule.decay_now", "0.1", "--schedule.name", "cosine"],
            r"is for schedule.name wsd, and this run's is cosine",
        ),
        (["--schedule.decay_now", "0.1", "--schedule.name", "wsd", *LEAST], r"name it: --from runs/a@step_1000"),
        (["--from", "B@40", "--run.name", "child", "--schedule.decay_now", "0.1"], r"begun to decay \(0.5.* step 32 or before"),
        (
            ["--from", "B@4", "--run.name", "child", "--schedule.decay_now", "0.1"],
            r"still warming up \(0.4 .* step 10 or later",
        ),
        (
            ["--from", "C@40", "--run.name", "child", "--schedule.decay_now", "0.1"],
            r"constant up to there, and its schedule is linear",
        ),
    ],
)
def test_what_cannot_be_a_child_is_refused_with_the_remedy(parent: Path, words: list[str], message: str) -> None:
    for step in (4, 40):
        more = ["--schedule.warmup_steps", "10", "--train.max_steps", "48", "--schedule.decay_fraction", "0.3333"]
        saved(parent.parent / "b", step, "--schedule.name", "wsd", *more)
        saved(parent.parent / "c", step, "--schedule.name", "linear")
    places = {letter: str(parent.parent / letter.lower()) for letter in "ABC"}
    words = [places[word[0]] + word[1:] if word[0] in places else word for word in words]
    with pytest.raises(CodeparrotError, match=message):
        config_of(*words)


def test_a_run_without_a_parent_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("codeparrot.runs.child.parse_settings", lambda *_: pytest.fail("it was parsed"))
    file = tmp_path / "a.yaml"
    file.write_text("run: {name: x}\n")
    assert inherit(Config, ["--config", str(file), *LEAST], "codeparrot train") == ["--config", str(file), *LEAST]


def test_the_help_has_the_names_of_the_documents(capsys) -> None:
    for command in ("train", "plan"):
        with pytest.raises(SystemExit):
            main([command, "--help"])
        text = capsys.readouterr().out
        assert "\n  --from PARENT\n" in text and "\n  --parent " not in text and "`--model.from`" in text


def test_a_mistyped_from_is_told_its_name(capsys) -> None:
    with pytest.raises(SystemExit):
        main(["train", "--form", "runs/a@step_2"])
    assert 'did you mean "from"?' in capsys.readouterr().err
