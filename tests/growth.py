"""How time grows with the length of a text: ratios hold on any machine, where seconds do not."""

import time
from collections.abc import Callable

NOISE = 0.003
"""Seconds below which a measurement says little."""


def check_linear(work: Callable[[int], object], small: int, large: int) -> None:
    """Check that processor time grows with a size, and not with its square.

    Args:
        work: does it for a size.
        small, large: sizes; ten times as large would take a hundred times as long by the square, and thirty are allowed.
    """

    def seconds(size: int) -> float:
        start = time.process_time()
        work(size)
        return time.process_time() - start

    least = min(seconds(small) for _ in range(3))
    most = min(seconds(large) for _ in range(2))
    assert most < 3 * large / small * max(least, NOISE), (least, most)
