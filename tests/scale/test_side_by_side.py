"""Runs of a series that are trained side by side."""

import pytest

from codeparrot.scale import running
from tests.scale.series import NAMES, SMALL, as_json, scale_run, starts, terminated_when_begun


@pytest.mark.slow
def test_side_by_side_every_run_is_trained_once_and_its_words_are_in_a_file(recipe, behave, capsys) -> None:
    facts = as_json(recipe, capsys, *SMALL, "2", "--workers", "2")
    assert starts(recipe) == dict.fromkeys([*NAMES, "tiny-d1-t2"], 1) and {run["loss"] for run in facts["runs"]} == {2.5}
    assert {path.stem for path in (recipe.parent / "scale" / "log").iterdir()} == {*NAMES, "tiny-d1-t2"}


@pytest.mark.slow
def test_a_signal_goes_on_to_all_runs_that_are_side_by_side(recipe, behave, capsys) -> None:
    behave(**{name: ["waits", 0] for name in ("tiny_d1_t0.5", "tiny_d1_t1")})
    with terminated_when_begun(recipe, *NAMES):
        assert scale_run(recipe, *SMALL, "2", "--workers", "2") == 75
    said = capsys.readouterr().out
    assert "in run 1 of 3, tiny-d1-t0.5" in said and "in run 2 of 3, tiny-d1-t1;" in said
    assert starts(recipe) == dict.fromkeys(NAMES, 1)


@pytest.mark.slow
def test_a_run_that_fails_ends_those_beside_it_and_begins_no_other(recipe, behave, capsys) -> None:
    behave(**{"tiny_d1_t0.5": ["waits", 0], "tiny_d1_t1": ["failed", 1]})
    assert scale_run(recipe, *SMALL, "2", "--workers", "2") == 1
    words = recipe.parent / "scale" / "log" / "tiny-d1-t1.log"
    assert f"tiny-d1-t1 failed (as told): its own words are in {words}" in capsys.readouterr().err
    assert "tiny-d1-t2" not in starts(recipe)


def test_side_by_side_each_run_has_its_cores_and_one_gpu(monkeypatch) -> None:
    monkeypatch.setattr(running, "available_cores", lambda: 7)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5")
    found = [running.environment(worker, 3) for worker in range(3)]
    assert [each["CUDA_VISIBLE_DEVICES"] for each in found] == ["4", "5", "4"]
    assert {each["OMP_NUM_THREADS"] for each in found} == {"2"}
    assert "OMP_NUM_THREADS" not in running.environment(0, 1) and running.environment(0, 1)["CUDA_VISIBLE_DEVICES"] == "4,5"
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert running.environment(0, 3)["OMP_NUM_THREADS"] == "5"
