"""Rows of every format: the same for training, the tokenizer and the corpus, and errors that say where and what to do."""

import gzip
import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from codeparrot.corpus.documents import ColumnNames, Record
from codeparrot.corpus.sources.tables import open_tables
from codeparrot.errors import CodeparrotError
from codeparrot.stream.losses import raise_it
from codeparrot.stream.readers import jsonl
from codeparrot.stream.readers.parquet import Table
from codeparrot.stream.readers.rows import LineAt
from codeparrot.stream.shards import check_all
from codeparrot.stream.sources import open_shards
from codeparrot.tokenizer.sample import sample


def by_stream(file: Path) -> list[str]:
    texts: list[str] = []
    shards = open_shards([str(file)], split="train", column="content", seq_length=8)
    check_all(shards, raise_it)
    for shard in shards:
        position: int | None = 0
        while position is not None:
            items, position = shard.read(position, 7)
            texts += items
    return texts


def by_tokenizer(file: Path) -> list[str]:
    return list(sample([str(file)], "content", 10**9))


def by_corpus(file: Path) -> list[str]:
    units = open_tables([file], ColumnNames(), 0).units
    records = [record for unit in units for record in unit.records()]
    return [str(record.content) for record in sorted(records, key=str) if isinstance(record, Record)]


def frames(content: bytes, cuts: list[int], pack: Callable[[bytes], bytes]) -> bytes:
    bounds = sorted({0, *(cut % (len(content) + 1) for cut in cuts), len(content)})
    return b"".join(pack(content[low:high]) for low, high in pairwise(bounds))


@settings(max_examples=40, deadline=None)
@given(
    texts=st.lists(st.text(min_size=1, max_size=30), min_size=1, max_size=40), cuts=st.lists(st.integers(0, 9999), max_size=3)
)
def test_all_three_read_the_same_texts_from_every_format(tmp_path_factory, texts, cuts) -> None:
    folder = tmp_path_factory.mktemp("formats")
    lines = "".join(json.dumps({"content": text}) + "\n" * (1 + len(text) % 2) for text in texts).encode()
    (folder / "a.jsonl").write_bytes(lines)
    (folder / "a.json.gz").write_bytes(frames(lines, cuts, gzip.compress))
    (folder / "a.jsonl.zst").write_bytes(frames(lines, cuts, zstandard.compress))
    pq.write_table(pa.table({"content": texts}), folder / "a.parquet", row_group_size=3)
    for file in sorted(folder.iterdir()):
        assert by_stream(file) == by_tokenizer(file) == texts, file
        assert sorted(by_corpus(file)) == sorted(texts), file


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize("before", ["", "\n"])
def test_a_byte_order_mark_is_nothing_wherever_files_were_joined(tmp_path, pack, before) -> None:
    file = tmp_path / ("a.jsonl.gz" if pack is gzip.compress else "a.jsonl")
    lines = f'{before}{{"content": "a"}}\n{{"content": "b"}}\n'.encode("utf-8-sig")
    file.write_bytes(pack(lines * 2))
    assert by_stream(file) == by_tokenizer(file) == ["a", "b"] * 2
    assert sorted(by_corpus(file)) == ["a", "a", "b", "b"]


@pytest.mark.parametrize("read", [by_stream, by_tokenizer, by_corpus])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be"])
def test_a_file_in_another_encoding_is_one_error_for_all_three(tmp_path, read, pack, encoding) -> None:
    """Its first line alone might be read: UTF-16 in little endian ends a line with the byte that ends one in UTF-8."""
    file = tmp_path / ("a.jsonl.gz" if pack is gzip.compress else "a.jsonl")
    file.write_bytes(pack('{"content": "a"}\n{"content": "b"}\n'.encode(encoding)))
    with pytest.raises(CodeparrotError, match=r"a\.jsonl.* is UTF-16 or UTF-32, not UTF-8; convert it, for example with iconv"):
        read(file)


