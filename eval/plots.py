"""Pictures of pass@k: over k for one evaluation, over training tokens for a run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from codeparrot import figures
from codeparrot.eval.task import counted
from codeparrot.run.reports import asked, in_words

INCHES = 8.0, 4.5
MOST_INSIDE, LINE_INCHES = 5, 0.21
"""Curves whose names stand inside the picture, and the height of a name."""


def draw_curves(report: Mapping[str, Any], path: Path) -> None:
    """Draw pass@k over k: a curve per temperature, and intervals at the requested k."""
    figure, (axis,) = figures.make(INCHES)
    axis.set_xlabel("k")
    lines = report["by_temperature"]
    # Keys are strings in a report that was read from its file.
    curves = [{int(k): 100 * value for k, value in line["curve"].items()} for line in lines]
    labels = [None if line["temperature"] is None else f"temperature {line['temperature']}" for line in lines]
    widths = _draw_all(axis, list(zip(labels, curves, strict=True)))
    for index, (line, width) in enumerate(zip(lines, widths, strict=False)):
        for name in (name for name in report["best"] if name in line and name.startswith("pass@")):
            value, k = line[name], int(name.partition("@")[2])
            look = {"color": figures.style(index)["color"], "linewidth": width - 0.8}
            axis.vlines(k, 100 * value["low"], 100 * value["high"], **look)
    most = max((k for curve in curves for k in curve), default=1)
    axis.set_xscale("log")
    marks = [k for k in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if k <= most]
    axis.set_xticks(marks, list(map(str, marks)))
    axis.minorticks_off()
    _finish(figure, axis, "pass@k, %", f"{report['problem_set']['name']}, {counted(report)}", path)


def draw_over_tokens(run: Path, path: Path) -> bool:
    """Draw pass@k of a run over its training tokens: of the evaluations in `eval/`, and of those during training.

    Returns:
        whether there was anything to draw.
    """
    from matplotlib.ticker import FuncFormatter

    curves = _over_tokens(run)
    if not curves:
        return False
    # Names of many curves would cover them: they stand below the picture, which grows by their lines.
    below = len(curves) > MOST_INSIDE
    figure, (axis,) = figures.make((INCHES[0], INCHES[1] + LINE_INCHES * len(curves) if below else INCHES[1]))
    axis.set_xlabel("training tokens")
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: figures.count_in_words(value)))
    _draw_all(
        axis, [(name, {at: 100 * value for at, value in sorted(points.items())}) for name, points in sorted(curves.items())]
    )
    alone = all(name.rpartition(", ")[2].startswith("pass@") for name in curves)
    _finish(figure, axis, "pass@k, %" if alone else "score, %", run.resolve().name, path, below)
    return True


def _draw_all(axis: Any, curves: Sequence[tuple[str | None, Mapping[int, float]]]) -> list[float]:
    """Draw named curves in percent. Zeros alone are said: an axis fitted to them would make something of nothing.

    Returns:
        the line width of each; empty for zeros alone, of which there are no intervals to see.
    """
    lines = [(list(points), list(points.values())) for _, points in curves]
    most = max((value for _, values in lines for value in values), default=0)
    widths = figures.widths(lines, most / 100)
    for index, ((label, _), (x, y), width) in enumerate(zip(curves, lines, widths, strict=True)):
        look = {"marker": "o", "markersize": width + 1.2, "linewidth": width, "clip_on": False} | figures.style(index)
        axis.plot(x, y, label=label if not label or any(y) else f"{label}: 0", **look)
    if most:
        return widths
    axis.set_yticks([0])
    axis.set_ylim(top=1)
    axis.text(0.5, 0.5, "no sample passed", transform=axis.transAxes, ha="center", color=figures.LIGHT.ink, fontsize=14)
    return []


def _over_tokens(run: Path) -> dict[str, dict[int, float]]:
    """Return the values of each measure by the number of tokens."""
    from codeparrot.run.metrics import is_score, read_lines
    from codeparrot.run.reports import reports_of

    curves: dict[str, dict[int, float]] = {}
    for _, report in reports_of(run):
        if report.get("tokens") is not None:
            for name in report["best"]:
                curves.setdefault(f"{_kind(report)}, {name}", {})[report["tokens"]] = report[name]
    metrics = run / "metrics.jsonl"
    for line in read_lines(metrics) if metrics.is_file() else []:
        for name in (name for name in line if is_score(name) and None not in (line[name], line.get("tokens"))):
            # Earlier versions gave prompts as they are.
            kind = [f"{line.get('problems')} during training", *_unlike_default(asked({"prompt_style": "exact", **line}))]
            measure = name.removeprefix("infilling_")
            curves.setdefault(", ".join([*kind, measure]), {})[line["tokens"]] = line[name]
    return curves


def _kind(report: Mapping[str, Any]) -> str:
    """Return what a report is of, so that scores that do not compare make no curve: problems, how many of them, how asked."""
    part = [counted(report)] if " of " in counted(report) else []
    return ", ".join([report["problem_set"]["name"], *part, *_unlike_default(asked(report.get("settings", {})))])


def _unlike_default(way: str) -> list[str]:
    """Return how a model was asked, where that is not the default."""
    return [] if way in ("", "healed", "psm") else [in_words(way)]


def _finish(figure: Any, axis: Any, measured: str, name: str, path: Path, below: bool = False) -> None:
    axis.set_ylim(bottom=0)
    axis.set_ylabel(measured)
    figures.title(axis, name)
    figures.legend(axis, place="outside lower left" if below else "best")
    path.parent.mkdir(parents=True, exist_ok=True)
    figures.save(figure, path)
