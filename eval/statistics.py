"""pass@k: its definition, its uncertainty, and whether two runs differ.

pass@k of a problem is the probability that at least one of k of its n samples passes when the k are drawn without replacement:
1 - C(n - c, k) / C(n, k) for c that passed (arXiv:2107.03374, equation 1). It is unbiased for every k <= n. It is computed as a
product, which neither overflows nor cancels. The score is the mean over problems.

The interval says how far the score would move with other problems of the same kind: it holds 95% of the means of resampled
problems (bootstrap, percentiles). If all problems have 0, or all have 1, these means are all the same, and the interval is that
of Clopper and Pearson for none, or all, of as many draws. Two runs are compared problem by problem: resampling the problems
gives the interval of the mean difference, and the p-value is the share of random signs of the differences that give a mean as
large (permutation test, two-sided). Values that are not independent, such as those of gaps in one program, are drawn a group at
a time. All draws are seeded.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

DRAWS = 10_000
_CHUNK = 500
_AT_ONCE = 5_000_000
"""Most values that are drawn at once, but for one resample: about 120 MB. What is drawn does not depend on it."""


class Estimate(NamedTuple):
    mean: float
    low: float
    """Of the 95% interval."""
    high: float


class Comparison(NamedTuple):
    difference: Estimate
    """The first minus the second."""
    p_value: float
    """Probability of a difference at least this large, either way, if the runs were exchangeable."""


def pass_at_k(num_samples: int, num_passed: int, k: int) -> float:
    """Return the probability that at least one of k samples of a problem passes.

    Raises:
        ValueError: k is not from 1 to the number of samples, or more passed than there are.
    """
    if not 1 <= k <= num_samples or not 0 <= num_passed <= num_samples:
        raise ValueError(f"k {k} and {num_passed} passed of {num_samples}")
    if num_samples - num_passed < k:
        return 1.0
    return float(1.0 - np.prod(1.0 - k / np.arange(num_samples - num_passed + 1, num_samples + 1)))


def per_problem(counts: Sequence[tuple[int, int]], k: int) -> NDArray[np.float64]:
    """Return pass@k of each problem from its numbers of samples and of passed samples."""
    return np.array([pass_at_k(num_samples, num_passed, k) for num_samples, num_passed in counts])


def estimate(values: NDArray[np.float64], seed: int = 0, groups: NDArray[np.int64] | None = None) -> Estimate:
    """Return the mean over problems and its 95% interval.

    Args:
        values: of the problems.
        seed: of the draws.
        groups: the number of each problem's group, from 0; None: each is its own.
    """
    means = _bootstrap(values, np.random.default_rng(seed), groups)
    low, high = np.percentile(means, [2.5, 97.5])
    draws = len(values) if groups is None else int(groups.max()) + 1
    least = 0.025 ** (1 / draws)  # if all of n draws succeed, a smaller chance of success is refused at 2.5%
    if not values.any():
        high = 1 - least
    elif (values == 1).all():
        low = least
    return Estimate(float(values.mean()), float(low), float(high))


def compare(
    first: NDArray[np.float64], second: NDArray[np.float64], seed: int = 0, groups: NDArray[np.int64] | None = None
) -> Comparison:
    """Compare two runs by their values on the same problems, in the same order.

    Args:
        first: values of the problems.
        second: those of the other run.
        seed: of the draws.
        groups: the number of each problem's group, from 0; None: each is its own.
    """
    generator = np.random.default_rng(seed)
    differences = first - second
    observed = abs(differences.mean())
    parts = differences if groups is None else np.bincount(groups, differences)
    at_least = 0
    for num_draws in _pieces(len(parts)):
        signs = generator.choice([-1.0, 1.0], (num_draws, len(parts)))
        # Differences of fractions: equal values may differ in their last bits.
        at_least += int((np.abs((signs * parts).sum(1) / len(differences)) >= observed - 1e-12).sum())
    low, high = np.percentile(_bootstrap(differences, generator, groups), [2.5, 97.5])
    interval = Estimate(float(differences.mean()), float(low), float(high))
    return Comparison(interval, (1 + at_least) / (1 + DRAWS))


def _bootstrap(
    values: NDArray[np.float64], generator: np.random.Generator, groups: NDArray[np.int64] | None = None
) -> NDArray[np.float64]:
    """Return the means of DRAWS resamples of the values, with replacement, or of their groups."""
    sums = values if groups is None else np.bincount(groups, values)
    sizes = np.ones(len(values), np.int64) if groups is None else np.bincount(groups)
    means = []
    for num_draws in _pieces(len(sums)):
        drawn = generator.integers(0, len(sums), (num_draws, len(sums)))
        means.append(sums[drawn].sum(1) / sizes[drawn].sum(1))
    return np.concatenate(means)


def _pieces(num_values: int) -> list[int]:
    """Return how many of DRAWS resamples of so many values to draw at a time."""
    size = max(1, min(_CHUNK, _AT_ONCE // max(1, num_values)))
    return [min(size, DRAWS - start) for start in range(0, DRAWS, size)]
