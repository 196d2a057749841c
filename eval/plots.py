"""Pictures of pass@k: over k for one evaluation, over training tokens for a run."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

COLOURS = ("#2563eb", "#ea580c", "#059669", "#9333ea", "#ca8a04", "#db2777")
INK, GRID = "#1f2937", "#e5e7eb"


def draw_curves(report: Mapping[str, Any], path: Path) -> None:
    """Draw pass@k over k, a curve a temperature, with the intervals where they were asked for."""
    figure, axis = _axes("k", "pass@k, %")
    for index, line in enumerate(report["by_temperature"]):
        colour = COLOURS[index % len(COLOURS)]
        # Keys are text where the report was read from its file.
        curve = {int(k): 100 * value for k, value in line["curve"].items()}
        label = None if line["temperature"] is None else f"temperature {line['temperature']}"
        axis.plot(list(curve), list(curve.values()), color=colour, marker="o", markersize=3, label=label)
        for name in report["best"]:
            if name in line:
                value, k = line[name], int(name.partition("@")[2])
                axis.vlines(k, 100 * value["low"], 100 * value["high"], color=colour, linewidth=1)
    most = max((int(k) for line in report["by_temperature"] for k in line["curve"]), default=1)
    if most > 1:
        axis.set_xscale("log")
        marks = [k for k in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if k <= most]
        axis.set_xticks(marks, list(map(str, marks)))
        axis.minorticks_off()
    axis.set_ylim(bottom=0)
    axis.set_title(f"{report['problem_set']['name']}, {report['problems']} problems", loc="left", color=INK)
    _finish(figure, axis, path)


def draw_over_tokens(run: Path, path: Path) -> bool:
    """Draw pass@k of a run over its training tokens: of the evaluations in `eval/`, and of those during training.

    Returns:
        whether there was anything to draw.
    """
    curves = _over_tokens(run)
    if not curves:
        return False
    figure, axis = _axes("training tokens", "pass@k, %")
    for index, (label, points) in enumerate(sorted(curves.items())):
        tokens, values = zip(*sorted(points.items()), strict=True)
        axis.plot(tokens, [100 * value for value in values], color=COLOURS[index % len(COLOURS)], marker="o", label=label)
    axis.set_ylim(bottom=0)
    axis.set_title(run.resolve().name, loc="left", color=INK)
    _finish(figure, axis, path)
    return True


def _over_tokens(run: Path) -> dict[str, dict[int, float]]:
    """Return for each measured thing its values by the number of tokens."""
    from codeparrot.run.metrics import read_lines

    curves: dict[str, dict[int, float]] = {}
    for file in run.glob("eval/*/step_*/report.json"):
        report = json.loads(file.read_text(encoding="utf-8"))
        if report.get("tokens") is not None:
            for name in report["best"]:
                curves.setdefault(f"{report['problem_set']['name']}, {name}", {})[report["tokens"]] = report[name]
    metrics = run / "metrics.jsonl"
    for line in read_lines(metrics) if metrics.is_file() else []:
        for name in (name for name in line if name.startswith("pass@")):
            curves.setdefault(f"{line['problems']} during training, {name}", {})[line["tokens"]] = line[name]
    return curves


def _axes(x: str, y: str) -> tuple[Any, Any]:
    # Figures of their own: pyplot would be shared with whoever imports this.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axis = figure.subplots()
    axis.grid(color=GRID)
    axis.spines[["top", "right"]].set_visible(False)
    axis.set_xlabel(x)
    axis.set_ylabel(y)
    return figure, axis


def _finish(figure: Any, axis: Any, path: Path) -> None:
    if axis.get_legend_handles_labels()[0]:
        axis.legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    figure.savefig(fresh, format=path.suffix[1:], dpi=150, facecolor="white")
    fresh.replace(path)
