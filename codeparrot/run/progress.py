"""Where a run is."""

from typing import NamedTuple


class Progress(NamedTuple):
    """Where a run is."""

    step: int = 0
    tokens: int = 0
    """Tokens seen, all processes together."""
