"""Of a corpus on an object store only what the sample needs is fetched, whatever its format, and it is the same again."""

import gzip
import json
import os
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
import zstandard

from codeparrot.stream.readers import jsonl, ranges
from codeparrot.tokenizer import sample as module
from codeparrot.tokenizer.sample import find_corpus, sample
from codeparrot.tokenizer.train import train
from tests.s3_server.fixture import S3Server, forget, s3

__all__ = ["s3"]
BUDGET = 200_000
NUM_FILES = 24
PLAIN: Any = {"compression": "none", "use_dictionary": False, "write_statistics": False}


def content(kind: str, file: int, path: Path, documents: int = 48) -> bytes:
    """Return a file of documents of 4 kB; a row group holds 32 kB of text."""
    rows = [{"content": f"{file} {os.urandom(2000).hex()}", "other": "x" * 50} for _ in range(documents)]
    if kind == "parquet":
        parquet.write_table(pa.Table.from_pylist(rows), path, row_group_size=8, **PLAIN)
        return path.read_bytes()
    lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    return gzip.compress(lines) if kind == "json.gz" else zstandard.compress(lines) if kind == "jsonl.zst" else lines


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["parquet", "jsonl", "json.gz", "jsonl.zst"])
def test_at_most_twice_the_sample_and_a_piece_a_shard_are_fetched(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    # Packed files are read 64 kB at once, and a block of zstd holds 128 kB of text.
    is_packed = kind in ("json.gz", "jsonl.zst")
    piece = 1 << 17 if is_packed else 1 << 15
    monkeypatch.setattr(module, "RANGE_BYTES", piece)
    monkeypatch.setattr(jsonl, "BLOCK_BYTES", 1 << 14)
    monkeypatch.setattr(ranges, "TAIL_BYTES", piece // 8)
    for file in range(NUM_FILES):
        s3.put(
            f"data/train-{file:05d}-of-{NUM_FILES:05d}.{kind}", content(kind, file, tmp_path / "x", 160 if is_packed else 48)
        )
    s3.forget_requests()
    chosen = sample(find_corpus("s3://bucket/data").of("train"), "content", BUDGET)
    texts = list(chosen)
    fetched = s3.fetched()
    assert list(chosen) == texts and s3.fetched() == fetched, "fetched once"
    forget()
    assert list(sample(find_corpus("s3://bucket/data").of("train"), "content", BUDGET)) == texts
    size = sum(map(len, texts))
    files = {text.split()[0] for text in texts}
    assert size == pytest.approx(BUDGET, rel=0.1)
    assert len(files) >= 12 and fetched <= 2 * size + module.FEWEST_FILES * piece
    assert fetched < sum(file.stat().st_size for file in s3.data.rglob("*.*")) / 2
    assert len(set(texts)) == len(texts)


@pytest.mark.slow
def test_long_and_short_lines_are_sampled_alike(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    # Of ranges of 4 kB a long line fills several, which begin no line.
    monkeypatch.setattr(module, "RANGE_BYTES", 1 << 12)
    source = random.Random(0)
    lengths = [source.choice([50, 50, 50, 500, 500, 20_000]) for _ in range(6000)]
    lines = [json.dumps({"content": f"{row} ".ljust(length, "x")}) for row, length in enumerate(lengths)]
    s3.put("data/train-0.jsonl", "\n".join(lines).encode())
    texts = list(sample(find_corpus("s3://bucket/data").of("train"), "content", 2_000_000))
    drawn = [round(len(text), -1) for text in texts]
    for length in (50, 500, 20_000):
        share, of_all = drawn.count(length) / len(drawn), lengths.count(length) / len(lengths)
        assert share == pytest.approx(of_all, abs=0.06), length
    assert sum(drawn) / len(drawn) == pytest.approx(sum(lengths) / len(lengths), rel=0.25)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["parquet", "jsonl", "json.gz"])
def test_a_corpus_that_fits_is_taken_whole(s3: S3Server, tmp_path: Path, kind: str) -> None:
    for file in range(3):
        s3.put(f"data/{file}.{kind}", content(kind, file, tmp_path / "x"))
    assert len(list(sample(find_corpus("s3://bucket/data").of("train"), "content", 10**7))) == 3 * 48


@pytest.mark.slow
def test_a_tokenizer_is_trained_on_a_corpus_on_an_object_store_as_on_the_same_here(s3: S3Server, tmp_path: Path) -> None:
    lines = [json.dumps({"content": f"def function_{row}(value):\n    return value + {row}\n" * 4}) for row in range(400)]
    address = s3.put("corpus/train-0.jsonl", "\n".join(lines).encode())
    for name, corpus in (("here", str(s3.data / "corpus")), ("there", address.rpartition("/")[0])):
        train(corpus, str(tmp_path / name), vocab_size=500)
    assert (tmp_path / "here" / "tokenizer.json").read_bytes() == (tmp_path / "there" / "tokenizer.json").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["jsonl", "json.gz"])
def test_languages_of_json_lines_elsewhere_are_told(s3: S3Server, kind: str) -> None:
    rows = [{"content": f"text {row} " * 9, "language": ["Python", "rust"][row % 2]} for row in range(40)]
    lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    s3.put(f"told/train-0.{kind}", gzip.compress(lines) if kind == "json.gz" else lines)
    found = sample(find_corpus("s3://bucket/told").of("train"), "content", 2_000, languages=True).with_languages()
    assert {language for language, _ in found} == {"python", "rust"}
