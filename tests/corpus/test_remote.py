"""A corpus of tables on an object store, and a corpus that is written to one."""

import gzip
import os
import subprocess
import time
from pathlib import Path

import pyarrow.json as arrow_json
import pyarrow.parquet as parquet
import pytest

from codeparrot.corpus import remote_output
from codeparrot.errors import CodeparrotError
from codeparrot.stream.readers import remote
from codeparrot.stream.readers.folder import find_data
from tests.corpus.planted import documents, write_rows
from tests.corpus.samples import COMMAND, digests, make
from tests.s3_server.fixture import S3Server, forget, s3

__all__ = ["s3"]


def put_tables(s3: S3Server, folder: Path) -> Path:
    """Put JSON lines, packed ones and Parquet on the server; return the folder of the same files here."""
    planted = documents(90, tokens=200)
    folder.mkdir()
    for number in range(3):
        write_rows(folder / f"rows{number}.jsonl", planted[number::4])
    (folder / "rows2.jsonl.gz").write_bytes(gzip.compress((folder / "rows2.jsonl").read_bytes()))
    (folder / "rows2.jsonl").unlink()
    write_rows(folder / "rows3.jsonl", planted[3::4])
    table = arrow_json.read_json(folder / "rows3.jsonl")
    (folder / "rows3.jsonl").unlink()
    parquet.write_table(table, folder / "rows3.parquet", row_group_size=5)
    for file in sorted(folder.iterdir()):
        s3.put(f"raw/{file.name}", file)
    return folder


def tables_of(corpus: dict[str, str]) -> dict[str, str]:
    return {name: digest for name, digest in corpus.items() if name.endswith(".parquet")}


@pytest.mark.slow
def test_a_corpus_of_tables_elsewhere_is_that_of_the_same_tables_here(s3: S3Server, tmp_path: Path) -> None:
    here = put_tables(s3, tmp_path / "raw")
    expected = make(f"{here}/*", tmp_path / "here")
    for name, source in (("glob", "s3://bucket/raw/*"), ("folder", "s3://bucket/raw")):
        statistics = make(source, tmp_path / name)
        assert statistics["documents"] == expected["documents"] > 50
        assert tables_of(digests(tmp_path / name)) == tables_of(digests(tmp_path / "here"))


@pytest.mark.slow
def test_a_build_whose_server_dies_ends_and_goes_on_at_the_next_start(s3: S3Server, tmp_path: Path) -> None:
    put_tables(s3, tmp_path / "raw")
    make("s3://bucket/raw", tmp_path / "expected")
    command = [
        *COMMAND,
        "corpus",
        "build",
        "--source",
        "s3://bucket/raw",
        "--output",
        str(tmp_path / "corpus"),
        "--workers",
        "1",
    ]
    environment = {**os.environ, **s3.environment, "CODEPARROT_PATIENCE_SECONDS": "2"}
    s3.forget_requests()
    with s3.slow(0.3):
        build = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
        while s3.fetched() < 20_000:
            assert build.poll() is None
            time.sleep(0.05)
        s3.kill()
        _, said = build.communicate(timeout=120)
    assert build.returncode == 1 and "cannot read s3://bucket/raw" in said and "Traceback" not in said
    assert not (tmp_path / "corpus").exists()
    s3.start()
    assert subprocess.run(command, env=environment, cwd=tmp_path, check=True, capture_output=True).returncode == 0
    assert tables_of(digests(tmp_path / "corpus")) == tables_of(digests(tmp_path / "expected"))


@pytest.mark.slow
def test_a_corpus_is_uploaded_whole_and_refused_until_it_is(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, output = put_tables(s3, tmp_path / "raw"), "s3://bucket/made/corpus"
    make(f"{here}/*", tmp_path / "corpus")
    monkeypatch.chdir(tmp_path)
    written: list[str] = []
    write = remote.write

    def dies(address: str, local: Path) -> None:
        if len(written) == 3:
            raise CodeparrotError("the server died")
        written.append(address)
        write(address, local)

    monkeypatch.setattr(remote, "write", dies)
    with pytest.raises(CodeparrotError, match=r"the server died"):
        make(f"{here}/*", output)  # pyright: ignore[reportArgumentType]
    assert f"{output}/statistics.json" not in written
    forget()
    with pytest.raises(CodeparrotError, match=r"has not been uploaded to its end"):
        find_data(output)
    monkeypatch.setattr(remote, "write", write)
    s3.forget_requests()
    make(f"{here}/*", output)  # pyright: ignore[reportArgumentType]
    puts = [each["path"].removeprefix("/bucket/made/corpus/") for each in s3.requests if each["method"] == "PUT"]
    assert puts[-1] == "statistics.json" and puts[-2] == "README.md"
    assert len(puts) < len(digests(tmp_path / "corpus")) + 1, "what was there already is not sent again"
    forget()
    for name, file in ((str(each.relative_to(tmp_path / "corpus")), each) for each in (tmp_path / "corpus").rglob("*.parquet")):
        assert remote.read(f"{output}/{name}") == file.read_bytes()
    assert {each.rpartition("/")[2] for each in find_data(output).of("train")} == {
        each.rpartition("/")[2] for each in find_data(str(tmp_path / "corpus")).of("train")
    }
    assert not remote_output.WORK.exists()
    with pytest.raises(CodeparrotError, match=r"exists; give --output another folder, or --overwrite true"):
        make(f"{here}/*", output)  # pyright: ignore[reportArgumentType]
    s3.put("made/corpus/train-99999-of-99999.parquet", b"stale")
    forget()
    make(f"{here}/*", output, overwrite=True)  # pyright: ignore[reportArgumentType]
    forget()
    assert "train-99999-of-99999.parquet" not in remote.listing(output)


@pytest.mark.slow
def test_what_is_no_corpus_is_never_written_over(s3: S3Server, tmp_path: Path) -> None:
    here = put_tables(s3, tmp_path / "raw")
    for output, problem in (
        ("s3://bucket/raw", "exists and is not a corpus"),
        ("s3://bucket/raw/rows0.jsonl", "is a file"),
        ("s3://nowhere/x", "does not exist|cannot write"),
        (f"{s3.url}/bucket/x", "nothing is written to web servers"),
    ):
        with pytest.raises(CodeparrotError, match=problem):
            make(f"{here}/*", output, overwrite=True)  # pyright: ignore[reportArgumentType]
