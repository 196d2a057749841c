"""The configuration of a run directory that has checkpoints means that run, wherever it lies; an address is no folder."""

import shutil
from pathlib import Path

import pytest
import yaml

from codeparrot.arguments import load_config, parse_settings
from codeparrot.config import Config
from codeparrot.errors import CodeparrotError
from codeparrot.location import path_of
from codeparrot.train import train
from tests.launching import curve, run, weights, write_config

RECIPE = {"stream": {"train": "data"}, "tokenizer": {"path": "tokenizer"}, "train": {"global_batch_size": 8}}


@pytest.fixture
def moved(tmp_path, monkeypatch) -> Path:
    """A run directory that was trained as runs/tiny and is elsewhere/moved now."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "elsewhere" / "moved"
    place = folder / "checkpoints" / "step_00000008"
    place.mkdir(parents=True)
    (place / "manifest.json").touch()
    (folder / "config.yaml").write_text(yaml.safe_dump({**RECIPE, "run": {"name": "tiny", "dir": "runs"}}), encoding="utf-8")
    return folder


def trained_in(*arguments: object) -> Path:
    """Return the run directory of `codeparrot train ...`."""
    return parse_settings(Config, [*map(str, arguments)], "codeparrot train", train).run_directory


def test_a_run_that_was_moved_goes_on_where_it_is_and_says_so(moved, tmp_path, monkeypatch, capsys) -> None:
    assert trained_in("--config", moved / "config.yaml", "--optim.lr", "1e-3") == moved
    assert "says runs/tiny, but lies with the checkpoints" in capsys.readouterr().err
    assert load_config(moved / "config.yaml").run_directory == moved
    assert capsys.readouterr().err == ""
    monkeypatch.chdir(moved / "checkpoints")
    assert trained_in("--config=../config.yaml") == moved
    (tmp_path / "more.yaml").write_text("optim: {lr: 0.1}", encoding="utf-8")
    assert trained_in("--config", "../config.yaml", "--config", tmp_path / "more.yaml") == moved


def test_a_copy_goes_on_by_itself_although_the_original_is_there(moved, tmp_path) -> None:
    shutil.copytree(moved, tmp_path / "runs" / "tiny")
    assert trained_in("--config", moved / "config.yaml") == moved


def test_what_names_a_run_itself_holds(moved, tmp_path) -> None:
    config = moved / "config.yaml"
    assert trained_in("--config", config, "--run.name", "longer") == Path("runs/longer")
    assert trained_in("--config", config, "--run.dir=here") == Path("here/tiny")
    (tmp_path / "other.yaml").write_text("run: {name: other}", encoding="utf-8")
    assert trained_in("--config", config, "--config", tmp_path / "other.yaml") == Path("runs/other")


def test_a_run_in_its_place_stays_as_it_was_written_down(moved, tmp_path, capsys) -> None:
    (tmp_path / "runs").mkdir()
    moved.rename(tmp_path / "runs" / "tiny")
    assert trained_in("--config", "runs/tiny/config.yaml") == Path("runs/tiny")
    (tmp_path / "link").symlink_to(tmp_path / "runs" / "tiny")
    assert trained_in("--config", "link/config.yaml") == Path("runs/tiny")
    assert capsys.readouterr().err == ""


def test_a_recipe_beside_no_checkpoints_is_a_recipe(moved) -> None:
    shutil.rmtree(moved / "checkpoints")
    assert trained_in("--config", moved / "config.yaml") == Path("runs/tiny")


@pytest.mark.slow
def test_a_run_that_was_moved_ends_with_the_bits_of_one_that_stayed(tmp_path, corpus, tokenizer_folder) -> None:
    config = write_config(tmp_path / "c.yaml", corpus, tokenizer_folder)
    run(config)
    tiny, moved = tmp_path / "runs" / "tiny", tmp_path / "disk" / "again"
    shutil.copytree(tiny, moved)
    for step in (16, 24):
        shutil.rmtree(moved / "checkpoints" / f"step_{step:08d}")
    _, err = run(moved / "config.yaml")
    assert f"{moved}, resumed at step 8" in err
    assert curve(moved) == curve(tiny) and weights(moved) == weights(tiny)
    assert load_config(moved / "config.yaml").run_directory == moved


@pytest.mark.parametrize("name", ["s3://bucket/runs", "gs://bucket", "https://user:secret@example.org/x"])
def test_an_address_is_no_folder_here(name: str) -> None:
    """Where only folders serve, it would become one called `s3:`."""
    with pytest.raises(CodeparrotError, match="is an address, where a folder or a file here is asked for") as found:
        path_of(name)
    assert "secret" not in str(found.value)
    assert path_of("file:///tmp") == Path("/tmp")
