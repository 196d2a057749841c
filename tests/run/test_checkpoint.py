import json
import logging
import re
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from codeparrot.config import Config, OptimConfig
from codeparrot.run import checkpoint


def write(folder: Path, step: int) -> Path:
    partial = checkpoint.partial_of(folder, step)
    checkpoint.begin(partial)
    for name, size in (("model/model.safetensors", 700), ("state/optimizer.bin", 300), ("stream.json", 40)):
        (partial / name).parent.mkdir(exist_ok=True)
        (partial / name).write_bytes(bytes((step + index) % 256 for index in range(size)))
    names = [str(path.relative_to(partial)) for path in partial.rglob("*") if path.is_file()]
    facts = {"step": step, "tokens": 10 * step, "world_size": 1}
    return checkpoint.publish(partial, facts, checkpoint.describe(partial, names))


def test_a_published_checkpoint_is_complete_and_has_the_contracts_manifest(tmp_path) -> None:
    place = write(tmp_path, 1000)
    assert place.name == "step_00001000"
    assert checkpoint.fault(place) is None
    manifest = checkpoint.read_manifest(place)
    assert (manifest["step"], manifest["tokens"], manifest["world_size"]) == (1000, 10000, 1)
    assert set(manifest["files"]) == {"model/model.safetensors", "state/optimizer.bin", "stream.json"}


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_checkpoint_cut_at_any_byte_is_never_chosen(tmp_path, data: st.DataObject) -> None:
    folder = tmp_path / "run"
    shutil.rmtree(folder, ignore_errors=True)
    older, newer = write(folder, 10), write(folder, 20)
    victim = data.draw(st.sampled_from(sorted(path for path in newer.rglob("*") if path.is_file())))
    content = victim.read_bytes()
    victim.write_bytes(content[: data.draw(st.integers(0, 10**6)) % len(content)])
    assert checkpoint.newest_complete(folder) == older


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_checkpoint_with_a_flipped_byte_or_a_missing_file_is_named_and_passed_over(tmp_path, caplog, data) -> None:
    folder = tmp_path / "run"
    shutil.rmtree(folder, ignore_errors=True)
    older, newer = write(folder, 10), write(folder, 20)
    victim = data.draw(st.sampled_from(sorted(newer.rglob("*.*"))))
    if data.draw(st.booleans()):
        victim.unlink()
    elif victim.name == "manifest.json":
        victim.write_text("{}", encoding="utf-8")
    else:
        content = bytearray(victim.read_bytes())
        content[data.draw(st.integers(0, 10**6)) % len(content)] ^= 1
        victim.write_bytes(content)
    with caplog.at_level(logging.WARNING, logger="codeparrot"):
        assert checkpoint.newest_complete(folder) == older
    assert str(newer) in caplog.text


def test_processes_take_the_newest_checkpoint_that_all_of_them_find_whole(tmp_path, caplog) -> None:
    """Three processes each read their share of the files; one of them finds the newest checkpoint damaged."""
    import threading

    older, newer = write(tmp_path, 10), write(tmp_path, 20)
    victim = newer / "state" / "optimizer.bin"
    victim.write_bytes(b"x" * victim.stat().st_size)
    barrier, items = threading.Barrier(3), [None] * 3
    chosen: list[Path | None] = [None] * 3

    def process(rank: int) -> None:
        def gather(item):
            items[rank] = item
            barrier.wait()
            everyone = list(items)
            barrier.wait()
            return everyone

        chosen[rank] = checkpoint.newest_complete(tmp_path, gather, rank, 3)

    threads = [threading.Thread(target=process, args=(rank,)) for rank in range(3)]
    with caplog.at_level(logging.WARNING, logger="codeparrot"):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert chosen == [older] * 3
    assert re.search(r"passing over .*step_00000020: process \d: state/optimizer.bin has another SHA-256", caplog.text)


def test_what_is_being_written_is_no_checkpoint_and_is_removed_later(tmp_path) -> None:
    write(tmp_path, 10)
    checkpoint.begin(checkpoint.partial_of(tmp_path, 20))
    assert [path.name for path in checkpoint.steps(tmp_path)] == ["step_00000010"]
    checkpoint.prune(tmp_path, 3, 0)
    assert [path.name for path in tmp_path.iterdir()] == ["step_00000010"]


