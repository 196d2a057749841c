"""Fitting a law to runs: Huber's loss of the logarithms, summed, from many starts; intervals from draws of the runs.

The loss and the grid of starts are those of Hoffmann et al. (2022, approach 3). That it is minimised to the end decides over
the figures, as Besiroglu et al. (2024, "Chinchilla Scaling: A replication attempt") found.
Cost: a few seconds for a fit of 240 runs, and 20 ms for each draw.
"""

import math
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

from codeparrot.errors import CodeparrotError
from codeparrot.scale.law import Law, PowerLaw

if TYPE_CHECKING:
    from numpy import ndarray

DELTA = 1e-3
"""Residuals of log L beyond this count linearly."""
STARTS = ((0, 5, 10, 15, 20, 25), (0, 5, 10, 15, 20, 25), (-1.0, -0.5, 0.0, 0.5, 1.0), (0, 0.5, 1, 1.5, 2), (0, 0.5, 1, 1.5, 2))
"""Of log A, log B, log E, alpha and beta."""
REFINED = 40
"""The best starts, from which the loss is minimised."""
LEAST_POINTS = 6
"""One more than a law has numbers."""
LARGEST = 700.0
"""Of a logarithm: a number that can still be written. Draws of few runs go beyond, where a term is nothing or all."""
COVERED = (2.5, 97.5)
"""Percentiles of the draws: the ends of an interval."""


@dataclass(frozen=True)
class Points:
    """Finished runs, an entry each."""

    parameters: "ndarray"
    tokens: "ndarray"
    losses: "ndarray"
    """Nats a token."""

    def take(self, index: Any) -> "Points":
        return Points(self.parameters[index], self.tokens[index], self.losses[index])

    def __len__(self) -> int:
        return len(self.losses)


class Fit(NamedTuple):
    law: Law
    draws: list[Law]
    """Fitted to as many runs, drawn with replacement."""
    points: Points

    def interval(self, of: Any) -> tuple[float, float]:
        """Return where 95% of the draws lie for which there is one; `of` takes a law and returns a number, or NaN for none."""
        import numpy as np

        found = np.array([of(law) for law in self.draws])
        low, high = np.percentile(found[np.isfinite(found)], COVERED) if np.isfinite(found).any() else (math.nan, math.nan)
        return float(low), float(high)


def fit(points: Points, draws: int = 1000, seed: int = 0) -> Fit:
    """Fit a law to runs.

    Args:
        points: the runs.
        draws: fits to runs drawn with replacement, for the intervals.
        seed: of the draws.

    Raises:
        CodeparrotError: there are too few runs, they do not differ in both sizes and tokens, or their losses do not fall with
            both.
    """
    import numpy as np

    if len(points) < LEAST_POINTS:
        raise CodeparrotError(f"a law has five numbers: {len(points)} runs are too few, give {LEAST_POINTS} or more")
    for name, values in (("parameters", points.parameters), ("tokens", points.tokens)):
        if len(np.unique(values)) < 3:
            raise CodeparrotError(
                f"runs of fewer than three different numbers of {name} do not tell how the loss depends on it"
            )
    best = _from_many_starts(points)
    for name, exponent in (("parameters", _law(best).alpha), ("tokens", _law(best).beta)):
        if exponent <= 0:
            raise CodeparrotError(
                f"the loss of these runs does not fall with {name} (an exponent of {exponent:.3g}): give longer runs, and "
                "sizes that lie further apart"
            )
    generator = np.random.default_rng(seed)
    found: list[Law] = []
    while len(found) < draws:
        index = generator.integers(0, len(points), len(points))
        drawn = points.take(index)
        if min(len(np.unique(drawn.parameters)), len(np.unique(drawn.tokens))) < 3:
            continue  # such a draw says nothing
        found.append(_law(_refine(best, drawn)[0]))
    return Fit(_law(best), found, points)


def _law(theta: "ndarray") -> Law:
    import numpy as np

    a, b, e, alpha, beta = np.clip(theta, -LARGEST, LARGEST)
    return Law(float(np.exp(e)), float(np.exp(a)), float(np.exp(b)), float(alpha), float(beta))


def _from_many_starts(points: Points) -> "ndarray":
    import numpy as np

    starts = np.array([*product(*STARTS)], dtype=float)
    losses = np.concatenate([_losses(part, points)[0] for part in np.array_split(starts, 10)])
    refined = [_refine(starts[index], points) for index in np.argsort(losses, kind="stable")[:REFINED]]
    return min(refined, key=lambda found: found[1])[0]


def _refine(start: "ndarray", points: Points) -> "tuple[ndarray, float]":
    """Return where the loss is least near `start`, and the loss there."""
    from scipy.optimize import minimize

    def loss(theta: "ndarray") -> "tuple[float, ndarray]":
        value, gradient = _losses(theta[None], points)
        # In units in which the optimizer's tolerances are small: a loss that is nearly 0 would end it too early.
        return float(value[0]) / DELTA, gradient[0] / DELTA

    found = minimize(loss, start, jac=True, method="BFGS", options={"gtol": 1e-6, "maxiter": 2000})
    return found.x, float(found.fun)


def _losses(thetas: "ndarray", points: Points) -> "tuple[ndarray, ndarray]":
    """Return Huber's loss of several laws (S, 5), of shape (S,), and its gradients, (S, 5)."""
    import numpy as np

    log_n, log_d, log_l = np.log(points.parameters), np.log(points.tokens), np.log(points.losses)
    a, b, e, alpha, beta = (column[:, None] for column in thetas.T)
    terms = np.stack([a - alpha * log_n, b - beta * log_d, np.broadcast_to(e, (len(thetas), len(log_l)))])
    top = terms.max(axis=0)
    shares = np.exp(terms - top)
    total = shares.sum(axis=0)
    shares /= total
    residual = top + np.log(total) - log_l
    size = np.abs(residual)
    losses = np.where(size <= DELTA, residual**2 / 2, DELTA * (size - DELTA / 2)).sum(axis=1)
    slope = np.clip(residual, -DELTA, DELTA)
    in_n, in_d, in_e = slope * shares
    columns = [in_n, in_d, in_e, -in_n * log_n, -in_d * log_d]
    return losses, np.stack([column.sum(axis=1) for column in columns], axis=1)


def power_law(x: "ndarray", losses: "ndarray") -> PowerLaw | None:
    """Fit L = (scale / X)^exponent to the runs that no run of a smaller or equal X is better than.

    None where there are fewer than three such runs.
    """
    import numpy as np
    from scipy.optimize import minimize

    order = np.lexsort((losses, x))
    lowest = np.minimum.accumulate(losses[order])
    best = order[np.flatnonzero(np.diff(lowest, prepend=np.inf) < 0)]
    if len(best) < 3:
        return None
    log_x, log_l = np.log(x[best]), np.log(losses[best])

    def loss(theta: "ndarray") -> "tuple[float, ndarray]":
        residual = theta[0] - theta[1] * log_x - log_l
        size, slope = np.abs(residual), np.clip(residual, -DELTA, DELTA)
        value = np.where(size <= DELTA, residual**2 / 2, DELTA * (size - DELTA / 2)).sum()
        return value / DELTA, np.array([slope.sum(), -(slope * log_x).sum()]) / DELTA

    line = np.polyfit(log_x, log_l, 1)
    found = minimize(loss, [line[1], -line[0]], jac=True, method="BFGS", options={"gtol": 1e-6})
    intercept, exponent = (float(value) for value in found.x)
    return PowerLaw(float(np.exp(intercept / exponent)), exponent)
