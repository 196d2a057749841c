"""Random numbers that begin alike for every program: a verdict must not depend on them, nor on the programs judged before.

What the system draws itself (`secrets`, `uuid`, `random.SystemRandom`) stays as it is.
"""

import functools
import itertools
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

_seeds: Iterator[int] = itertools.count(1)
"""For generators that are seeded with nothing: they begin alike in every run, and differ from one another."""


def begin(*sources: str) -> None:
    """Seed the generators that sources name. Others are not imported, which would cost every program milliseconds."""
    global _seeds  # noqa: PLW0603 - there is one in a process, like the generators
    if not any("random" in source for source in sources):
        return
    import random

    _seeds = itertools.count(1)
    if not hasattr(random.Random.seed, "__wrapped__"):
        _number_seeds(random)
    random.seed(0)
    if any("numpy" in source for source in sources):
        with suppress(ImportError):  # programs have no NumPy, and tests only where it is installed
            import numpy

            numpy.random.seed(0)


def _number_seeds(random: Any) -> None:
    """Give a generator that is seeded with nothing the next number instead of the system's entropy."""
    own = random.Random.seed

    @functools.wraps(own)
    def seed(self: Any, a: Any = None, version: int = 2) -> None:
        own(self, next(_seeds) if a is None else a, version)

    random.Random.seed = seed
    random.seed = random.seed.__self__.seed
