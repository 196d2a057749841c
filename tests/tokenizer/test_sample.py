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
from codeparrot.tokenizer import sample as sample_module
from codeparrot.tokenizer.sample import find_files, sample


def write_shards(folder: Path, shards: Sequence[Sequence[str | None]], rows: int = 4) -> list[Path]:
    folder.mkdir(exist_ok=True)
    files = [folder / f"train-{index:05d}-of-{len(shards):05d}.parquet" for index in range(len(shards))]
    for file, texts in zip(files, shards, strict=True):
        parquet.write_table(pa.table({"content": pa.array(texts, pa.string())}), file, row_group_size=rows)
    return files


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
    assert {piece.path for piece in chosen.pieces} == set(files)


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
    assert list(sample(find_files(str(tmp_path / "*.jsonl*"), "train"), "content", 1000)) == ["a", "b?", "c"]


def test_splits_are_kept_apart(corpus, tmp_path):
    assert [file.name[:5] for file in find_files(str(corpus), "train")] == ["train"] * 3
    assert [file.name[:5] for file in find_files(str(corpus), "valid")] == ["valid"]
    (only,) = write_shards(tmp_path, [["a"]])
    assert find_files(str(tmp_path), "valid") == [only], "a corpus without a validation split is read as it is"


def damaged_parquet(folder: Path) -> str:
    (file,) = write_shards(folder, [["text" * 50] * 40])
    file.write_bytes(file.read_bytes()[:-20])
    return str(file)


def damaged_gzip(folder: Path) -> str:
    (folder / "x.jsonl.gz").write_bytes(gzip.compress(b'{"content": "a"}\n' * 999)[:-9])
    return str(folder)


def not_json(folder: Path) -> str:
    (folder / "x.jsonl").write_text('{"content": "a"}\nnope\n')
    return str(folder)


def other_column(folder: Path) -> str:
    (folder / "x.jsonl").write_text('{"contents": "a"}\n')
    return str(folder)


def numbers(folder: Path) -> str:
    parquet.write_table(pa.table({"content": [1, 2]}), folder / "x.parquet")
    return str(folder)


def not_a_corpus(folder: Path) -> str:
    (folder / "x.txt").write_text("a")
    return str(folder / "x.txt")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (damaged_parquet, "not readable as Parquet"),
        (damaged_gzip, "is not readable"),
        (not_json, "line 2 is not JSON"),
        (other_column, 'no column "content"; did you mean "contents"'),
        (numbers, "holds int64, not text"),
        (not_a_corpus, "is not a corpus"),
        (lambda folder: str(folder / "nowhere"), "no documents at"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, make, message):
    with pytest.raises(CodeparrotError, match=message):
        list(sample(find_files(make(tmp_path), "train"), "content", 1000))
