import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from codeparrot.corpus.documents import ColumnNames, Reading, Record
from codeparrot.corpus.sources.opening import open_source
from codeparrot.corpus.sources.presets import PRESETS, columns_of
from codeparrot.errors import CodeparrotError

STACK: dict[str, Any] = {
    "hexsha": "0" * 40,
    "size": 6,
    "ext": "py",
    "lang": "Python",
    "max_stars_repo_path": "src/a.py",
    "max_stars_repo_name": "me/it",
    "max_stars_repo_head_hexsha": "1" * 40,
    "max_stars_repo_licenses": ["MIT", "Apache-2.0"],
    "max_stars_count": 12,
    "max_issues_repo_name": "you/fork",
    "content": "x = 1\n",
    "avg_line_length": 5.0,
}
STARCODER: dict[str, Any] = {
    "max_stars_repo_path": "src/a.py",
    "max_stars_repo_name": "me/it",
    "max_stars_count": None,
    "id": "7",
    "content": "x = 1\n",
}
SMOL: dict[str, Any] = {
    "content": "x = 1\n",
    "licenses": ["mit"],
    "repository_name": "me/it",
    "path": "src/a.py",
    "lang": "Python",
}
GITHUB_CODE: dict[str, Any] = {
    "code": "x = 1\n",
    "repo_name": "me/it",
    "path": "src/a.py",
    "language": "Python",
    "license": "mit",
}


def read(folder: Path, row: dict[str, Any], kind: str, **columns: str) -> list[Any]:
    if kind == "jsonl":
        (folder / "rows.jsonl").write_text(json.dumps(row) + "\n")
    else:
        pq.write_table(pa.Table.from_pylist([row]), folder / "rows.parquet")
    spec = f"hub:{folder}" if kind == "hub" else str(folder / f"rows.{kind}")
    reading = Reading(0, 10**6, (".py",), ColumnNames(**columns))
    return [each for unit in open_source(spec, reading).units for each in unit.records()]


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "hub"])
@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (STACK, Record("me/it", "src/a.py", "MIT, Apache-2.0", "x = 1\n", 12, "python")),
        (STARCODER, Record("me/it", "src/a.py", "unknown", "x = 1\n", None)),
        (SMOL, Record("me/it", "src/a.py", "mit", "x = 1\n", None, "python")),
        (GITHUB_CODE, Record("me/it", "src/a.py", "mit", "x = 1\n", None, "python")),
    ],
)
def test_known_data_sets_are_read_without_a_word(tmp_path: Path, kind: str, row: dict[str, Any], expected: Record) -> None:
    assert read(tmp_path, row, kind) == [expected]


def test_a_column_that_was_asked_for_is_kept(tmp_path: Path) -> None:
    (record,) = read(tmp_path, STACK, "parquet", repo_name="max_issues_repo_name")
    assert (record.repo_name, record.path, record.stars) == ("you/fork", "src/a.py", 12)


def test_a_table_with_the_usual_columns_is_read_by_them() -> None:
    usual = ("content", "repo_name", "path", "license", "stars", "max_stars_repo_name", "licenses", "repository_name", "code")
    assert columns_of(usual, ColumnNames()) == ColumnNames()
    assert all(preset != ColumnNames() for preset in PRESETS)


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "hub"])
def test_a_data_set_without_texts_is_refused(tmp_path: Path, kind: str) -> None:
    with pytest.raises(CodeparrotError, match=r"blob_id.*Software Heritage.*hub:bigcode/the-stack-dedup"):
        read(tmp_path, {"blob_id": "0" * 40, "path": "/a.py", "repo_name": "me/it"}, kind)


def test_the_stack_v2_is_refused_before_anything_is_asked_of_the_hub() -> None:
    with pytest.raises(CodeparrotError, match="Software Heritage"):
        open_source("hub:bigcode/the-stack-v2-dedup:Python", Reading(0, 10**6, (".py",), ColumnNames()))


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "hub"])
@pytest.mark.parametrize("missing", ["max_stars_count", "max_stars_repo_path"])
def test_the_stars_and_the_path_do_not_choose_the_columns(tmp_path: Path, kind: str, missing: str) -> None:
    (found,) = read(tmp_path, {name: value for name, value in STACK.items() if name != missing}, kind)
    assert (found.repo_name, found.license) == ("me/it", "MIT, Apache-2.0")
    assert (found.stars, found.path) == ((None, "src/a.py") if missing == "max_stars_count" else (12, found.path))


def test_a_row_of_json_keeps_its_licence_whatever_the_rows_before_it_left_out(tmp_path: Path) -> None:
    rows = [STACK, {**STACK, "max_stars_repo_licenses": ["GPL-3.0"]}, STACK]
    del rows[1]["max_stars_count"]
    (tmp_path / "stack.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    reading = Reading(0, 10**6, (".py",), ColumnNames())
    found = [each for unit in open_source(str(tmp_path / "stack.jsonl"), reading).units for each in unit.records()]
    assert [(each.repo_name, each.license, each.stars) for each in found if isinstance(each, Record)] == [
        ("me/it", "MIT, Apache-2.0", 12),
        ("me/it", "GPL-3.0", None),
        ("me/it", "MIT, Apache-2.0", 12),
    ]


@pytest.mark.parametrize("column", ["lang", "language"])
def test_the_column_of_languages_is_found_by_either_name(tmp_path: Path, column: str) -> None:
    for name, expected in (("C++", "c++"), ("Emacs Lisp", "emacs-lisp"), (None, None), (7, None), ("x" * 101, None)):
        (record,) = read(tmp_path, {"content": "x", "path": "a", column: name}, "jsonl")
        assert record.language == expected
    (record,) = read(tmp_path, {"content": "x", "tongue": "Rust", column: "C"}, "jsonl", language="tongue")
    assert record.language == "rust"
