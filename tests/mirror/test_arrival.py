"""What a start makes of a mirror: whose it is, what is fetched, what is refused."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from codeparrot.config import Config
from codeparrot.errors import CodeparrotError
from codeparrot.mirror import copies
from codeparrot.mirror.arrival import arrive, fetch_parent
from codeparrot.mirror.claim import Conflict
from codeparrot.mirror.copier import Copier
from codeparrot.mirror.state import State
from codeparrot.mirror.store import open_store
from codeparrot.runs.listing import runs
from tests.mirror.made import config_of, content, save
from tests.mirror.test_copies import damage


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    return tmp_path / "mirror"


def begun(run: Path, mirror: Path, steps: tuple[int, ...] = (8, 16), **settings: Any) -> Config:
    """Make a run with checkpoints of these steps, all of them copied."""
    config = config_of(run, mirror, **settings)
    arrive(config)
    for step in steps:
        save(run, step)
        assert copy_all(run)
    return config


def copy_all(run: Path) -> list[str]:
    """Copy what waits; return the names in the order of the copies."""
    state = State(run)
    copier, done = Copier(state, run.name), []
    while state.waiting():
        turn = copier.turn()
        assert turn.entry is not None
        if turn.error:
            return [*done, turn.error]
        done.append(turn.entry.name)
    copier.turn()
    return done


def names(run: Path) -> list[str]:
    return sorted(each.name for each in (run / "checkpoints").iterdir())


def copied(mirror: Path) -> list[str]:
    store = open_store(str(mirror))
    return [each.name for each in copies.look(store, store.sizes()).whole]


def test_a_run_directory_that_is_gone_gets_the_newest_copy_to_the_last_byte(tmp_path: Path, mirror: Path) -> None:
    run = tmp_path / "runs" / "a"
    config = begun(run, mirror)
    expected, metrics = content(run / "checkpoints" / "step_00000016"), (run / "metrics.jsonl").read_bytes()
    shutil.rmtree(run)
    arrive(config)
    assert names(run) == ["step_00000016"]
    assert content(run / "checkpoints" / "step_00000016") == expected
    assert (run / "metrics.jsonl").read_bytes() == metrics
    assert State(run).next_number() == 3
    save(run, 24, number=State(run).next_number())
    assert copy_all(run) == ["step_00000024"]
    assert copied(mirror) == ["step_00000008", "step_00000016", "step_00000024"]


def test_a_copy_is_fetched_only_where_it_is_newer(tmp_path: Path, mirror: Path) -> None:
    run = tmp_path / "runs" / "a"
    config = begun(run, mirror)
    newest = run / "checkpoints" / "step_00000016"
    shutil.rmtree(newest)
    arrive(config)
    assert names(run) == ["step_00000008", "step_00000016"]
    save(run, 24)
    before = content(run / "checkpoints")
    arrive(config)
    assert content(run / "checkpoints") == before


def test_a_checkpoint_that_is_damaged_here_is_fetched(tmp_path: Path, mirror: Path) -> None:
    run = tmp_path / "runs" / "a"
    config = begun(run, mirror)
    expected = content(run / "checkpoints" / "step_00000016")
    (run / "checkpoints" / "step_00000016" / "stream.json").write_bytes(b"zeros")
    arrive(config)
    assert content(run / "checkpoints" / "step_00000016") == expected


def test_a_damaged_copy_is_passed_over_by_name_and_made_again(
    tmp_path: Path, mirror: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = tmp_path / "runs" / "a"
    config = begun(run, mirror)
    expected = content(run / "checkpoints" / "step_00000016")
    shutil.rmtree(run)
    damage(open_store(str(mirror)), "checkpoints/step_00000016/stream.json", tmp_path)
    arrive(config)
    assert names(run) == ["step_00000008"]
    assert "passing over" in caplog.text and "step_00000016/stream.json has another SHA-256" in caplog.text
    save(run, 16)
    assert copy_all(run) == ["step_00000016"]
    shutil.rmtree(run)
    arrive(config)
    assert {**content(run / "checkpoints" / "step_00000016"), "manifest.json": b""} == {**expected, "manifest.json": b""}


def test_a_run_whose_copies_are_all_damaged_does_not_begin_again(tmp_path: Path, mirror: Path) -> None:
    run = tmp_path / "runs" / "a"
    config = begun(run, mirror)
    shutil.rmtree(run)
    for name in ("step_00000008/manifest.json", "step_00000016/state/training.json"):
        damage(open_store(str(mirror)), f"checkpoints/{name}", tmp_path)
    (mirror / "checkpoints" / "step_00000008" / "manifest.json").write_text("{")
    with pytest.raises(CodeparrotError, match=r"holds copies and none is whole .* would begin again at step 0"):
        arrive(config)
    assert not run.exists()


def test_a_step_that_is_named_is_fetched(tmp_path: Path, mirror: Path) -> None:
    run = tmp_path / "runs" / "a"
    config = begun(run, mirror)
    shutil.rmtree(run)
    config.resume = str(run / "checkpoints" / "step_00000008")
    arrive(config)
    assert names(run) == ["step_00000008"]


def test_a_parents_checkpoint_is_fetched_from_its_mirror(tmp_path: Path, mirror: Path) -> None:
    run = tmp_path / "runs" / "a"
    config = begun(run, mirror)
    expected = content(run / "checkpoints" / "step_00000008")
    shutil.rmtree(run / "checkpoints")
    assert not fetch_parent(run, 8), "nothing names a mirror"
    (run / "config.yaml").write_text(config.to_yaml())
    assert not fetch_parent(run, 9)
    assert fetch_parent(run, 8) and fetch_parent(run, 8)
    assert names(run) == ["step_00000008"] and content(run / "checkpoints" / "step_00000008") == expected
    assert fetch_parent(run, None) and names(run) == ["step_00000008", "step_00000016"]


@pytest.mark.parametrize("here", [False, True])
def test_another_runs_mirror_is_refused_and_not_written_to(tmp_path: Path, mirror: Path, here: bool) -> None:
    begun(tmp_path / "runs" / "a", mirror)
    before = content(mirror)
    other = tmp_path / "runs" / "b"
    if here:
        begun(other, tmp_path / "another")
    with pytest.raises(Conflict, match=r'mirror holds the checkpoints of another run, "a"; name another folder'):
        arrive(config_of(other, mirror))
    assert content(mirror) == before
    assert other.exists() == here


def test_a_mirror_that_a_start_took_without_copies_can_be_given_to_another_run(tmp_path: Path, mirror: Path) -> None:
    arrive(config_of(tmp_path / "runs" / "a", mirror))
    other = config_of(tmp_path / "runs" / "b", mirror)
    with pytest.raises(Conflict, match=r"another folder for this one; or remove its run\.json, if that run will not go on"):
        arrive(other)
    (mirror / "run.json").unlink()
    arrive(other)


def test_a_run_of_the_same_name_that_was_begun_elsewhere_is_refused(tmp_path: Path, mirror: Path) -> None:
    begun(tmp_path / "runs" / "a", mirror)
    other = tmp_path / "others" / "a"
    save(other, 8, seed=99)
    with pytest.raises(Conflict, match=r'another run, "a", begun apart from .*others/a; name another folder'):
        arrive(config_of(other, mirror))


def test_a_run_that_was_moved_or_renamed_or_lost_its_state_is_the_same_run(tmp_path: Path, mirror: Path) -> None:
    begun(tmp_path / "runs" / "a", mirror)
    moved = tmp_path / "others" / "b"
    moved.parent.mkdir()
    (tmp_path / "runs" / "a").rename(moved)
    arrive(config_of(moved, mirror))
    (moved / "mirror.json").write_text("damaged")
    arrive(config_of(moved, mirror))
    save(moved, 24)
    assert copy_all(moved) == ["step_00000024"]


def test_a_mirror_that_was_emptied_is_filled_again_while_the_checkpoints_are_here(
    tmp_path: Path, mirror: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = tmp_path / "runs" / "a"
    config = begun(run, mirror)
    shutil.rmtree(mirror)
    arrive(config)
    assert "holds none of the 2 copies that were made there" in caplog.text
    assert copy_all(run) == ["step_00000016", "step_00000008"]
    shutil.rmtree(mirror)
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(CodeparrotError, match="the run would begin again at step 0; bring them back"):
        arrive(config)


def test_a_mirror_that_vanishes_in_the_middle_is_not_made_anew_on_another_disk(tmp_path: Path, mirror: Path) -> None:
    run = tmp_path / "runs" / "a"
    begun(run, mirror)
    copier = Copier(State(run), "a")
    assert copier.turn().error == ""
    mirror.rename(tmp_path / "unmounted")
    save(run, 24)
    turn = copier.turn()
    assert turn.state == "unreachable" and "is the disk mounted?" in turn.error and turn.wait_seconds > 0
    assert not mirror.exists()
    (tmp_path / "unmounted").rename(mirror)
    assert copier.turn().done and copied(mirror)[-1] == "step_00000024"


def test_never_refuses_a_mirror_with_copies(tmp_path: Path, mirror: Path) -> None:
    config = begun(tmp_path / "runs" / "a", mirror)
    config.resume = "never"
    with pytest.raises(CodeparrotError, match=r"resume is never, but .*mirror holds 2 copies \(newest step_00000016\)"):
        arrive(config)


def test_a_place_that_cannot_be_written_to_is_refused_before_training(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    run = tmp_path / "runs" / "a"
    with pytest.raises(CodeparrotError, match=r"cannot (read|write) .*file/mirror.*: Not a directory; name a folder"):
        arrive(config_of(run, tmp_path / "file" / "mirror"))
    assert not run.exists()


def test_the_newest_goes_first_and_what_would_be_removed_at_once_never_waits(tmp_path: Path, mirror: Path) -> None:
    run = tmp_path / "runs" / "a"
    arrive(config_of(run, mirror, keep_last=2, keep_every_steps=32))
    for step in range(8, 56, 8):
        save(run, step)
    (listed,) = runs(str(run)).data["runs"]
    assert listed["mirror_waiting"] == 3 and "3 wait" in runs(str(run)).text
    assert copy_all(run) == ["step_00000048", "step_00000040", "step_00000032"]
    assert copied(mirror) == ["step_00000032", "step_00000040", "step_00000048"]
    assert "copied" in runs(str(run)).text


def test_a_step_that_is_written_again_replaces_its_copy_and_an_older_one_does_not(tmp_path: Path, mirror: Path) -> None:
    run = tmp_path / "runs" / "a"
    begun(run, mirror)
    save(run, 8, seed=99)
    assert copy_all(run) == ["step_00000008"]
    assert copied(mirror) == ["step_00000016", "step_00000008"]
    state, content_before = State(run), content(mirror)
    facts = state.read()
    for each in facts["copied"]:
        each["digest"], each["number"] = "of another course", 9
    state.note(copied=facts["copied"])
    assert state.waiting() == [] and content(mirror) == content_before


def test_a_checkpoint_that_is_damaged_here_waits_no_more_and_is_named(tmp_path: Path, mirror: Path) -> None:
    run = tmp_path / "runs" / "a"
    begun(run, mirror)
    (save(run, 24) / "stream.json").write_bytes((run / "checkpoints" / "step_00000024" / "stream.json").read_bytes()[::-1])
    assert "stream.json has another SHA-256" in copy_all(run)[0]
    facts = json.loads((run / "mirror.json").read_text())
    assert facts["waiting"] == [] and facts["skipped"][0]["step"] == 24
    assert copied(mirror) == ["step_00000008", "step_00000016"]
