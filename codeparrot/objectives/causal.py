"""Causal language modelling: the model predicts each token of a window from those before it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from codeparrot.objectives.objective import Examples


@dataclass(frozen=True)
class Causal:
    """Predict each token from those before it."""

    def examples(self, windows: NDArray[np.int64], numbers: Sequence[int], seed: int) -> Examples:
        return Examples(windows, windows)

    def card(self) -> str:
        return "causal language modelling"
