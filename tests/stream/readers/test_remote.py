"""Files on an object store: which are data, what is read of them, and what an error says."""

import gzip
import importlib
import json
import logging
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from codeparrot.errors import CodeparrotError
from codeparrot.location import is_address, path_of
from codeparrot.stream.readers import patience, ranges, remote
from codeparrot.stream.readers.folder import NoSplit, find_data
from codeparrot.stream.readers.parquet import Table
from tests.s3_server.fixture import S3Server, forget, s3

__all__ = ["s3"]
FOLDER = [
    "corpus/train-00000-of-00002.parquet",
    "corpus/train-00001-of-00002.parquet",
    "corpus/valid-00000-of-00001.parquet",
    "corpus/removed/samples.parquet",
    "corpus/statistics.json",
    "corpus/README.md",
    "corpus/_hidden/a.parquet",
    "corpus/.b.jsonl",
    "tables/deep/er/x.jsonl",
    "tables/y.jsonl.gz",
    "tables/_z.jsonl",
    "tables/old.arrow",
    "text/notes.txt",
]


def relative(files: list[str], root: str) -> list[str]:
    return [each.removeprefix(root).lstrip("/") for each in files]


@pytest.mark.slow
def test_folders_splits_and_globs_are_what_they_would_be_on_the_disk(s3: S3Server) -> None:
    for name in FOLDER:
        s3.put(name, b"{}\n")
    here, there = str(s3.data), "s3://bucket"
    names = ["corpus", "corpus/", "tables", "tables/y.jsonl.gz", "tables/*.jsonl*", "tables/**/*.jsonl", "tables/_*.jsonl"]
    for name in [*names, "corpus/*.parquet", "**/*.parquet", "corpus/train-*.parquet"]:
        local, distant = find_data(f"{here}/{name}"), find_data(f"{there}/{name}")
        assert {split: relative(files, here) for split, files in local.by_split.items()} == {
            split: relative(files, there) for split, files in distant.by_split.items()
        }, name
    with pytest.raises(NoSplit, match=r"holds no other files, only train .* valid"):
        find_data(f"{there}/corpus").of("other")
    for name in ("text", "corpus/*", "text/*.txt"):
        with pytest.raises(CodeparrotError) as ours:
            find_data(f"{there}/{name}")
        with pytest.raises(CodeparrotError) as theirs:
            find_data(f"{here}/{name}")
        assert str(ours.value).replace(there, here) == str(theirs.value)


@pytest.mark.slow
def test_of_several_folders_with_commas_each_split_is_that_of_all(s3: S3Server) -> None:
    for name in ("one/train-0.jsonl", "one/valid-0.jsonl", "two/train-1.jsonl", "three/train.jsonl"):
        s3.put(name, b"{}\n")
    found = find_data("s3://bucket/one, s3://bucket/two,s3://bucket/three")
    assert found.of("valid") == ["s3://bucket/one/valid-0.jsonl"]
    assert found.of("train") == [
        f"s3://bucket/{each}" for each in ("one/train-0.jsonl", "two/train-1.jsonl", "three/train.jsonl")
    ]


@pytest.mark.slow
def test_what_is_a_file_and_a_folder_is_refused(s3: S3Server) -> None:
    for name in ("x.jsonl", "x.jsonl/y.jsonl"):
        s3.client.put_object(Bucket="bucket", Key=name, Body=b"{}\n")
    with pytest.raises(CodeparrotError, match=r"^s3://bucket/x.jsonl is a file, and a folder too; a glob says what is meant"):
        find_data("s3://bucket/x.jsonl")
    assert find_data("s3://bucket/x.jsonl/*").of("train") == ["s3://bucket/x.jsonl/y.jsonl"]
    assert find_data("s3://bucket/x.json[l]").of("train") == ["s3://bucket/x.jsonl"]


@pytest.mark.slow
def test_each_error_is_one_line_that_says_what_to_do(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for address in ("s3://bucket/none.jsonl", "s3://bucket/none", "s3://other/x.jsonl", "s3://other"):
        with pytest.raises(CodeparrotError, match=rf"^{address} does not exist: there is no such bucket, folder or file; mend"):
            find_data(address)
    with s3.denying(), pytest.raises(CodeparrotError, match=r"cannot read s3://bucket/x.jsonl: access denied.*AWS_PROFILE"):
        find_data("s3://bucket/x.jsonl")
    address = s3.put("x.jsonl", b"{}\n")
    s3.kill()
    forget()
    started = time.monotonic()
    with pytest.raises(CodeparrotError, match=rf"cannot read {address}: .*no answer for .* s; see that the network"):
        find_data(address)
    assert time.monotonic() - started < 30
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    forget()
    with pytest.raises(CodeparrotError, match=r"no credentials .*FSSPEC_S3_ANON=true"):
        find_data(address)


@pytest.mark.parametrize(
    ("scheme", "package", "extra"),
    [("s3", "s3fs", "s3"), ("gs", "gcsfs", "gs"), ("az", "adlfs", "az"), ("abfs", "adlfs", "az")],
)
def test_the_extra_that_is_missing_for_a_scheme_is_named(
    monkeypatch: pytest.MonkeyPatch, scheme: str, package: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # importing it fails as if it were not installed
    monkeypatch.delitem(importlib.import_module("fsspec.registry")._registry, scheme, raising=False)
    forget()
    message = rf"^{scheme}://b/x.jsonl: {scheme}:// needs {package}: pip install 'codeparrot\[{extra}\]'$"
    with pytest.raises(CodeparrotError, match=message):
        find_data(f"{scheme}://b/x.jsonl")


@pytest.mark.parametrize(
    "address",
    [
        "zip::s3://bucket/x.zip",
        "simplecache::s3://bucket/x.jsonl",
        "reference://x",
        "ssh://host/x.jsonl",
        "s3+x://b/x.jsonl",
        "memory://x.jsonl",
    ],
)
def test_addresses_that_chain_or_run_something_are_refused(address: str) -> None:
    assert is_address(address)
    with pytest.raises(CodeparrotError, match=r"of no kind that is read"):
        find_data(address)


@pytest.mark.parametrize(
    "address",
    [
        "https://me:hunter2@host/x.jsonl",
        "s3://key:hunter2@bucket/x.jsonl",
        "https://host/x.jsonl?X-Amz-Signature=hunter2",
        "https://hunter2@host/x.jsonl",
        "az://me:hunter2@container/x.jsonl",
    ],
)
def test_an_address_with_credentials_is_refused_and_shown_without_them(address: str) -> None:
    with pytest.raises(CodeparrotError, match=r"an address must hold no credentials") as error:
        find_data(address)
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("404 for url: https://cdn/x?X-Amz-Signature=hunter2&x=1 (again)", "404 for url: https://cdn/x?*** (again)"),
        ('cannot connect to "http://me:hunter2@proxy:80/x"', 'cannot connect to "http://***@proxy:80/x"'),
        ("signature a%2Bhunter2%3D is wrong", "signature *** is wrong"),
        ("signature a+hunter2= is wrong", "signature *** is wrong"),
    ],
)
def test_what_a_library_says_is_shown_without_secrets(monkeypatch: pytest.MonkeyPatch, said: str, shown: str) -> None:
    monkeypatch.setenv("SOME_SAS_TOKEN", "sv=1&sig=a%2Bhunter2%3D")

    def fails() -> None:
        raise ValueError(said)

    with pytest.raises(CodeparrotError) as error:
        patience.patiently(fails, "s3://bucket/x")
    assert f"cannot read s3://bucket/x: {shown}; mend" in str(error.value)


