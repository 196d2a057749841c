"""Folders of source files, and archives, on an object store: the corpus is that of the same files here."""

import gzip
import os
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from codeparrot.corpus.cluster.executor import ClusterSettings
from codeparrot.corpus.documents import ColumnNames, Reading, Record, Removed
from codeparrot.corpus.sources import archives, spool
from codeparrot.corpus.sources.opening import open_source
from codeparrot.errors import CodeparrotError
from codeparrot.stream.readers import listing, remote
from tests.corpus.cluster.test_cluster import OneMachine
from tests.corpus.license_texts import MIT_LICENSE
from tests.corpus.samples import COMMAND, digests, make, modules, write_repositories
from tests.corpus.sources.packing import tar_bytes, zip_bytes
from tests.s3_server.fixture import S3Server, forget, s3

__all__ = ["s3"]
READING = Reading(seed=0, max_size=10**6, suffixes=(".py",), columns=ColumnNames())


def put_folder(s3: S3Server, folder: Path, name: str) -> str:
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            s3.put(f"{name}/{file.relative_to(folder)}", file)
    return f"s3://bucket/{name}"


def tables_of(corpus: Path) -> dict[str, str]:
    return {name: digest for name, digest in digests(corpus).items() if name.endswith(".parquet")}


def contents(spec: str, reading: Reading = READING) -> list[Record | Removed]:
    return [each for unit in open_source(spec, reading).units for each in unit.records()]


def write_sources(root: Path) -> Path:
    """Write repositories with licences, and what no corpus holds."""
    write_repositories(root, repositories=6, files=5)
    text = modules(31)[30]
    for name in (
        "repo1/.hidden/a.py",
        "repo2/__pycache__/b.py",
        "repo3/venv/lib/c.py",
        "repo3/venv/pyvenv.cfg",
        ".git/d.txt",
        "e.py",
        "repo4/data.json",
        "repo4/wörld ?#%.py",
        "repo5/notes.txt",
    ):
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text + f"\nname = {name!r}\n".encode())
    (root / "repo0" / "LICENSE").write_text(MIT_LICENSE)
    (root / "repo0" / "src" / "LICENSE").write_text("GNU GENERAL PUBLIC LICENSE")
    return root


@pytest.mark.slow
def test_a_folder_elsewhere_gives_the_corpus_of_the_same_folder_here(s3: S3Server, tmp_path: Path) -> None:
    here = write_sources(tmp_path / "raw")
    there = put_folder(s3, here, "deep/raw")
    for number, project in enumerate((True, False)):
        if not project:
            (here / ".git" / "d.txt").unlink()
            (here / ".git").rmdir()
            s3.client.delete_object(Bucket="bucket", Key="deep/raw/.git/d.txt")
            forget()
        for settings in ({}, {"max_bytes": 400_000}, {"workers": 2}):
            name = f"{number}-{'-'.join(settings)}"
            expected = make(here, tmp_path / f"here-{name}", **settings)
            found = make(there, tmp_path / f"there-{name}", **settings)
            assert found["documents"] == expected["documents"] > 5
            assert found["licenses"] == expected["licenses"]
            assert tables_of(tmp_path / f"there-{name}") == tables_of(tmp_path / f"here-{name}"), name
            assert project or "max_bytes" in settings or "MIT" in found["licenses"]
    assert contents(f"{there}/") == contents(str(here))


