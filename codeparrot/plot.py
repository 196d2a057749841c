"""Draw the curves of runs over tokens: training loss, validation perplexity, and how likely solutions of problems are.

Guarantees: the picture is complete or absent; a run in progress is drawn as far as it has got; a step whose value was not
finite is a gap in its curve; steps that were repeated after a resume count once. The scale is that of the second half of the
run, and what lies beyond it is said in the panel.
Cost: about two seconds, half of it for loading matplotlib; 100,000 logged steps add one.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codeparrot import figures
from codeparrot.errors import CodeparrotError
from codeparrot.location import local_folder, path_of
from codeparrot.result import Result
from codeparrot.run.curves import Curve, Run, read
from codeparrot.run.metrics import SOLUTIONS

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


def plot(runs: list[str], output: str | None = None) -> Result:
    """Draw training loss, validation perplexity and the likelihood of solutions of runs over the tokens they were trained on.

    Args:
        runs: Run folders; several are drawn into one picture.
        output: Picture to write (.png, .svg or .pdf); by default plots/loss.png in a single run, or loss.png here for several.
    """
    folders = [_folder(name) for name in dict.fromkeys(runs)]
    if not folders:
        raise CodeparrotError("no run to draw: name one or several run folders")
    usual = folders[0] / "plots" / "loss.png" if len(folders) == 1 else Path("loss.png")
    picture = path_of(output) if output else usual
    drawn = [read(folder) for folder in folders]
    try:
        _draw(_distinct(drawn, folders), picture)
    except OSError as error:
        raise CodeparrotError(f'--output "{picture}" cannot be written ({error.strerror}): name another') from error
    facts = [_facts(run) for run in drawn]
    lines = [f"{fact['run']}: " + ", ".join(_words(fact)) for fact in facts]
    return Result("\n".join([str(picture), *lines]), {"output": str(picture), "runs": facts})


def draw(runs: Sequence[Path], output: Path) -> None:
    """Draw run folders into one picture, whose suffix is its format.

    Raises:
        CodeparrotError: a run has no metrics yet, or the format is unknown.
        OSError: the picture cannot be written.
    """
    _draw(_distinct([read(folder) for folder in runs], runs), output)


def _folder(name: str) -> Path:
    folder = local_folder(name)
    if folder is None:
        raise CodeparrotError(f'there is no run "{name}" here')
    return folder


def _distinct(runs: Sequence[Run], folders: Sequence[Path]) -> list[Run]:
    """Name runs by their paths where their names are the same."""
    names = [run.name for run in runs]
    titled = zip(runs, folders, strict=True)
    return [run._replace(name=str(folder)) if names.count(run.name) > 1 else run for run, folder in titled]


def _facts(run: Run) -> dict[str, Any]:
    measured = run.perplexity.values + run.at_the_end.values
    measured_at = run.perplexity.tokens + run.at_the_end.tokens
    losses = figures.smooth(run.loss.values)
    perplexities = [each for each in zip(measured, measured_at, strict=True) if math.isfinite(each[0])]
    known = [index for index, value in enumerate(losses) if math.isfinite(value)]
    following = known[-1] + 1 if known else 0
    return {
        "run": run.name,
        "tokens": max(run.loss.tokens + run.perplexity.tokens + run.at_the_end.tokens),
        "loss": losses[known[-1]] if known else None,
        "not_finite_from": run.loss.tokens[following] if following < len(losses) else None,
        "perplexity": perplexities[-1][0] if perplexities else None,
        "perplexity_tokens": perplexities[-1][1] if perplexities else None,
        SOLUTIONS: next(filter(math.isfinite, reversed(run.solutions.values)), None),
    }


def _words(fact: dict[str, Any]) -> list[str]:
    words = [f"{figures.count_in_words(fact['tokens'])} tokens"]
    words += [f"loss {_loss(fact['loss'])}"] if fact["loss"] is not None else []
    if fact["not_finite_from"] is not None:
        words.append(f"not finite from {figures.count_in_words(fact['not_finite_from'])} tokens on")
    if fact["perplexity"] is not None:
        earlier = fact["perplexity_tokens"] < fact["tokens"]
        when = f" at {figures.count_in_words(fact['perplexity_tokens'])} tokens" if earlier else ""
        words.append(f"perplexity {_number(fact['perplexity'])}{when}")
    words += [f"solutions {_number(fact[SOLUTIONS])} bits/byte"] if fact[SOLUTIONS] is not None else []
    return words


def _draw(runs: Sequence[Run], output: Path) -> None:
    if output.suffix not in figures.FORMATS:
        raise CodeparrotError(f'"{output}" has no known picture format: end its name in {", ".join(figures.FORMATS)}')
    known = (_loss_panel, "loss"), (_perplexity_panel, "perplexity"), (_solutions_panel, "solutions")
    panels = [panel for panel, curve in known if _any(runs, curve)]
    inches = INCHES[0], INCHES[1] * max(1, len(panels) / 2)
    figure, axes = figures.make(inches, len(panels), h_pad=0.08, w_pad=0.12, hspace=0.06)
    for panel, axis in zip(panels, axes, strict=True):
        panel(axis, runs)
    if not _any(runs, "loss") and any(run.loss.values for run in runs):
        _note(axes[0], "no training loss was finite")
    _token_axis(axes[-1], runs)
    _title(axes[0], runs)
    figures.save(figure, output)


def _any(runs: Sequence[Run], curve: str) -> bool:
    return any(math.isfinite(value) for run in runs for value in getattr(run, curve).values)


def _loss_panel(axis: "Axes", runs: Sequence[Run]) -> None:
    axis.set_ylabel("training loss")
    # Divergence leaves the panel, and does not lift the average of the steps before it.
    raw = [_clipped(run.loss) for run in runs]
    curves = [curve._replace(values=figures.smooth(curve.values)) for curve in raw]
    low, high = _extent(raw, curves)
    for index, curve in enumerate(raw):
        if len(curve.values) > FEW_POINTS:
            axis.plot(*curve, color=figures.style(index)["color"], alpha=0.22, linewidth=0.8)
    _lines(axis, curves, runs, figures.widths(curves, (high - low) / 100), few=FEW_POINTS)
    axis.set_ylim(low, high)
    _say_what_is_beyond(axis, [run.loss for run in runs], runs, _loss)
    if len(runs) == 1:
        _mark_end(axis, curves[0], _loss)


def _perplexity_panel(axis: "Axes", runs: Sequence[Run]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    axis.set_ylabel("validation perplexity")
    axis.set_yscale("log")
    in_nats = [_clipped(_logarithms(_joined(run))) for run in runs]
    low, high = _extent(in_nats, in_nats)
    widths = figures.widths(in_nats, (high - low) / 100)
    _lines(axis, [run.perplexity for run in runs], runs, widths, few=FEW_EVALUATIONS)
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
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _number(value)))
    _say_what_is_beyond(axis, [_joined(run) for run in runs], runs, _number)
    if any(run.at_the_end.tokens and run.perplexity.tokens for run in runs):
        _legend_of_measures(axis)
    if len(runs) == 1:
        _mark_end(axis, runs[0].at_the_end if runs[0].at_the_end.tokens else runs[0].perplexity, _number)


def _solutions_panel(axis: "Axes", runs: Sequence[Run]) -> None:
    sets = sorted({run.problems for run in runs if run.problems})
    axis.set_ylabel(f"{_short(sets[0])} solutions, bits/byte" if len(sets) == 1 else "solutions, bits/byte")
    curves = [_clipped(run.solutions) for run in runs]
    low, high = _extent(curves, curves)
    _lines(axis, [run.solutions for run in runs], runs, figures.widths(curves, (high - low) / 100), few=FEW_EVALUATIONS)
    axis.set_ylim(low, high)
    _say_what_is_beyond(axis, [run.solutions for run in runs], runs, _number)
    if len(sets) > 1:
        _note(axis, f"of {' and '.join(map(_short, sets))}, which do not compare", at=0)
    if len(runs) == 1:
        _mark_end(axis, runs[0].solutions, _number)


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


def _token_axis(axis: "Axes", runs: Sequence[Run]) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axis.set_xlabel("training tokens")
    end = max(max(run.loss.tokens + run.perplexity.tokens + run.at_the_end.tokens) for run in runs) or 1
    axis.set_xlim(-0.012 * end, 1.012 * end)
    axis.xaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 2.5, 5, 10], integer=True))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: figures.count_in_words(value)))


def _title(axis: "Axes", runs: Sequence[Run]) -> None:
    figures.title(axis, _short(runs[0].name) if len(runs) == 1 else f"{len(runs)} runs")
    if len(runs) > 1:
        figures.legend(axis, columns=1 if len(runs) <= 6 else 2)


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME // 2]}...{name[-LONGEST_NAME // 2 :]}"


def _loss(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 1000 else f"{value:.3g}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if 100 <= value < 1e6 else f"{value:.3g}"
