import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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
        ("{folder}/repo/a.py", "cannot be read"),
        ("{folder}/*", "cannot be read"),
    ],
)
def test_what_cannot_be_a_source_is_an_error(folder: Path, spec: str, message: str) -> None:
    with pytest.raises(CodeparrotError, match=message):
        open_source(spec.replace("{folder}", str(folder)), READING)


def test_sources_take_turns_until_all_are_exhausted() -> None:
    def units(letters: str) -> Iterator[Any]:
        yield from letters

    assert "".join(map(str, take_turns([units("abcd"), units("AB"), units("")]))) == "aAbBcd"