def test_prune_keeps_the_newest_and_every_mth(tmp_path) -> None:
    for step in range(10, 100, 10):
        write(tmp_path, step)
    checkpoint.prune(tmp_path, keep_last=2, keep_every_steps=30)
    assert [int(path.name[5:]) for path in checkpoint.steps(tmp_path)] == [90, 80, 60, 30]


def test_what_was_written_last_is_the_newest_whatever_its_step(tmp_path) -> None:
    """A run that went back to step 10 leaves higher steps on disk."""
    for step in (10, 20, 30, 12, 14):
        write(tmp_path, step)
    assert checkpoint.newest_complete(tmp_path) == tmp_path / "step_00000014"
    checkpoint.prune(tmp_path, keep_last=2, keep_every_steps=0)
    assert [int(path.name[5:]) for path in checkpoint.steps(tmp_path)] == [14, 12]


def test_a_damaged_checkpoint_takes_no_place_of_a_newer_one(tmp_path) -> None:
    write(tmp_path, 16)
    (write(tmp_path, 24) / "model" / "model.safetensors").write_bytes(b"cut")
    cut = write(tmp_path, 25)
    (cut / "manifest.json").write_text("{", encoding="utf-8")
    write(tmp_path, 20)
    checkpoint.prune(tmp_path, keep_last=1, keep_every_steps=0)
    assert {path.name for path in tmp_path.iterdir()} == {"step_00000020", cut.name}
    assert checkpoint.newest_complete(tmp_path) == tmp_path / "step_00000020"


def test_what_is_left_of_a_removal_goes_and_what_a_user_put_there_stays(tmp_path) -> None:
    (write(tmp_path, 10) / "manifest.json").unlink()
    shutil.copytree(write(tmp_path, 20), tmp_path / "step_00000020.best")
    (tmp_path / "step_00000025").touch()
    write(tmp_path, 30)
    checkpoint.prune(tmp_path, keep_last=1, keep_every_steps=0)
    assert {path.name for path in tmp_path.iterdir()} == {"step_00000020.best", "step_00000025", "step_00000030"}


def test_an_interrupted_removal_leaves_nothing_that_looks_complete(tmp_path, monkeypatch) -> None:
    place = write(tmp_path, 10)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.remove(place)
    assert checkpoint.newest_complete(tmp_path) is None


def test_a_manifest_loses_its_meaning_with_its_last_byte(tmp_path) -> None:
    text = (write(tmp_path, 1) / "manifest.json").read_text(encoding="utf-8")
    json.loads(text)
    with pytest.raises(ValueError, match="Expecting"):
        json.loads(text[:-1])


def test_only_changes_that_change_the_result_matter() -> None:
    old, new = Config(), Config(optim=OptimConfig(lr=1e-3))
    new.train.micro_batch_size, new.checkpoint.every_steps, new.run.name = 1, 7, "other"
    new.model = {"family": "gpt2", "n_layer": 3}
    assert checkpoint.changes_that_matter(asdict(old), asdict(new)) == [
        "model.n_layer: None -> 3",
        "optim.lr: 0.0005 -> 0.001",
    ]


def test_a_setting_that_an_older_run_did_not_have_counts_as_its_default() -> None:
    older = asdict(Config())
    del older["stream"]["block_documents"], older["schedule"]
    assert checkpoint.changes_that_matter(older, asdict(Config())) == []
    newer = Config()
    newer.stream.block_documents, newer.schedule.name = 7, "linear"
    assert checkpoint.changes_that_matter(older, asdict(newer)) == [
        "stream.block_documents: 256 -> 7",
        "schedule.name: cosine -> linear",
    ]


def test_a_setting_that_is_taken_away_is_a_change() -> None:
    old, new = asdict(Config()), asdict(Config())
    old["model"] = {"family": "gpt2", "resid_pdrop": 0.0}
    assert checkpoint.changes_that_matter(old, new) == ["model.resid_pdrop: 0.0 -> None"]