def write_archives(folder: Path) -> Path:
    """Write archives of all kinds, of hostile ones some."""
    texts = modules(24)
    packed = [[(f"pkg{part}-1.0/m{number}.py", text) for number, text in enumerate(texts[part::4])] for part in range(4)]
    packed[0].append(("pkg0-1.0/PKG-INFO", b"License: MIT\n"))
    (folder / "deep").mkdir(parents=True)
    (folder / "pkg0-1.0.tar.gz").write_bytes(gzip.compress(tar_bytes(packed[0])))
    (folder / "pkg1-1.0.zip").write_bytes(zip_bytes(packed[1]))
    (folder / "pkg2-1.0-py3-none-any.whl").write_bytes(zip_bytes(packed[2]))
    (folder / "deep" / "pkg3-1.0.tgz").write_bytes(gzip.compress(tar_bytes([*packed[3], ("../../escape.py", texts[0])])))
    (folder / "deep" / "bomb.tar.gz").write_bytes(gzip.compress(tar_bytes([("b.py", bytes(60_000_000)), ("c.py", texts[0])])))
    (folder / "cut.tar.gz").write_bytes((folder / "pkg0-1.0.tar.gz").read_bytes()[:9000])
    return folder


@pytest.mark.slow
def test_archives_elsewhere_are_read_as_archives_here(s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = write_archives(tmp_path / "raw")
    there = put_folder(s3, here, "raw")
    monkeypatch.setattr(archives, "PART_BYTES", 8_000)
    for number, names in enumerate(("archives:{}", "{}/*.tar.gz", "{}/pkg1-1.0.zip", "{}/**/*.tgz")):
        make(names.format(here), tmp_path / f"here{number}", valid_fraction=0)
        s3.forget_requests()
        found = make(names.format(there), tmp_path / f"there{number}", valid_fraction=0)
        assert tables_of(tmp_path / f"there{number}") == tables_of(tmp_path / f"here{number}"), names
        if not number:
            assert {"unsafe_path", "bomb", "unreadable"} <= {name for name, each in found["removed"].items() if each["files"]}
            assert s3.fetched() <= 1.01 * sum(file.stat().st_size for file in here.rglob("*") if file.is_file())
    reading = READING._replace(spool=str(tmp_path / "spool"))
    monkeypatch.setattr(spool, "SPOOL_BYTES", 100_000)
    held: list[int] = []
    expected = contents(f"archives:{here}")
    source = open_source(f"archives:{there}", reading)
    found_there: list[Record | Removed] = []
    for unit in source.units:
        found_there += unit.records()
        held.append(sum(file.stat().st_size for file in (tmp_path / "spool").iterdir()))
        assert not list((tmp_path / "spool").glob(".*")), "what was being read goes"
    assert sorted(found_there, key=str) == sorted(expected, key=str)
    assert max(held) <= 100_000 and len(held) > 20


def test_web_servers_give_archives_and_no_folders() -> None:
    for spec in ("https://host/folder", "https://host/x.py", "https://host/x.zip,https://host/x.py"):
        with pytest.raises(CodeparrotError, match=r"is no table and no archive; of web servers, name single files"):
            open_source(spec, READING)
    with pytest.raises(CodeparrotError, match=r"source https://host/folder is not an archive that can be read"):
        open_source("archives:https://host/folder", READING)


@pytest.mark.slow
def test_a_web_server_gives_several_archives_with_commas(s3: S3Server, tmp_path: Path) -> None:
    here = write_archives(tmp_path / "raw")
    put_folder(s3, here, "raw")
    names = ("pkg0-1.0.tar.gz", "pkg1-1.0.zip")
    for name in names:
        s3.client.put_object_acl(Bucket="bucket", Key=f"raw/{name}", ACL="public-read")
    expected = [each for name in names for each in contents(str(here / name))]
    found = contents(",".join(f"{s3.url}/bucket/raw/{name}" for name in names))
    assert sorted(found, key=str) == sorted(expected, key=str) and len(found) == 12


@pytest.mark.slow
def test_what_was_replaced_or_removed_since_it_was_listed_ends_the_build_with_its_name(s3: S3Server, tmp_path: Path) -> None:
    there = put_folder(s3, write_archives(tmp_path / "raw"), "raw")
    source = s3.put("code/repo/a.py", b"a = 1\n")
    rows = s3.put("rows/x.jsonl", b'{"content": "a"}\n')
    for spec, name in (("s3://bucket/code", source), (f"{there}/pkg1-1.0.zip", f"{there}/pkg1-1.0.zip")):
        units = list(open_source(spec, READING).units)
        key = name.removeprefix("s3://bucket/")
        content = (s3.data / key).read_bytes()
        s3.put(key, bytes(reversed(content)))
        remote.forget()  # a worker is another process
        with pytest.raises(CodeparrotError, match=rf"^{name} was replaced while it was read"):
            list(units[0].records())
        s3.client.delete_object(Bucket="bucket", Key=key)
        remote.forget()
        with pytest.raises(CodeparrotError, match=rf"^{name} was removed after it was listed"):
            list(units[0].records())
    assert len(contents(rows)) == 1


@pytest.mark.slow
def test_a_long_listing_comes_in_pages_and_a_server_that_dies_is_asked_for_the_next_one(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "PAGE_FILES", 10)
    names = [f"code/repo{number % 7}/m{number}.py" for number in range(95)]
    for name in names:
        s3.put(name, name.encode())
    found: list[str] = []
    for relative, _ in listing.walk("s3://bucket/code"):
        found.append(relative)
        if len(found) == 30:
            s3.kill()
            threading.Timer(1.0, s3.start).start()
    assert sorted(found) == sorted(name.removeprefix("code/") for name in names)
    assert len([each for each in s3.requests if "list-type=2" in each["query"]]) >= 10


@pytest.mark.slow
def test_names_that_lead_elsewhere_are_counted_and_never_read(s3: S3Server) -> None:
    safe = ("code/repo/a.py", "code/repo/%2e%2e +&#?.py", "code/repo/A.py", "code/repo/a.py/b.py")
    unsafe = ("code/../b.py", "code//c.py", "code/re\\..\\f.py", "code/repo//g.py")
    unreadable = ("code/repo/d::e.py", "code/repo/h?versionId=1.py")
    for name in (*safe, *unsafe, *unreadable, "code/x::y/LICENSE"):
        s3.client.put_object(Bucket="bucket", Key=name, Body=name.encode())
    found = contents("s3://bucket/code")
    read = {f"code/repo/{each.path}": each.content for each in found if isinstance(each, Record)}
    assert read == {each: each.encode() for each in safe}
    refused = sorted((each.reason, f"code/{each.path}") for each in found if isinstance(each, Removed))
    assert refused == sorted([*(("unsafe_path", each) for each in unsafe), *(("unreadable", each) for each in unreadable)])


@pytest.mark.slow
@pytest.mark.parametrize(("pages", "problem"), [([{"IsTruncated": True}], "promises more names"), ([["b", "a"]], "in order")])
def test_a_listing_that_cannot_be_right_ends_in_one_line(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch, pages: list[Any], problem: str
) -> None:
    answers = iter(
        each if isinstance(each, dict) else {"Contents": [{"Key": key, "Size": 1} for key in each]} for each in pages
    )

    async def page(*_: Any) -> Any:
        return next(answers)

    monkeypatch.setattr(listing, "_page", page)
    with pytest.raises(
        CodeparrotError, match=rf"^s3://bucket cannot be listed: its server .*{problem}.*; fetch the folder first$"
    ):
        list(listing.walk("s3://bucket"))


@pytest.mark.slow
def test_a_comma_may_belong_to_a_name(s3: S3Server) -> None:
    s3.put("x,y.zip", zip_bytes([("p/a.py", b"x = 1\n")]))
    s3.put("v1,v2/repo/a.py", b"x = 2\n")
    assert [each.content for each in contents("s3://bucket/x,y.zip") if isinstance(each, Record)] == [b"x = 1\n"]
    assert [each.content for each in contents("s3://bucket/v1,v2") if isinstance(each, Record)] == [b"x = 2\n"]


@pytest.mark.slow
def test_a_folder_of_neither_sources_nor_tables_says_what_there_is(s3: S3Server, tmp_path: Path) -> None:
    there = put_folder(s3, write_archives(tmp_path / "raw"), "raw")
    s3.put("text/notes.txt", b"")
    s3.put("npm/package.json", b"{}")
    s3.put("npm/index.js", b"")
    for address, problem in (
        (there, rf'source {there} holds no .py file; give its archives instead: "archives:{there}"'),
        ("s3://bucket/text", "source s3://bucket/text holds no .py file; --suffixes names others"),
        ("s3://bucket/npm", "source s3://bucket/npm holds no .py file; --suffixes names others"),
        ("s3://bucket/none", "s3://bucket/none does not exist"),
        ("archives:s3://bucket/text", "names no archive"),
        ("archives:s3://bucket/text/*.txt", "s3://bucket/text/notes.txt is not an archive"),
        ("s3://bucket/text/notes.txt", r"^source s3://bucket/text/notes.txt is no table and no archive; name its folder"),
        ("s3://bucket/npm/index.js", r"^source s3://bucket/npm/index.js is no table and no archive; name its folder"),
    ):
        with pytest.raises(CodeparrotError, match=problem):
            open_source(address, READING)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["folder", "archives"])
