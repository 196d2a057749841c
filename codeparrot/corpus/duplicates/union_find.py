"""Connected components by union-find on whole arrays. Memory: 5 bytes per member (9 from 2**31 members on)."""

import numpy as np
from numpy.typing import NDArray

TOGETHER = 1 << 20
"""Members looked at at once, so that what is computed of them is small."""


class UnionFind:
    """The members 0 to `count` - 1, each alone at first. The root of a component is its smallest member."""

    def __init__(self, count: int) -> None:
        self._parent = np.arange(count, dtype=np.int32 if count < 1 << 31 else np.int64)

    def join(self, pairs: NDArray[np.int64]) -> None:
        """Unite the two members of every pair (k, 2)."""
        parent = self._parent
        left, right = pairs[:, 0], pairs[:, 1]
        while len(left):
            left, right = self._find(left), self._find(right)
            apart = left != right
            left, right = left[apart], right[apart]
            # If a root is hooked to several roots, the smallest stays; the other pairs come again.
            np.minimum.at(parent, np.maximum(left, right), np.minimum(left, right))

    def roots(self) -> NDArray[np.integer]:
        """Return the root of every member."""
        parent, changed = self._parent, True
        while changed:
            changed = False
            # In place, a part after the other: parents only come nearer to their roots.
            for start in range(0, len(parent), TOGETHER):
                above = parent[parent[start : start + TOGETHER]]
                changed |= not np.array_equal(above, parent[start : start + TOGETHER])
                parent[start : start + TOGETHER] = above
        return parent

    def joined(self) -> tuple[NDArray[np.int64], NDArray[np.integer]]:
        """Return the members that are not alone, and their roots."""
        roots = self.roots()
        below = np.zeros(len(roots), np.bool_)
        for start in range(0, len(roots), TOGETHER):
            some = roots[start : start + TOGETHER]
            others = np.flatnonzero(some != np.arange(start, start + len(some)))
            below[others + start] = below[some[others]] = True
        numbers = np.flatnonzero(below)
        return numbers, roots[numbers]

    def _find(self, members: NDArray[np.integer]) -> NDArray[np.integer]:
        roots = self._parent[members]
        while True:
            above = self._parent[roots]
            if np.array_equal(above, roots):
                return roots
            # Halve the paths, so that they stay short.
            self._parent[members] = above
            roots = self._parent[above]
