import gzip
import json
import sys
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from codeparrot.stream.jsonl import CompressedJsonlShard, JsonlShard
from codeparrot.stream.lane import Cursor, Order, Reading, blocks
from codeparrot.stream.parquet import ParquetShard
from codeparrot.stream.shards import Shard

TEXTS = [f"document {number}\n" + "é漢" * (number * 7 % 50) for number in range(57)] + ["", "last"]


def write(folder: Path, kind: str) -> Shard:
    lines = "".join(json.dumps({"content": text, "n": 1}, ensure_ascii=False) + "\n" for text in TEXTS).encode()
    if kind == "parquet":
        parquet.write_table(pa.table({"content": TEXTS, "n": [1] * len(TEXTS)}), folder / "a.parquet", row_group_size=10)
        return ParquetShard(str(folder / "a.parquet"), "content")
    if kind == "jsonl":
        (folder / "a.jsonl").write_bytes(lines)
        return JsonlShard(str(folder / "a.jsonl"), "content")
    if kind == "jsonl without a last newline":
        (folder / "a.jsonl").write_bytes(lines[:-1])
        return JsonlShard(str(folder / "a.jsonl"), "content")
    if kind == "gz":
        (folder / "a.jsonl.gz").write_bytes(gzip.compress(lines))
        return CompressedJsonlShard(str(folder / "a.jsonl.gz"), "content")
    (folder / "a.jsonl.zst").write_bytes(zstandard.compress(lines))
    return CompressedJsonlShard(str(folder / "a.jsonl.zst"), "content")


KINDS = ["parquet", "jsonl", "jsonl without a last newline", "gz", "zst"]


@pytest.fixture(scope="module", params=KINDS)
def shard(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Shard:
    return write(tmp_path_factory.mktemp("shards"), request.param)


def read_all(shard: Shard, block: int) -> tuple[list[str], list[int]]:
    texts: list[str] = []
    positions: list[int] = []
    position: int | None = 0
    while position is not None:
        positions.append(position)
        items, position = shard.read(position, block)
        texts += items
    return texts, positions


@settings(deadline=None, max_examples=30)
@given(parts=st.integers(1, 80), block=st.integers(1, 70))
def test_the_parts_of_a_shard_hold_each_document_once(shard: Shard, parts: int, block: int) -> None:
    texts = [text for part in shard.cut(parts) for text in read_all(part, block)[0]]
    assert sorted(texts) == sorted(TEXTS)


@settings(deadline=None, max_examples=30)
@given(parts=st.integers(1, 80), num_tokens=st.integers(1, 2000))
def test_places_of_the_parts_of_a_shard_hold_each_document_once(shard: Shard, parts: int, num_tokens: int) -> None:
    places = [place for part in shard.cut(parts) for place in part.spread(num_tokens)]
    blocks = [place.read(0, sys.maxsize) for place in places]
    assert sorted(text for block in blocks for text in block.items) == sorted(TEXTS)
    assert all(block.following is None for block in blocks)
    assert all(place.whole for place in places) == shard.seekable


def test_a_packed_file_that_ended_is_not_read_again_for_each_block_of_its_neighbours(tmp_path, monkeypatch) -> None:
    for name, size in (("a", 10), ("b", 2000)):
        lines = "".join(json.dumps({"content": f"{name}{row}"}) + "\n" for row in range(size))
        (tmp_path / f"{name}.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    shards = [CompressedJsonlShard(str(tmp_path / f"{name}.jsonl.gz"), "content") for name in "ab"]
    opened: list[str] = []
    iterate = CompressedJsonlShard.iterate
    monkeypatch.setattr(CompressedJsonlShard, "iterate", lambda self: (opened.append(self.path), iterate(self))[1])
    texts = [text for block in blocks(shards, Order(0, 0, epochs=1), Reading(2, 16), Cursor()) for text in block.items]
    assert len(texts) == len(set(texts)) == 2010 and len(opened) == 2


@pytest.mark.parametrize("kind", [pa.string_view(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_texts_of_any_layout_are_spread(tmp_path, kind) -> None:
    texts = (
        pa.array([*TEXTS[:-1], None]).cast(kind) if not pa.types.is_dictionary(kind) else pa.array(TEXTS).dictionary_encode()
    )
    parquet.write_table(pa.table({"content": texts}), tmp_path / "a.parquet")
    places = ParquetShard(str(tmp_path / "a.parquet"), "content").spread(100)
    assert len(places) == 8
    found = [text for place in places for text in place.read(0, sys.maxsize).items]
    assert sorted(found) == sorted("" if text is None else text for text in texts.to_pylist())


def test_small_row_groups_make_a_place_together(tmp_path) -> None:
    texts = [f"{row} " + "x" * 50 for row in range(1000)]
    parquet.write_table(pa.table({"content": texts}), tmp_path / "a.parquet", row_group_size=5, use_dictionary=False)
    places = ParquetShard(str(tmp_path / "a.parquet"), "content").spread(1000)
    assert 10 <= len(places) <= 20
    assert [text for place in places for text in place.read(0, sys.maxsize).items] == texts
    assert places[3].describe(0, [7])[0]["row"] == texts.index(places[3].read(0, sys.maxsize).items[7])


@settings(deadline=None, max_examples=30)
@given(st.data())
def test_a_shard_can_be_entered_at_any_block(shard: Shard, data: st.DataObject) -> None:
    part = data.draw(st.sampled_from(shard.cut(3)))
    block = data.draw(st.integers(1, 25))
    texts, positions = read_all(part, block)
    index = data.draw(st.integers(0, len(positions) - 1))
    part.close()
    items, _ = part.read(positions[index], block)
    assert list(items) == texts[index * block : (index + 1) * block]


def test_one_part_of_a_parquet_file_decodes_only_its_own_row_groups(tmp_path, monkeypatch) -> None:
    whole = write(tmp_path, "parquet")
    decoded: list[int] = []
    for index, part in enumerate(whole.cut(6)):
        assert isinstance(part, ParquetShard)
        table = part._open()
        monkeypatch.setattr(table, "read", partial(_noted, table.read, decoded))
        before = len(decoded)
        read_all(part, 4)
        assert len(decoded) - before <= 2, index


def _noted(read, decoded: list[int], group: int, columns: list[str]):
    decoded.append(group)
    return read(group, columns)
