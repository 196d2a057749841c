"""Tokens have the shares that nucleus sampling defines, row by row."""

import numpy as np
import pytest
import torch

from codeparrot.generation.nucleus import draw, stream


def nucleus(logits: np.ndarray, temperature: float, top_p: float) -> np.ndarray:
    """The definition: sort, cut, scale."""
    scaled = np.exp((logits - logits.max()) / temperature)
    probabilities = scaled / scaled.sum()
    order = np.argsort(-probabilities, kind="stable")
    kept = order[: 1 + int((np.cumsum(probabilities[order]) < top_p).sum())]
    result = np.zeros_like(probabilities)
    result[kept] = probabilities[kept] / probabilities[kept].sum()
    return result


@pytest.mark.parametrize("top_p", [0.3, 0.8, 0.95, 1.0])
def test_tokens_have_the_frequencies_of_the_nucleus(top_p) -> None:
    logits = torch.from_numpy(np.random.default_rng(4).normal(0, 1.5, 150).astype(np.float32))
    count = 20_000
    tokens = draw(logits.expand(count, -1), [0.7] * count, [top_p] * count, [stream(1, number) for number in range(count)])
    wanted = nucleus(logits.double().numpy(), 0.7, top_p)
    found = np.bincount(tokens, minlength=150) / count
    assert not found[wanted == 0].any()
    # Total variation over 20,000 draws from at most 150 outcomes.
    assert np.abs(found - wanted).sum() / 2 < 0.03


def test_the_last_token_of_a_vocabulary_and_one_of_no_probability() -> None:
    class Fixed:
        def __init__(self, value: float) -> None:
            self.random = lambda: value

    logits = torch.full((1, 100), -torch.inf)
    logits[0, 99] = 0.0
    assert draw(logits, [1.0], [1.0], [Fixed(0.0)]) == draw(logits, [1.0], [1.0], [Fixed(1 - 2**-53)]) == [99]  # type: ignore[list-item]
    logits[0, 3] = 0.0
    assert draw(logits, [1.0], [1.0], [Fixed(0.0)]) == [3]  # type: ignore[list-item]


def test_random_numbers_belong_to_a_name() -> None:
    assert stream(0, "a", 1, 0.2).random() == stream(0, "a", 1, 0.2).random()
    names = [(0, "a", 1, 0.2), (1, "a", 1, 0.2), (0, "b", 1, 0.2), (0, "a", 2, 0.2), (0, "a", 1, 0.8)]
    assert len({stream(*name).random() for name in names}) == len(names)


def test_each_row_has_its_own_nucleus() -> None:
    logits = torch.from_numpy(np.random.default_rng(5).normal(0, 1.5, (6, 100)).astype(np.float32))
    temperatures, top_ps = [0.0, 0.5, 1.0, 0.5, 1.0, 2.0], [0.9, 1.0, 0.5, 0.1, 1.0, 0.9]
    for number in range(20):
        together = draw(logits, temperatures, top_ps, [stream(number, row) for row in range(6)])
        for row in range(6):
            (alone,) = draw(logits[row : row + 1], temperatures[row : row + 1], [top_ps[row]], [stream(number, row)])
            assert alone == together[row]
