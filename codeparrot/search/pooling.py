"""How the vectors of a text's tokens become one. Importing this module imports nothing heavy."""

from typing import Literal

Pooling = Literal["auto", "mean", "last"]
"""auto: mean. In a causal model the last token alone has seen all others, but its vector is for what comes next: the mean found
more in every search that was measured (docs/LOG.md)."""


def pooling_of(pooling: Pooling) -> Literal["mean", "last"]:
    """Return what auto means."""
    return "mean" if pooling == "auto" else pooling
