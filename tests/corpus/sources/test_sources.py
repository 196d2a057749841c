import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from codeparrot.corpus.documents import ColumnNames, Reading
from codeparrot.corpus.sources.opening import open_source, take_turns
from codeparrot.errors import CodeparrotError

READING = Reading(seed=0, max_size=10**6, suffixes=(".py",), columns=ColumnNames())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "repo").mkdir()
    (tmp_path / "repo" / "a.py").write_text("x = 1\n")
    (tmp_path / "repo" / "a.jsonl").write_text(json.dumps({"content": "e"}))
    (tmp_path / "rows.jsonl").write_text(json.dumps({"content": "a"}))
    pq.write_table(pa.table({"content": ["b", "c"]}), tmp_path / "rows.parquet")
    pq.write_table(pa.table({"content": ["d"]}), tmp_path / "more.parquet")
    return tmp_path


def texts(spec: str) -> list[Any]:
    return sorted(
        str(getattr(record, "content", record)) for unit in open_source(spec, READING).units for record in unit.records()
    )


def test_a_source_is_recognised_by_its_name(folder: Path) -> None:
    assert texts(str(folder)) == ["b'x = 1\\n'"]
    assert texts(str(folder / "rows.jsonl")) == ["a"]
    assert texts(str(folder / "rows.parquet")) == ["b", "c"]
    assert texts(str(folder / "*.parquet")) == ["b", "c", "d"]
    assert texts(str(folder / "**" / "m*.parquet")) == ["d"]
    assert open_source(f"hub:{folder / 'repo'}", READING).facts["kind"] == "hub"


def test_python_is_this_interpreter_even_where_a_folder_has_that_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "repo").rename(folder / "python")
    monkeypatch.chdir(folder)
    assert open_source("python", READING).facts["kind"] == "python"
    assert open_source("./python", READING).facts["kind"] == "folder"


def test_the_home_folder_has_a_short_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder))
    assert texts("~/rows.jsonl") == ["a"]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("pythn", 'did you mean "python"'),
        ("{folder}/nothing", "does not exist"),
        ("{folder}/*.jsonl.gz", "does not exist"),
        ("{folder}/repo/a.py", 'is no table and no archive; name its folder, "{folder}/repo"'),
        ("{folder}/*", "repo is no table and no archive; a source is"),
    ],
)
def test_what_cannot_be_a_source_is_an_error(folder: Path, spec: str, message: str) -> None:
    with pytest.raises(CodeparrotError, match=message.replace("{folder}", str(folder))):
        open_source(spec.replace("{folder}", str(folder)), READING)


@pytest.mark.parametrize(
    ("file", "source", "split"),
    [
        ("a.parquet", "{folder}/*.parquet", None),
        ("a.json.gz", "{folder}/*.json.gz", None),
        ("lang=python/part-0.parquet", "{folder}/**/*.parquet", None),
        ("data/train-00000-of-00001.parquet", "hub:{folder}", None),
        ("data-00000-of-00001.arrow", "hub:{folder}", None),
        ("train/data-00000-of-00001.arrow", "hub:{folder}", "train"),
    ],
)
def test_of_a_folder_of_tables_the_error_names_the_source_that_reads_them(
    tmp_path: Path, file: str, source: str, split: str | None
) -> None:
    folder = tmp_path / "data set"
    (folder / file).parent.mkdir(parents=True)
    rows = datasets.Dataset.from_dict({"content": ["a", "b"]})
    if file.endswith(".arrow"):
        (datasets.DatasetDict({split: rows}) if split else rows).save_to_disk(folder)
    elif file.endswith(".parquet"):
        rows.to_parquet(folder / file)
    else:
        (folder / file).write_bytes(gzip.compress(b'{"content": "a"}\n{"content": "b"}\n'))
    (folder / "README.md").touch()
    (folder / file).with_name(f".{(folder / file).name}.crc").touch()
    source = source.format(folder=folder)
    with pytest.raises(CodeparrotError, match=re.escape(f'holds no .py file; give its tables instead: "{source}"')):
        open_source(str(folder), READING)
    assert texts(source) == ["a", "b"]


def test_sources_take_turns_until_all_are_exhausted() -> None:
    def units(letters: str) -> Iterator[Any]:
        yield from letters

    assert "".join(map(str, take_turns([units("abcd"), units("AB"), units("")]))) == "aAbBcd"
