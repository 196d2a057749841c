"""Damaged tables end a build with their place, or are left out, counted and named."""

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from codeparrot.errors import CodeparrotError
from codeparrot.stream.readers import jsonl
from tests.corpus.samples import LENIENT, digests, make, read

ROWS = [{"path": f"{number}.py", "content": f"x = {number}\n" * 20} for number in range(60)]
LINES = [json.dumps(row).encode() + b"\n" for row in ROWS]


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """A piece of the usual size would hold all of a packed file."""
    monkeypatch.setattr(jsonl, "PIECE_BYTES", 1)


def tables(folder: Path) -> Path:
    """Write three tables of 20 rows: one whole, a Parquet file with a damaged row group, and one packed that was cut."""
    folder.mkdir()
    (folder / "whole.jsonl").write_bytes(b"".join(LINES[:20]))
    file = folder / "group.parquet"
    pq.write_table(pa.Table.from_pylist(ROWS[20:40]), file, row_group_size=5, write_page_checksum=True)
    column = pq.ParquetFile(file).metadata.row_group(1).column(1)
    content = bytearray(file.read_bytes())
    content[column.dictionary_page_offset + column.total_compressed_size - 1] ^= 1
    file.write_bytes(content)
    (folder / "cut.jsonl.gz").write_bytes(gzip.compress(b"".join(LINES[40:50])) + gzip.compress(b"".join(LINES[50:]))[:12])
    return folder


def numbers(corpus: Path) -> set[int]:
    return {int(Path(document["path"]).stem) for document in read(corpus)}


SETTINGS = {"filters": LENIENT, "valid_fraction": 0.0}


@pytest.mark.parametrize(
    ("pattern", "place"), [("*.parquet", r"row group 1 of .*group\.parquet"), ("*.gz", r"cut\.jsonl\.gz behind line 10")]
)
def test_damage_ends_a_build_with_its_place_and_the_way_on(tmp_path: Path, pattern: str, place: str) -> None:
    source = tables(tmp_path / "data") / pattern
    with pytest.raises(
        CodeparrotError, match=rf"cannot read .*{place}: .*--on_error skip.* leaves out what is damaged"
    ) as error:
        make(source, tmp_path / "out", **SETTINGS)
    assert "\n" not in str(error.value) and not (tmp_path / "out").exists()


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_what_is_damaged_is_left_out_counted_and_named(tmp_path: Path, capfd: pytest.CaptureFixture[str], workers: int) -> None:
    source = str(tables(tmp_path / "data") / "*")
    statistics = make(source, tmp_path / "out", on_error="skip", workers=workers, **SETTINGS)
    assert numbers(tmp_path / "out") == {*range(25), *range(30, 50)}
    assert (statistics["read"]["files"], statistics["documents"]) == (51, 45)
    assert statistics["removed"]["unreadable"]["files"] == 6
    said = capfd.readouterr().err
    where = f"{tmp_path}/data/cut.jsonl.gz behind line 10 (1), row group 1 of {tmp_path}/data/group.parquet (5)"
    assert f"codeparrot: warning: files that cannot be read are left out: {where}\n" in said


@pytest.mark.slow
def test_a_file_that_is_no_parquet_is_left_out_as_one(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    pq.write_table(pa.Table.from_pylist(ROWS[:9]), folder / "a.parquet")
    (folder / "b.parquet").write_bytes((folder / "a.parquet").read_bytes()[:-50])
    for number, source in enumerate((str(folder / "*.parquet"), f"hub:{folder}")):
        output = tmp_path / f"out{number}"
        with pytest.raises(CodeparrotError, match=r"b\.parquet as Parquet: .*--on_error skip"):
            make(source, output, **SETTINGS)
        statistics = make(source, output, on_error="skip", **SETTINGS)
        assert (statistics["documents"], statistics["removed"]["unreadable"]["files"]) == (9, 1)


def test_a_build_that_damage_ended_goes_on_without_what_is_damaged(tmp_path: Path) -> None:
    source = str(tables(tmp_path / "data") / "*")
    make(source, tmp_path / "fresh", on_error="skip", **SETTINGS)
    with pytest.raises(CodeparrotError, match="leaves out what is damaged"):
        make(source, tmp_path / "out", **SETTINGS)
    make(source, tmp_path / "out", on_error="skip", **SETTINGS)
    assert numbers(tmp_path / "out") == numbers(tmp_path / "fresh")
    fresh, again = (digests(tmp_path / name) for name in ("fresh", "out"))
    assert [fresh[name] for name in fresh if name.startswith("train")] == [
        again[name] for name in again if name.startswith("train")
    ]
