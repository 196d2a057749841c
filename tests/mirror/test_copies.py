"""A copy is whole or does not count, whatever is killed when."""

import json
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from codeparrot.errors import CodeparrotError
from codeparrot.mirror import copies
from codeparrot.mirror.copies import Damaged, Owner
from codeparrot.mirror.store import FolderStore, Store, check_place, open_store
from codeparrot.publishing.ledger import Entry, entries
from codeparrot.stream.readers import remote
from codeparrot.stream.readers.patience import Unanswered
from tests.mirror.made import NAMES, content, save
from tests.s3_server.fixture import S3Server, s3

__all__ = ["s3"]


class Killed(BaseException):
    """The process ends here."""


class Watched:
    """A store that counts what is changed, and may end the process before one of its changes."""

    def __init__(self, store: Store, end_at: int = -1) -> None:
        self._store, self.shown, self.end_at = store, store.shown, end_at
        self.sizes, self.read, self.fetch, self.sha256 = store.sizes, store.read, store.fetch, store.sha256
        self.changed: list[str] = []

    def _change(self, name: str, action: Callable[[], Any]) -> None:
        if len(self.changed) == self.end_at:
            raise Killed
        action()
        self.changed.append(name)

    def put(self, name: str, local: Path, counted: Any = lambda num_bytes: None) -> None:
        self._change(name, lambda: self._store.put(name, local, counted))

    def remove(self, name: str) -> None:
        self._change(name, lambda: self._store.remove(name))


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "mirror")


def entry(run: Path, step: int) -> Entry:
    return next(each for each in entries(run / "checkpoints", state=True) if each.step == step)


def whole(store: Any) -> list[str]:
    return [each.name for each in copies.look(store, store.sizes()).whole]


