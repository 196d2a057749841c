"""Pictures of pass@k: over k for one evaluation, over training tokens for a run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from codeparrot import figures
from codeparrot.eval.task import counted

INCHES = 8.0, 4.5


def draw_curves(report: Mapping[str, Any], path: Path) -> None:
    """Draw pass@k over k: a curve per temperature, and intervals at the requested k."""
    figure, (axis,) = figures.make(INCHES)
    axis.set_xlabel("k")
    for index, line in enumerate(report["by_temperature"]):
        style = figures.style(index)
        # Keys are strings in a report that was read from its file.
        curve = {int(k): 100 * value for k, value in line["curve"].items()}
        label = None if line["temperature"] is None else f"temperature {line['temperature']}"
        axis.plot(list(curve), list(curve.values()), marker="o", markersize=3, label=label, **style)
        for name in report["best"]:
            if name in line:
                value, k = line[name], int(name.partition("@")[2])
                axis.vlines(k, 100 * value["low"], 100 * value["high"], color=style["color"], linewidth=1)
    most = max((int(k) for line in report["by_temperature"] for k in line["curve"]), default=1)
    if most > 1:
        axis.set_xscale("log")
        marks = [k for k in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if k <= most]
        axis.set_xticks(marks, list(map(str, marks)))
        axis.minorticks_off()
    _finish(figure, axis, f"{report['problem_set']['name']}, {counted(report)}", path)


def draw_over_tokens(run: Path, path: Path) -> bool:
    """Draw pass@k of a run over its training tokens: of the evaluations in `eval/`, and of those during training.

    Returns:
        whether there was anything to draw.
    """
    curves = _over_tokens(run)
    if not curves:
        return False
    figure, (axis,) = figures.make(INCHES)
    axis.set_xlabel("training tokens")
    for index, (label, points) in enumerate(sorted(curves.items())):
        tokens, values = zip(*sorted(points.items()), strict=True)
        axis.plot(tokens, [100 * value for value in values], marker="o", label=label, **figures.style(index))
    _finish(figure, axis, run.resolve().name, path)
    return True


def _over_tokens(run: Path) -> dict[str, dict[int, float]]:
    """Return the values of each measure by the number of tokens."""
    from codeparrot.run.metrics import read_lines
    from codeparrot.run.reports import reports_of

    curves: dict[str, dict[int, float]] = {}
    for _, report in reports_of(run):
        if report.get("tokens") is not None:
            for name in report["best"]:
                curves.setdefault(f"{_kind(report)}, {name}", {})[report["tokens"]] = report[name]
    metrics = run / "metrics.jsonl"
    for line in read_lines(metrics) if metrics.is_file() else []:
        for name in (name for name in line if name.startswith("pass@") and None not in (line[name], line.get("tokens"))):
            curves.setdefault(f"{line.get('problems')} during training, {name}", {})[line["tokens"]] = line[name]
    return curves


def _kind(report: Mapping[str, Any]) -> str:
    """Return what a report is of, so that scores that do not compare make no curve: problems, how many of them, how asked."""
    settings = report.get("settings", {})
    asked = [words for name, words in (("strip_prompt", "stripped prompts"), ("chat", "chat")) if settings.get(name)]
    part = [counted(report)] if " of " in counted(report) else []
    return ", ".join([report["problem_set"]["name"], *part, *asked])


def _finish(figure: Any, axis: Any, name: str, path: Path) -> None:
    axis.set_ylim(bottom=0)
    axis.set_ylabel("pass@k, %")
    figures.title(axis, name)
    figures.legend(axis, place="best")
    path.parent.mkdir(parents=True, exist_ok=True)
    figures.save(figure, path)