def test_a_build_whose_server_dies_ends_in_one_line_and_goes_on_at_the_next_start(
    s3: S3Server, tmp_path: Path, kind: str
) -> None:
    here = write_sources(tmp_path / "raw") if kind == "folder" else write_archives(tmp_path / "raw")
    there = put_folder(s3, here, "raw")
    prefix = "" if kind == "folder" else "archives:"
    make(f"{prefix}{here}", tmp_path / "expected")
    command = [
        *COMMAND,
        "corpus",
        "build",
        "--source",
        f"{prefix}{there}",
        "--output",
        str(tmp_path / "corpus"),
        "--workers",
        "2",
    ]
    environment = {**os.environ, **s3.environment, "CODEPARROT_PATIENCE_SECONDS": "2"}
    s3.forget_requests()
    with s3.slow(0.3):
        build = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
        while s3.fetched() < 30_000:
            assert build.poll() is None
            time.sleep(0.05)
        s3.kill()
        _, said = build.communicate(timeout=120)
    assert build.returncode == 1 and "cannot read s3://bucket/raw" in said and "Traceback" not in said
    assert not (tmp_path / "corpus").exists()
    s3.start()
    subprocess.run(command, env=environment, cwd=tmp_path, check=True, capture_output=True)
    assert tables_of(tmp_path / "corpus") == tables_of(tmp_path / "expected")
    assert not list(tmp_path.glob(".corpus*"))


