import gzip
import json
import pickle
import tracemalloc
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from codeparrot.corpus.documents import ColumnNames, Record, Removed
from codeparrot.corpus.sources import tables
from codeparrot.corpus.sources.tables import open_tables
from codeparrot.errors import CodeparrotError

ROWS: list[dict[str, Any]] = [
    {"repo_name": f"me/repo{number % 3}", "path": f"{number}.py", "content": f"# é {number}\n" * number, "license": "mit"}
    for number in range(40)
]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS).encode()


def records(*files: Path, columns: ColumnNames | None = None, seed: int = 0) -> list[Record | Removed]:
    source = open_tables(list(files), columns or ColumnNames(), seed)
    return [record for unit in source.units for record in unit.records()]


def write(file: Path, content: bytes) -> Path:
    file.write_bytes(content)
    return file


def parquet(file: Path, rows: list[dict[str, Any]], row_group_size: int = 7) -> Path:
    pq.write_table(pa.Table.from_pylist(rows), file, row_group_size=row_group_size)
    return file


def test_every_format_gives_the_same_records(tmp_path: Path) -> None:
    expected = [Record(row["repo_name"], row["path"], row["license"], row["content"]) for row in ROWS]
    assert records(write(tmp_path / "a.jsonl", LINES)) == expected
    assert records(write(tmp_path / "a.json.gz", gzip.compress(LINES))) == expected
    assert records(write(tmp_path / "a.jsonl.gz", gzip.compress(LINES[:900]) + gzip.compress(LINES[900:]))) == expected
    assert records(write(tmp_path / "a.jsonl.zst", zstandard.compress(LINES))) == expected
    assert sorted(records(parquet(tmp_path / "a.parquet", ROWS))) == sorted(expected)


@pytest.mark.parametrize("block_bytes", [1, 100, 1000, 10**6])
@pytest.mark.parametrize("last_line_ends", [True, False])
def test_blocks_may_be_cut_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block_bytes: int, last_line_ends: bool
) -> None:
    rows = "".join(json.dumps({"content": str(number)}) + "\n" * (1 + number % 3) for number in range(20)).encode()
    file = write(tmp_path / "a.jsonl", rows if last_line_ends else rows.rstrip(b"\n"))
    expected = records(file)
    monkeypatch.setattr(tables, "BLOCK_BYTES", block_bytes)
    assert records(file) == expected
    line_numbers = [int(record.path) for record in expected if isinstance(record, Record)]
    assert line_numbers[:4] == [1, 2, 4, 7]


def test_what_a_row_does_not_say_is_filled_in(tmp_path: Path) -> None:
    file = write(tmp_path / "dump.v2.jsonl", b'{"content": "a"}\n{"content": "b", "path": null, "license": ["mit", "isc"]}\n')
    assert records(file) == [Record("dump", "1", "unknown", "a"), Record("dump", "2", "mit, isc", "b")]


def test_columns_can_have_other_names(tmp_path: Path) -> None:
    row = {"code": "x", "max_stars_repo_name": "me/it", "file": "a.py", "licenses": ["MIT"], "size": 1}
    columns = ColumnNames(text="code", repo_name="max_stars_repo_name", path="file", license="licenses")
    expected = [Record("me/it", "a.py", "MIT", "x")]
    assert records(write(tmp_path / "a.jsonl", json.dumps(row).encode()), columns=columns) == expected
    assert records(parquet(tmp_path / "a.parquet", [row]), columns=columns) == expected


def test_rows_that_are_broken_are_counted(tmp_path: Path) -> None:
    lines = b'{"content": "a"}\n{"content": nonsense\n{"content": null}\n[1]\n\n{"content": 3}\n' + b"[" * 100_000
    found = records(write(tmp_path / "a.jsonl", lines))
    assert [record for record in found if isinstance(record, Record)] == [Record("a", "1", "unknown", "a")]
    assert [record.reason for record in found if isinstance(record, Removed)] == ["malformed"] * 5


def test_row_groups_come_in_an_order_of_the_seed(tmp_path: Path) -> None:
    file = parquet(tmp_path / "a.parquet", ROWS)
    assert records(file) == records(file)
    assert records(file) != records(file, seed=1)
    assert {number.path for number in records(file) if isinstance(number, Record)} == {f"{n}.py" for n in range(40)}


def test_the_number_of_rows_is_known_for_parquet(tmp_path: Path) -> None:
    assert open_tables([parquet(tmp_path / "a.parquet", ROWS)], ColumnNames(), 0).num_records == 40
    assert open_tables([write(tmp_path / "a.jsonl", LINES)], ColumnNames(), 0).num_records is None