PACKED = gzip.compress(b'{"content": "a"}\n' * 999)
ZSTD = b"".join(zstandard.compress(b'{"content": "%d"}\n' % number * 50) for number in range(20))
UNREADABLE = {
    "cut.jsonl.gz": PACKED[:-40],
    "end.jsonl.gz": PACKED[:-1],
    "tail.jsonl.gz": PACKED + b"garbage",
    "plain.jsonl.gz": b'{"content": "a"}\n',
    "cut.jsonl.zst": ZSTD[:-15],
    "tail.jsonl.zst": ZSTD + b"garbage",
    "no.jsonl.zst": b"no zstd",
    "zeros.jsonl.gz": PACKED + bytes(512),
    "zeros.jsonl.zst": ZSTD + bytes(512),
    "nothing.jsonl.gz": b"",
    "nothing.jsonl.zst": b"",
    "nothing.json.gz": b"",
    "torn.parquet": b"PAR1 and no more",
    "empty.parquet": b"",
}


@pytest.mark.parametrize("read", [by_stream, by_tokenizer, by_corpus])
@pytest.mark.parametrize("name", UNREADABLE)
def test_a_file_that_is_not_whole_is_an_error_for_all_three(tmp_path, read, name) -> None:
    (tmp_path / name).write_bytes(UNREADABLE[name])
    with pytest.raises(CodeparrotError, match=rf"cannot read .*{name}.*; if it is damaged or was cut, fetch or build it again"):
        read(tmp_path / name)


def write_rows(file: Path, rows: pa.Array) -> Path:
    pq.write_table(pa.table({"content": rows}), file, row_group_size=2)
    return file


def broken_group(folder: Path) -> Path:
    file = write_rows(folder / "x.parquet", pa.array([f"{number}" * 900 for number in range(6)]))
    content = bytearray(file.read_bytes())
    with Table(str(file)) as table:
        start = table.metadata.row_group(1).column(0).dictionary_page_offset
    content[start : start + 60] = bytes(60)
    file.write_bytes(content)
    return file


def no_utf8(folder: Path) -> Path:
    return write_rows(folder / "x.parquet", pa.array([b"a", b"b", b"c", b"\xff"], pa.binary()).view(pa.string()))


def lines(*rows: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / "x.jsonl").write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
        return folder / "x.jsonl"

    return write


def packed(*rows: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / "x.jsonl.gz").write_bytes(gzip.compress("".join(f"{row}\n" for row in rows).encode()))
        return folder / "x.jsonl.gz"

    return write


def parquet(value: object) -> Callable[[Path], Path]:
    return lambda folder: write_rows(folder / "x.parquet", pa.array([value]))


GOOD = '{"content": "a"}'
DEEP = '{"content": "x", "m": ' + "[" * 100_000 + "]" * 100_000 + "}"
PLACES = [
    (broken_group, r"cannot read row group 1 of .*x\.parquet: .*fetch or build it again"),
    (no_utf8, r"row 3 of .*x\.parquet holds bytes that are not UTF-8 .*mend or remove that row"),
    (
        lambda folder: write_rows(folder / "x.parquet", pa.array([b"a"])),
        r'x\.parquet: column "content" holds binary, not text; .* names',
    ),
    (lambda folder: write_rows(folder / "x.parquet", pa.array([1])), r'x\.parquet: column "content" holds int64, not text'),
    (lines(GOOD, "", "nope"), r"line 3 of .*x\.jsonl is not JSON \(.*\); mend or remove that line$"),
    (packed(GOOD, "", "nope"), r"line 3 of .*x\.jsonl\.gz is not JSON \(.*\); mend or remove that line$"),
    (lines("{", ' "description": "x"', "}"), r"line 1 of .*x\.jsonl is not JSON .*`jq -c \.` writes a JSON file as JSON lines"),
    (lines(GOOD, DEEP), r"line 2 of .*x\.jsonl is JSON nested too deeply to be read; mend or remove that line"),
    (lines(GOOD, '"a"'), r"line 2 of .*x\.jsonl is a JSON str, not an object with columns; mend or remove it"),
    (
        lines(GOOD, '{"contents": "a"}'),
        r'line 2 of .*x\.jsonl has no column "content"; did you mean "contents"\? .* names the column',
    ),
    (lines(GOOD, '{"content": 3}'), r'line 2 of .*x\.jsonl: column "content" holds int, not text'),
    (packed(GOOD, '{"content": ["a"]}'), r'line 2 of .*x\.jsonl\.gz: column "content" holds list, not text'),
]


