"""The panels of a picture of runs: training loss, validation perplexity and the likelihood of solutions, over tokens.

The scale is that of the second half of the runs, and what lies beyond it is said in the panel. The curve of a run that began at
a checkpoint of another one in the picture begins on that one's curve, at a dot.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from codeparrot import figures
from codeparrot.errors import CodeparrotError
from codeparrot.run.curves import Curve, Run
from codeparrot.runs import further_sets
from codeparrot.runs.branches import Branch, on_parents

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INCHES = (8.0, 6.0)
LATER_SHARE = 1 / 3
"""Least share of a panel's height for the second half of the run; the steep start may lie above it."""
LEAST_LATER = 5
"""A curve with fewer values in its second half is shown from the first one on."""
LEAST_HEIGHT = 0.1
"""Nats. A second half that varies less is not stretched over its share of the panel: that is noise."""
MOST_RISE = 2.0
"""Nats above its first value. A panel reaches no higher: the run diverges there."""
FEW_POINTS, FEW_EVALUATIONS = 25, 50
"""Steps of a curve, and evaluations, that are marked one by one."""
LONGEST_NAME = 40
"""Characters of a run's name in the legend."""


class Axis(NamedTuple):
    """Which axes are logarithmic. That of perplexity always is."""

    log_x: bool = False
    log_y: bool = False


LINEAR = Axis()


def draw(
    runs: Sequence[Run], output: Path, leave: Sequence[Branch | None] = (), scale: Axis = LINEAR, notes: Sequence[str] = ()
) -> None:
    """Draw runs into one picture, whose suffix is its format.

    Args:
        runs: each has a finite value.
        output: the picture.
        leave: where each run leaves another one; empty: nothing is known of that.
        scale: of the axes.
        notes: what the legend says of each run behind its name; empty: nothing.

    Raises:
        CodeparrotError: the format is unknown.
        OSError: the picture cannot be written.
    """
    if output.suffix not in figures.FORMATS:
        raise CodeparrotError(f'"{output}" has no known picture format: end its name in {", ".join(figures.FORMATS)}')
    leave = leave or [None] * len(runs)
    runs = list(map(_behind_zero, runs)) if scale.log_x else runs
    known = (_loss_panel, "loss"), (_perplexity_panel, "perplexity"), (_solutions_panel, "solutions")
    panels = [panel for panel, curve in known if _any(runs, curve)]
    if not panels:
        raise CodeparrotError("--log_x: nothing was measured after the first step yet; train on, or leave it out")
    further = further_sets.lines_of(runs)
    count = len(panels) + bool(further)
    inches = INCHES[0], INCHES[1] * max(1, count / 2)
    figure, axes = figures.make(inches, count, h_pad=0.08, w_pad=0.12, hspace=0.06)
    for panel, axis in zip(panels, axes, strict=False):
        panel(axis, runs, leave, scale.log_y)
    if count > len(panels):
        further_sets.draw(axes[-1], further, further_sets.label(runs))
    if not _any(runs, "loss") and any(run.loss.values for run in runs):
        _note(axes[0], "no training loss was finite")
    _token_axis(axes[-1], runs, scale.log_x)
    _title(axes[0], runs, notes)
    figures.save(figure, output)


def _behind_zero(run: Run) -> Run:
    """Return a run without what it measured before the first step, which has no place on a logarithmic axis."""

    def behind(curve: Curve) -> Curve:
        points = [point for point in zip(*curve, strict=True) if point[0] > 0]
        return Curve([x for x, _ in points], [y for _, y in points])

    kept = {name: behind(getattr(run, name)) for name in ("loss", "perplexity", "at_the_end", "solutions")}
    of_sets = {
        name: tuple(
            each._replace(during=behind(each.during), at_the_end=behind(each.at_the_end)) for each in getattr(run, name)
        )
        for name in ("further", "languages")
    }
    return run._replace(**kept, **of_sets)


def _any(runs: Sequence[Run], curve: str) -> bool:
    return any(math.isfinite(value) for run in runs for value in getattr(run, curve).values)


