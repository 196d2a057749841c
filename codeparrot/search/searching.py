"""The nearest chunks of an index.

Guarantee: exact. Every vector is compared, by inner product: the cosine of the angle, since all have length 1.
Cost: one product of the vectors' matrix with the query, and a look at the rows of the hits (benchmarks/search.py).
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from codeparrot.search.store import Version


class Hit(NamedTuple):
    """A chunk that was found."""

    path: str
    start: int
    stop: int
    kind: str
    name: str
    score: float
    """Cosine, at most 1."""
    preview: str
    spans: list[list[int]]
    """First and last line of each run of its own lines."""

    def has_line(self, line: int) -> bool:
        return any(start <= line <= stop for start, stop in self.spans)

    def shares_lines(self, other: "Hit") -> bool:
        """Whether they are of one file and have a line in common."""
        pairs = ((*one, *two) for one in self.spans for two in other.spans)
        return self.path == other.path and any(start <= end and begin <= stop for start, stop, begin, end in pairs)

    @property
    def num_lines(self) -> int:
        return sum(stop - start + 1 for start, stop in self.spans)


class Search:
    """Searches a version of an index."""

    def __init__(self, version: Version) -> None:
        self.version = version
        rows = version.chunks["row"].to_numpy()
        self._order = np.argsort(rows, kind="stable")
        """Numbers of chunks, those of one text side by side."""
        self._starts = np.searchsorted(rows[self._order], np.arange(version.nearest.ntotal + 1))

    def of_vector(self, vector: NDArray[np.float32], top: int) -> list[Hit]:
        """Return the chunks that are nearest to a vector of the model, [width], the nearest first."""
        white = self.version.whitening
        return self._nearest(white.apply(vector[None]) if white else vector[None], top)

    def like(self, chunk: int, top: int) -> list[Hit]:
        """Return the chunks that are nearest to a chunk, without itself and those of its file that share lines with it."""
        own = self.hit(chunk, 1.0)
        vector = self.version.nearest.reconstruct(int(self.version.chunks["row"][chunk].as_py()))

        # Of one file few chunks share lines: those around it and those within.
        extra = sum(own.shares_lines(self.hit(int(each), 0.0)) for each in self._of_file(own.path))
        return [hit for hit in self._nearest(vector[None], top + extra) if not own.shares_lines(hit)][:top]

    def chunk_at(self, path: str, line: int) -> int | None:
        """Return the number of the innermost chunk of a file that has a line; None if none has."""
        hits = [(int(each), self.hit(int(each), 0.0)) for each in self._of_file(path)]
        around = [(hit.num_lines, each) for each, hit in hits if hit.has_line(line)]
        return min(around)[-1] if around else None

    def _of_file(self, path: str) -> NDArray[np.int64]:
        import pyarrow.compute as compute

        equal: Any = compute.equal(self.version.chunks["path"], path)  # pyright: ignore[reportAttributeAccessIssue]
        return np.flatnonzero(equal.to_numpy())

    def _nearest(self, vectors: NDArray[np.float32], top: int) -> list[Hit]:
        scores, rows = self.version.nearest.search(vectors, min(top, self.version.nearest.ntotal))
        found = [
            (int(chunk), float(score))
            for score, row in zip(scores[0], rows[0], strict=True)
            for chunk in self._order[self._starts[row] : self._starts[row + 1]]
        ]
        return [self.hit(chunk, score) for chunk, score in found[:top]]

    def hit(self, chunk: int, score: float = 1.0) -> Hit:
        """Return a chunk by its number."""
        row = self.version.chunks.slice(chunk, 1).to_pylist()[0]
        return Hit(row["path"], row["start"], row["stop"], row["kind"], row["name"], score, row["preview"], row["spans"])
