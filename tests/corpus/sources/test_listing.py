import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codeparrot.corpus.documents import ColumnNames, Reading, Source
from codeparrot.corpus.sources import tables
from codeparrot.corpus.sources.listing import digest
from codeparrot.corpus.sources.opening import open_source

READING = Reading(seed=0, max_size=10**6, suffixes=(".py",), columns=ColumnNames())


def make_folder(root: Path) -> tuple[str, Path]:
    for number in range(150):
        file = root / f"repo{number % 7}" / f"file{number}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"x = {number}\n")
    return str(root), root / "repo0" / "file0.py"


def make_lines(root: Path) -> tuple[str, Path]:
    (root / "rows.jsonl").write_text("".join(json.dumps({"content": str(number)}) + "\n" for number in range(150)))
    return str(root / "*.jsonl"), root / "rows.jsonl"


def make_parquet(root: Path) -> tuple[str, Path]:
    for name in ("one", "two"):
        pq.write_table(
            pa.table({"content": [f"{name} {row}" for row in range(150)]}), root / f"{name}.parquet", row_group_size=9
        )
    return str(root / "*.parquet"), root / "one.parquet"


def make_data_set(root: Path) -> tuple[str, Path]:
    pq.write_table(pa.table({"content": [str(row) for row in range(600)]}), root / "train-0.parquet", row_group_size=99)
    return f"hub:{root}", root / "train-0.parquet"


@pytest.fixture(params=[make_folder, make_lines, make_parquet, make_data_set])
def made(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, Path]:
    """A source of several units, and one of its files."""
    monkeypatch.setattr(tables, "BLOCK_BYTES", 500)
    make: Callable[[Path], tuple[str, Path]] = request.param
    return make(tmp_path)


def opened(spec: str) -> Source:
    return open_source(spec, READING)


def test_every_unit_of_a_source_has_a_key_of_its_own_that_is_the_same_again(made: tuple[str, Path]) -> None:
    keys = [unit.key for unit in opened(made[0]).units]
    assert len(keys) > 1 and len(set(keys)) == len(keys)
    assert [unit.key for unit in opened(made[0]).units] == keys
    assert opened(made[0]).listing == opened(made[0]).listing


def test_a_key_travels_with_its_unit(made: tuple[str, Path]) -> None:
    units = list(opened(made[0]).units)
    assert units and [pickle.loads(pickle.dumps(unit)).key for unit in units] == [unit.key for unit in units]


def test_a_file_that_changed_gives_another_listing(made: tuple[str, Path]) -> None:
    before = opened(made[0])
    keys = {unit.key for unit in before.units}
    os.utime(made[1], ns=(1, 1))
    after = opened(made[0])
    assert after.listing != before.listing
    assert {unit.key for unit in after.units} != keys


def test_a_file_more_gives_another_listing(tmp_path: Path) -> None:
    spec, file = make_folder(tmp_path)
    before = opened(spec).listing
    file.with_name("more.py").write_text("x")
    assert opened(spec).listing != before


@given(st.lists(st.text("ab1:\0", max_size=3), max_size=3), st.lists(st.text("ab1:\0", max_size=3), max_size=3))
def test_names_do_not_run_into_each_other(one: list[str], other: list[str]) -> None:
    assert (digest(*one) == digest(*other)) == (one == other)
