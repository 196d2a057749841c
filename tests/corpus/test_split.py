from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from codeparrot.corpus.report.command import summary
from codeparrot.corpus.split import lies_in, valid_parts, valid_repositories
from codeparrot.errors import CodeparrotError
from tests.corpus.samples import LENIENT, make, modules, read, write_repositories

SIZES = st.dictionaries(st.text(), st.integers(0, 1000), min_size=1, max_size=30)
NAMES = st.sets(st.text(), min_size=2, max_size=30)
FRACTIONS = st.floats(0, 1, exclude_min=True, exclude_max=True)


def equal(names: Iterable[str]) -> dict[str, int]:
    return dict.fromkeys(names, 1)


@given(SIZES, st.integers(), FRACTIONS)
def test_repositories_for_validation_are_never_all_and_never_far_more_than_asked(
    sizes: dict[str, int], seed: int, fraction: float
) -> None:
    valid = valid_repositories(sizes, seed, fraction)
    assert valid < sizes.keys()
    assert sum(sizes[name] for name in valid) <= max(0.1, min(1.5 * fraction, (1 + fraction) / 2)) * sum(sizes.values())


def test_where_no_hash_lies_below_the_fraction_one_repository_is_valid() -> None:
    assert all(len(valid_repositories(equal(map(str, range(10))), seed, 0.001)) == 1 for seed in range(50))


def test_a_large_repository_is_never_set_aside_and_two_are_divided_inside() -> None:
    for seed in range(20):
        assert valid_repositories({"large": 90, "small": 5, "other": 5}, seed, 0.01) in ({"small"}, {"other"})
    assert valid_repositories({"a": 1, "b": 1}, 0, 0.01) == valid_repositories({"a": 1}, 0, 0.5) == set()
    assert len(valid_repositories({"a": 1, "b": 1}, 0, 0.5)) == 1


@given(NAMES, NAMES, st.integers())
def test_a_repository_stays_in_its_split_when_others_come(names: set[str], others: set[str], seed: int) -> None:
    few, many = valid_repositories(equal(names), seed, 0.5), valid_repositories(equal(names | others), seed, 0.5)
    # The only exceptions are a split that would be empty, and one that would be far larger than asked.
    assume(len(few) > 1 and len(few) + 1 < 0.75 * len(names) and len(many) + 1 < 0.75 * len(names | others))
    assert many & names == few


def test_about_the_fraction_of_many_repositories_is_valid() -> None:
    assert 60 < len(valid_repositories(equal(map(str, range(10_000))), 0, 0.01)) < 140


@given(SIZES, st.integers(), FRACTIONS)
def test_the_split_does_not_depend_on_the_order_of_the_names(sizes: dict[str, int], seed: int, fraction: float) -> None:
    assert valid_repositories(sizes, seed, fraction) == valid_repositories(dict(reversed(sizes.items())), seed, fraction)


def test_without_a_fraction_nothing_is_valid() -> None:
    assert valid_repositories({"a": 1, "b": 1}, 0, 0.0) == set()
    assert valid_repositories({"a": 1}, 0, 0.0) == valid_repositories({}, 0, 0.0) == set()


PATHS = st.dictionaries(
    st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map("/".join), st.integers(0, 1000), min_size=2
)


@given(PATHS, st.integers(), FRACTIONS)
def test_inside_a_repository_each_split_gets_a_file(sizes: dict[str, int], seed: int, fraction: float) -> None:
    parts = valid_parts(sizes, seed, fraction)
    valid = {path for path in sizes if lies_in(path, parts)}
    assert valid and valid < sizes.keys()
    assert parts == valid_parts(dict(reversed(sizes.items())), seed, fraction)


@pytest.mark.parametrize("fraction", [0.01, 0.1, 0.5])
def test_inside_a_repository_the_split_is_near_its_top_and_of_about_the_fraction(fraction: float) -> None:
    sizes = {f"src/{folder}/{file}.py": 100 for folder in range(100) for file in range(10)} | {"setup.py": 10}
    parts = valid_parts(sizes, 0, fraction)
    assert 0.5 * fraction < sum(sizes[path] for path in sizes if lies_in(path, parts)) / sum(sizes.values()) < 1.5 * fraction
    assert {part.count("/") for part in parts} <= {2, 0}
    tops = {f"{top}/{file}.py": 100 for top in range(100) for file in range(10)}
    assert {part.count("/") for part in valid_parts(tops, 0, fraction)} == {1}