@pytest.mark.slow
def test_a_build_waits_for_a_server_that_comes_back(s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = write_sources(tmp_path / "raw")
    there = put_folder(s3, here, "raw")
    make(here, tmp_path / "expected")
    read, calls = remote.read_listed, []

    def dies(address: str, known: remote.Info, stop: int | None = None) -> bytes:
        calls.append(address)
        if len(calls) == 12:
            s3.kill()
            threading.Timer(1.0, s3.start).start()
        return read(address, known, stop)

    monkeypatch.setattr(remote, "read_listed", dies)
    make(there, tmp_path / "corpus")
    assert tables_of(tmp_path / "corpus") == tables_of(tmp_path / "expected") and len(calls) > 30


@pytest.mark.slow
def test_the_nodes_of_a_cluster_read_the_same(s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, packed = write_sources(tmp_path / "raw"), write_archives(tmp_path / "packed")
    there, packed_there = put_folder(s3, here, "raw"), put_folder(s3, packed, "packed")
    make([here, f"archives:{packed}"], tmp_path / "local")
    monkeypatch.setattr("codeparrot.corpus.build.Cluster", lambda *_: OneMachine())
    cluster = ClusterSettings(partition="x")
    make([there, f"archives:{packed_there}"], tmp_path / "steps", executor="slurm", cluster=cluster)
    assert tables_of(tmp_path / "steps") == tables_of(tmp_path / "local")