@pytest.mark.parametrize("columns", [ColumnNames(text="code"), ColumnNames(license="licence")])
def test_a_column_that_was_asked_for_must_be_there(tmp_path: Path, columns: ColumnNames) -> None:
    for file in (write(tmp_path / "a.jsonl", LINES), parquet(tmp_path / "a.parquet", ROWS)):
        with pytest.raises(CodeparrotError, match=r'no column "(code|licence)".*--columns\.(text|license)'):
            records(file, columns=columns)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl.gz", gzip.compress(LINES)[:-20], "cannot read"),
        ("a.jsonl.zst", zstandard.compress(LINES)[:-20], "cannot read"),
        ("a.jsonl.gz", LINES, "cannot read"),
        ("a.json", b' [{"content": "a"}]', "JSON array"),
        ("a.parquet", b"PAR1", "as Parquet"),
    ],
)
def test_damaged_tables_are_errors(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    with pytest.raises(CodeparrotError, match=message):
        records(write(tmp_path / name, content))


def test_a_damaged_row_group_is_an_error_that_names_it(tmp_path: Path) -> None:
    file = parquet(tmp_path / "a.parquet", ROWS, row_group_size=100)
    content = bytearray(file.read_bytes())
    content[4:400] = bytes(396)
    with pytest.raises(CodeparrotError, match=r"row group 0 of .*a\.parquet"):
        records(write(file, bytes(content)))


@pytest.mark.parametrize(
    ("value", "expected"),
    [(3, 3), (12.0, 12), (0, 0), (None, None), (-1, None), (True, None), ("7", None), (float("nan"), None), (1e300, None)],
)
def test_stars_are_a_number_or_unknown(tmp_path: Path, value: Any, expected: int | None) -> None:
    row = {"content": "x", "max_stars_count": value}
    (found,) = records(write(tmp_path / "a.jsonl", json.dumps(row).encode()), columns=ColumnNames(stars="max_stars_count"))
    assert isinstance(found, Record)
    assert found.stars == expected


def test_a_line_without_the_text_is_counted_and_only_the_first_row_is_an_error(tmp_path: Path) -> None:
    found = records(write(tmp_path / "a.jsonl", b'\n{"content": "a"}\n{"blob_id": "b"}\n{"path": "c"}\n{"content": "d"}\n'))
    assert found == [
        Record("a", "2", "unknown", "a"),
        Removed("malformed"),
        Removed("malformed"),
        Record("a", "5", "unknown", "d"),
    ]
    with pytest.raises(CodeparrotError, match="no column"):
        records(write(tmp_path / "a.jsonl", b'\nnonsense\n{"path": "c"}\n{"content": "a"}\n'))


@pytest.mark.parametrize("block_bytes", [1, 7, 50])
def test_a_line_that_is_too_long_is_counted_and_those_behind_it_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block_bytes: int
) -> None:
    monkeypatch.setattr(tables, "MAX_LINE_BYTES", 50)
    monkeypatch.setattr(tables, "BLOCK_BYTES", block_bytes)
    allowed, longer = (b'{"content": "%s"}' % (b"x" * (size - 15)) for size in (50, 51))
    last = b'{"content": "z"}'
    for lines in ([allowed, longer, b"", last], [longer, longer, last], [last, longer], [b"", longer, b""]):
        file = write(tmp_path / "a.jsonl", b"\n".join(lines))
        expected = [
            Removed("malformed", 51) if line == longer else Record("a", str(number), "unknown", line[13:-2].decode())
            for number, line in enumerate(lines, 1)
            if line
        ]
        units = list(open_tables([file], ColumnNames(), 0).units)
        assert [each for unit in units for each in unit.records()] == expected
        assert len({unit.key for unit in units}) == len(units)


def test_a_long_line_does_not_take_its_length_in_memory(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl.gz"
    with gzip.open(file, "wb", compresslevel=1) as stream:
        for _ in range(200):
            stream.write(b"x" * 1_000_000)
        stream.write(b'\n{"content": "a"}\n')
    tracemalloc.start()
    found = records(file)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found == [Removed("malformed", 200_000_000), Record("a", "2", "unknown", "a")]
    assert peak < 1.3 * tables.MAX_LINE_BYTES


@pytest.mark.parametrize("name", ["content", "path"])
def test_a_row_of_parquet_that_is_no_utf8_is_counted_and_the_others_are_kept(tmp_path: Path, name: str) -> None:
    texts = [f"# coding: latin-1\n# é {number}\n" for number in range(400)]
    columns = {"content": pa.array(texts), "path": pa.array([f"{number}.py" for number in range(400)])}
    broken = [each.encode() if number != 300 else b"\xff\xfe" for number, each in enumerate(columns[name].to_pylist())]
    columns[name] = pa.array(broken, pa.binary()).view(pa.string())
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    found = records(tmp_path / "a.parquet")
    assert found.pop(300) == Removed("undecodable", 2 if name == "content" else len(texts[300].encode()))
    assert found == [Record("a", f"{number}.py", "unknown", texts[number]) for number in range(400) if number != 300]


@pytest.mark.parametrize("name", ["a.parquet", "a.jsonl", "a.jsonl.gz"])
@pytest.mark.parametrize(("value", "kind"), [(3, "int"), (["x"], "list"), (None, "null")])
def test_a_column_without_text_is_an_error_that_names_it(tmp_path: Path, name: str, value: Any, kind: str) -> None:
    if name == "a.parquet":
        parquet(tmp_path / name, [{"content": value}])
    elif kind == "null":
        pytest.skip("a row of JSON may be empty")
    else:
        rows = b"".join(json.dumps({"content": each}).encode() + b"\n" for each in (value, "good"))
        write(tmp_path / name, gzip.compress(rows) if name.endswith("gz") else rows)
    with pytest.raises(
        CodeparrotError, match=rf'{name}: column "content" holds {kind}.*, not text; --columns\.text names another'
    ):
        records(tmp_path / name)


def test_bytes_are_decoded_as_python_would(tmp_path: Path) -> None:
    parquet(tmp_path / "a.parquet", [{"content": b"# coding: latin-1\n# \xe9\n"}])
    (found,) = records(tmp_path / "a.parquet")
    assert isinstance(found, Record) and found.content == b"# coding: latin-1\n# \xe9\n"


def test_damage_that_a_worker_meets_arrives_whole(tmp_path: Path) -> None:
    file = parquet(tmp_path / "a.parquet", ROWS, row_group_size=100)
    content = bytearray(file.read_bytes())
    content[4:400] = bytes(396)
    file.write_bytes(content)
    with pytest.raises(CodeparrotError) as error:
        records(file)
    assert str(pickle.loads(pickle.dumps(error.value))) == str(error.value)
    assert "row group 0" in str(error.value)