def test_file_addresses_are_here(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text("{}\n")
    assert path_of(f"file://{tmp_path}/x.jsonl") == tmp_path / "x.jsonl"
    assert find_data(f"file://{tmp_path}").of("train") == [f"{tmp_path}/x.jsonl"]


@pytest.mark.slow
def test_a_server_that_comes_back_is_waited_for_and_it_is_said_once(s3: S3Server, caplog) -> None:
    address = s3.put("x.jsonl", bytes(range(256)) * 40)
    assert remote.read(address, 10, 20) == bytes(range(10, 20))
    s3.kill()
    threading.Timer(12.0, s3.start).start()
    with caplog.at_level(logging.WARNING, "codeparrot"):
        assert remote.read(address, 256, 260) == bytes(range(4))
        assert remote.read(address, 0, 3) == bytes(range(3))
    said = [record.getMessage() for record in caplog.records]
    assert [("trying again" in each, "answers again" in each) for each in said] == [(True, False), (False, True)]


@pytest.mark.slow
def test_waiting_ends_when_nobody_wants_the_data_any_more(s3: S3Server) -> None:
    address = s3.put("x.jsonl", b"0123456789")
    remote.read(address, 0, 1)
    s3.kill()
    broken_off = threading.Event()
    threading.Timer(1.0, broken_off.set).start()
    with patience.waiting_for(broken_off), pytest.raises(CodeparrotError, match=r"no longer wanted"):
        remote.read(address, 1, 2)


@pytest.mark.slow
def test_a_file_that_is_replaced_while_it_is_read_is_an_error(s3: S3Server) -> None:
    address = s3.put("x.jsonl", b"0123456789")
    assert remote.read(address, 0, 4) == b"0123"
    s3.put("x.jsonl", b"abcdefghij")
    with pytest.raises(CodeparrotError, match=r"was replaced while it was read"):
        remote.read(address, 4, 8)


@pytest.mark.slow
def test_of_a_table_its_end_and_the_columns_that_are_asked_for_are_fetched(s3: S3Server) -> None:
    rows = pa.table({"content": [f"{row:06d}" * 500 for row in range(400)], "other": [f"{row}" * 3000 for row in range(400)]})
    plain: Any = {"compression": "none", "use_dictionary": False, "write_statistics": False}
    parquet.write_table(rows, s3.folder / "x.parquet", row_group_size=40, **plain)
    address = s3.put("x.parquet", s3.folder / "x.parquet")
    with Table(address) as table:
        table.give(table.ahead(3, "content"))
        column = table.read(3, ["content"]).column(0)
    assert column.to_pylist() == rows.column("content").to_pylist()[120:160]
    column_bytes = 40 * 3000
    assert column_bytes < s3.fetched() < column_bytes + ranges.TAIL_BYTES + 4000


@pytest.mark.slow
def test_a_web_server_gives_single_files_and_several_with_commas(s3: S3Server) -> None:
    lines = b"".join(json.dumps({"content": f"{row}"}).encode() + b"\n" for row in range(9))
    s3.put("x.jsonl", lines)
    s3.put("y.jsonl.gz", gzip.compress(lines))
    for name in ("x.jsonl", "y.jsonl.gz"):
        s3.client.put_object_acl(Bucket="bucket", Key=name, ACL="public-read")
    one, two = f"{s3.url}/bucket/x.jsonl", f"{s3.url}/bucket/y.jsonl.gz"
    assert find_data(f"{one},{two}").of("train") == [one, two]
    assert remote.read(one, 3, 9) == lines[3:9]
    with pytest.raises(CodeparrotError, match=r"does not exist.*cannot be listed"):
        find_data(f"{s3.url}/bucket/none.jsonl")
    with pytest.raises(CodeparrotError, match=r"not a data file"):
        find_data(f"{s3.url}/bucket")
