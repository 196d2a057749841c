import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codeparrot.figures import LINE_WIDTH, count_in_words, make, png, save, size_in_words, smooth, widths

VALUES = st.lists(st.floats(-1e6, 1e6) | st.just(math.nan), max_size=60)


@pytest.mark.parametrize(
    ("size", "words"), [(0, "0 bytes"), (999, "999 bytes"), (1500, "1.5 kB"), (2.5e9, "2.5 GB"), (4e12, "4 TB")]
)
def test_sizes_in_words(size: float, words: str) -> None:
    assert size_in_words(size) == words


def test_numbers_in_words() -> None:
    assert [count_in_words(number) for number in (0, 950, 1500, 2e6, 3e9)] == ["0", "950", "1.5k", "2M", "3B"]


def test_a_picture_is_the_same_in_memory_and_in_a_file(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("figures")
    figure, (axes,) = make((4, 3))
    axes.plot([1, 2], [3, 4])
    save(figure, folder / "a.png")
    assert (folder / "a.png").read_bytes() == png(figure)
    assert [file.name for file in folder.iterdir()] == ["a.png"]


def test_a_curve_that_later_ones_cover_is_wider() -> None:
    x, gap = [0.0, 1.0, 2.0, 3.0], math.nan
    rising, falling = (x, [0.0, 1.0, 2.0, 3.0]), (x, [3.0, 2.0, 1.0, 0.0])
    half = ([0.5, 1.5, 2.5, 3.5], [0.5, 1.5, gap, 9.0])
    assert widths([rising, falling], 0.1) == [LINE_WIDTH, LINE_WIDTH]
    wide, narrow, other = widths([rising, half, falling], 0.1)
    assert wide > 2 * narrow and narrow == other == LINE_WIDTH
    first, second, third = widths([rising] * 3, 0.1)
    assert first > second > third == LINE_WIDTH
    from_one_place = [([0.0, 9.0], [5.0, end]) for end in (1.0, 2.0)]
    assert widths(from_one_place, 0.1) == [LINE_WIDTH] * 2
    assert widths([([], []), (x, [gap] * 4), rising, ([9.0], [1.0])], 0.1) == [LINE_WIDTH] * 4


@given(VALUES)
def test_smoothing_stays_within_the_values_keeps_gaps_and_starts_at_the_first(values: list[float]) -> None:
    smoothed = smooth(values)
    known = [value for value in values if not math.isnan(value)]
    assert [math.isnan(value) for value in smoothed] == [math.isnan(value) for value in values]
    slack = 1e-6 * max(map(abs, known), default=0)
    assert all(min(known) - slack <= value <= max(known) + slack for value in smoothed if not math.isnan(value))
    assert not values or math.isnan(values[0]) or smoothed[0] == pytest.approx(values[0])


def test_smoothing_takes_out_noise_and_leaves_the_trend() -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 2000)
    trend = 2 + 6 / (1 + np.arange(2000) / 20)
    error = np.abs(np.asarray(smooth((trend + noise).tolist())) - trend)
    assert error[100:].mean() < 0.02 and error[:20].max() < 0.4
