"""Draw the curves of runs: training loss and validation perplexity over tokens.

Guarantees: the picture is complete or absent; a run in progress is drawn as far as it has got; a step whose value was not
finite is a gap in its curve.
Cost: about two seconds, half of it for loading matplotlib; 100,000 logged steps add one.
"""

import contextlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from codeparrot import figures
from codeparrot.errors import CodeparrotError
from codeparrot.location import local_folder, path_of
from codeparrot.result import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INCHES = (8.0, 6.0)
SMOOTHING = 0.02
"""Half the window of the moving average, as a fraction of the logged steps."""
STEEP_START = 0.01
"""First fraction of a long training whose values may lie above the panels: the model still learns how frequent tokens are."""
FEW_STEPS, FEW_EVALUATIONS = 2000, 50
"""A curve of at most this many values is shown from the first one on, and evaluations are marked one by one."""
LONGEST_NAME = 40
"""Characters of a run's name in the legend."""


class Curve(NamedTuple):
    """Values over tokens, in the order of the steps. NaN is a gap."""

    tokens: list[float]
    values: list[float]


class Run(NamedTuple):
    name: str
    loss: Curve
    perplexity: Curve
    """On the sample of the validation set, where evaluations during the run measured one; else on all of it."""
    at_the_end: Curve
    """Perplexity on all of the validation set, measured behind the last sample."""


def plot(runs: list[str], output: str | None = None) -> Result:
    """Draw training loss and validation perplexity of runs over the tokens they were trained on.

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


def read(folder: Path) -> Run:
    """Read the curves of a run from its metrics.jsonl.

    Raises:
        CodeparrotError: there is no such file, or it has no loss and no perplexity yet.
    """
    path = folder / "metrics.jsonl"
    try:
        rows = list(_rows(path))
    except OSError as error:
        raise CodeparrotError(f'"{folder}" is not a run: {path.name} cannot be read ({error.strerror})') from error
    last_sample = max((row["tokens"] for row in rows if row.get("eval_sample")), default=math.inf)
    before, at_the_end = ([row for row in rows if (row["tokens"] > last_sample) is later] for later in (False, True))
    run = Run(folder.resolve().name, _curve(rows, "loss"), _curve(before, "perplexity"), _curve(at_the_end, "perplexity"))
    if not any(map(math.isfinite, run.loss.values + run.perplexity.values + run.at_the_end.values)):
        raise CodeparrotError(f'the run "{folder}" has logged no loss yet: train on until it has')
    return run


def smooth(values: Sequence[float]) -> list[float]:
    """Return the moving average of a curve over its finite values; a gap stays a gap.

    The window starts narrow and widens: at first a loss falls too steeply to be averaged with later values.
    """
    import numpy as np

    index = np.arange(len(values))
    half = np.minimum(index // 3, max(1, round(SMOOTHING * len(values))))
    first, last = index - half, np.minimum(index + half + 1, len(values))
    smoothed = np.asarray(values, dtype=float)
    known = np.isfinite(smoothed)
    for _ in range(2):  # twice, for an average without corners
        sums = np.concatenate([[0.0], np.cumsum(np.where(known, smoothed, 0.0))])
        counts = np.concatenate([[0], np.cumsum(known)])
        means = (sums[last] - sums[first]) / np.maximum(counts[last] - counts[first], 1)
        smoothed = np.where(known, means, np.nan)
    return smoothed.tolist()


def _folder(name: str) -> Path:
    folder = local_folder(name)
    if folder is None:
        raise CodeparrotError(f'there is no run "{name}" here')
    return folder


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the logged lines. A line that is not JSON was truncated by a kill or a full disk, or is being written."""
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            with contextlib.suppress(ValueError):
                row = json.loads(line)
                if isinstance(row, dict) and "tokens" in row:
                    yield row


def _curve(rows: Sequence[dict[str, Any]], key: str) -> Curve:
    points = [(row["tokens"], row[key]) for row in rows if key in row]
    values = (float("nan") if value is None or not math.isfinite(value) else value for _, value in points)
    return Curve([tokens for tokens, _ in points], list(values))


def _distinct(runs: Sequence[Run], folders: Sequence[Path]) -> list[Run]:
    """Name runs by their paths where their names are the same."""
    names = [run.name for run in runs]
    titled = zip(runs, folders, strict=True)
    return [run._replace(name=str(folder)) if names.count(run.name) > 1 else run for run, folder in titled]


def _facts(run: Run) -> dict[str, Any]:
    measured = run.perplexity.values + run.at_the_end.values
    losses, perplexities = smooth(run.loss.values), [value for value in measured if math.isfinite(value)]
    return {
        "run": run.name,
        "tokens": max(run.loss.tokens + run.perplexity.tokens + run.at_the_end.tokens),
        "loss": next((value for value in reversed(losses) if math.isfinite(value)), None),
        "perplexity": perplexities[-1] if perplexities else None,
    }


def _words(fact: dict[str, Any]) -> list[str]:
    words = [f"{figures.count_in_words(fact['tokens'])} tokens"]
    words += [f"loss {fact['loss']:.3f}"] if fact["loss"] is not None else []
    return words + ([f"perplexity {_number(fact['perplexity'])}"] if fact["perplexity"] is not None else [])