def test_a_name_that_begins_like_a_folder_is_not_in_it() -> None:
    assert lies_in("a/b", {"a/"}) and lies_in("a", {"a"}) and not lies_in("ab", {"a"}) and not lies_in("a", {"a/"})


def test_where_all_files_are_large_the_smallest_is_set_aside() -> None:
    assert valid_parts({"a.py": 30, "b/c.py": 20, "b/d.py": 50}, 0, 0.01) == ["b/c.py"]


def test_one_document_is_never_divided() -> None:
    with pytest.raises(CodeparrotError, match=r'only document that is left is "a\.py".*--valid_fraction 0'):
        valid_parts({"a.py": 1}, 0, 0.01)


def test_one_repository_is_split_inside_and_says_so(tmp_path: Path) -> None:
    raw = write_repositories(tmp_path / "raw", repositories=1)
    statistics = make(raw, tmp_path / "out", valid_fraction=0.1)
    train, valid = ({document["path"] for document in read(tmp_path / "out", split)} for split in ("train", "valid"))
    paths = statistics["splits"]["valid"]["paths"]
    assert train and valid and not train & valid and valid == {path for path in train | valid if lies_in(path, paths)}
    assert [statistics["splits"][split]["documents"] for split in ("train", "valid")] == [len(train), len(valid)]
    assert statistics["splits"]["valid"]["repository_names"] == ["repo0"]
    lines = summary("out", statistics)
    assert f"1 repository: {paths[0]}" in lines[2] and "all is one repository: valid is a part of it" in lines[3]
    card = (tmp_path / "out" / "README.md").read_text()
    assert "All documents are of one repository, so it is split inside" in card and "no repository is in both" not in card
    assert make(raw, tmp_path / "whole", valid_fraction=0.0)["splits"].keys() == {"train"}


def test_repositories_that_are_too_large_to_be_set_aside_are_split_inside(tmp_path: Path) -> None:
    raw = write_repositories(tmp_path / "raw", repositories=2, files=20)
    statistics = make(raw, tmp_path / "out", valid_fraction=0.1)
    train, valid = (read(tmp_path / "out", split) for split in ("train", "valid"))
    splits = statistics["splits"]
    assert 0.05 * statistics["bytes"] < splits["valid"]["bytes"] < 0.15 * statistics["bytes"]
    assert not {row["path"] for row in train} & {row["path"] for row in valid}
    for split, rows in (("train", train), ("valid", valid)):
        assert (splits[split]["documents"], splits[split]["bytes"]) == (len(rows), sum(row["size"] for row in rows))
        assert splits[split]["repositories"] == len({row["repo_name"] for row in rows})
    assert splits["valid"]["repository_names"] == sorted({row["repo_name"] for row in valid})
    assert "each repository is too large to be set aside: valid is a part of those" in summary("out", statistics)[3]
    card = (tmp_path / "out" / "README.md").read_text()
    assert "Each repository is too large to be set aside, so they are split inside" in card


def test_parts_of_a_table_without_repositories_are_not_set_aside_whole(tmp_path: Path) -> None:
    texts = [text.decode() for text in modules(40)]
    for part in range(4):
        pq.write_table(pa.table({"content": texts[part::4]}), tmp_path / f"part-{part}.parquet")
    statistics = make(tmp_path / "*.parquet", tmp_path / "out", valid_fraction=0.1)
    assert 0.05 * statistics["bytes"] < statistics["splits"]["valid"]["bytes"] < 0.15 * statistics["bytes"]


def test_repositories_of_one_path_are_set_aside_whole(tmp_path: Path) -> None:
    for name, text in zip("ab", sorted(modules(2), key=len), strict=True):
        (tmp_path / "raw" / name).mkdir(parents=True)
        (tmp_path / "raw" / name / "main.py").write_bytes(text)
    assert make(tmp_path / "raw", tmp_path / "out")["splits"]["valid"]["repository_names"] == ["a"]


def test_one_document_is_an_error_that_names_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"content": "a = 1"}\n', encoding="utf-8")
    with pytest.raises(CodeparrotError, match=r'only document that is left is "1".*--valid_fraction 0'):
        make(tmp_path / "rows.jsonl", tmp_path / "out", filters=LENIENT)
    assert not (tmp_path / "out").exists()
