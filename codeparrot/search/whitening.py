"""Whitening of vectors: a linear map after which they have no common direction and all directions count alike.

The vectors of a language model point to nearly one side, so that all of them are near each other. Su et al., "Whitening
Sentence Representations for Better Semantics and Faster Retrieval" (2021): x -> (x - mean) U diag(1 / sqrt(variances)), then
length 1. Directions in which the fitted vectors hardly differ are left out: they would be noise made large.

Cost: to fit, products of [texts, width] matrices and one decomposition of [width, width]; seconds for 100,000 texts.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from codeparrot import files
from codeparrot.errors import CodeparrotError

LEAST_VARIANCE = 1e-4
"""Share of the largest variance, below which a direction is left out."""
TEXTS_PER_DIRECTION = 8
"""Texts that a direction needs: as many directions as vectors would put all of these equally far from each other."""
FEWEST_TEXTS = 2 * TEXTS_PER_DIRECTION
"""With fewer there is one direction, in which every cosine is 1 or -1."""
_PIECE = 65_536


class Whitening(NamedTuple):
    """A map from vectors to whitened ones."""

    mean: NDArray[np.float32]
    """[width]."""
    matrix: NDArray[np.float32]
    """[width, directions]."""

    def apply(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return whitened vectors of length 1, [texts, directions]; a vector that is the mean stays 0."""
        return unit((vectors - self.mean) @ self.matrix)

    def save(self, place: Path) -> None:
        """Write a safetensors file; see `files.new_file`."""
        from safetensors.numpy import save_file

        with files.new_file(place) as fresh:
            save_file({"mean": self.mean, "matrix": np.ascontiguousarray(self.matrix)}, fresh)
            files.give_usual_modes([fresh], place.parent)


def unit(vectors: NDArray[Any]) -> NDArray[np.float32]:
    """Return vectors with length 1, those of length 0 as they are."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32)


def fit(vectors: NDArray[np.float32], directions: int | None = None) -> Whitening:
    """Return the whitening of these vectors: their whitened form has mean 0 and, before it gets length 1, covariance 1.

    Args:
        vectors: [texts, width].
        directions: most directions that are kept, those with the largest variances; None: all that differ. There
            is one for every 8 vectors at most.

    Raises:
        CodeparrotError: the vectors are fewer than two, or all the same.
    """
    if len(vectors) < 2:
        raise CodeparrotError("whitening needs at least two vectors: fit it on more texts, or leave it out (--whiten false)")
    mean = vectors.mean(0, dtype=np.float64)
    covariance = np.zeros((vectors.shape[1],) * 2)
    for start in range(0, len(vectors), _PIECE):
        centred = vectors[start : start + _PIECE] - mean
        covariance += centred.T @ centred
    covariance /= len(vectors)
    variances, axes = np.linalg.eigh(covariance)
    variances, axes = variances[::-1], axes[:, ::-1]
    # Rounding of float32 alone gives identical vectors some variance.
    if variances[0] <= 1e-12:
        raise CodeparrotError("whitening needs vectors that differ, and these are all the same: leave it out (--whiten false)")
    # An axis and its opposite are as good: the largest number of each is positive, so that two fits of the same vectors agree.
    axes = axes * np.sign(axes[np.abs(axes).argmax(0), range(axes.shape[1])])
    known = max(1, len(vectors) // TEXTS_PER_DIRECTION)
    kept = slice(0, min(int((variances > LEAST_VARIANCE * variances[0]).sum()), known, directions or len(variances)))
    return Whitening(mean.astype(np.float32), (axes[:, kept] / np.sqrt(variances[kept])).astype(np.float32))


def fit_if_enough(vectors: NDArray[np.float32]) -> Whitening | None:
    """Return the whitening of these vectors, as `fit` does; None for fewer than FEWEST_TEXTS."""
    return fit(vectors) if len(vectors) >= FEWEST_TEXTS else None


def in_words(wanted: bool, fitted: bool) -> str:
    """Return whether vectors are whitened, in words; empty for vectors that were not to be."""
    if wanted and not fitted:
        return f"not whitened: that needs {FEWEST_TEXTS} different texts"
    return "whitened" if wanted else ""


def load(place: Path) -> Whitening:
    """Return the whitening in a file.

    Raises:
        CodeparrotError: the file is missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return Whitening(**load_file(place))
    except (OSError, SafetensorError, TypeError) as error:
        raise CodeparrotError(f"{place} holds no whitening ({error}): fit it again") from error
