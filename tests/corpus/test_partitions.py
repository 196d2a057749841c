"""Rows that are dealt out to parts come back by their parts, whether they fit into memory or not."""

import numpy as np
import pyarrow as pa
import pytest

from codeparrot.corpus.partitions import Partitions
from tests.corpus.planted import documents, pairs, write_rows
from tests.corpus.samples import digests, make


@pytest.mark.parametrize("most_bytes", [0, 2000, 10**9])
def test_every_row_comes_back_once_with_its_part_in_the_order_it_came(tmp_path, most_bytes: int) -> None:
    random = np.random.default_rng(0)
    partitions, parts = Partitions(tmp_path / "parts", most_bytes), np.empty(0, np.int64)
    for count in (100, 1, 0, 50):
        some = random.integers(0, 20, count)
        columns = [np.arange(len(parts), len(parts) + count), pa.array([f"text {each}" for each in some], pa.string())]
        rows = pa.table(columns, ["number", "text"])
        partitions.add(rows, some)
        parts = np.concatenate([parts, some])
    assert partitions.all_in_memory == (most_bytes == 10**9) == (not (tmp_path / "parts").exists())
    for first, stop in [(each, each + 1) for each in range(20)] + [(3, 9), (0, 20), (20, 30)]:
        taken = partitions.take(first, stop)
        expected = np.flatnonzero((parts >= first) & (parts < stop))
        assert sorted(taken.column("number").to_pylist()) == expected.tolist()
        assert taken.column("text").to_pylist() == [f"text {parts[each]}" for each in taken.column("number").to_pylist()]
        if stop == first + 1:
            assert taken.column("number").to_pylist() == expected.tolist()


@pytest.mark.slow
def test_a_build_whose_rows_do_not_fit_into_memory_has_the_same_bytes(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_rows(
        tmp_path / "rows.jsonl", [*documents(60, tokens=100), *(each for pair in pairs(0.8, 20) for each in pair)]
    )
    settings = {"shard_bytes": 30_000, "valid_fraction": 0.3}
    make(source, tmp_path / "in memory" / "corpus", **settings)
    monkeypatch.setattr("codeparrot.corpus.partitions.MOST_BYTES", 2000)
    written = []
    write = Partitions._write
    monkeypatch.setattr(Partitions, "_write", lambda *arguments: written.append(1) or write(*arguments))
    make(source, tmp_path / "on disk" / "corpus", **settings)
    assert len(written) > 20
    assert digests(tmp_path / "on disk" / "corpus") == digests(tmp_path / "in memory" / "corpus")
