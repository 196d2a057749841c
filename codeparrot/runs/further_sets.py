"""The panel of further validation sets (`evaluate.also`): bits a byte over tokens, a line for each set of each run."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from codeparrot import figures
from codeparrot.run.curves import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARGIN = 0.08
"""Of the panel's height, above and below the curves."""
LEAST_HEIGHT = 0.1
"""Bits a byte. What varies less is not stretched over the panel."""


def draw(axis: "Axes", runs: Sequence[Run]) -> None:
    axis.set_ylabel("further sets, bits/byte")
    lines = [(run, further) for run in runs for further in run.further]
    found: list[float] = []
    for index, (run, further) in enumerate(lines):
        label, style = f"{run.name}: {further.name}" if len(runs) > 1 else further.name, figures.style(index)
        axis.plot(*further.during, label=label, marker="o", markersize=3, linewidth=figures.LINE_WIDTH, **style)
        if further.at_the_end.tokens:
            mark: dict[str, Any] = {"linestyle": "", "marker": "D", "markersize": 5, "color": style["color"]}
            axis.plot(*further.at_the_end, label="_" if further.during.tokens else label, **mark)
        # Behind the first value, which lies far above.
        found += [value for value in (further.during.values[1:] + further.at_the_end.values) if math.isfinite(value)]
    if found:
        height = max(max(found) - min(found), LEAST_HEIGHT)
        axis.set_ylim(min(found) - MARGIN * height, min(found) + (1 + MARGIN) * height)
    axis.legend(fontsize=8.5, labelcolor=figures.LIGHT.ink, edgecolor=figures.LIGHT.grid, ncols=1 if len(lines) <= 4 else 2)
