import os
import subprocess
from pathlib import Path

import pytest

from codeparrot.corpus.documents import ColumnNames, Reading, Record, Removed
from codeparrot.corpus.sources import git, git_objects
from codeparrot.corpus.sources.git import name_of_remote, open_git
from codeparrot.corpus.sources.license_files import MAX_LICENSE_FILES
from codeparrot.errors import CodeparrotError
from tests.corpus.license_texts import MIT_LICENSE
from tests.corpus.samples import make, modules, read

WHO = ["-c", "user.name=me", "-c", "user.email=me@example.org"]
READING = Reading(0, 100, (".py",), ColumnNames())


def run(folder: Path, *arguments: str, text: bytes = b"") -> str:
    return (
        subprocess.run(["git", "-C", folder, *WHO, *arguments], input=text, capture_output=True, check=True)
        .stdout.decode()
        .strip()
    )


def repository(folder: Path, files: dict[str, str], origin: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    run(folder, "init", "-q", "-b", "main")
    commit(folder, files)
    if origin:
        run(folder, "remote", "add", "origin", origin)
    return folder


def commit(folder: Path, files: dict[str, str]) -> str:
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    run(folder, "add", "--all")
    run(folder, "commit", "-q", "--allow-empty", "-m", "x")
    return run(folder, "rev-parse", "HEAD")


def outcomes(spec: str, seed: int = 0, max_size: int = 10**6) -> list[Record | Removed]:
    found = [each for unit in open_git(spec, READING._replace(seed=seed, max_size=max_size)).units for each in unit.records()]
    assert all(each.repo_name for each in found)
    return [Removed(each.reason, each.size) if isinstance(each, Removed) else each for each in found]


def names(spec: str) -> set[tuple[str, str]]:
    return {(each.repo_name, each.path) for each in outcomes(spec) if isinstance(each, Record)}


def test_tracked_files_are_read_and_nothing_else(tmp_path: Path) -> None:
    root = repository(
        tmp_path / "project", {"a.py": "a\n", "deep/er/b.py": "b\n", "c.txt": "c\n", ".gitignore": "ignored.py\n"}
    )
    (root / "ignored.py").write_text("x")
    (root / "untracked.py").write_text("x")
    (root / "a.py").write_text("changed since")
    assert sorted(outcomes(f"git:{root}")) == [
        Record("project", "a.py", "unknown", b"a\n"),
        Record("project", "deep/er/b.py", "unknown", b"b\n"),
    ]


def test_a_revision_can_be_named(tmp_path: Path) -> None:
    root = repository(tmp_path / "project", {"a.py": "1\n"})
    run(root, "tag", "v1")
    commit(root, {"a.py": "2\n"})
    assert [each.content for each in outcomes(f"git:{root}@v1") if isinstance(each, Record)] == [b"1\n"]
    assert [each.content for each in outcomes(f"git:{root}@main") if isinstance(each, Record)] == [b"2\n"]
    with pytest.raises(CodeparrotError, match='no revision "v2"'):
        outcomes(f"git:{root}@v2")


def test_a_folder_of_repositories_gives_all_of_them_bare_ones_and_mirrors_too(tmp_path: Path) -> None:
    one = repository(tmp_path / "all" / "me" / "one", {"a.py": "a\n"})
    repository(tmp_path / "two", {"b.py": "b\n"}, origin="https://user:secret@example.org/you/two.git")
    run(tmp_path, "clone", "-q", "--bare", str(one), str(tmp_path / "all" / "bare.git"))
    (tmp_path / "two").rename(tmp_path / "all" / "renamed")
    (tmp_path / "all" / "link").symlink_to(tmp_path / "all" / "me")
    spec = f"git:{tmp_path / 'all'}"
    assert names(spec) == {("one", "a.py"), ("bare", "a.py"), ("you/two", "b.py")}
    facts = open_git(spec, READING).facts
    assert {"name": "one", "commit": run(one, "rev-parse", "HEAD")} in facts["repositories"]
    assert "secret" not in str(facts)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("git@github.com:me/it.git", "me/it"),
        ("https://github.com/me/it", "me/it"),
        ("https://token@example.org/group/sub/it.git/", "group/sub/it"),
        ("ssh://git@example.org:22/me/it.git", "me/it"),
        ("/srv/git/it.git", None),
        ("../it", None),
        ("file:///srv/it.git", None),
        ("ext::sh -c touch% /tmp/x", None),
        ("https://example.org/../../x", None),
        ("", None),
    ],
)
def test_the_name_is_that_on_the_remote(url: str, name: str | None) -> None:
    assert name_of_remote(url) == name


