"""The curves of runs that began at checkpoints of each other, joined into one with branches."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from codeparrot.run.curves import Curve, Run


class Branch(NamedTuple):
    """Where a curve leaves another."""

    parent: int
    """Place of the parent among the runs."""
    tokens: float
    """That the parent had seen."""


def branches(runs: Sequence[Run], folders: Sequence[Path]) -> list[Branch | None]:
    """Return where each run leaves another one of `runs`; None for one whose parent is not among them."""
    places = {folder.resolve(): index for index, folder in enumerate(folders)}
    by_name = {folder.resolve().name: index for index, folder in enumerate(folders)}
    found: list[Branch | None] = []
    for index, run in enumerate(runs):
        begun = run.begun_at
        # Folders that were moved together are still relatives: the name says so.
        parent = places.get(Path(begun["run"]).resolve(), by_name.get(begun["name"])) if begun else None
        found.append(Branch(parent, begun["tokens"]) if begun and parent is not None and parent != index else None)
    return [branch if not _in_a_circle(index, found) else None for index, branch in enumerate(found)]


def _in_a_circle(index: int, found: Sequence[Branch | None]) -> bool:
    """Whether parents lead back to a run, which no training writes."""
    seen, at = {index}, found[index]
    while at is not None:
        if at.parent in seen:
            return True
        seen.add(at.parent)
        at = found[at.parent]
    return False


def on_parents(
    curves: Sequence[Curve], leave: Sequence[Branch | None], smooth: Callable[[Sequence[float]], list[float]] = list
) -> list[tuple[Curve, Curve]]:
    """Return each curve as it was logged, and smoothed; both begin on the smoothed curve of the parent, where they leave it.

    A child is smoothed together with what its parent logged before, so that its first values are no noisier than others.
    """
    known: dict[int, tuple[Curve, Curve]] = {}

    def whole(index: int) -> tuple[Curve, Curve]:
        """Return the curve from the first ancestor on, as logged and smoothed."""
        if index not in known:
            before, branch = Curve([], []), leave[index]
            if branch:
                parent = whole(branch.parent)[0]
                count = sum(tokens <= branch.tokens for tokens in parent.tokens)
                before = Curve(parent.tokens[:count], parent.values[:count])
            own = curves[index]
            logged = Curve(before.tokens + own.tokens, before.values + own.values)
            known[index] = logged, Curve(logged.tokens, smooth(logged.values))
        return known[index]

    drawn = []
    for index, (own, branch) in enumerate(zip(curves, leave, strict=True)):
        smoothed = whole(index)[1]
        mine = Curve(own.tokens, smoothed.values[len(smoothed.values) - len(own.values) :])
        first = _point_at(whole(branch.parent)[1], branch.tokens) if branch and own.tokens else Curve([], [])
        drawn.append(tuple(Curve(first.tokens + each.tokens, first.values + each.values) for each in (own, mine)))
    return drawn


def _point_at(curve: Curve, tokens: float) -> Curve:
    """Return the point of a drawn curve at a place, or its last one before; none where it begins behind that place."""
    import numpy as np

    points = [(x, y) for x, y in zip(*curve, strict=True) if math.isfinite(y)]
    if not points or points[0][0] > tokens:
        return Curve([], [])
    x, y = zip(*points, strict=True)
    return Curve([min(tokens, x[-1])], [float(np.interp(tokens, x, y))])
