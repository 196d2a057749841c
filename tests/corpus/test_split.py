import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from codeparrot.corpus.split import valid_repositories
from codeparrot.errors import CodeparrotError

NAMES = st.sets(st.text(), min_size=2, max_size=30)
FRACTIONS = st.floats(0, 1, exclude_min=True, exclude_max=True)


@given(NAMES, st.integers(), FRACTIONS)
def test_of_two_repositories_or_more_each_split_gets_one(names: set[str], seed: int, fraction: float) -> None:
    valid = valid_repositories(names, seed, fraction)
    assert valid and valid < names


@given(NAMES, NAMES, st.integers())
def test_a_repository_stays_in_its_split_when_others_come(names: set[str], others: set[str], seed: int) -> None:
    few, many = valid_repositories(names, seed, 0.5), valid_repositories(names | others, seed, 0.5)
    # The only exception is a split that would be empty.
    assume(1 < len(few) < len(names) - 1)
    assert many & names == few


def test_about_the_fraction_of_many_repositories_is_valid() -> None:
    assert 60 < len(valid_repositories(map(str, range(10_000)), 0, 0.01)) < 140


@given(NAMES, st.integers(), FRACTIONS)
def test_the_split_does_not_depend_on_the_order_of_the_names(names: set[str], seed: int, fraction: float) -> None:
    assert valid_repositories(sorted(names), seed, fraction) == valid_repositories(sorted(names)[::-1], seed, fraction)


def test_without_a_fraction_nothing_is_valid() -> None:
    assert valid_repositories(["a", "b"], 0, 0.0) == set()
    assert valid_repositories(["a"], 0, 0.0) == set()


def test_one_repository_is_never_divided() -> None:
    with pytest.raises(CodeparrotError, match="--valid_fraction 0"):
        valid_repositories(["only"], 0, 0.01)