def test_links_and_submodules_are_left_out(tmp_path: Path) -> None:
    inner = repository(tmp_path / "inner", {"i.py": "i\n"})
    root = repository(tmp_path / "outer", {"a.py": "a\n"})
    (root / "passwd.py").symlink_to("/etc/passwd")
    run(root, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(inner), "sub.py")
    commit(root, {})
    assert names(f"git:{root}") == {("outer", "a.py")}


def test_nothing_that_a_repository_says_is_carried_out(tmp_path: Path) -> None:
    root = repository(tmp_path / "hostile", {"a.py": "a\n", "LICENSE": "x\n", ".gitattributes": "*.py filter=f diff=d\n"})
    trace = tmp_path / "carried_out"
    touch = f"touch {trace}"
    for key in (
        "core.fsmonitor",
        "core.pager",
        "core.sshCommand",
        "core.editor",
        "filter.f.smudge",
        "filter.f.clean",
        "diff.d.textconv",
    ):
        run(root, "config", key, touch)
    for alias in ("cat-file", "ls-tree", "config"):
        run(root, "config", f"alias.{alias}", f"!{touch}")
    for hook in ("post-checkout", "post-index-change", "reference-transaction", "fsmonitor-watchman"):
        (root / ".git" / "hooks" / hook).write_text(f"#!/bin/sh\n{touch}\n")
        (root / ".git" / "hooks" / hook).chmod(0o755)
    # The object of a.py is missing, as in a partial clone: fetching it would run a command that the remote names.
    run(root, "config", "remote.origin.url", f"ext::{touch}")
    run(root, "config", "remote.origin.promisor", "true")
    run(root, "config", "extensions.partialClone", "origin")
    run(root, "config", "protocol.ext.allow", "always")
    run(root, "config", "core.repositoryFormatVersion", "1")
    missing = run(root, "rev-parse", "HEAD:a.py")
    (root / ".git" / "objects" / missing[:2] / missing[2:]).unlink()
    assert outcomes(f"git:{root}") == [Removed("unreadable")]
    assert not trace.exists()


def test_a_repository_does_not_lead_to_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    private = repository(tmp_path / "private", {"secret.py": "s\n"})
    repository(tmp_path / "all" / "honest", {"a.py": "a\n"})
    hostile = repository(tmp_path / "all" / "hostile", {"a.py": "a\n"})
    (hostile / ".git" / "commondir").write_text(str(private / ".git"))
    (tmp_path / "all" / "file").mkdir()
    (tmp_path / "all" / "file" / ".git").write_text(f"gitdir: {private / '.git'}\n")
    (tmp_path / "all" / "linked").mkdir()
    (tmp_path / "all" / "linked" / ".git").symlink_to(private / ".git")
    monkeypatch.setenv("GIT_DIR", str(private / ".git"))
    assert names(f"git:{tmp_path / 'all'}") == {("honest", "a.py")}


def test_a_second_working_tree_is_a_repository_when_it_is_named(tmp_path: Path) -> None:
    root = repository(tmp_path / "main", {"a.py": "a\n"})
    run(root, "worktree", "add", "-q", "-b", "other", str(tmp_path / "tree"))
    commit(tmp_path / "tree", {"b.py": "b\n"})
    assert {path for _, path in names(f"git:{tmp_path / 'tree'}")} == {"a.py", "b.py"}


def test_paths_that_lead_out_are_refused_and_counted(tmp_path: Path) -> None:
    root = repository(tmp_path / "project", {"a.py": "a\n"})
    blob = run(root, "hash-object", "-w", "--stdin", text=b"evil")
    inner = run(root, "hash-object", "-t", "tree", "-w", "--stdin", "--literally", text=b"100644 x.py\0" + bytes.fromhex(blob))
    raw = b"40000 ..\0" + bytes.fromhex(inner) + b"100644 a.py\0" + bytes.fromhex(blob)
    outer = run(root, "hash-object", "-t", "tree", "-w", "--stdin", "--literally", text=raw)
    run(root, "update-ref", "refs/heads/main", run(root, "commit-tree", outer, "-m", "x"))
    assert outcomes(f"git:{root}") == [Removed("unsafe_path", 4), Record("project", "a.py", "unknown", b"evil")]


@pytest.mark.slow
def test_a_tree_that_unfolds_to_billions_of_files_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = repository(tmp_path / "bomb", {"a.py": "a\n"})
    monkeypatch.setattr(git_objects, "MAX_ENTRIES", 10_000)
    kind, name = "100644", run(root, "hash-object", "-w", "--stdin", text=b"x = 1\n")
    for _ in range(10):  # ten to the tenth files in eleven objects
        raw = b"".join(b"%s %d.py\0" % (kind.encode(), number) + bytes.fromhex(name) for number in range(10))
        kind, name = "40000", run(root, "hash-object", "-t", "tree", "-w", "--stdin", text=raw)
    run(root, "update-ref", "refs/heads/main", run(root, "commit-tree", name, "-m", "x"))
    found = outcomes(f"git:{root}")
    assert found[0] == Removed("bomb")
    assert len(found) < 20_000