def _draw(runs: Sequence[Run], output: Path) -> None:
    if output.suffix not in figures.FORMATS:
        raise CodeparrotError(f'"{output}" has no known picture format: end its name in {", ".join(figures.FORMATS)}')
    panels = [panel for panel, curve in ((_loss_panel, "loss"), (_perplexity_panel, "perplexity")) if _any(runs, curve)]
    figure, axes = figures.make(INCHES, len(panels), h_pad=0.08, w_pad=0.12, hspace=0.06)
    for panel, axis in zip(panels, axes, strict=True):
        panel(axis, runs)
    _token_axis(axes[-1], runs)
    _title(axes[0], runs)
    figures.save(figure, output)


def _any(runs: Sequence[Run], curve: str) -> bool:
    return any(math.isfinite(value) for run in runs for value in getattr(run, curve).values)


def _loss_panel(axis: "Axes", runs: Sequence[Run]) -> None:
    axis.set_ylabel("training loss")
    curves = [run.loss._replace(values=smooth(run.loss.values)) for run in runs]
    for index, (run, curve) in enumerate(zip(runs, curves, strict=True)):
        axis.plot(*run.loss, color=figures.style(index)["color"], alpha=0.22, linewidth=0.8)
        _line(axis, curve, index, run.name)
    levels = [level for curve in (*curves, *(run.loss for run in runs)) for level in _levels(curve, FEW_STEPS)]
    if levels:
        # The raw curve may leave the panel, so that a single spike does not flatten the rest.
        low, high = _percentiles(levels)
        margin = 0.08 * (high - low) or 0.1
        axis.set_ylim(low - margin, high + margin)
    if len(runs) == 1:
        _mark_end(axis, curves[0], "{:.3f}".format)


def _perplexity_panel(axis: "Axes", runs: Sequence[Run]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    axis.set_ylabel("validation perplexity")
    axis.set_yscale("log")
    for index, run in enumerate(runs):
        few = len(run.perplexity.values) <= FEW_EVALUATIONS
        _line(axis, run.perplexity, index, run.name, marker="o", markersize=4 if few else 0)
        if run.at_the_end.tokens:
            axis.plot(*run.at_the_end, linestyle="", marker="D", markersize=6, color=figures.style(index)["color"])
    levels = [level for run in runs for level in _levels(run.perplexity, FEW_EVALUATIONS)]
    levels += [value for run in runs for value in run.at_the_end.values if math.isfinite(value)]
    if levels:
        margin = (max(levels) / min(levels)) ** 0.08 if max(levels) > min(levels) else 1.1
        axis.set_ylim(min(levels) / margin, max(levels) * margin)
    low, high = axis.get_ylim()
    # An axis of less than a decade would have hardly any ticks at powers of ten, their doubles and fives.
    wide, narrow = LogLocator(subs=(1, 2, 5), numticks=8), MaxNLocator(5, steps=[1, 2, 2.5, 5, 10])
    axis.yaxis.set_major_locator(wide if high > 10 * low else narrow)
    axis.yaxis.set_minor_locator(NullLocator())
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _number(value)))
    if len(runs) == 1:
        _mark_end(axis, runs[0].at_the_end if runs[0].at_the_end.tokens else runs[0].perplexity, _number)


def _levels(curve: Curve, few: int) -> list[float]:
    """Return the values that the panel must show: all of them, or only those after the steep start if there are many."""
    points = [point for point in zip(*curve, strict=True) if math.isfinite(point[1])]
    later = [value for tokens, value in points if tokens >= STEEP_START * points[-1][0]]
    return later if len(later) > few else [value for _, value in points]


def _percentiles(values: Sequence[float]) -> tuple[float, float]:
    import numpy as np

    low, high = np.percentile(values, [0.2, 99.8])
    return float(low), float(high)


def _line(axis: "Axes", curve: Curve, index: int, name: str, **options: Any) -> None:
    # A curve of one point is not a line: it needs a dot to be visible.
    dot = {"marker": "o", "markersize": 5} if sum(map(math.isfinite, curve.values)) == 1 else {}
    axis.plot(*curve, linewidth=1.8, label=_short(name), **figures.style(index), **(options | dot))


def _mark_end(axis: "Axes", curve: Curve, text: Callable[[float], str]) -> None:
    points = [point for point in zip(*curve, strict=True) if math.isfinite(point[1])]
    if points:
        place = {"xytext": (7, 0), "textcoords": "offset points", "va": "center", "annotation_clip": False}
        axis.annotate(text(points[-1][1]), points[-1], color=figures.style(0)["color"], fontweight="bold", fontsize=10, **place)


def _token_axis(axis: "Axes", runs: Sequence[Run]) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axis.set_xlabel("training tokens")
    end = max(max(run.loss.tokens + run.perplexity.tokens + run.at_the_end.tokens) for run in runs) or 1
    axis.set_xlim(-0.012 * end, 1.012 * end)
    axis.xaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 2.5, 5, 10]))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: figures.count_in_words(value)))


def _title(axis: "Axes", runs: Sequence[Run]) -> None:
    figures.title(axis, _short(runs[0].name) if len(runs) == 1 else f"{len(runs)} runs")
    if len(runs) > 1:
        figures.legend(axis, columns=1 if len(runs) <= 6 else 2)


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME // 2]}...{name[-LONGEST_NAME // 2 :]}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
