"""The panel of further validation sets (`evaluate.also`): bits a byte over tokens, a line for each set of each run.

The picture of a single run without such sets has the languages of its validation set here.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from codeparrot import figures
from codeparrot.run.curves import Further, Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARGIN = 0.08
"""Of the panel's height, above and below the curves."""
MOST_LANGUAGES = 6
"""Lines of languages, those with the most tokens: more would hide one another."""
LEAST_HEIGHT = 0.1
"""Bits a byte. What varies less is not stretched over the panel."""


def lines_of(runs: Sequence[Run]) -> list[tuple[str, Further]]:
    """Return the curves of the panel, each with its label; nothing where there is none to draw."""
    if _shows_languages(runs):
        return [(each.name, each) for each in runs[0].languages[:MOST_LANGUAGES]]
    several = len(runs) > 1
    return [(f"{run.name}: {each.name}" if several else each.name, each) for run in runs for each in run.further]


def label(runs: Sequence[Run]) -> str:
    """Return what the axis of values is called."""
    return "by language, bits/byte" if _shows_languages(runs) else "further sets, bits/byte"


def _shows_languages(runs: Sequence[Run]) -> bool:
    return len(runs) == 1 and bool(runs[0].languages) and not runs[0].further


def draw(axis: "Axes", lines: Sequence[tuple[str, Further]], label: str) -> None:
    axis.set_ylabel(label)
    found: list[float] = []
    for index, (named, further) in enumerate(lines):
        style = figures.style(index)
        axis.plot(*further.during, label=named, marker="o", markersize=3, linewidth=figures.LINE_WIDTH, **style)
        if further.at_the_end.tokens:
            mark: dict[str, Any] = {"linestyle": "", "marker": "D", "markersize": 5, "color": style["color"]}
            axis.plot(*further.at_the_end, label="_" if further.during.tokens else named, **mark)
        # Behind the first value, which lies far above.
        found += [value for value in (further.during.values[1:] + further.at_the_end.values) if math.isfinite(value)]
    if found:
        height = max(max(found) - min(found), LEAST_HEIGHT)
        axis.set_ylim(min(found) - MARGIN * height, min(found) + (1 + MARGIN) * height)
    axis.legend(fontsize=8.5, labelcolor=figures.LIGHT.ink, edgecolor=figures.LIGHT.grid, ncols=1 if len(lines) <= 4 else 2)
