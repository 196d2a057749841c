"""Masked language modelling: some tokens are hidden, and the model predicts them from those on both sides (BERT).

Which tokens, and what stands in their place, is drawn anew for each window of the run, by its number and the seed: in the next
epoch, a text is masked otherwise. A unit is masked whole or not at all (`unit`), and units are taken in a random order until
`rate` of the tokens is reached. Special tokens (ends of documents, sentinels) are never masked, nor put in a token's place.

Windows of validation are masked by what they hold, so that all evaluations of all runs measure the same tokens.

Cost: benchmarks/objectives.py measures it. Windows predict different numbers of tokens (training/packing.py).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import xxhash
from numpy.typing import NDArray

from codeparrot.errors import CodeparrotError
from codeparrot.loading import largest_id, special_ids
from codeparrot.model import IGNORED
from codeparrot.model.kinds import Kind
from codeparrot.objectives import units
from codeparrot.objectives.objective import Examples
from codeparrot.setting import FRACTION, Rule, setting

Window = NDArray[np.int64]
Units = Callable[[Window], NDArray[np.int64]]
"""Returns the number of the unit that each token of a window is in, from 0; NONE for a token that is never masked."""
NONE = units.NO_UNIT


@dataclass(frozen=True)
class Masked:
    """Predict hidden tokens from those on both sides."""

    kind: ClassVar[Kind] = "masked"
    even: ClassVar[bool] = False

    rate: float = setting(0.15, rule=Rule("above 0 and at most 1", lambda value: 0 < value <= 1))
    """Share of the tokens that are predicted; 0.15 as BERT, 0.3 as ModernBERT."""
    mask_share: float = setting(0.8, rule=FRACTION)
    """Share of these that the mask token stands for."""
    random_share: float = setting(0.1, rule=FRACTION)
    """Share of these that another token, drawn at random, stands for; the rest stays as it is."""
    unit: units.Unit = "token"
    """What is masked whole or not at all: a token, a word (part of an identifier), an identifier or a token of Python."""

    def __post_init__(self) -> None:
        if self.mask_share + self.random_share > 1 + 1e-9:
            raise CodeparrotError(
                f"objective.random_share {self.random_share} and objective.mask_share {self.mask_share} are more than all of "
                f"the predicted tokens; set objective.random_share {1 - self.mask_share:.4g} or less"
            )

    @property
    def head_share(self) -> float:
        """Return the share of the tokens that go through the output embedding."""
        return self.rate

    def fitted(self, tokenizer: Any) -> "Masking":
        """Return the objective for a tokenizer of transformers.

        Raises:
            CodeparrotError: it has no mask token.
        """
        if tokenizer.mask_token_id is None:
            raise CodeparrotError(
                "objective.name masked: the tokenizer has no mask token; train one that has, with "
                "`codeparrot tokenizer train --objectives masked`"
            )
        special = {*special_ids(tokenizer), tokenizer.eos_token_id, tokenizer.mask_token_id}
        ids = set(tokenizer.get_vocab().values())
        never = np.ones(largest_id(tokenizer) + 1, bool)
        never[sorted(ids - special)] = False
        return Masking(self, tokenizer.mask_token_id, never, np.flatnonzero(~never), units_of(self.unit, tokenizer, never))

    def card(self) -> str:
        rest = 1 - self.mask_share - self.random_share
        shares = f"{self.mask_share:.0%} hidden, {self.random_share:.0%} replaced, {abs(rest):.0%} kept"
        return f"masked language modelling, {self.rate:.0%} of the tokens ({shares}), by the {self.unit}"


def units_of(unit: units.Unit, tokenizer: Any, never: NDArray[np.bool_]) -> Units:
    """Return what finds the units of a window.

    Args:
        unit: `objective.unit`.
        tokenizer: of transformers.
        never: [vocabulary], whether a token is never masked.

    Raises:
        CodeparrotError: the tokenizer does not work on bytes.
    """
    if unit == "token":
        return lambda window: np.where(never[window], NONE, np.arange(len(window)))
    found = units.units_of(tokenizer, unit)
    return lambda window: np.where(never[window], NONE, found(window))


@dataclass(frozen=True)
class Masking:
    """The objective of a run, with what it takes from the tokenizer."""

    kind: ClassVar[Kind] = "masked"
    even: ClassVar[bool] = False

    settings: Masked
    mask: int
    """The mask token."""
    never: NDArray[np.bool_]
    """[vocabulary], whether a token is never masked."""
    others: NDArray[np.int64]
    """The tokens that may stand for another one."""
    units: Units

    @property
    def head_share(self) -> float:
        return self.settings.head_share

    def examples(self, windows: NDArray[np.int64], numbers: Sequence[int], seed: int) -> Examples:
        made = [self._masked(window, f"mask/{seed}/{number}") for window, number in zip(windows, numbers, strict=True)]
        return Examples(*map(np.stack, zip(*made, strict=True)))

    def of_validation(self, window: Window) -> tuple[Window, Window]:
        """Return input ids and labels of a window by what it holds: the same in each evaluation of each run."""
        return self._masked(window, f"mask/validation/{xxhash.xxh3_128_hexdigest(window.astype('<i8').tobytes())}")

    def card(self) -> str:
        return self.settings.card()

    def _masked(self, window: Window, key: str) -> tuple[Window, Window]:
        settings, count = self.settings, len(window)
        numbers = self.units(window)
        _, members, sizes = np.unique(numbers, return_inverse=True, return_counts=True)
        offset = int((numbers == NONE).any())  # NONE sorts first
        members, sizes = members - offset, sizes[offset:]
        # Numbers of three independent draws, as in stream/order.py: raw ones, which no release of numpy changes.
        order, fate, place = np.random.Philox(key=xxhash.xxh3_128_intdigest(key.encode())).random_raw(3 * count).reshape(3, -1)
        by_chance = np.argsort(order[: len(sizes)], kind="stable")
        enough = np.searchsorted(np.cumsum(sizes[by_chance]), self._wanted(int(sizes.sum()))) + 1
        chosen = np.zeros(len(sizes) + 1, bool)  # the last one stands for NONE, whose member is -1
        chosen[by_chance[:enough]] = True
        hidden = chosen[members]
        share = (fate >> np.uint64(11)) * 2.0**-53
        of_unit = share[members]
        masked = hidden & (of_unit < settings.mask_share)
        replaced = hidden & ~masked & (of_unit < settings.mask_share + settings.random_share)
        drawn = self.others[(place % np.uint64(max(1, len(self.others)))).astype(np.int64)]
        input_ids = np.where(masked, self.mask, np.where(replaced, drawn, window))
        return input_ids, np.where(hidden, window, IGNORED)

    def _wanted(self, maskable: int) -> int:
        """Return how many of the tokens that may be masked are."""
        return max(1, round(self.settings.rate * maskable))
