"""The memory of a process by category, a bar for each strategy, against the GPU's memory."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from codeparrot import figures
from codeparrot.errors import CodeparrotError
from codeparrot.location import path_of
from codeparrot.plan.forecast import Forecast
from codeparrot.plan.ledger import CATEGORIES
from codeparrot.plan.report import devices, unit_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FAR = 20
"""Times the widest bar: memory beyond it is only said, not drawn."""
LEAST_SHOWN = 0.002
"""A category below this share of the widest bar, in every bar, is not in the legend."""


def draw(found: Forecast, output: str) -> None:
    """Draw the picture into a file, whose suffix is its format.

    Raises:
        CodeparrotError: it cannot be written.
    """
    picture = path_of(output)
    figure, (axis,) = figures.make((8.0, 1.6 + 0.45 * len(found.ways)), h_pad=0.1, w_pad=0.12)
    _bars(axis, found)
    _limits(axis, found)
    micro = found.plan.train.micro_batch_size
    figures.title(axis, f"{found.plan.run.name}: memory of a process on {devices(found)}")
    axis.set_xlabel(f"{unit_of(found)[0]} at the peak of a step, train.micro_batch_size {micro}")
    _save(figure, picture)


def _bars(axis: "Axes", found: Forecast) -> None:
    names = [way.strategy.name for way in found.ways]
    starts = [0.0] * len(names)
    widest, unit = max(way.need.total for way in found.ways), unit_of(found)[1]
    for index, category in enumerate(CATEGORIES):
        sizes = [way.need.bytes[category] / unit for way in found.ways]
        if max(sizes) * unit < LEAST_SHOWN * widest:
            continue
        axis.barh(names, sizes, left=starts, height=0.62, color=figures.COLOURS[index], label=category)
        starts = [start + size for start, size in zip(starts, sizes, strict=True)]
    ends: Any = {"va": "center", "color": figures.LIGHT.ink, "fontsize": 9.5, "xytext": (5, 0), "textcoords": "offset points"}
    for place, total in enumerate(starts):
        axis.annotate(f"{total:,.1f}" if total >= 10 else f"{total:,.2f}", (total, place), **ends)
    axis.invert_yaxis()
    axis.grid(visible=False, axis="y")
    axis.tick_params(axis="y", labelcolor=figures.LIGHT.ink)
    axis.figure.legend(loc="outside lower center", ncols=7, fontsize=8.5, frameon=False, columnspacing=1.2)


def _limits(axis: "Axes", found: Forecast) -> None:
    """Draw the device's memory, and how much of it is for tensors, unless they lie far beyond every bar."""
    name, unit = unit_of(found)
    widest = max(way.need.total for way in found.ways) / unit
    if found.device.memory_bytes is None or found.device.room_bytes is None:
        axis.set_xlim(0, 1.12 * widest)
        return
    memory, room = found.device.memory_bytes / unit, found.device.room_bytes / unit
    note: Any = {"ha": "right", "va": "bottom", "color": figures.LIGHT.faint, "fontsize": 8.5, "transform": axis.transAxes}
    axis.text(1, 1.01, f"{found.device.name}: {memory:,.0f} {name}, {room:,.0f} for tensors", **note)
    if memory > FAR * widest:
        axis.set_xlim(0, 1.12 * widest)
        return
    axis.set_xlim(0, max(1.12 * widest, 1.03 * memory))
    axis.axvspan(room, memory, color=figures.LIGHT.grid, zorder=0)
    axis.axvline(memory, color=figures.LIGHT.faint, linewidth=1.2)


def _save(figure: Any, picture: Path) -> None:
    try:
        figures.save(figure, picture)
    except OSError as error:
        raise CodeparrotError(f'--figure "{picture}" cannot be written ({error.strerror}): name another') from error
