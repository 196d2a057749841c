"""What is due, what is known, and what must stay on disk."""

import json
import re
import shutil
from pathlib import Path

import pytest

from codeparrot.arguments import load_config
from codeparrot.errors import CodeparrotError
from codeparrot.location import Branch
from codeparrot.publishing.commands import status
from codeparrot.publishing.ledger import Ledger
from codeparrot.run import checkpoint
from tests.publishing.runs import add_checkpoint, make_run


@pytest.fixture
def run(tmp_path: Path, tokenizer_folder: Path) -> Path:
    return make_run(tmp_path / "run", tokenizer_folder)


def ledger_of(run: Path, **changes: object) -> Ledger:
    ledger, settings = Ledger(run), load_config(run / "config.yaml").hub
    for name, value in changes.items():
        setattr(settings, name, value)
    ledger.open(settings)
    return ledger


def save(run: Path, *steps: int, seed: int | None = None) -> None:
    for step in steps:
        add_checkpoint(run, step, load_config(run / "config.yaml"), seed)


def pending(ledger: Ledger) -> list[int]:
    return [entry.step for entry in ledger.pending()]


def test_what_was_saved_is_pending_although_nobody_queued_it(run: Path) -> None:
    save(run, 4, 8)
    assert pending(ledger_of(run)) == [4, 8]


def test_what_was_pushed_is_not_pending_again(run: Path) -> None:
    save(run, 4, 8)
    ledger = ledger_of(run)
    ledger.pushed(ledger.pending()[0], "0" * 40, ledger.branch)
    assert pending(ledger) == pending(Ledger(run)) == [8]


@pytest.mark.parametrize(
    ("every", "saved", "due"),
    [
        (0, (3, 7, 8), [3, 7, 8]),
        (8, (4, 8, 12, 16, 20), [8, 16]),
        (8, (5, 10, 15, 20), [10, 20]),
        (8, (4, 22, 24), [22, 24]),  # the last step is always due
    ],
)
def test_checkpoints_are_due_so_many_steps_apart_and_the_last_one(run: Path, every: int, saved: tuple, due: list) -> None:
    ledger = ledger_of(run, every=every)
    for step in saved:
        save(run, step)
        ledger.pending()
    assert pending(ledger) == due
    shutil.rmtree(ledger.path.with_name("checkpoints"))
    ledger.path.unlink()
    save(run, *saved)
    assert pending(ledger_of(run, every=every)) == due, "all at once as one by one"


def test_pruning_spares_what_is_not_pushed_yet_and_nothing_else(run: Path) -> None:
    ledger = ledger_of(run, every=8)
    for step in (4, 8, 12, 16, 20):
        save(run, step)
        checkpoint.prune(run / "checkpoints", 1, 0, {entry.step for entry in ledger.pending()})
    assert [place.name for place in checkpoint.steps(run / "checkpoints")] == [f"step_{step:08d}" for step in (20, 16, 8)]


def test_the_same_step_saved_again_is_pushed_again_only_if_it_differs(run: Path) -> None:
    save(run, 8)
    ledger = ledger_of(run)
    ledger.pushed(ledger.pending()[0], "0" * 40, ledger.branch)
    save(run, 8)
    assert pending(ledger) == []
    save(run, 8, seed=77)
    assert pending(ledger) == [8]


def test_a_run_that_goes_back_and_takes_another_way_is_pushed_in_the_order_of_time(run: Path) -> None:
    save(run, 8, 16)
    ledger = ledger_of(run)
    for entry in ledger.pending():
        ledger.pushed(entry, "0" * 40, ledger.branch)
    save(run, 12, 16, seed=77)
    assert pending(ledger) == [12, 16]


def test_what_is_gone_from_the_disk_is_named(run: Path) -> None:
    save(run, 8, 16)
    ledger = ledger_of(run)
    assert pending(ledger) == [8, 16]
    checkpoint.remove(run / "checkpoints" / "step_00000008")
    assert pending(ledger) == [16]
    (skipped,) = ledger.read()["skipped"]
    assert (skipped["step"], skipped["reason"]) == (8, "it is no longer on the disk")


def test_what_was_skipped_and_is_saved_again_is_pending_again(run: Path) -> None:
    save(run, 8)
    ledger = ledger_of(run)
    ledger.skip(ledger.pending()[0], "damaged")
    assert pending(ledger) == []
    save(run, 8)
    assert pending(ledger) == [8]


def test_another_branch_gets_everything_that_is_here(run: Path) -> None:
    save(run, 8, 16)
    ledger = ledger_of(run)
    for entry in ledger.pending():
        ledger.pushed(entry, "0" * 40, ledger.branch)
    assert pending(ledger_of(run, branch="another")) == [8, 16]
    assert pending(ledger_of(run)) == []