@pytest.mark.parametrize("read", [by_stream, by_tokenizer])
@pytest.mark.parametrize(("make", "message"), PLACES)
def test_an_error_names_the_file_the_place_and_the_remedy(tmp_path, read, make, message) -> None:
    with pytest.raises(CodeparrotError, match=message) as error:
        read(make(tmp_path))
    assert "\n" not in str(error.value)


@settings(max_examples=50, deadline=None)
@given(content=st.lists(st.sampled_from(["", "a", "é" * 3, "long" * 9]), max_size=30), data=st.data())
def test_the_number_of_a_line_is_found_from_its_byte(tmp_path_factory, content, data) -> None:
    file = tmp_path_factory.mktemp("lines") / "a.jsonl"
    file.write_text("\n".join([*content, "last"]), encoding="utf-8")
    index = data.draw(st.integers(0, len(content)))
    byte = len("".join(f"{line}\n" for line in content[:index]).encode())
    assert str(LineAt(str(file), byte)) == f"line {index + 1} of {file}"


@pytest.mark.parametrize("block_bytes", [1, 3, 8, 100])
def test_blocks_hold_every_line_once_with_its_number(tmp_path, block_bytes) -> None:
    content = b"\n\nab\n\nlong line\n\n\nc"
    (tmp_path / "a.jsonl").write_bytes(content)
    found = []
    for block in jsonl.blocks(str(tmp_path / "a.jsonl"), block_bytes):
        assert isinstance(block, jsonl.Lines)
        found += list(enumerate(block.content.split(b"\n"), block.first_line))
    assert [(number, line) for number, line in found if line] == [(3, b"ab"), (5, b"long line"), (8, b"c")]


def test_null_is_an_empty_document_and_half_a_surrogate_a_replacement_character(tmp_path) -> None:
    file = lines('{"content": null}', '{"content": "a\\ud83dz"}')(tmp_path)
    assert by_stream(file) == ["", "a\ufffdz"]
    assert by_tokenizer(file) == ["a\ufffdz"], "an empty document teaches nothing"


def flipped(file: Path, texts: list[str], **options: Any) -> list[Path]:
    """Return copies of a Parquet file, each with a bit changed in its pages."""
    pq.write_table(pa.table({"content": texts}), file, use_dictionary=False, **options)
    content = file.read_bytes()
    with Table(str(file)) as table:
        column = table.metadata.row_group(0).column(0)
    first = column.data_page_offset + column.total_compressed_size // 2
    copies = []
    for byte in range(first, first + 20):
        changed = bytearray(content)
        changed[byte] ^= 4
        copies.append(file.with_name(f"{byte}.parquet"))
        copies[-1].write_bytes(changed)
    return copies


@pytest.mark.parametrize("read", [by_stream, by_tokenizer, by_corpus])
def test_a_bit_that_changed_in_a_page_with_a_checksum_is_an_error(tmp_path, read) -> None:
    texts = [f"def f{number}(x): return x + {number**3}" for number in range(60)]
    for file in flipped(tmp_path / "a.parquet", texts, compression="zstd", write_page_checksum=True):
        with pytest.raises(CodeparrotError, match=rf"cannot read row group 0 of .*{file.name}: .*CRC"):
            read(file)


def test_what_is_behind_a_line_of_a_packed_file_is_named(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(jsonl, "PIECE_BYTES", 1)
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(b'{"content": "a"}\n' * 30) + b"garbage")
    for read in (by_stream, by_tokenizer, by_corpus):
        with pytest.raises(CodeparrotError, match=r"cannot read .*a\.jsonl\.gz behind line 30: "):
            read(tmp_path / "a.jsonl.gz")


def test_values_that_python_cannot_hold_do_not_hide_the_others_of_a_document(tmp_path) -> None:
    columns = {"content": pa.array(["a", "b"]), "n": pa.array([1, 2]), "day": pa.array([2**40, 0], pa.timestamp("s"))}
    columns["name"] = pa.array([b"x", b"\xff"], pa.binary()).view(pa.string())
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    (shard,) = open_shards([str(tmp_path / "a.parquet")], split="train", column="content", seq_length=8)
    first, second = shard.describe(0, [0, 1])
    assert (first["n"], first["name"], first["day"]) == (1, "x", "a timestamp[ms] that cannot be read")
    assert (second["n"], second["name"]) == (2, "a string that cannot be read")
