"""A file or a folder is there whole or not at all, and on the disk before it has its name."""

import json
import math
import os
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


def test_json_has_no_number_that_is_not_finite() -> None:
    value = {"a": [math.nan, 1.5, (math.inf, "x")], "b": {"c": -math.inf, "d": None, "e": True}}
    assert json.loads(to_json(value)) == {"a": [None, 1.5, [None, "x"]], "b": {"c": None, "d": None, "e": True}}
    assert to_json({"a": 0.1}, indent=1) == json.dumps({"a": 0.1}, indent=1)
