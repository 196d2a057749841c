"""Random numbers that begin alike for every program: a verdict must not depend on them, nor on the programs judged before."""

from contextlib import suppress


def begin(*sources: str) -> None:
    """Seed the generators that sources name. Others are not imported, which would cost every program milliseconds."""
    if not any("random" in source for source in sources):
        return
    import random

    random.seed(0)
    if any("numpy" in source for source in sources):
        with suppress(ImportError):  # programs have no NumPy, and tests only where it is installed
            import numpy

            numpy.random.seed(0)