def test_what_was_pushed_to_another_branch_is_known_as_there_and_still_pending_here(run: Path) -> None:
    save(run, 8, 16)
    ledger = ledger_of(run)
    ledger.pushed(ledger.pending()[0], "0" * 40, Branch("me/other", "another"))
    assert pending(ledger) == [8, 16]
    (pushed,) = ledger.read()["pushed"]
    assert (pushed["repo"], pushed["branch"]) == ("me/other", "another")
    assert pending(ledger_of(run, repo="me/other", branch="another")) == [16]


def test_a_damaged_hub_json_is_an_error_that_says_what_to_do(run: Path) -> None:
    ledger = ledger_of(run)
    ledger.path.write_text("{", encoding="utf-8")
    with pytest.raises(CodeparrotError, match=r"hub\.json cannot be read.*remove it"):
        ledger.pending()


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        ("pushed", "pushed_at", "x"),
        ("pushed", "pushed_at", 1e300),
        ("pushed", "commit", None),
        ("pushed", "step", "8"),
        ("pushed", "number", None),
        ("settings", "every", "8"),
        ("settings", "retry_seconds", None),
    ],
)
def test_an_entry_of_hub_json_of_another_type_is_damage(run: Path, kind: str, name: str, value: object) -> None:
    save(run, 8)
    ledger = ledger_of(run)
    ledger.pushed(ledger.pending()[0], "0" * 40, ledger.branch)
    content = ledger.read()
    (content[kind][0] if kind == "pushed" else content[kind])[name] = value
    ledger.path.write_text(json.dumps(content), encoding="utf-8")
    for use in (ledger.pending, lambda: status(str(run))):
        with pytest.raises(CodeparrotError, match=r"hub\.json cannot be read.*remove it"):
            use()
    assert ledger.next_number() == 0
    assert pending(ledger_of(run)) == [8] and ledger.begun_anew


def with_clock(run: Path, seconds: float, *steps: int) -> None:
    """Set the times of checkpoints as a node does whose clock is wrong."""
    for step in steps:
        path = run / "checkpoints" / checkpoint.name_of(step) / "manifest.json"
        manifest = json.loads(path.read_text(encoding="utf-8"))
        path.write_text(json.dumps(manifest | {"time": manifest["time"] + seconds}), encoding="utf-8")


def test_the_order_of_the_queue_is_that_of_writing_whatever_the_clocks_said(run: Path) -> None:
    save(run, 4, 8)
    with_clock(run, 3600.0, 4)
    ledger = ledger_of(run)
    assert pending(ledger) == [4, 8]
    for entry in ledger.pending():
        ledger.pushed(entry, "0" * 40, ledger.branch)
    save(run, 12)
    save(run, 8, seed=77)
    with_clock(run, -7200.0, 8, 12)
    assert pending(ledger) == [12, 8]


def test_a_queue_of_an_earlier_version_goes_on(run: Path) -> None:
    save(run, 4, 8, 12)
    ledger = ledger_of(run)
    ledger.pushed(ledger.pending()[0], "0" * 40, ledger.branch)
    ledger.skip(ledger.pending()[0], "damaged")
    for path in (ledger.path, *run.glob("checkpoints/*/manifest.json")):
        path.write_text(re.sub(r',\s*"number": \d+', "", path.read_text(encoding="utf-8")), encoding="utf-8")
    assert pending(ledger) == [12]
    save(run, 16)
    assert pending(ledger) == [12, 16]


def test_checkpoints_of_a_run_that_began_again_are_not_taken_for_older_ones(run: Path) -> None:
    save(run, 4, 8, 12)
    ledger = ledger_of(run)
    for entry in ledger.pending():
        ledger.pushed(entry, "0" * 40, ledger.branch)
    shutil.rmtree(run / "checkpoints")
    add_checkpoint(run, 4, load_config(run / "config.yaml"), seed=77, number=ledger.next_number())
    assert pending(ledger) == [4]


@pytest.mark.parametrize(
    "content", ["{", "\0" * 64, "[]", '{"version": 1}', '{"version": 9}', "[" * 100_000, '{"version": 1, "pushed": [1]}']
)
def test_a_hub_json_that_cannot_be_read_is_set_aside_when_pushing_begins(run: Path, content: str, caplog) -> None:
    save(run, 4)
    for count in range(2):
        (run / "hub.json").write_text(content, encoding="utf-8")
        with pytest.raises(CodeparrotError, match=r"hub\.json"):
            Ledger(run).pending()
        caplog.clear()
        ledger = ledger_of(run)
        assert pending(ledger) == [4] and ledger.begun_anew
        (warning,) = caplog.messages
        name = "hub.json.damaged-1" if count else "hub.json.damaged"
        assert f"it is now {name}, and a new one is begun" in warning
        assert (run / name).read_text(encoding="utf-8") == content
