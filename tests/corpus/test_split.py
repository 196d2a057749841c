from collections.abc import Iterable

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from codeparrot.corpus.split import lies_in, valid_parts, valid_repositories
from codeparrot.errors import CodeparrotError

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
    assert sum(map(sizes.get, valid)) <= max(0.1, min(1.5 * fraction, (1 + fraction) / 2)) * sum(sizes.values())


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