def test_what_is_left_to_the_run_is_no_change_and_anything_else_is() -> None:
    old, new = asdict(Config()), asdict(Config())
    old["stream"] |= {"order": "windows", "block_windows": 64}
    assert checkpoint.changes_that_matter(old, new) == []
    new["stream"] |= {"order": "documents", "block_windows": 65}
    assert checkpoint.changes_that_matter(old, new) == [
        "stream.order: windows -> documents",
        "stream.block_windows: 64 -> 65",
    ]
    del old["stream"]["order"]
    assert checkpoint.changes_that_matter(old, new) == ["stream.block_windows: 64 -> 65"]


def test_a_model_is_not_completed_with_the_fields_of_another() -> None:
    older, newer = asdict(Config()), asdict(Config())
    older["model"], newer["model"] = {"family": "llama"}, {"family": "llama", "hidden_size": 8}
    assert checkpoint.changes_that_matter(older, newer) == ["model.hidden_size: None -> 8"]


def edit(place: Path, **facts: object) -> None:
    """Change the manifest of a checkpoint; None takes an entry out."""
    path = place / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8")) | facts
    path.write_text(json.dumps({name: value for name, value in manifest.items() if value is not None}), encoding="utf-8")


def names(folder: Path) -> list[int]:
    return [int(path.name[5:]) for path in checkpoint.steps(folder)]


@pytest.mark.parametrize("keep_last", [1, 2])
def test_a_clock_that_was_ahead_neither_prunes_what_is_new_nor_keeps_what_is_old(tmp_path, keep_last) -> None:
    for step in (4, 8, 12):
        edit(write(tmp_path, step), time=4e9)
    for step in (16, 20):
        assert checkpoint.newest_complete(tmp_path) == tmp_path / checkpoint.name_of(step - 4)
        place = write(tmp_path, step)
        checkpoint.prune(tmp_path, keep_last, 0)
        assert checkpoint.newest_complete(tmp_path) == place
    assert names(tmp_path) == [20, 16][:keep_last]


def test_checkpoints_of_earlier_versions_come_in_the_order_of_their_steps_and_before_all_others(tmp_path) -> None:
    for step, time in ((8, 3e9), (4, 5e9), (12, 1.0)):
        edit(write(tmp_path, step), number=None, time=time)
    assert names(tmp_path) == [12, 8, 4]
    edit(write(tmp_path, 10), time=None)
    assert names(tmp_path) == [10, 12, 8, 4]
    checkpoint.prune(tmp_path, 2, 0)
    assert names(tmp_path) == [10, 12]


def test_numbers_only_grow_whatever_is_taken_away_or_put_there(tmp_path) -> None:
    def number(step: int) -> int:
        return checkpoint.read_manifest(write(tmp_path, step))["number"]

    assert [number(step) for step in (4, 8, 4)] == [1, 2, 3]
    edit(tmp_path / "step_00000008", number=70)
    shutil.rmtree(tmp_path / "step_00000004")
    assert number(12) == 71
    (tmp_path / "step_00000012" / "manifest.json").write_bytes(bytes(100))
    assert number(16) == 71


@pytest.mark.parametrize(
    "content",
    [b"", bytes(300), b"[1]", b"null", b"\xff\xfe{", b'{"version": 2}', b"[" * 100_000, b'{"version": 2, "step": "a"}'],
)
def test_a_manifest_that_no_run_wrote_is_passed_over_and_stays(tmp_path, content, caplog) -> None:
    older, newer = write(tmp_path, 10), write(tmp_path, 20)
    (newer / "manifest.json").write_bytes(content)
    assert checkpoint.newest_complete(tmp_path) == older
    assert "manifest.json is truncated or damaged" in caplog.text
    newest = write(tmp_path, 30)
    checkpoint.prune(tmp_path, 1, 0)
    assert set(tmp_path.iterdir()) == {newest, newer}


def test_a_file_that_the_disk_cannot_read_is_passed_over(tmp_path, caplog, monkeypatch) -> None:
    older, newer = write(tmp_path, 10), write(tmp_path, 20)
    read = Path.open

    def fails(self: Path, *arguments, **options):
        if self == newer / "stream.json":
            raise OSError(5, "Input/output error")
        return read(self, *arguments, **options)

    monkeypatch.setattr(Path, "open", fails)
    assert checkpoint.newest_complete(tmp_path) == older
    assert "stream.json cannot be read (Input/output error)" in caplog.text