def _loss_panel(axis: "Axes", runs: Sequence[Run], leave: Sequence[Branch | None], log: bool) -> None:
    axis.set_ylabel("training loss")
    # Divergence leaves the panel, and does not lift the average of the steps before it.
    raw, curves = zip(*on_parents([_clipped(run.loss) for run in runs], leave, figures.smooth), strict=True)
    low, high = _extent(raw, curves)
    for index, curve in enumerate(raw):
        if len(curve.values) > FEW_POINTS:
            axis.plot(*curve, color=figures.style(index)["color"], alpha=0.22, linewidth=0.8)
    _lines(axis, curves, runs, _widths(curves, (high - low) / 100, leave), few=FEW_POINTS)
    _mark_branches(axis, curves, leave)
    _value_axis(axis, curves, (low, high), log)
    _say_what_is_beyond(axis, [run.loss for run in runs], runs, loss_in_words)
    if len(runs) == 1:
        _mark_end(axis, curves[0], loss_in_words)


def _perplexity_panel(axis: "Axes", runs: Sequence[Run], leave: Sequence[Branch | None], log: bool) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    axis.set_ylabel(f"validation {', '.join(sorted({run.measure for run in runs}))}")
    axis.set_yscale("log")
    in_nats = [_clipped(_logarithms(_joined(run))) for run in runs]
    low, high = _extent(in_nats, in_nats)
    widths = _widths(in_nats, (high - low) / 100, leave)
    # A run may have been evaluated at its end alone: its mark then leaves the parent's curve without a line.
    logarithms = [_logarithms(run.perplexity) for run in runs]
    curves = [drawn._replace(values=[_exp(value) for value in drawn.values]) for _, drawn in on_parents(logarithms, leave)]
    _lines(axis, curves, runs, widths, few=FEW_EVALUATIONS)
    _mark_branches(axis, curves, leave)
    for index, run in enumerate(runs):
        if run.at_the_end.tokens:
            mark = {"linestyle": "", "marker": "D", "markersize": widths[index] + 4.2}
            axis.plot(*run.at_the_end, color=figures.style(index)["color"], **mark)
    low, high = math.exp(low), math.exp(high)
    axis.set_ylim(low, high)
    # A short axis would have hardly any ticks at powers of ten, their doubles and fives.
    wide, narrow = LogLocator(subs=(1, 2, 5), numticks=8), MaxNLocator(5, steps=[1, 2, 2.5, 5, 10])
    axis.yaxis.set_major_locator(wide if high > 4 * low else narrow)
    axis.yaxis.set_minor_locator(NullLocator())
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number_in_words(value)))
    _say_what_is_beyond(axis, [_joined(run) for run in runs], runs, number_in_words)
    if any(run.at_the_end.tokens and run.perplexity.tokens for run in runs):
        _legend_of_measures(axis)
    if len(runs) == 1:
        _mark_end(axis, runs[0].at_the_end if runs[0].at_the_end.tokens else runs[0].perplexity, number_in_words)


def _solutions_panel(axis: "Axes", runs: Sequence[Run], leave: Sequence[Branch | None], log: bool) -> None:
    sets = sorted({run.problems for run in runs if run.problems})
    axis.set_ylabel(f"{_short(sets[0])} solutions, bits/byte" if len(sets) == 1 else "solutions, bits/byte")
    # Of another set than the parent's, a curve does not begin on the parent's.
    known = zip(runs, leave, strict=True)
    same = [branch if branch and runs[branch.parent].problems == run.problems else None for run, branch in known]
    curves = [drawn for _, drawn in on_parents([_clipped(run.solutions) for run in runs], same)]
    low, high = _extent(curves, curves)
    _lines(axis, curves, runs, _widths(curves, (high - low) / 100, leave), few=FEW_EVALUATIONS)
    _mark_branches(axis, curves, same)
    _value_axis(axis, curves, (low, high), log)
    _say_what_is_beyond(axis, [run.solutions for run in runs], runs, number_in_words)
    if len(sets) > 1:
        _note(axis, f"of {' and '.join(map(_short, sets))}, which do not compare", at=0)
    if len(runs) == 1:
        _mark_end(axis, runs[0].solutions, number_in_words)


