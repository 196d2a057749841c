"""The sample is deterministic, spread over the whole corpus, bounded, and complete where the corpus fits."""

import gzip
import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from codeparrot.errors import CodeparrotError
from codeparrot.stream.losses import Losses
from codeparrot.stream.readers.folder import find_data
from codeparrot.tokenizer import sample as sample_module
from codeparrot.tokenizer.sample import sample


def write_shards(folder: Path, shards: Sequence[Sequence[str | None]], rows: int = 4) -> list[str]:
    folder.mkdir(exist_ok=True)
    files = [folder / f"train-{index:05d}-of-{len(shards):05d}.parquet" for index in range(len(shards))]
    for file, texts in zip(files, shards, strict=True):
        parquet.write_table(pa.table({"content": pa.array(texts, pa.string())}), file, row_group_size=rows)
    return [str(file) for file in files]


def size(texts: list[str]) -> int:
    return sum(len(text.encode()) for text in texts)


@settings(max_examples=40, deadline=None)
@given(shards=st.lists(st.lists(st.text(max_size=40), max_size=12), min_size=1, max_size=4), budget=st.integers(1, 4000))
def test_sample_is_the_same_again_bounded_and_in_order(tmp_path_factory, shards, budget):
    files = write_shards(tmp_path_factory.mktemp("shards"), shards)
    chosen = sample(files, "content", budget)
    taken = list(chosen)
    everything = [text for shard in shards for text in shard if text]
    remaining = iter(everything)
    assert taken == list(sample(files, "content", budget)) == list(chosen)
    assert all(text in remaining for text in taken), "a subsequence of the documents: none twice, none invented"
    assert size(taken) <= budget + max(map(len, map(str.encode, everything)), default=0)
    if chosen.share == 1.0:
        assert taken == everything


def test_every_row_group_of_every_shard_gives_its_share(tmp_path):
    shards = [[f"{shard}-{row:04d}" + "x" * 94 for row in range(400)] for shard in range(3)]
    files = write_shards(tmp_path, shards, rows=50)
    taken = list(sample(files, "content", 12_000))
    groups = [(text[0], int(text[2:6]) // 50) for text in taken]
    counts = [groups.count((str(shard), group)) for shard in range(3) for group in range(8)]
    assert size(taken) == pytest.approx(12_000, rel=0.1)
    assert min(counts) >= 3 and max(counts) <= 8


def test_huge_corpus_is_read_at_evenly_spaced_row_groups(tmp_path, monkeypatch):
    monkeypatch.setattr(sample_module, "READ_FACTOR", 2)
    files = write_shards(tmp_path, [["x" * 100] * 400, ["y" * 100] * 400], rows=10)
    chosen = sample(files, "content", 5_000)
    assert sum(piece.num_bytes for piece in chosen.pieces) <= 3 * 5_000
    assert {piece.file for piece in chosen.pieces} == set(files)


def test_no_document_decides_the_vocabulary(tmp_path, monkeypatch):
    monkeypatch.setattr(sample_module, "LONGEST_DOCUMENT_BYTES", 7)
    files = write_shards(tmp_path, [["é" * 1000, "short", None, ""]])
    assert list(sample(files, "content", 10**6)) == ["ééé", "short"], "cut between characters; null is no document"


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".jsonl.zst"])
def test_json_lines_are_read_however_they_are_packed(tmp_path, suffix):
    rows = [{"content": "a"}, {"content": None}, {"content": "b\ud800"}, {"content": "c"}]
    data = "".join(json.dumps(row) + "\n" for row in rows).encode() + b"\n"
    pack = {".jsonl": bytes, ".jsonl.gz": gzip.compress, ".jsonl.zst": zstandard.compress}[suffix]
    (tmp_path / f"x{suffix}").write_bytes(pack(data[:40]) + pack(data[40:]))  # several frames, as appending makes them
    assert list(sample(find_data(str(tmp_path / "*.jsonl*")).of("train"), "content", 1000)) == ["a", "b\ufffd", "c"]


def test_what_is_damaged_ends_the_sample_or_is_left_out_and_counted_once(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b'{"content": "a"}\n{"content": 3}\n\0\0\n{"content": "b"}\n')
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(b'{"content": "c"}\n' * 5)[:-4])
    (tmp_path / "c.parquet").write_bytes(b"PAR1 and no more")
    rows = pa.array([b"d", b"\xff", b"e", b"f"], pa.binary()).view(pa.string())
    parquet.write_table(pa.table({"content": rows}), tmp_path / "d.parquet")
    files = find_data(str(tmp_path)).of("train")
    for file in files:
        with pytest.raises(CodeparrotError, match=Path(file).name):
            list(sample([file], "content", 1000))
    losses = Losses("skip")
    chosen = sample(files, "content", 1000, losses)
    assert list(chosen) == list(chosen)
    assert set(chosen) - {"c"} == {"a", "b", "d", "e", "f"}
    assert losses.facts == {"damaged_places": 5, "damaged_documents": 3}
    assert str(losses).startswith("; left out as damaged: 3 documents and an unknown number at 2 of the places, 5 places")