def test_damaged_objects_are_counted_and_the_others_read(tmp_path: Path) -> None:
    root = repository(tmp_path / "project", {f"{number}.py": f"x = {number}\n" * 9 for number in range(9)})
    for number in (2, 5):
        name = run(root, "rev-parse", f"HEAD:{number}.py")
        file = root / ".git" / "objects" / name[:2] / name[2:]
        file.chmod(0o644)
        content = bytearray(file.read_bytes())
        content[-6:] = b"spoilt"
        file.write_bytes(content)
    found = outcomes(f"git:{root}")
    assert sorted(each.path for each in found if isinstance(each, Record)) == [
        f"{number}.py" for number in (0, 1, 3, 4, 6, 7, 8)
    ]
    assert [each.reason for each in found if isinstance(each, Removed)] == ["unreadable"] * 2


def test_large_files_are_not_read(tmp_path: Path) -> None:
    root = repository(tmp_path / "project", {"a.py": "x" * 1001, "b.py": "x" * 1000})
    found = outcomes(f"git:{root}", max_size=1000)
    assert found == [Removed("size", 1001), Record("project", "b.py", "unknown", b"x" * 1000)]


def test_the_order_follows_from_the_seed(tmp_path: Path) -> None:
    for number in range(3):
        repository(tmp_path / f"repo{number}", {f"{file}.py": f"{file}\n" for file in range(90)})
    spec = f"git:{tmp_path}"
    assert outcomes(spec) == outcomes(spec) != outcomes(spec, seed=1)
    assert sorted(outcomes(spec)) == sorted(outcomes(spec, seed=1))  # type: ignore[type-var]
    keys = [unit.key for unit in open_git(spec, READING).units]
    assert len(set(keys)) == len(keys) == 6


def test_another_commit_gives_another_listing(tmp_path: Path) -> None:
    root = repository(tmp_path / "project", {"a.py": "a\n"})
    before = open_git(f"git:{root}", READING)
    os.utime(root / ".git" / "HEAD", (1, 1))
    assert open_git(f"git:{root}", READING).listing == before.listing
    commit(root, {"b.py": "b\n"})
    assert open_git(f"git:{root}", READING).listing != before.listing


def test_the_licence_is_that_of_the_licence_file_at_the_top(tmp_path: Path) -> None:
    root = repository(tmp_path / "project", {"a.py": "a\n", "LICENSE.md": MIT_LICENSE, "vendor/LICENSE": "Apache License 2.0"})
    assert [each.license for each in outcomes(f"git:{root}") if isinstance(each, Record)] == ["MIT"]


@pytest.mark.parametrize(
    ("spec", "message"), [("git:", "no folder"), ("git:{tmp}/none", "no folder"), ("git:{tmp}", "no git repository")]
)
def test_what_is_no_repository_is_an_error(tmp_path: Path, spec: str, message: str) -> None:
    with pytest.raises(CodeparrotError, match=message):
        outcomes(spec.replace("{tmp}", str(tmp_path)))


def test_a_repository_without_a_commit_is_an_error_or_named_among_others(tmp_path: Path) -> None:
    run(tmp_path, "init", "-q", "empty")
    with pytest.raises(CodeparrotError, match="no commit"):
        outcomes(f"git:{tmp_path / 'empty'}")
    repository(tmp_path / "full", {"a.py": "a\n"})
    assert names(f"git:{tmp_path}") == {("full", "a.py")}
    assert open_git(f"git:{tmp_path}", READING).facts["without_revision"] == [str(tmp_path / "empty" / ".git")]


def test_a_corpus_is_built_from_repositories(tmp_path: Path) -> None:
    for number in range(4):
        files = {f"src/{index}.py": text.decode() for index, text in enumerate(modules(20)[number * 5 : number * 5 + 5])}
        repository(tmp_path / "all" / f"repo{number}", files)
    make(f"git:{tmp_path / 'all'}", tmp_path / "out")
    assert len(read(tmp_path / "out")) == 20


def test_of_many_licence_files_those_with_the_shortest_names_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    contents_of = git.contents_of
    monkeypatch.setattr(git, "contents_of", lambda folder, objects: asked.append(len(objects)) or contents_of(folder, objects))
    files = {"a.py": "a\n", "UNLICENSE": MIT_LICENSE, **{f"COPYING-{number}": "x" * 99 for number in range(300)}}
    root = repository(tmp_path / "project", files)
    assert [each.license for each in outcomes(f"git:{root}") if isinstance(each, Record)] == ["MIT"]
    assert max(asked) == MAX_LICENSE_FILES
