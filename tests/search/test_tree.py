"""Which files of a tree are read."""

import os
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from codeparrot.errors import CodeparrotError
from codeparrot.search.tree import text_files


def write(folder: Path, **files: str | bytes) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True)


def names(folder: Path, skipped: Counter[str] | None = None, **options: Path) -> list[str]:
    return [each.path for each in text_files(folder, 1000, Counter() if skipped is None else skipped, **options)]


FILES = {"a.py": "x = 1\n", "doc/b.md": "text", ".env": "secret", ".ci/c.sh": "run", "build/d.py": "y = 2", "new.txt": "new"}


def test_hidden_files_and_those_that_git_ignores_are_left_out(tmp_path: Path) -> None:
    write(tmp_path, **FILES, **{".gitignore": "build/\n", "sub/e.py": "z", "sub/.gitignore": "f.py\n", "sub/f.py": "z"})
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "a.py")
    (tmp_path / "link.py").symlink_to("a.py")
    assert names(tmp_path) == ["a.py", "doc/b.md", "new.txt", "sub/e.py"]
    assert names(tmp_path / "sub") == ["e.py"]


def test_a_folder_that_git_ignores_is_read_where_the_user_names_it(tmp_path: Path) -> None:
    write(tmp_path, **{"a.py": "x", ".gitignore": "build/\n", "build/d.py": "y", "build/sub/e.py": "y", "empty/.keep": ""})
    git(tmp_path, "init", "-q")
    assert names(tmp_path) == ["a.py"]
    assert names(tmp_path / "build") == ["d.py", "sub/e.py"]
    assert names(tmp_path / "empty") == []


def test_the_files_of_working_trees_below_are_read(tmp_path: Path) -> None:
    write(tmp_path, **{"a.py": "x", "inner/b.py": "y", "inner/c.py": "y", "inner/.gitignore": "c.py\n"})
    git(tmp_path, "init", "-q")
    git(tmp_path / "inner", "init", "-q")
    assert names(tmp_path) == ["a.py", "inner/b.py"]


def test_without_git_all_files_but_hidden_ones_are_read(tmp_path: Path) -> None:
    write(tmp_path, **FILES, **{"venv/pyvenv.cfg": "", "venv/lib.py": "", "__pycache__/x.txt": ""})
    assert names(tmp_path) == ["a.py", "build/d.py", "doc/b.md", "new.txt"]


def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    write(tmp_path, **{"a.py": "x", "large.py": "x" * 1001, "image.png": b"\x89PNG\0\1", "latin.md": b"caf\xe9"})
    skipped = Counter[str]()
    assert names(tmp_path, skipped) == ["a.py"]
    assert skipped == {"too_large": 1, "no_text": 2}


def test_the_index_is_not_a_part_of_the_tree(tmp_path: Path) -> None:
    write(tmp_path, **{"a.py": "x", "index/index.json": "{}"})
    assert names(tmp_path, without=tmp_path / "index") == ["a.py"]


def test_lines_end_alike_and_an_encoding_is_read_as_python_does(tmp_path: Path) -> None:
    write(tmp_path, **{"a.py": b"# coding: latin-1\r\nx = '\xe9'\r\n", "b.md": b"\xef\xbb\xbfx\ry"})
    assert [each.text for each in text_files(tmp_path, 1000, Counter())] == ["# coding: latin-1\nx = 'é'\n", "x\ny"]


def outside(tmp_path: Path) -> Path:
    """Return the folder of a tree, with files beside it that are no part of it."""
    write(tmp_path, **{"mine/x.py": "secret", "tree/a.py": "x", "tree/data/x.py": "y"})
    return tmp_path / "tree"


def test_a_tracked_folder_that_became_a_link_is_not_followed(tmp_path: Path) -> None:
    tree = outside(tmp_path)
    git(tree, "init", "-q")
    git(tree, "add", ".")
    (tree / "data" / "x.py").unlink()
    (tree / "data").rmdir()
    (tree / "data").symlink_to(tmp_path / "mine")
    skipped = Counter[str]()
    assert names(tree, skipped) == ["a.py"] and skipped == {"outside": 1}


@pytest.mark.parametrize("path", ["../mine/x.py", "{mine}/x.py", "{mine}", "data/../../mine/x.py"])
def test_names_in_an_index_of_git_that_lead_out_of_the_tree_are_left_out(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = outside(tmp_path)
    git(tree, "init", "-q")
    # git makes no such index, but lists one that somebody else made.
    monkeypatch.setattr("codeparrot.search.tree._listed_by_git", lambda root: ["a.py", path.format(mine=tmp_path / "mine")])
    assert names(tree) == ["a.py"]


def test_without_git_links_that_lead_out_of_the_tree_are_left_out(tmp_path: Path) -> None:
    tree = outside(tmp_path)
    write(tree, **{".hidden/h.py": "z"})
    (tree / "b.py").symlink_to(tmp_path / "mine" / "x.py")
    (tree / "c.py").symlink_to(tree / "a.py")
    (tree / "d.py").symlink_to(tree / ".hidden" / "h.py")
    (tree / "loop.py").symlink_to(tree / "loop.py")
    skipped = Counter[str]()
    assert names(tree, skipped) == ["a.py", "c.py", "data/x.py"]
    assert skipped["outside"] == 1
    (tmp_path / "link").symlink_to(tree)
    assert names(tmp_path / "link") == ["a.py", "c.py", "data/x.py"]


def test_names_that_are_not_utf8_are_left_out(tmp_path: Path) -> None:
    write(tmp_path, **{"a.py": "x", os.fsdecode(b"caf\xe9.py"): "y"})
    skipped = Counter[str]()
    assert names(tmp_path, skipped) == ["a.py"] and skipped == {"name": 1}


def test_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CodeparrotError, match="is no folder"):
        names(tmp_path / "missing")


def test_a_repository_can_make_nothing_run(tmp_path: Path) -> None:
    write(tmp_path, **{"a.py": "x", "run.sh": "#!/bin/sh\ntouch ran\n"})
    (tmp_path / "run.sh").chmod(0o755)
    git(tmp_path, "init", "-q")
    git(tmp_path, "config", "core.fsmonitor", str(tmp_path / "run.sh"))
    assert names(tmp_path) == ["a.py", "run.sh"]
    assert not (tmp_path / "ran").exists()
