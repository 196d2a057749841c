"""Connected components by union-find on whole arrays. Memory: 4 bytes per member (8 from 2**31 members on)."""

import numpy as np
from numpy.typing import NDArray


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
        while True:
            above = self._parent[self._parent]
            if np.array_equal(above, self._parent):
                return above
            self._parent = above

    def _find(self, members: NDArray[np.integer]) -> NDArray[np.integer]:
        roots = self._parent[members]
        while True:
            above = self._parent[roots]
            if np.array_equal(above, roots):
                return roots
            # Halve the paths, so that they stay short.
            self._parent[members] = above
            roots = self._parent[above]
