"""Whitened vectors have no common direction."""

from pathlib import Path

import numpy as np
import pytest

from codeparrot.errors import CodeparrotError
from codeparrot.search import whitening
from codeparrot.search.whitening import fit, unit


def anisotropic(count: int, width: int = 16) -> np.ndarray:
    random = np.random.default_rng(0)
    scales = np.linspace(0.2, 3, width)
    return unit((random.normal(size=(count, width)) * scales + 5).astype(np.float32))


def test_whitened_vectors_have_mean_0_and_covariance_1() -> None:
    vectors = anisotropic(2000)
    found = fit(vectors)
    moved = (vectors - found.mean) @ found.matrix
    np.testing.assert_allclose(moved.mean(0), 0, atol=1e-3)
    np.testing.assert_allclose(np.cov(moved.T, bias=True), np.eye(moved.shape[1]), atol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(found.apply(vectors), axis=1), 1, atol=1e-5)


def test_directions_in_which_nothing_differs_are_left_out() -> None:
    vectors = anisotropic(500)
    flat = np.concatenate([vectors, vectors[:, :4]], axis=1)
    assert fit(flat).matrix.shape == (20, fit(vectors).matrix.shape[1])
    assert fit(vectors[:3]).matrix.shape[1] <= 2
    assert fit(vectors, directions=5).matrix.shape[1] == 5


def test_the_order_of_the_vectors_does_not_matter() -> None:
    vectors = anisotropic(300)
    first, second = fit(vectors), fit(vectors[::-1])
    np.testing.assert_allclose(first.apply(vectors), second.apply(vectors), atol=1e-4)


def test_a_whitening_is_read_as_it_was_written(tmp_path: Path) -> None:
    found = fit(anisotropic(100))
    found.save(tmp_path / "whitening.safetensors")
    again = whitening.load(tmp_path / "whitening.safetensors")
    assert all(np.array_equal(one, other) for one, other in zip(found, again, strict=True))
    (tmp_path / "whitening.safetensors").write_bytes(b"x")
    with pytest.raises(CodeparrotError, match="fit it again"):
        whitening.load(tmp_path / "whitening.safetensors")


@pytest.mark.parametrize("vectors", [anisotropic(1), np.repeat(anisotropic(1), 5, axis=0)])
def test_too_few_vectors_are_refused(vectors: np.ndarray) -> None:
    with pytest.raises(CodeparrotError, match="--whiten false"):
        fit(vectors)