def damage(store: Store, name: str, tmp_path: Path) -> None:
    data = bytearray(store.read(name))
    data[len(data) // 2] ^= 1
    (tmp_path / "damaged").write_bytes(data)
    store.put(name, tmp_path / "damaged")


@pytest.mark.slow
def test_a_copy_on_s3_comes_back_as_it_was(tmp_path: Path, s3: S3Server) -> None:
    store, run = open_store("s3://bucket/a/b"), tmp_path / "runs" / "a"
    copies.probe(store)
    assert store.sizes() == {}
    expected = content(save(run, 8))
    sent: list[int] = []
    copies.copy(run, entry(run, 8), store, sent.append)
    assert sum(sent) >= sum(map(len, expected.values())) - len(expected["manifest.json"])
    (found,) = copies.look(store, store.sizes()).whole
    place = copies.fetch(store, found, tmp_path / "elsewhere")
    assert content(place) == expected
    assert [each.name for each in (tmp_path / "elsewhere").iterdir()] == ["step_00000008"]
    # Of another content, in the same place, and then removed behind a newer one.
    save(run, 8, seed=99)
    copies.copy(run, entry(run, 8), store)
    save(run, 16)
    copies.copy(run, entry(run, 16), store)
    assert [each.name for each in copies.tidy(store, 1, 0)] == ["step_00000016"]
    assert {name.split("/")[1] for name in store.sizes() if name.startswith("checkpoints/")} == {"step_00000016"}


def test_a_copy_in_a_folder_comes_back_as_it_was(tmp_path: Path, store: FolderStore) -> None:
    run = tmp_path / "runs" / "a"
    expected = content(save(run, 8))
    copies.copy(run, entry(run, 8), store)
    (found,) = copies.look(store, store.sizes()).whole
    assert content(copies.fetch(store, found, tmp_path / "elsewhere")) == expected


def test_a_kill_at_any_change_leaves_no_part_of_a_copy_that_counts_and_the_next_goes_on(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "a"
    save(run, 8)
    save(run, 16)
    end, changes = 0, 99
    while end < changes:
        store = FolderStore(tmp_path / f"mirror-{end}")
        copies.copy(run, entry(run, 8), store)
        watched = Watched(store, end)
        try:
            copies.copy(run, entry(run, 16), watched)
            copies.tidy(watched, 1, 0)
            changes = len(watched.changed)
        except Killed:
            manifest = "checkpoints/step_00000016/manifest.json" in watched.changed
            assert whole(store)[-1] == ("step_00000016" if manifest else "step_00000008")
            assert whole(store) or manifest, "the older one stays until the newer one is there"
            again = Watched(store)
            copies.copy(run, entry(run, 16), again)
            assert manifest or not {*again.changed} & {each for each in watched.changed if each.startswith("checkpoints/")}
            copies.tidy(again, 1, 0)
        assert whole(store) == ["step_00000016"]
        assert {name for name in store.sizes() if "/" in name} == {
            f"checkpoints/step_00000016/{name}" for name in (*NAMES, "manifest.json")
        }
        end += 1
    assert end > len(NAMES) + 4


def test_what_is_kept_at_the_mirror_is_what_is_kept_here(tmp_path: Path, store: FolderStore) -> None:
    run = tmp_path / "runs" / "a"
    for step in range(8, 56, 8):
        save(run, step)
        copies.copy(run, entry(run, step), store)
        copies.tidy(store, keep_last=2, keep_every_steps=16)
    assert whole(store) == ["step_00000016", "step_00000032", "step_00000040", "step_00000048"]


def test_a_damaged_copy_is_refused_by_name_and_goes_when_a_newer_one_is_there(tmp_path: Path, store: FolderStore) -> None:
    run = tmp_path / "runs" / "a"
    for step in (8, 16):
        save(run, step)
        copies.copy(run, entry(run, step), store)
    damage(store, "checkpoints/step_00000016/state/training.json", tmp_path)
    older, newest = copies.look(store, store.sizes()).whole
    with pytest.raises(Damaged, match=r"mirror/checkpoints/step_00000016/state/training\.json has another SHA-256"):
        copies.fetch(store, newest, tmp_path / "elsewhere")
    assert copies.fetch(store, older, tmp_path / "elsewhere").name == "step_00000008"
    assert [each.name for each in copies.tidy(store, 1, 0, damaged=[newest.digest])] == ["step_00000008", "step_00000016"]
    save(run, 24)
    copies.copy(run, entry(run, 24), store)
    assert [each.name for each in copies.tidy(store, 2, 0, damaged=[newest.digest])] == ["step_00000008", "step_00000024"]


@pytest.mark.parametrize("name", ["manifest.json", "state/training.json"])
def test_a_truncated_copy_does_not_count_and_is_named(tmp_path: Path, store: FolderStore, name: str) -> None:
    run = tmp_path / "runs" / "a"
    save(run, 8)
    copies.copy(run, entry(run, 8), store)
    file = tmp_path / "mirror" / "checkpoints" / "step_00000008" / name
    file.write_bytes(file.read_bytes()[:-1])
    found = copies.look(store, store.sizes())
    assert found.whole == [] and name in found.faults[0]


def test_a_copy_of_a_later_codeparrot_is_no_damaged_one_and_stays(tmp_path: Path, store: FolderStore) -> None:
    run = tmp_path / "run"
    save(run, 1)
    copies.copy(run, entry(run, 1), store)
    (manifest,) = (tmp_path / "mirror").rglob("manifest.json")
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "version": 99}))
    before = content(tmp_path / "mirror")
    for ask in (lambda: copies.look(store, store.sizes()), lambda: copies.tidy(store, 1, 0)):
        with pytest.raises(CodeparrotError, match=r"step_\d+/manifest.json has version 99.*update codeparrot"):
            ask()
    assert content(tmp_path / "mirror") == before


def test_a_checkpoint_that_is_damaged_here_gets_no_copy(tmp_path: Path, store: FolderStore) -> None:
    run = tmp_path / "runs" / "a"
    file = save(run, 8) / NAMES[0]
    file.write_bytes(file.read_bytes()[::-1])
    with pytest.raises(Damaged, match=r"step_00000008/model/model\.safetensors has another SHA-256"):
        copies.copy(run, entry(run, 8), store)
    assert whole(store) == []


