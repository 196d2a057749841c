"""Starts that meet trouble: another process, a disk that is full or cannot be read, a fetch that breaks off."""

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from codeparrot.errors import CodeparrotError
from codeparrot.mirror import copies
from codeparrot.mirror.arrival import arrive
from codeparrot.mirror.store import FolderStore
from codeparrot.stream.readers.patience import Unanswered, patiently
from tests.mirror.made import config_of, content
from tests.mirror.test_arrival import begun, mirror, names

__all__ = ["mirror"]


def test_a_run_whose_only_copy_is_truncated_goes_on_from_its_own_checkpoint(tmp_path: Path, mirror: Path) -> None:
    run = tmp_path / "runs" / "a"
    config = begun(run, mirror, steps=(8,))
    (mirror / "checkpoints" / "step_00000008" / "stream.json").write_text("")
    arrive(config)
    assert names(run) == ["step_00000008"]


def test_of_two_starts_at_once_the_one_that_is_refused_removes_nothing_of_the_other(
    tmp_path: Path, mirror: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "runs" / "a"

    def taken(folder: Path, stack: object) -> bool:
        (folder / "of-the-other").touch()
        return False

    monkeypatch.setattr("codeparrot.mirror.arrival.lock", taken)
    with pytest.raises(CodeparrotError, match="another process is training"):
        arrive(config_of(run, mirror))
    assert (run / "of-the-other").exists()


def test_a_fetch_that_breaks_off_is_continued_by_the_next_start(
    tmp_path: Path, mirror: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "runs" / "a"
    config = begun(run, mirror, steps=(8,))
    expected = content(run / "checkpoints" / "step_00000008")
    shutil.rmtree(run)
    fetched: list[str] = []
    whole = FolderStore.fetch

    def fetch(store: FolderStore, name: str, *more: Any) -> None:
        if len(fetched) == 2:
            raise Unanswered("the mirror has gone")
        whole(store, name, *more)
        fetched.append(name)

    with monkeypatch.context() as patch:
        patch.setattr(FolderStore, "fetch", fetch)
        with pytest.raises(CodeparrotError, match="the mirror has gone"):
            arrive(config)
    before, fetched = fetched, []
    with monkeypatch.context() as patch:
        patch.setattr(FolderStore, "fetch", lambda store, name, *more: (fetched.append(name), whole(store, name, *more)))
        arrive(config)
    assert content(run / "checkpoints" / "step_00000008") == expected
    assert len(before) == 2 and not {*before} & {*fetched}


@pytest.mark.parametrize("place", ["copies", "checkpoints/copies", "."])
def test_a_mirror_inside_the_run_directory_is_refused(tmp_path: Path, place: str) -> None:
    run = tmp_path / "runs" / "a"
    with pytest.raises(CodeparrotError, match=r"checkpoint\.mirror .* is inside .*runs/a, and would be lost with it"):
        arrive(config_of(run, run / place))
    assert not run.exists()


def test_metrics_that_end_before_the_fetched_checkpoint_are_fetched_with_it(tmp_path: Path, mirror: Path) -> None:
    run = tmp_path / "runs" / "a"
    config = begun(run, mirror)
    shutil.rmtree(run / "checkpoints" / "step_00000016")
    whole = (run / "metrics.jsonl").read_bytes()
    (run / "metrics.jsonl").write_bytes(whole.splitlines(keepends=True)[0])
    arrive(config)
    assert (run / "metrics.jsonl").read_bytes() == whole
    longer = whole + b'{"step": 17, "tokens": 17, "loss": 1.0}\n'
    (run / "metrics.jsonl").write_bytes(longer)
    arrive(config)
    assert (run / "metrics.jsonl").read_bytes() == longer


def test_what_a_broken_off_fetch_has_left_of_another_checkpoint_of_the_step_does_not_stay(tmp_path: Path, mirror: Path) -> None:
    run = tmp_path / "runs" / "a"
    config = begun(run, mirror, steps=(8,))
    expected = content(run / "checkpoints" / "step_00000008")
    shutil.rmtree(run)
    left = run / "checkpoints" / ".partial_fetched_step_00000008" / "state" / "moments-00001.safetensors"
    left.parent.mkdir(parents=True)
    left.touch()
    arrive(config)
    assert content(run / "checkpoints" / "step_00000008") == expected


def test_a_copy_that_does_not_fit_on_the_disk_is_refused_before_it_is_fetched(
    tmp_path: Path, mirror: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "runs" / "a"
    config = begun(run, mirror)
    shutil.rmtree(run / "checkpoints" / "step_00000016")
    monkeypatch.setattr("shutil.disk_usage", lambda place: shutil._ntuple_diskusage(10**6, 10**6, 10))
    with pytest.raises(CodeparrotError, match=r"the copy needs [\d,]+ bytes more, and 10 are free; make room there"):
        arrive(config)


def test_a_disk_that_is_full_while_a_copy_comes_is_not_taken_for_a_mirror_that_is_away(
    tmp_path: Path, mirror: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "runs" / "a"
    config = begun(run, mirror)
    shutil.rmtree(run / "checkpoints" / "step_00000016")

    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("codeparrot.mirror.store._copy", full)
    with monkeypatch.context() as patch:
        patch.setattr(copies, "probe", lambda store: None)
        with pytest.raises(CodeparrotError, match="the disk that it is fetched to is full; make room there"):
            arrive(config)
    with pytest.raises(CodeparrotError, match="a disk of this machine is full"):
        patiently(full, "s3://bucket/a")


def test_a_folder_of_the_mirror_that_cannot_be_read_does_not_count_as_empty(
    tmp_path: Path, mirror: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "runs" / "a"
    config = begun(run, mirror)
    shutil.rmtree(run)
    scandir = os.scandir

    def denied(folder: Any = ".") -> Any:
        if str(folder) == str(mirror / "checkpoints"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))
        return scandir(folder)

    monkeypatch.setattr("os.scandir", denied)
    with pytest.raises(CodeparrotError, match=r"cannot read .*mirror/checkpoints: Permission denied"):
        arrive(config)


def test_a_mirror_that_lost_all_copies_and_kept_its_owner_does_not_begin_a_run_again(tmp_path: Path, mirror: Path) -> None:
    run = tmp_path / "runs" / "a"
    config = begun(run, mirror)
    shutil.rmtree(run / "checkpoints")
    shutil.rmtree(mirror / "checkpoints")
    with pytest.raises(CodeparrotError, match=r"holds none of the 2 copies .* would begin again at step 0"):
        arrive(config)
