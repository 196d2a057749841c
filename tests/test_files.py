"""A file or a folder is there whole or not at all, and on the disk before it has its name; locks hold where they can."""

import errno
import fcntl
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from codeparrot import files
from codeparrot.files import to_json


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Fills with what is flushed and what is renamed, in order."""
    seen: list[str] = []
    fsync, replace, rename = os.fsync, Path.replace, Path.rename

    def flushed(handle: int) -> None:
        seen.append(f"flush {Path(f'/proc/self/fd/{handle}').readlink().name.rpartition('-')[2]}")
        fsync(handle)

    def replaced(self: Path, target: Path) -> Path:
        seen.append(f"rename {target.name}")
        return replace(self, target)

    def renamed(self: Path, target: Path) -> Path:
        seen.append(f"rename {target.name}")
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(Path, "replace", replaced)
    monkeypatch.setattr(Path, "rename", renamed)
    return seen


def test_a_file_is_flushed_and_then_renamed(tmp_path, calls) -> None:
    files.write_text(tmp_path / "new" / "a.txt", "é\n")
    assert (tmp_path / "new" / "a.txt").read_text(encoding="utf-8") == "é\n"
    assert calls == ["flush a.txt", "rename a.txt"]


def test_what_need_not_be_durable_is_renamed_alone(tmp_path, calls) -> None:
    files.write_text(tmp_path / "a.txt", "x", durable=False)
    assert calls == ["rename a.txt"]


def test_a_reader_has_the_old_content_or_the_new(tmp_path) -> None:
    place = tmp_path / "a.json"
    files.write_json(place, {"step": 1})
    with place.open(encoding="utf-8") as reader:
        files.write_json(place, {"step": 2})
        assert reader.read() == '{"step": 1}'
    assert place.read_text(encoding="utf-8") == '{"step": 2}'


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path) -> None:
    place = tmp_path / "a.txt"
    files.write_text(place, "old")
    with pytest.raises(OSError, match="full"), files.new_file(place) as fresh:
        fresh.write_text("half")
        raise OSError("full")
    assert place.read_text() == "old" and [each.name for each in tmp_path.iterdir()] == ["a.txt"]


def test_all_of_a_folder_is_flushed_before_it_has_its_name(tmp_path, calls) -> None:
    with files.new_folder(tmp_path / "folder") as folder:
        (folder / "a").write_text("a")
        (folder / "b").mkdir()
        (folder / "b" / "c").write_text("c")
    assert {"flush a", "flush b", "flush c"} <= set(calls[:-1]) and calls[-1] == "rename folder"
    assert (tmp_path / "folder" / "b" / "c").read_text() == "c"


def test_a_folder_that_is_there_stays(tmp_path) -> None:
    for text in ("first", "second"):
        with files.new_folder(tmp_path / "folder") as folder:
            (folder / "a").write_text(text)
    assert (tmp_path / "folder" / "a").read_text() == "first" and len(list(tmp_path.iterdir())) == 1


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path) -> None:
    place = tmp_path / "folder"
    for name in ("old", "new"):
        with files.replaced_folder(place) as folder:
            (folder / name).touch()
    assert [each.name for each in place.iterdir()] == ["new"]
    with pytest.raises(OSError, match="full"), files.replaced_folder(place) as folder:
        (folder / "half").touch()
        raise OSError("full")
    assert [each.name for each in place.iterdir()] == ["new"] and len(list(tmp_path.iterdir())) == 1


def test_lines_that_do_not_fit_leave_the_file_as_it_was(tmp_path, monkeypatch) -> None:
    path = tmp_path / "a.jsonl"
    files.append(path, b"one\n")
    opened = Path.open

    class Full:
        """A file on a disk that has room for two more bytes."""

        def __init__(self, file) -> None:
            self.file = file

        def __enter__(self) -> "Full":
            return self

        def __exit__(self, *_: object) -> None:
            self.file.close()

        def write(self, lines: bytes) -> int:
            return self.file.write(lines[:2])

        def __getattr__(self, name: str):
            return getattr(self.file, name)

    monkeypatch.setattr(Path, "open", lambda self, *args, **options: Full(opened(self, *args, **options)))
    with pytest.raises(OSError, match="No space left"):
        files.append(path, b"two\n")
    monkeypatch.undo()
    assert path.read_bytes() == b"one\n"


@pytest.mark.parametrize(("content", "left"), [(b"a\nb", b"a\n"), (b"a\nb\n", b"a\nb\n"), (b"a", b""), (b"", b"")])
def test_a_line_that_was_cut_is_removed(tmp_path, content, left) -> None:
    (tmp_path / "a").write_bytes(content)
    files.cut_unfinished_line(tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == left


@pytest.fixture(params=[0o022, 0o077, 0o002], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_what_a_library_wrote_for_the_owner_alone_has_the_rights_of_the_umask(tmp_path, umask) -> None:
    with files.new_folder(tmp_path / "folder") as folder:
        (folder / "inner").mkdir()
        for name in ("a", "inner/b"):
            (folder / name).touch(0o600)
        (folder / "program").touch(0o700)
    rights = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "folder").rglob("*")}
    assert rights == {"a": 0o666 & ~umask, "b": 0o666 & ~umask, "program": 0o766 & ~umask | 0o700, "inner": 0o777 & ~umask}
    assert (tmp_path / "folder").stat().st_mode & 0o777 == 0o777 & ~umask


NO_SUCH_LOCK = [errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK]
TRY = (
    "import sys; from pathlib import Path; from codeparrot import files\n"
    "with files.locked(Path(sys.argv[1])) as ours: print(ours)"
)


def refusing(number: int) -> Callable[..., None]:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    return refuse


def tried_elsewhere(path: Path, setup: str = "") -> str:
    return subprocess.run([sys.executable, "-c", setup + TRY, str(path)], capture_output=True, text=True, check=True).stdout


def test_a_lock_keeps_another_process_out_and_ends_with_the_block(tmp_path) -> None:
    with files.locked(tmp_path / "lock") as ours:
        assert ours and tried_elsewhere(tmp_path / "lock") == "False\n"
    assert tried_elsewhere(tmp_path / "lock") == "True\n"


@pytest.mark.parametrize("number", NO_SUCH_LOCK)
def test_where_there_is_no_flock_another_kind_of_lock_holds(number, tmp_path, monkeypatch, caplog) -> None:
    monkeypatch.setattr(fcntl, "flock", refusing(number))
    no_flock = f"import fcntl, errno\ndef no(*_): raise OSError({number}, 'no flock')\nfcntl.flock = no\n"
    with files.locked(tmp_path / "lock") as ours:
        assert ours and tried_elsewhere(tmp_path / "lock", no_flock) == "False\n"
    assert tried_elsewhere(tmp_path / "lock", no_flock) == "True\n" and not caplog.records


def test_where_there_are_no_locks_a_warning_says_so_once(tmp_path, monkeypatch, caplog) -> None:
    monkeypatch.setattr(fcntl, "flock", refusing(errno.ENOSYS))
    monkeypatch.setattr(fcntl, "lockf", refusing(errno.ENOLCK))
    monkeypatch.setattr(files.logger, "propagate", True)
    for wait in (False, True):
        with files.locked(tmp_path / "lock", wait) as ours:
            assert ours
    (line,) = (record.getMessage() for record in caplog.records)
    assert str(tmp_path) in line and "without locks" in line


def test_another_error_of_a_lock_is_an_error(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(fcntl, "flock", refusing(errno.EIO))
    with pytest.raises(OSError, match="Input/output error"), files.locked(tmp_path / "lock"):
        pass


def test_a_folder_that_cannot_be_flushed_is_no_error_and_a_file_is(tmp_path, monkeypatch) -> None:
    (tmp_path / "a").touch()
    monkeypatch.setattr(os, "fsync", refusing(errno.EINVAL))
    files.flush(tmp_path)
    with pytest.raises(OSError, match="Invalid argument"):
        files.flush(tmp_path / "a")


def test_json_has_no_number_that_is_not_finite() -> None:
    value = {"a": [math.nan, 1.5, (math.inf, "x")], "b": {"c": -math.inf, "d": None, "e": True}}
    assert json.loads(to_json(value)) == {"a": [None, 1.5, [None, "x"]], "b": {"c": None, "d": None, "e": True}}
    assert to_json({"a": 0.1}, indent=1) == json.dumps({"a": 0.1}, indent=1)