def _value_axis(axis: "Axes", curves: Sequence[Curve], extent: tuple[float, float], log: bool) -> None:
    """Set the ends of a panel; a logarithmic one ends above zero."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

    low, high = extent
    least = min((value for curve in curves for value in curve.values if value > 0), default=0.0)
    if log and least:
        axis.set_yscale("log")
        axis.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
        axis.yaxis.set_minor_locator(NullLocator())
        axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number_in_words(value)))
        low = max(low, 0.95 * least)
    axis.set_ylim(low, high)


def _widths(curves: Sequence[Curve], distance: float, leave: Sequence[Branch | None]) -> list[float]:
    """Return the widths of lines. Relatives lie beside each other where one leaves the other: none of them is made wider."""
    relatives = {index for index, branch in enumerate(leave) if branch} | {branch.parent for branch in leave if branch}
    found = figures.widths(curves, distance)
    return [figures.LINE_WIDTH if index in relatives else width for index, width in enumerate(found)]


def _mark_branches(axis: "Axes", curves: Sequence[Curve], leave: Sequence[Branch | None]) -> None:
    for index, (curve, branch) in enumerate(zip(curves, leave, strict=True)):
        if branch and curve.tokens and curve.tokens[0] <= branch.tokens:
            axis.plot(curve.tokens[:1], curve.values[:1], "o", color=figures.style(index)["color"], markersize=5, zorder=4)


def _exp(value: float) -> float:
    return math.exp(value) if math.isfinite(value) else value


def _joined(run: Run) -> Curve:
    return Curve(run.perplexity.tokens + run.at_the_end.tokens, run.perplexity.values + run.at_the_end.values)


def _logarithms(curve: Curve) -> Curve:
    return curve._replace(values=[math.log(value) for value in curve.values])


def _clipped(curve: Curve) -> Curve:
    """Return a curve in nats without what lies far above any panel."""
    first = next(filter(math.isfinite, curve.values), 0.0)
    return curve._replace(values=[min(value, first + 2 * MOST_RISE) for value in curve.values])  # min(nan, x) is nan


def _extent(curves: Sequence[Curve], smoothed: Sequence[Curve]) -> tuple[float, float]:
    """Return the lower and the upper end of a panel, in nats.

    The second halves of all curves have at least LATER_SHARE of it. The faint unsmoothed curve may leave it for a hundredth of
    the steps, so that a single spike does not flatten the rest.
    """
    import numpy as np

    lows, later_highs, highs = [], [], []
    for curve, smooth_curve in zip(curves, smoothed, strict=True):
        tokens, values, means = (np.array(numbers, float) for numbers in (*curve, smooth_curve.values))
        tokens, values, means = (numbers[np.isfinite(values)] for numbers in (tokens, values, means))
        if not len(values):
            continue
        later = tokens >= tokens[-1] / 2
        later |= later.sum() < LEAST_LATER
        least, most = np.percentile(values[later], [1, 99])
        lows.append(min(least, means.min()))
        later_highs.append(min(max(most, means[later].max()), values[0] + MOST_RISE))
        highs.append(min(values.max(), values[0] + MOST_RISE))
    low = min(lows)
    high = min(max(highs), low + max(LEAST_HEIGHT, max(later_highs) - low) / LATER_SHARE)
    margin = 0.08 * (high - low) or LEAST_HEIGHT
    return float(low - margin), float(high + margin)


def _say_what_is_beyond(axis: "Axes", curves: Sequence[Curve], runs: Sequence[Run], text: Callable[[float], str]) -> None:
    low, high = axis.get_ylim()
    values = [value for curve in curves for value in curve.values if math.isfinite(value)]
    words = [f"values up to {text(max(values))} lie above"] if max(values) > high else []
    words += [f"values down to {text(min(values))} lie below"] if min(values) < low else []
    ended = [run.name for run, curve in zip(runs, curves, strict=True) if curve.values and math.isnan(curve.values[-1])]
    if ended:
        words.append("not finite at the end" + (f": {', '.join(map(_short, ended))}" if len(runs) > 1 else ""))
    _note(axis, "; ".join(words))


def _note(axis: "Axes", text: str, at: int = 1) -> None:
    """Write above a panel what it does not show: at its right end, or at its left end (0)."""
    place = {"xytext": (0, 3), "textcoords": "offset points", "ha": "right" if at else "left", "va": "bottom"}
    axis.annotate(text, (at, 1), xycoords="axes fraction", color=figures.LIGHT.faint, fontsize=8.5, **place)


def _lines(axis: "Axes", curves: Sequence[Curve], runs: Sequence[Run], widths: Sequence[float], few: int) -> None:
    """Draw a line for each run, with marks where a line alone would be invisible: on few points, and on those between gaps."""
    for index, (curve, run, width) in enumerate(zip(curves, runs, widths, strict=True)):
        known = [math.isfinite(value) for value in curve.values]
        alone = [at for at, here in enumerate(known) if here and not any(known[max(0, at - 1) : at] + known[at + 1 : at + 2])]
        each = sum(known) <= few
        marks = {"marker": "o", "markersize": width + 2.2, "markevery": None if each else alone} if each or alone else {}
        axis.plot(*curve, label=_short(run.name), linewidth=width, **figures.style(index), **marks)


def _mark_end(axis: "Axes", curve: Curve, text: Callable[[float], str]) -> None:
    points = [point for point in zip(*curve, strict=True) if math.isfinite(point[1])]
    if points and points[-1][1] <= axis.get_ylim()[1]:
        place = {"xytext": (7, 0), "textcoords": "offset points", "va": "center", "annotation_clip": False}
        axis.annotate(text(points[-1][1]), points[-1], color=figures.style(0)["color"], fontweight="bold", fontsize=10, **place)


def _legend_of_measures(axis: "Axes") -> None:
    from matplotlib.lines import Line2D

    look: dict[str, Any] = {"linestyle": "", "color": figures.LIGHT.faint}
    marks = [Line2D([], [], marker="o", markersize=4, label="on a sample", **look)]
    marks.append(Line2D([], [], marker="D", markersize=6, label="on all of the validation set", **look))
    axis.legend(handles=marks, loc="upper right", fontsize=8.5, labelcolor=figures.LIGHT.ink, edgecolor=figures.LIGHT.grid)


def _token_axis(axis: "Axes", runs: Sequence[Run], log: bool) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    axis.set_xlabel("training tokens")
    end = max(max(run.loss.tokens + run.perplexity.tokens + run.at_the_end.tokens) for run in runs) or 1
    if log:
        first = min((each for run in runs for each in run.loss.tokens + run.perplexity.tokens if each > 0), default=1)
        axis.set_xscale("log")
        axis.set_xlim(0.95 * first, 1.05 * end)
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=12))
        axis.xaxis.set_minor_locator(NullLocator())
    else:
        axis.set_xlim(-0.012 * end, 1.012 * end)
        axis.xaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 2.5, 5, 10], integer=True))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: figures.count_in_words(value)))


def _title(axis: "Axes", runs: Sequence[Run], notes: Sequence[str]) -> None:
    figures.title(axis, _short(runs[0].name) if len(runs) == 1 else f"{len(runs)} runs")
    if len(runs) > 1:
        named = [line for line in axis.get_lines() if not str(line.get_label()).startswith("_")]
        for line, note in zip(named, notes, strict=False):
            line.set_label(f"{line.get_label()}{note}")
        figures.legend(axis, columns=1 if len(runs) <= 6 else 2)


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME // 2]}...{name[-LONGEST_NAME // 2 :]}"


def loss_in_words(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 1000 else f"{value:.3g}"


def number_in_words(value: float) -> str:
    return f"{value:,.0f}" if 100 <= value < 1e6 else f"{value:.3g}"
