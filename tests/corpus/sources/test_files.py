import os
from pathlib import Path

import pytest

from codeparrot.corpus.documents import Record, Removed
from codeparrot.corpus.sources.files import FileBatch, open_folder
from codeparrot.errors import CodeparrotError
from tests.corpus.license_texts import BSD_LICENSE, MIT_LICENSE

MAX_SIZE = 10_000


def write(root: Path, *paths: str) -> Path:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(f"# {path}\n")
    return root


def records(root: Path, suffixes: tuple[str, ...] = (".py",), seed: int = 0) -> list[Record | Removed]:
    return [record for unit in open_folder(root, suffixes, seed, MAX_SIZE).units for record in unit.records()]


def names(root: Path, suffixes: tuple[str, ...] = (".py",)) -> set[tuple[str, str]]:
    return {(record.repo_name, record.path) for record in records(root, suffixes) if isinstance(record, Record)}


def test_folders_at_the_first_level_are_the_repositories(tmp_path: Path) -> None:
    root = write(tmp_path / "all", "one/a.py", "one/deep/b.py", "two/a.py", "top.py")
    assert names(root) == {("one", "a.py"), ("one", "deep/b.py"), ("two", "a.py"), ("all", "top.py")}


@pytest.mark.parametrize("mark", [".git/hooks/c.py", "pyproject.toml"])
def test_a_project_is_one_repository(tmp_path: Path, mark: str) -> None:
    root = write(tmp_path / "project", "src/a.py", "tests/b.py", mark)
    assert names(root) == {("project", "src/a.py"), ("project", "tests/b.py")}


def test_version_control_and_virtual_environments_are_left_out(tmp_path: Path) -> None:
    root = write(tmp_path, "one/a.py", "one/.git/b.py", "one/.venv/pyvenv.cfg", "one/.venv/lib/c.py", "one/__pycache__/d.py")
    assert names(root) == {("one", "a.py")}


def test_only_the_suffixes_that_were_asked_for_are_read(tmp_path: Path) -> None:
    root = write(tmp_path, "one/a.py", "one/b.pyi", "one/c.js", "one/py")
    assert names(root) == {("one", "a.py")}
    assert names(root, (".pyi", ".js")) == {("one", "b.pyi"), ("one", "c.js")}


def test_what_notebooks_keep_of_earlier_versions_is_left_out(tmp_path: Path) -> None:
    root = write(tmp_path, "one/a.py", "one/.ipynb_checkpoints/a-checkpoint.py", "one/.github/run.py")
    assert names(root) == {("one", "a.py"), ("one", ".github/run.py")}


def test_links_that_form_a_loop_end_and_linked_folders_are_read_once(tmp_path: Path) -> None:
    root = write(tmp_path / "root", "one/a.py")
    write(tmp_path / "elsewhere", "b.py")
    (root / "one" / "loop").symlink_to(root)
    (root / "a_link").symlink_to(root / "one")
    (root / "self").symlink_to(root / "self")
    (root / "two").symlink_to(tmp_path / "elsewhere")
    (root / "two again").symlink_to(tmp_path / "elsewhere")
    assert names(root) == {("one", "a.py"), ("two", "b.py")}


def test_the_order_does_not_depend_on_how_a_folder_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write(tmp_path, *(f"repo{number % 7}/file{number}.py" for number in range(200)))
    expected = records(root)
    scandir = os.scandir

    class Backwards:
        def __init__(self, folder: Path) -> None:
            self.entries = sorted(scandir(folder), key=lambda entry: entry.name, reverse=True)

        def __enter__(self) -> list[os.DirEntry[str]]:
            return self.entries

        def __exit__(self, *_: object) -> None: ...

    monkeypatch.setattr(os, "scandir", Backwards)
    assert records(root) == expected
    assert len(expected) == 200


def test_another_seed_gives_another_order_of_the_same_files(tmp_path: Path) -> None:
    root = write(tmp_path, *(f"repo/file{number}.py" for number in range(50)))
    first, second = records(root, seed=0), records(root, seed=1)
    assert first != second
    assert sorted(first) == sorted(second)


def test_files_that_are_too_large_are_not_read(tmp_path: Path) -> None:
    root = write(tmp_path, "one/a.py")
    (root / "one/a.py").write_bytes(b"x" * (MAX_SIZE + 1))
    assert records(root) == [Removed("size", MAX_SIZE + 1, "one", "a.py")]


def test_files_that_vanish_are_counted(tmp_path: Path) -> None:
    root = write(tmp_path, "one/a.py")
    units = list(open_folder(root, (".py",), 0, MAX_SIZE).units)
    (root / "one/a.py").unlink()
    assert [record for unit in units for record in unit.records()] == [Removed("unreadable", 0, "one", "a.py")]


def test_pipes_are_no_files(tmp_path: Path) -> None:
    root = write(tmp_path, "one/a.py")
    os.mkfifo(root / "one" / "pipe.py")
    assert names(root) == {("one", "a.py")}


def test_file_names_that_are_no_text_are_made_printable(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    Path(os.fsdecode(os.fsencode(tmp_path / "one") + b"/\xff.py")).write_text("x")
    assert names(tmp_path) == {("one", "\ufffd.py")}


def test_batches_travel_to_workers_in_small_pieces(tmp_path: Path) -> None:
    root = write(tmp_path, *(f"repo/file{number}.py" for number in range(150)))
    units = list(open_folder(root, (".py",), 0, MAX_SIZE).units)
    assert [len(unit.files) for unit in units if isinstance(unit, FileBatch)] == [64, 64, 22]


def test_a_folder_without_sources_is_an_error_that_says_what_it_holds(tmp_path: Path) -> None:
    with pytest.raises(CodeparrotError, match=r"no \.py file"):
        records(tmp_path)
    (tmp_path / "data.parquet").touch()
    with pytest.raises(CodeparrotError, match=r"\*\.parquet"):
        records(tmp_path)


def test_a_repository_has_the_licence_of_the_licence_files_at_its_top(tmp_path: Path) -> None:
    root = write(tmp_path / "all", "one/a.py", "two/a.py", "three/a.py", "top.py")
    (root / "one" / "LICENSE").write_text(MIT_LICENSE)
    (root / "one" / "LICENSE.BSD").write_text(BSD_LICENSE)
    (root / "two" / "vendor").mkdir()
    (root / "two" / "vendor" / "LICENSE").write_text(MIT_LICENSE)
    (root / "three" / "COPYING").write_bytes(b"\xff nobody knows this licence")
    licenses = {record.repo_name: record.license for record in records(root) if isinstance(record, Record)}
    assert licenses == {"one": "BSD-2-Clause AND MIT", "two": "unknown", "three": "unknown", "all": "unknown"}
    assert {record.license for record in records(root / "two" / "vendor", ("LICENSE",)) if isinstance(record, Record)} == {
        "unknown"
    }
    (root / "one" / "pyproject.toml").touch()
    assert {record.license for record in records(root / "one") if isinstance(record, Record)} == {"BSD-2-Clause AND MIT"}
