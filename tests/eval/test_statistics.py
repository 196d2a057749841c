"""pass@k follows its definition, its interval covers, and the paired test tells apart only runs that differ."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codeparrot.eval import statistics
from codeparrot.eval.report import counts, make, markdown, text
from codeparrot.eval.statistics import compare, estimate, pass_at_k, per_problem


@given(st.integers(1, 9).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))))
def test_pass_at_k_is_the_share_of_draws_with_one_that_passes(numbers) -> None:
    n, c, k = numbers
    draws = list(combinations([index < c for index in range(n)], k))
    assert pass_at_k(n, c, k) == pytest.approx(sum(map(any, draws)) / len(draws), abs=1e-12)


def test_pass_at_k_of_many_samples_neither_overflows_nor_cancels() -> None:
    assert pass_at_k(100_000, 1, 10) == pytest.approx(1e-4, rel=1e-9)
    assert pass_at_k(100_000, 0, 50_000) == 0.0 and pass_at_k(100_000, 100_000, 1) == 1.0
    values = [pass_at_k(1000, 3, k) for k in range(1, 1001)]
    assert values == sorted(values)


@pytest.mark.parametrize("numbers", [(3, 1, 4), (3, 1, 0), (3, 4, 1), (3, -1, 1)])
def test_pass_at_k_refuses_what_is_not_defined(numbers) -> None:
    with pytest.raises(ValueError, match="k"):
        pass_at_k(*numbers)


def test_the_interval_holds_the_mean_and_is_the_same_each_time() -> None:
    values = np.random.default_rng(1).random(50)
    found = estimate(values)
    # The interval of a mean of 50 values, by the central limit theorem.
    half = 1.96 * values.std() / np.sqrt(50)
    assert found.mean == values.mean()
    assert (found.low, found.high) == pytest.approx((found.mean - half, found.mean + half), abs=0.01)
    assert estimate(values) == found and estimate(np.full(9, 0.25)) == (0.25, 0.25, 0.25)


@pytest.mark.parametrize(("num_problems", "width"), [(1, 0.975), (20, 0.16843), (164, 0.02224)])
def test_the_interval_of_none_and_of_all_is_as_wide_as_their_number_allows(num_problems: int, width: float) -> None:
    # scipy.stats.binomtest(0, n).proportion_ci(0.95, "exact")
    assert estimate(np.zeros(num_problems)) == pytest.approx((0, 0, width), abs=1e-5)
    assert estimate(np.ones(num_problems)) == pytest.approx((1, 1 - width, 1), abs=1e-5)


def test_markdown_that_is_run_as_code_is_counted() -> None:
    results = [{**row, "completion": text} for text in FENCED for row in rows({("a", 0.2): [False]})]
    found = make([*results, {**results[0], "passed": True}], ["a"], (1,), {"problem_set": {"name": "x"}})
    assert found["fenced"] == 2 and "2 of the samples that did not pass had Markdown fences (```)" in text(found)
    assert "Markdown" not in text(make(results[2:], ["a"], (1,), {"problem_set": {"name": "x"}}))


FENCED = ["Here:\n\n```python\ndef f():\n    return 1\n```\n", "    return 1\n  ```", '    return "```"\n']


def test_runs_that_are_alike_are_not_told_apart_and_pairing_tells_small_differences() -> None:
    generator = np.random.default_rng(2)
    problems = generator.random(120)
    same = compare(problems, problems)
    assert same.p_value == 1.0 and same.difference == (0.0, 0.0, 0.0)
    # Half the standard error of either mean apart: only a comparison problem by problem shows it.
    better = problems + 0.5 * problems.std() / np.sqrt(120) + generator.normal(0, 0.01, 120)
    found = compare(better, problems)
    assert found.p_value < 0.001 and found.difference.low > 0
    turned = compare(problems, better)
    assert turned.difference.mean == -found.difference.mean and turned.p_value < 0.001


def test_chance_is_called_a_difference_as_often_as_the_p_value_says() -> None:
    generator = np.random.default_rng(3)
    found = [compare(generator.random(30), generator.random(30)).p_value for _ in range(60)]
    # Binomial(60, 0.2): 12 are expected, more than 22 occur once in a thousand.
    assert sum(p < 0.2 for p in found) <= 22


def rows(passed: dict[tuple[str, float], list[bool]]) -> list[dict]:
    return [
        {"task_id": task, "temperature": temperature, "passed": each, "outcome": "passed" if each else "failed"}
        for (task, temperature), results in passed.items()
        for each in results
    ]


def test_the_report_takes_the_best_temperature_for_each_k_and_says_which() -> None:
    results = rows(
        {
            **{("a", 0.2): [True] * 4, ("b", 0.2): [False] * 4},
            **{("a", 0.8): [True, False, False, False], ("b", 0.8): [True, True, False, False]},
            ("a", 1.0): [True],  # an interrupted temperature has no sample of "b"
        }
    )
    assert counts(results, ["a", "b"]) == {0.2: [(4, 4), (4, 0)], 0.8: [(4, 1), (4, 2)]}
    report = make(results, ["a", "b"], [1, 4, 10], {"problem_set": {"name": "letters", "source": "here"}})
    assert (report["problems"], report["samples"], report["pass@1"], report["pass@4"]) == (2, 17, 0.5, 1.0)
    assert report["best"]["pass@1"]["temperature"] == 0.2 and report["best"]["pass@4"]["temperature"] == 0.8
    assert report["not_reported"] == [10] and "pass@10" not in report
    assert report["outcomes"] == {"failed": 9, "passed": 8}
    assert [line["curve"][2] for line in report["by_temperature"]] == pytest.approx(
        [per_problem([(4, 4), (4, 0)], 2).mean(), per_problem([(4, 1), (4, 2)], 2).mean()]
    )
    for page in (text(report), markdown(report)):
        assert "pass@4" in page and "0.8" in page and "letters" in page


def test_many_values_are_drawn_in_small_pieces_and_the_draws_stay_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(4)
    first, second = generator.random(41), generator.random(41)  # odd: a draw of a half word must not get lost between pieces
    groups = np.arange(41) // 2
    whole = estimate(first), estimate(first, groups=groups), compare(first, second)
    monkeypatch.setattr(statistics, "_AT_ONCE", 7 * 41)
    assert (
        max(statistics._pieces(41)) == 7 and sum(statistics._pieces(41)) == sum(statistics._pieces(10**6)) == statistics.DRAWS
    )
    assert (estimate(first), estimate(first, groups=groups), compare(first, second)) == whole
    assert max(statistics._pieces(10**6)) == 1


def test_values_of_a_group_are_drawn_together() -> None:
    """164 functions with 10 equal gaps each tell as much as 164 gaps."""
    values = np.random.default_rng(0).integers(0, 2, 164).astype(float)
    alone, ten = estimate(values), estimate(np.repeat(values, 10), groups=np.repeat(np.arange(164), 10))
    assert ten.mean == pytest.approx(alone.mean)
    assert (ten.low, ten.high) == pytest.approx((alone.low, alone.high), abs=1e-9)
    narrow = estimate(np.repeat(values, 10))
    assert ten.high - ten.low > 2.5 * (narrow.high - narrow.low)
    other = np.roll(values, 1)
    same = compare(np.repeat(values, 10), np.repeat(other, 10), groups=np.repeat(np.arange(164), 10))
    assert same.p_value == compare(values, other).p_value
    assert same.difference == pytest.approx(compare(values, other).difference, abs=1e-9)
    nothing = estimate(np.zeros(50), groups=np.repeat(np.arange(5), 10))
    assert nothing == estimate(np.zeros(5)), "the interval of none of five"
    # Groups of other sizes: the mean stays that over the problems.
    assert estimate(np.array([1.0, 0, 0, 0]), groups=np.array([0, 1, 1, 1])).mean == 0.25
