"""Causal language modelling: the model predicts each token of a window from those before it.

With `fim_rate`, some documents are changed before they are packed, so that it also learns to fill in their middles (fim.py).
Documents of sources with descriptions are learned as pairs (pairs.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codeparrot.objectives.fim import Level, Middles
from codeparrot.objectives.objective import Examples
from codeparrot.objectives.pairs import Pairs
from codeparrot.setting import FRACTION, setting
from codeparrot.stream.sentinels import require_sentinels


@dataclass(frozen=True)
class Causal:
    """Predict each token from those before it."""

    fim_rate: float = setting(0.0, rule=FRACTION)
    """Share of the documents whose middle is taken out and put last, drawn anew in each epoch; 0.5 is usual."""
    fim_spm_rate: float = setting(0.5, rule=FRACTION)
    """Share of these in which the suffix comes before the prefix, piece by piece."""
    fim_level: Level = "character"
    """Where a middle may begin and end: between any two characters, at the starts of lines, or between tokens."""
    describe_rate: float = setting(0.5, rule=FRACTION)
    """Of sources with descriptions, the share of the pairs whose description is predicted from the code, drawn anew in each
    epoch; of the others the code is predicted from the description."""

    def examples(self, windows: NDArray[np.int64], numbers: Sequence[int], seed: int) -> Examples:
        return Examples(windows, windows)

    def transform(self, tokenizer: Any, seed: int, seq_length: int) -> Middles | None:
        if not self.fim_rate:
            return None
        sentinels = require_sentinels(tokenizer, f"objective.fim_rate {self.fim_rate}")
        rates, end = (self.fim_rate, self.fim_spm_rate), tokenizer.eos_token_id
        return Middles(*rates, self.fim_level, seed, seq_length, sentinels, end)

    def pairs(self, column: str, tokenizer: Any, seed: int, seq_length: int) -> Pairs:
        others = self.transform(tokenizer, seed, seq_length)
        return Pairs(column, self.describe_rate, seed, seq_length, tokenizer.eos_token_id, others)

    def card(self) -> str:
        if not self.fim_rate:
            return "causal language modelling"
        where = {"character": "between characters", "line": "at the starts of lines", "token": "between tokens"}[self.fim_level]
        rates = f"in {self.fim_rate:.0%} of the documents, in {self.fim_spm_rate:.0%} of these the suffix first"
        return f"causal language modelling; fill-in-the-middle {rates}, cut {where}"
