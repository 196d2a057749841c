"""How the vectors of a text's tokens become one. Importing this module imports nothing heavy."""

from typing import Any, Literal

from codeparrot.model.kinds import kind_stored

Pooling = Literal["auto", "mean", "last"]
"""auto: last for causal models, whose last token alone has seen all others, mean for others."""


def pooling_of(pooling: Pooling, config: Any) -> Literal["mean", "last"]:
    """Return what auto means for a model."""
    return pooling if pooling != "auto" else "last" if kind_stored(config) == "causal" else "mean"
