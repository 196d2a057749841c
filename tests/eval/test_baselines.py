"""The baselines are what their names say: distributions that sum to one, counts of a text-book, bits of a real compressor."""

import lzma
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codeparrot.eval.baselines import NGrams, xz_bits_per_byte

VOCABULARY = 6
WINDOWS = st.lists(st.lists(st.integers(0, VOCABULARY - 1), min_size=12, max_size=12), min_size=1, max_size=20).map(np.array)


@settings(deadline=None)
@given(WINDOWS, st.lists(st.integers(0, VOCABULARY - 1), min_size=0, max_size=8), st.integers(1, 5))
def test_probabilities_of_all_tokens_sum_to_one(windows, context, order) -> None:
    model = NGrams(windows, VOCABULARY, order)
    rows = [np.array([*context, token]) for token in range(VOCABULARY)]
    assert sum(model.probabilities(row)[-1] for row in rows) == pytest.approx(1)


def kneser_ney(windows: np.ndarray, history: list[int], token: int, order: int) -> float:
    """The text-book's recursion, with dictionaries."""
    lower = 1 / VOCABULARY
    for size in range(1, min(order, len(history) + 1) + 1):
        counts: Counter[tuple[int, ...]] = Counter()
        grams = lambda length: [tuple(row[i : i + length]) for row in windows.tolist() for i in range(len(row) - length + 1)]  # noqa: E731
        if size == order:
            counts.update(grams(size))
        else:
            counts.update(gram[1:] for gram in set(grams(size + 1)))
        values = list(counts.values())
        once, twice = values.count(1), values.count(2)
        discount = once / (once + 2 * twice) if once else 0.5
        behind: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for gram, count in counts.items():
            behind[gram[:-1]].append(count)
        context = tuple(history[len(history) - size + 1 :])
        total = sum(behind[context])
        if total:
            count = counts[(*context, token)]
            lower = (max(count - discount, 0) + discount * len(behind[context]) * lower) / total
    return lower


@settings(deadline=None, max_examples=50)
@given(WINDOWS, st.lists(st.integers(0, VOCABULARY - 1), min_size=2, max_size=8), st.integers(1, 4))
def test_probabilities_are_those_of_the_text_book(windows, window, order) -> None:
    found = NGrams(windows, VOCABULARY, order).probabilities(np.array(window))
    expected = [kneser_ney(windows, window[:place], token, order) for place, token in enumerate(window)]
    assert found.tolist() == pytest.approx(expected)


def test_a_model_of_text_that_repeats_knows_what_follows() -> None:
    windows = np.tile(np.arange(6), (50, 4))
    token_bytes = np.array([1, 2, 3, 4, 5, 6])
    again = NGrams(windows, VOCABULARY).bits_per_byte([windows[0], windows[1]], token_bytes)
    # 23 predicted tokens of each window.
    assert again < 0.1 < np.log2(6) / 3.5 < NGrams(windows, VOCABULARY).bits_per_byte([windows[0][::-1]], token_bytes)


def test_bits_of_xz_are_those_of_xz() -> None:
    texts = ["def f(x):\n    return x\n" * 50, "é" * 100]
    whole = "\n".join(texts).encode()
    assert xz_bits_per_byte(texts) == 8 * len(lzma.compress(whole, preset=9 | lzma.PRESET_EXTREME)) / len(whole)