def test_a_copy_that_names_files_elsewhere_writes_none(tmp_path: Path, store: FolderStore) -> None:
    run = tmp_path / "runs" / "a"
    save(run, 8)
    copies.copy(run, entry(run, 8), store)
    last = tmp_path / "mirror" / "checkpoints" / "step_00000008" / "manifest.json"
    manifest = json.loads(last.read_text())
    manifest["files"]["model/../../../../evil"] = {"bytes": 4, "sha256": "0"}
    last.write_text(json.dumps(manifest))
    (tmp_path / "evil").write_bytes(b"evil")
    (found,) = copies.look(store, store.sizes() | {"checkpoints/step_00000008/model/../../../../evil": 4}).whole
    with pytest.raises(Damaged, match="names a file that no checkpoint has"):
        copies.fetch(store, found, tmp_path / "elsewhere")
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.slow
def test_a_server_that_dies_in_the_middle_of_a_copy_leaves_none_that_counts(
    tmp_path: Path, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CODEPARROT_PATIENCE_SECONDS", "0.3")
    store, run = open_store("s3://bucket/a"), tmp_path / "runs" / "a"
    save(run, 8)
    watched = Watched(store, end_at=3)
    with pytest.raises(Killed):
        copies.copy(run, entry(run, 8), watched)
    with s3.dead(), pytest.raises(Unanswered, match=r"cannot .* s3://bucket/a"):
        copies.copy(run, entry(run, 8), store)
    assert whole(store) == []
    again = Watched(store)
    copies.copy(run, entry(run, 8), again)
    assert whole(store) == ["step_00000008"] and not {*again.changed} & {*watched.changed}


def test_a_folder_that_holds_something_else_is_not_taken(tmp_path: Path, store: FolderStore) -> None:
    assert copies.owner_of(store, store.sizes()) is None
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / "photo.jpg").touch()
    (tmp_path / "mirror" / "thesis.tex").touch()
    with pytest.raises(CodeparrotError, match=r"mirror holds something else \(photo\.jpg and 1 more\).*name an empty folder"):
        copies.owner_of(store, store.sizes())
    (tmp_path / "mirror" / "photo.jpg").unlink()
    (tmp_path / "mirror" / "thesis.tex").unlink()
    copies.take(store, Owner("a", "id"))
    assert copies.owner_of(store, store.sizes()) == Owner("a", "id")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("https://host/folder", "nothing is written to web servers; name a folder, or s3://"),
        ("s5://bucket/folder", "s5://bucket/folder is of no kind that is read"),
        ("s3://key:secret@bucket/folder", r"s3://\*\*\*@bucket/folder: an address must hold no credentials"),
        ("s3:///folder", "names no bucket"),
    ],
)
def test_a_place_that_cannot_be_a_mirror_is_refused_in_one_line(name: str, said: str) -> None:
    with pytest.raises(CodeparrotError, match=said) as error:
        check_place(name)
    assert "checkpoint.mirror" in str(error.value) and "\n" not in str(error.value) and "secret" not in str(error.value)


def test_a_missing_package_is_named_with_the_way_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("codeparrot.mirror.store.find_spec", lambda name: None)
    with pytest.raises(CodeparrotError, match=r"s3://bucket/a needs s3fs: pip install 'codeparrot\[s3\]'"):
        check_place("s3://bucket/a")
    with pytest.raises(CodeparrotError, match=r"gs://bucket/a needs gcsfs: pip install"):
        check_place("gs://bucket/a")


@pytest.mark.slow
@pytest.mark.parametrize("action", ["probe", "put"])
def test_a_server_that_takes_connections_and_never_answers_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.getsockname()[1]}")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        monkeypatch.setenv("CODEPARROT_PATIENCE_SECONDS", "0.1")
        monkeypatch.setattr("codeparrot.stream.readers.remote.CALL_SECONDS", 1.0)
        remote.forget()
        store, begun = open_store("s3://bucket/a"), time.monotonic()
        (tmp_path / "file").write_bytes(b"file")
        with pytest.raises(Unanswered):
            copies.probe(store) if action == "probe" else store.put("file", tmp_path / "file")
        assert time.monotonic() - begun < 60
        remote.forget()
