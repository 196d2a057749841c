"""Google's and Azure's stores: what is read from them and written to them is what it is here; each error is one line."""

import hashlib
import logging
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from codeparrot.errors import CodeparrotError
from codeparrot.mirror.store import open_store
from codeparrot.stream.readers import listing, patience, remote
from codeparrot.stream.readers.folder import find_data
from codeparrot.tokenizer.train import train
from tests.corpus.planted import documents, write_rows
from tests.corpus.samples import digests, make
from tests.s3_server.fixture import forget
from tests.stores.fixture import AZURE_KEY, Store, store
from tests.stream.test_remote import stream, take, write

__all__ = ["store"]


def put(store: Store, folder: Path) -> str:
    for file in sorted(folder.iterdir()):
        store.put(f"{folder.name}/{file.name}", file)
    return f"{store.scheme}://bucket/{folder.name}"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["parquet", "jsonl", "jsonl.gz", "windows"])
def test_windows_and_state_are_those_of_the_same_files_here(store: Store, tmp_path: Path, kind: str, caplog) -> None:
    here = write(tmp_path / "data", kind)
    there = put(store, here)
    with caplog.at_level(logging.WARNING):
        local, distant = stream(here), stream(there)
        np.testing.assert_array_equal(take(local, 150), take(distant, 150))
    assert not [record for record in caplog.records if not record.name.startswith("google.auth")]
    moved = stream(here)
    moved.load_state_dict(distant.state_dict())
    np.testing.assert_array_equal(take(local, 50), take(moved, 50))


@pytest.mark.slow
def test_a_corpus_is_read_and_written_there_as_here(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = tmp_path / "raw"
    rows.mkdir()
    planted = documents(60, tokens=200)
    for number in range(2):
        write_rows(rows / f"rows{number}.jsonl", planted[number::2])
    expected = make(f"{rows}/*.jsonl", tmp_path / "here")
    output: Any = f"{store.scheme}://bucket/made/corpus"
    statistics = make(put(store, rows), output)
    assert statistics["documents"] == expected["documents"] > 20
    fetched = tmp_path / "fetched"
    for name in listing.files_below(output):
        (fetched / name).parent.mkdir(parents=True, exist_ok=True)
        (fetched / name).write_bytes(remote.read(remote.below(output, name)))
    here, there = digests(tmp_path / "here"), digests(fetched)
    tables = [name for name in here if name.endswith(".parquet")]
    assert tables and {name: here[name] for name in tables} == {name: there[name] for name in tables}
    assert here.keys() == there.keys()
    train(output, str(tmp_path / "tokenizer"), vocab_size=400)
    train(str(tmp_path / "here"), str(tmp_path / "expected"), vocab_size=400)
    assert (tmp_path / "tokenizer" / "tokenizer.json").read_bytes() == (tmp_path / "expected" / "tokenizer.json").read_bytes()


@pytest.mark.slow
def test_each_error_is_one_line_that_says_what_to_do(store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "x.jsonl").write_text('{"content": "x"}\n')
    address = store.put("x.jsonl", tmp_path / "x.jsonl")
    bucket = f"{store.scheme}://bucket"
    output: Any = f"{store.scheme}://other/corpus"
    for name in (f"{bucket}/none.jsonl", f"{bucket}/none", f"{store.scheme}://other/x.jsonl", f"{store.scheme}://other"):
        with pytest.raises(CodeparrotError, match=rf"^{name} does not exist: there is no such bucket, folder or file; mend"):
            find_data(name)
    with pytest.raises(CodeparrotError, match=r"://other/corpus does not exist: there is no such bucket"):
        make(address, output)
    store.kill()
    forget()
    started = time.monotonic()
    with pytest.raises(CodeparrotError, match=rf"cannot read {address}: .*no answer for .* s; see that the network"):
        find_data(address)
    assert time.monotonic() - started < 60
    said = [record for record in caplog.records if record.levelno > logging.WARNING or record.exc_info]
    assert not said, "no traceback of a library beside it"


@pytest.mark.slow
@pytest.mark.parametrize("store", ["az"], indirect=True)
def test_credentials_that_are_wrong_or_missing_are_said_and_not_shown(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.jsonl").write_text('{"content": "x"}\n')
    address = store.put("x.jsonl", tmp_path / "x.jsonl")
    right, variable = store.environment["AZURE_STORAGE_CONNECTION_STRING"], "AZURE_STORAGE_CONNECTION_STRING"
    for key, problem in ((AZURE_KEY.replace("Eby8", "AAAA"), "access denied"), ("hunter2notbase6", "no credentials")):
        monkeypatch.setenv(variable, right.replace(AZURE_KEY, key))
        forget()
        with pytest.raises(CodeparrotError, match=rf"^cannot read {address}: {problem} .*{variable}") as error:
            find_data(address)
        assert key not in str(error.value) and "\n" not in str(error.value)
    monkeypatch.delenv("AZURE_STORAGE_CONNECTION_STRING")
    forget()
    with pytest.raises(CodeparrotError, match=rf"^cannot read {address}: no credentials .*AZURE_STORAGE_ANON=true"):
        find_data(address)


@pytest.mark.slow
@pytest.mark.parametrize("store", ["gs"], indirect=True)
def test_a_google_store_that_denies_says_how_to_sign_in(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object, **__: object) -> None:
        raise OSError("Forbidden: b/bucket/o\nhunter2hunter2 has no storage.objects.list")

    monkeypatch.setenv("SOME_TOKEN", "hunter2hunter2")
    monkeypatch.setattr(remote.file_system("gs://bucket"), "find", denied)
    with pytest.raises(CodeparrotError, match=r"^cannot read gs://bucket/x: access denied .*\*\*\* has no.*gcloud auth"):
        find_data("gs://bucket/x")


def test_an_error_does_not_show_what_the_environment_keeps_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", "sv=2026&sig=abcdefghijkl")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI")

    def fails() -> None:
        raise ValueError("GET https://x?sv=2026&sig=abcdefghijkl&a: sig is abcdefghijkl\nand wJalrXUtnFEMI")

    with pytest.raises(CodeparrotError) as error:
        patience.patiently(fails, "az://c/x")
    assert str(error.value).startswith("cannot read az://c/x: GET https://x?***&a: sig is *** and ***; mend")


@pytest.mark.slow
def test_a_mirror_there_is_written_and_read_and_its_bytes_are_counted(store: Store, tmp_path: Path) -> None:
    mirror = open_store(f"{store.scheme}://bucket/mirror")
    content = random.Random(0).randbytes(30_000_000)
    (tmp_path / "here").write_bytes(content)
    sent, fetched = [0], [0]
    mirror.put("weights", tmp_path / "here", sent.append)
    assert mirror.sizes() == {"weights": len(content)} and mirror.sha256("weights") == hashlib.sha256(content).hexdigest()
    mirror.fetch("weights", tmp_path / "back", fetched.append)
    assert (tmp_path / "back").read_bytes() == content
    assert (sum(sent), sum(fetched)) == (len(content), len(content))
    mirror.remove("weights")
    assert mirror.sizes() == {}
