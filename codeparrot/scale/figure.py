"""Pictures of a fitted law: the fit, runs of equal compute (isoFLOP), and the compute-optimal frontier."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from codeparrot import figures
from codeparrot.errors import CodeparrotError
from codeparrot.figures import LIGHT, count_in_words
from codeparrot.scale.law import FLOPS_PER_TOKEN_AND_PARAMETER

if TYPE_CHECKING:
    from codeparrot.scale.fit import Fit

INCHES = (8.0, 5.0)
PLACES = 100
"""Points of a curve."""
MOST_CURVES = 8
"""Sizes, or budgets, that are drawn: one colour each."""


def draw(fitted: "Fit", folder: Path) -> list[Path]:
    """Write fit.png, isoflop.png and frontier.png into a folder.

    Raises:
        CodeparrotError: they cannot be written.
    """
    pictures = {"fit.png": _fit, "isoflop.png": _isoflop, "frontier.png": _frontier}
    try:
        for name, make in pictures.items():
            figures.save(make(fitted), folder / name)
    except OSError as error:
        raise CodeparrotError(f"{folder} cannot be written ({error.strerror}): name another --output") from error
    return [folder / name for name in pictures]


def _spread(values: Any, most: int) -> list[float]:
    """Return at most so many of the different values, from the lowest to the highest."""
    import numpy as np

    different = np.unique(values)
    return [
        float(each)
        for each in different[np.unique(np.linspace(0, len(different) - 1, min(most, len(different))).round().astype(int))]
    ]


def _count_axis(axis: Any, name: str, low: float, high: float) -> None:
    """Make the horizontal axis one of counts, in words, on a logarithmic scale."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axis.set(xscale="log", xlabel=name)
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high >= 10 * low else range(1, 10)))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: count_in_words(value)))
    axis.xaxis.set_minor_locator(NullLocator())


def _band(fitted: "Fit", parameters: Any, tokens: Any) -> tuple[Any, Any]:
    """Return where 95% of the draws lie, at each place."""
    import numpy as np

    losses: Any = [law.loss(parameters, tokens) for law in fitted.draws]
    return tuple(np.percentile(losses, (2.5, 97.5), axis=0))


def _fit(fitted: "Fit") -> Any:
    """Loss over tokens, a curve for each size, with the runs on it."""
    import numpy as np

    figure, (axis,) = figures.make(INCHES)
    points = fitted.points
    sizes = _spread(points.parameters, MOST_CURVES)
    tokens = np.geomspace(points.tokens.min(), points.tokens.max(), PLACES)
    for index, size in enumerate(sizes):
        style = figures.style(index)
        axis.plot(tokens, fitted.law.loss(size, tokens), label=f"{count_in_words(size)} parameters", **style)
        axis.fill_between(tokens, *_band(fitted, size, tokens), color=style["color"], alpha=0.15, linewidth=0)
        own = points.parameters == size
        axis.scatter(points.tokens[own], points.losses[own], s=18, color=style["color"], zorder=3)
    others = ~np.isin(points.parameters, sizes)
    axis.scatter(points.tokens[others], points.losses[others], s=8, color=LIGHT.faint, zorder=2)
    _count_axis(axis, "tokens", tokens[0], tokens[-1])
    axis.set(ylabel="loss, nats a token")
    figures.title(axis, "Runs and the fitted law, with 95% of its draws")
    figures.legend(axis)
    return figure


def _isoflop(fitted: "Fit") -> Any:
    """Loss over parameters at equal compute, with the best size of each budget."""
    import numpy as np

    figure, (axis,) = figures.make(INCHES)
    points = fitted.points
    flops = FLOPS_PER_TOKEN_AND_PARAMETER * points.parameters * points.tokens
    sizes = np.geomspace(points.parameters.min() / 2, points.parameters.max() * 2, PLACES)
    for index, budget in enumerate(np.geomspace(flops.min(), flops.max(), 5)):
        style = figures.style(index)
        losses = fitted.law.loss(sizes, budget / FLOPS_PER_TOKEN_AND_PARAMETER / sizes)
        axis.plot(sizes, losses, label=f"{budget:.1e} FLOPs", **style)
        best, tokens = fitted.law.optimum(budget)
        if sizes[0] <= best <= sizes[-1]:
            axis.scatter([best], [float(fitted.law.loss(best, tokens))], s=40, marker="D", color=style["color"], zorder=3)
    axis.scatter(points.parameters, points.losses, s=10, color=LIGHT.faint, zorder=2, label="runs")
    top = float(points.losses.max())
    _count_axis(axis, "parameters", sizes[0], sizes[-1])
    axis.set(ylabel="loss, nats a token")
    axis.set_ylim(top=top + 0.1 * (top - float(points.losses.min())))
    figures.title(axis, "IsoFLOP curves: the best size of each compute budget")
    figures.legend(axis)
    return figure


def _frontier(fitted: "Fit") -> Any:
    """Loss over compute: the frontier with its band, and the runs."""
    import numpy as np

    figure, (axis,) = figures.make(INCHES)
    points = fitted.points
    flops = FLOPS_PER_TOKEN_AND_PARAMETER * points.parameters * points.tokens
    budgets = np.geomspace(flops.min(), flops.max() * 10, PLACES)
    best = np.array([fitted.law.optimum(budget) for budget in budgets]).T
    own: Any = [[law.loss(*law.optimum(budget)) for budget in budgets] for law in fitted.draws if min(law) > 0]
    if own:
        axis.fill_between(budgets, *np.percentile(own, (2.5, 97.5), axis=0), color=figures.COLOURS[0], alpha=0.15, linewidth=0)
    axis.plot(budgets, fitted.law.loss(*best), label="compute-optimal", **figures.style(0))
    axis.scatter(flops, points.losses, s=10, color=LIGHT.faint, zorder=2, label="runs")
    axis.set(xscale="log", xlabel="FLOPs (6 N D)", ylabel="loss, nats a token")
    figures.title(axis, "The least loss of each compute budget")
    figures.legend(axis)
    return figure
