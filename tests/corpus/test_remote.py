"""A corpus of tables on an object store, and a corpus that is written to one."""

import gzip
import os
import subprocess
import time
from pathlib import Path

import pyarrow.json as arrow_json
import pyarrow.parquet as parquet
import pytest

from codeparrot.config import Config
from codeparrot.corpus import remote_output
from codeparrot.corpus.pairs.command import pairs
from codeparrot.corpus.report.command import report
from codeparrot.corpus.tokenize import tokenize
from codeparrot.errors import CodeparrotError
from codeparrot.eval.pairs import load_pairs
from codeparrot.plan import sizes
from codeparrot.publishing import made_from
from codeparrot.stream.readers import listing, remote
from codeparrot.stream.readers.folder import find_data
from codeparrot.stream.tokenized import windows_at
from tests.corpus.planted import documents, write_rows
from tests.corpus.samples import COMMAND, digests, make, write_repositories
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
    assert "train-99999-of-99999.parquet" not in listing.files_below(output)


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


def put_corpus(s3: S3Server, corpus: Path) -> str:
    for file in sorted(corpus.rglob("*")):
        if file.is_file():
            s3.put(f"corpus/{file.relative_to(corpus)}", file)
    return "s3://bucket/corpus"


@pytest.mark.slow
def test_a_corpus_elsewhere_is_reported_as_the_same_one_here(s3: S3Server, tmp_path: Path) -> None:
    make(write_repositories(tmp_path / "raw", 4, 4), tmp_path / "corpus")
    there = put_corpus(s3, tmp_path / "corpus")
    expected = report(str(tmp_path / "corpus"), html=str(tmp_path / "page.html"))
    found = report(there, html=str(tmp_path / "page.html"))
    assert found.text.replace(there, "") == expected.text.replace(str(tmp_path / "corpus"), "")
    assert found.data["samples"] == expected.data["samples"] and found.data["clusters"] == expected.data["clusters"]
    assert (tmp_path / "page.html").stat().st_size > 10_000
    s3.put("corpus/train-00009-of-00009.parquet", b"")
    forget()
    with pytest.raises(CodeparrotError, match=r"train-00009-of-00009.parquet does not belong to the corpus"):
        report(there)
    s3.put("corpus/unfinished.json", b"{}")
    forget()
    with pytest.raises(CodeparrotError, match=r"has not been uploaded to its end"):
        report(there)
    with pytest.raises(CodeparrotError, match=r"a web server, which cannot be listed: fetch the corpus"):
        report("https://host/corpus")


@pytest.mark.slow
def test_pairs_and_windows_are_read_from_a_store_and_written_to_it(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tokenizer_folder: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    make(write_repositories(tmp_path / "raw", 4, 4), tmp_path / "corpus")
    there = put_corpus(s3, tmp_path / "corpus")
    pairs(str(tmp_path / "corpus"), str(tmp_path / "pairs"), workers=1)
    pairs(there, "s3://bucket/made/pairs", workers=1)
    tokenize(str(tmp_path / "corpus"), str(tokenizer_folder), str(tmp_path / "windows"), seq_length=64, file_windows=100)
    write, written = remote.write, []

    def dies(address: str, local: Path) -> None:
        if len(written) == 3:
            raise CodeparrotError("the server died")
        written.append(address)
        write(address, local)

    def make_windows(overwrite: bool = False) -> None:
        forget()
        windows = "s3://bucket/made/windows"
        tokenize(there, str(tokenizer_folder), windows, seq_length=64, file_windows=100, overwrite=overwrite)

    monkeypatch.setattr(remote, "write", dies)
    with pytest.raises(CodeparrotError, match=r"the server died"):
        make_windows()
    monkeypatch.setattr(remote, "write", write)
    forget()
    with pytest.raises(CodeparrotError, match=r"has not been uploaded to its end"):
        find_data("s3://bucket/made/windows")
    s3.forget_requests()
    make_windows()
    puts = [each["path"] for each in s3.requests if each["method"] == "PUT"]
    assert puts[-1].endswith("/windows.json") and not set(written[1:]) & {f"s3:/{each}" for each in puts}
    for name in ("pairs", "windows"):
        forget()
        for file in (each for each in (tmp_path / name).rglob("*") if each.suffix in (".parquet", ".npy")):
            assert remote.read(f"s3://bucket/made/{name}/{file.relative_to(tmp_path / name)}") == file.read_bytes()
    assert windows_at("s3://bucket/made/windows") and not remote_output.WORK.exists()
    with pytest.raises(CodeparrotError, match=r"exists; give --output another folder, or --overwrite true"):
        make_windows()
    make_windows(overwrite=True)
    assert load_pairs("s3://bucket/made/pairs", "train") == load_pairs(str(tmp_path / "pairs"), "train")


@pytest.mark.slow
def test_a_plan_counts_the_tokens_of_data_elsewhere(s3: S3Server, corpus: Path, tokenizer_folder: Path) -> None:
    config = Config()
    config.tokenizer.path, config.stream.seq_length = str(tokenizer_folder), 32
    config.stream.train = [str(corpus)]
    here = sizes.corpus_of(config, 0)
    config.stream.train = [put_corpus(s3, corpus)]
    assert sizes.corpus_of(config, 0) == here and here.tokens
    config.stream.train = ["s3://bucket/none"]
    assert "s3://bucket/none does not exist" in sizes.corpus_of(config, 0).source


@pytest.mark.slow
def test_a_card_says_where_data_elsewhere_are_without_asking_for_them(s3: S3Server) -> None:
    s3.kill()
    text = "\n".join(made_from.data({"stream": {"train": "s3://bucket/code"}}, []))
    assert "`code`" in text
