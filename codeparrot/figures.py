"""One look for every picture: a palette, a figure maker, numbers in words, and saving whole or not at all.

Figures are made without pyplot, so a training loop gets no window system and no global state.
"""

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from codeparrot import files

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FORMATS = (".png", ".svg", ".pdf")
DOTS_PER_INCH = 150
COLOURS = ("#2563eb", "#ea580c", "#059669", "#9333ea", "#ca8a04", "#db2777", "#0891b2", "#57534e")
"""Colours of curves. Further curves repeat them with dashed lines."""
LINE_WIDTH = 1.8
"""Points."""
SMOOTHING = 0.02
"""Half the window of the moving average, as a fraction of the points of a curve."""


class Palette(NamedTuple):
    paper: str
    ink: str
    faint: str
    grid: str
    bar: str


LIGHT = Palette("#ffffff", "#1f2937", "#6b7280", "#e5e7eb", COLOURS[0])
DARK = Palette("#161b22", "#e6edf3", "#9aa4b0", "#30363d", "#6ea8fe")


def prepare() -> None:
    """Import what drawing needs. That costs half a second of a processor; a process beside training pays it at the start."""
    # A notebook names its own backend to the programs that it starts, and matplotlib ends where that is not installed.
    os.environ["MPLBACKEND"] = "agg"
    import matplotlib.backends.backend_agg
    import matplotlib.figure  # noqa: F401


def make(inches: tuple[float, float], panels: int = 1, palette: Palette = LIGHT, **layout: Any) -> tuple[Any, "list[Axes]"]:
    """Return a styled figure and its panels, one below the other.

    Args:
        inches: width and height.
        panels: how many, sharing their x axis.
        palette: its colours.
        layout: spacing, as matplotlib's constrained layout takes it.
    """
    prepare()
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    figure = Figure(figsize=inches, layout=ConstrainedLayoutEngine(**layout), facecolor=palette.paper)
    axes = list(figure.subplots(panels, 1, sharex=True, squeeze=False)[:, 0])
    for axis in axes:
        _dress(axis, palette)
    return figure, axes


def _dress(axis: "Axes", palette: Palette) -> None:
    axis.set_facecolor(palette.paper)
    axis.grid(color=palette.grid, linewidth=0.8)
    axis.set_axisbelow(True)
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.spines["bottom"].set_color(palette.faint)
    axis.tick_params(colors=palette.faint, length=0, labelsize=9.5)
    axis.yaxis.label.set(color=palette.ink, fontsize=10.5)
    axis.xaxis.label.set(color=palette.ink, fontsize=10.5)


def title(axis: "Axes", text: str, palette: Palette = LIGHT) -> None:
    axis.set_title(text, loc="left", color=palette.ink, fontsize=14, fontweight="bold", pad=12)


def legend(axis: "Axes", columns: int = 1, palette: Palette = LIGHT, place: str = "upper right") -> None:
    """Add a legend if any curve has a name; one whose place is outside takes its room from the panels."""
    if axis.get_legend_handles_labels()[0]:
        owner: Any = axis.figure if place.startswith("outside") else axis
        owner.legend(loc=place, fontsize=9.5, labelcolor=palette.ink, edgecolor=palette.grid, ncols=columns)


def style(index: int) -> dict[str, Any]:
    """Return the colour and line style of curve number `index`."""
    return {"color": COLOURS[index % len(COLOURS)], "linestyle": ("-", "--", ":")[index // len(COLOURS) % 3]}


def smooth(values: Sequence[float]) -> list[float]:
    """Return the moving average of a curve over its finite values; a gap stays a gap.

    The window starts narrow and widens: at first a loss falls too steeply to be averaged with later values.
    """
    import numpy as np

    index = np.arange(len(values))
    half = np.minimum(index // 3, round(SMOOTHING * len(values)))
    windows = np.stack([index - half, np.minimum(index + half + 1, len(values))], axis=1).ravel()
    smoothed = np.asarray(values, dtype=float)
    known = np.isfinite(smoothed)

    def sums(numbers: Any) -> Any:
        # Each window by itself: in a difference of running sums, one huge value would take the digits of all that follow.
        return np.add.reduceat(np.append(np.where(known, numbers, 0), 0), windows)[::2]

    for _ in range(2):  # twice, for an average without corners
        means = sums(smoothed) / np.maximum(sums(np.ones(len(values))), 1) if len(values) else smoothed
        smoothed = np.where(known, means, np.nan)
    return smoothed.tolist()


def widths(curves: "Sequence[tuple[Sequence[float], Sequence[float]]]", distance: float) -> list[float]:
    """Return the line widths of curves: one that later ones cover is wider than they are, so that every one is seen.

    Args:
        curves: x and y of each, x ascending; a y that is not finite is a gap.
        distance: a curve covers another if they are no farther apart than this in more than half of the places where both are.
    """
    import numpy as np

    known = []
    for x, y in curves:
        places, values = np.asarray(x, float), np.asarray(y, float)
        known.append((places[np.isfinite(values)], values[np.isfinite(values)]))

    def covers(later: int, earlier: int) -> bool:
        (x, y), (x2, y2) = known[later], known[earlier]
        both = (x >= x2[0]) & (x <= x2[-1]) if len(x2) else np.zeros(len(x), bool)
        near = np.abs(y[both] - np.interp(x[both], x2, y2)) <= distance if both.any() else both[:0]
        return bool(len(near)) and bool(near.mean() > 0.5)

    covered = [sum(covers(later, earlier) for later in range(earlier + 1, len(known))) for earlier in range(len(known))]
    return [LINE_WIDTH + 2.2 * min(times, 3) for times in covered]


def save(figure: Any, place: Path) -> None:
    """Write a picture, whole or not at all; its suffix is one of FORMATS.

    Raises:
        OSError: it cannot be written.
    """
    with files.new_file(place) as fresh:
        _write(figure, fresh, place.suffix[1:])


def png(figure: Any) -> bytes:
    """Return a picture as PNG."""
    buffer = io.BytesIO()
    _write(figure, buffer, "png")
    return buffer.getvalue()


def _write(figure: Any, target: Path | io.BytesIO, kind: str) -> None:
    # Without the name of the program, the same data gives the same bytes.
    metadata = {"Software": None} if kind == "png" else None
    figure.savefig(target, format=kind, dpi=DOTS_PER_INCH, facecolor=figure.get_facecolor(), metadata=metadata)


def count_in_words(value: float) -> str:
    """Return 1500000 as 1.5M."""
    return _in_words(value, ("", "k", "M", "B", "T"))


def size_in_words(num_bytes: float) -> str:
    """Return 1500000 as 1.5 MB."""
    return _in_words(num_bytes, (" bytes", " kB", " MB", " GB", " TB"))


def _in_words(value: float, units: Sequence[str]) -> str:
    for unit in units[:-1]:
        if abs(value) < 1000:
            return f"{value:.3g}{unit}"
        value /= 1000
    return f"{value:,.3g}{units[-1]}"
