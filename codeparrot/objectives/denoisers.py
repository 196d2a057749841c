"""Denoisers: how much of a window is taken out, in spans of which length; and mixtures of them (UL2, arXiv:2205.05131).

A window has one denoiser, drawn by its key. Inputs and targets have lengths that the denoiser says. Batches are as long as the
longest; the rest is padding. UL2's mode tokens are left out: what is missing, and how it is marked, shows the denoiser.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import accumulate
from typing import Any, NamedTuple

from codeparrot.errors import CodeparrotError, nearest
from codeparrot.setting import ABOVE_0, Rule, check_number, setting
from codeparrot.stream.order import draw

BETWEEN_0_AND_1 = Rule("above 0 and below 1", lambda value: 0 < value < 1)
MIXTURE = "objective.mixture"
ALL_IN_ONE = 0
"""`mean_span` of a denoiser that takes out the end of a window."""


class Sizes(NamedTuple):
    """What the windows of a length become, in tokens."""

    noise: int
    spans: int
    inputs: int
    targets: int


@dataclass(frozen=True)
class Denoiser:
    """One part of a mixture."""

    rate: float = setting(0.15, rule=BETWEEN_0_AND_1)
    """Share of the tokens that are taken out."""
    mean_span: float = setting(3.0, rule=Rule("0, or at least 1", lambda value: value == ALL_IN_ONE or value >= 1))
    """Tokens in a span, on average; 0: all in one, the end of the window."""
    weight: float = setting(1.0, rule=ABOVE_0)
    """Its share of the windows, beside the weights of the others."""

    def sizes(self, length: int, whole: bool) -> Sizes:
        """Return what windows of `length` tokens, at least 2, become: T5's random_spans_noise_mask.

        Args:
            length: of the windows.
            whole: whether the whole text is written.
        """
        noise = min(max(round(length * self.rate), 1), length - 1)
        spans = min(max(round(noise / self.mean_span), 1), length - noise) if self.mean_span else 1
        return Sizes(noise, spans, length - noise + spans + 1, 1 + (length if whole else noise + spans))

    def __str__(self) -> str:
        spans = f"in spans of {self.mean_span:g} on average" if self.mean_span else "at the end"
        return f"{self.rate:.0%} of the tokens {spans}"


UL2 = (
    *(Denoiser(0.15, 3), Denoiser(0.15, 8)),  # R, regular
    Denoiser(0.25, ALL_IN_ONE),  # S, sequential
    *(Denoiser(0.5, 3), Denoiser(0.5, 8), Denoiser(0.15, 64), Denoiser(0.5, 64)),  # X, extreme
)
"""Table 1 of the paper, each as often as any other."""


def denoisers_of(mixture: str | list[Any]) -> tuple[Denoiser, ...]:
    """Return the denoisers of `objective.mixture`, which is not none.

    Raises:
        CodeparrotError: an entry is no denoiser.
    """
    if mixture == "ul2":
        return UL2
    if not isinstance(mixture, list) or not mixture:
        shown = "empty" if mixture == [] else mixture
        raise CodeparrotError(f"{MIXTURE} is {shown}; it must be none, ul2, or a list of {{rate, mean_span, weight}}")
    return tuple(_denoiser(entry, f"{MIXTURE}, denoiser {number}") for number, entry in enumerate(mixture, 1))


def _denoiser(entry: Any, where: str) -> Denoiser:
    if isinstance(entry, Denoiser):
        return entry
    if not isinstance(entry, Mapping):
        raise CodeparrotError(f"{where} is {entry}; write {{rate: 0.15, mean_span: 3}}")
    known = {field.name: field.metadata["rule"] for field in fields(Denoiser)}
    for name, value in entry.items():
        if name not in known:
            raise CodeparrotError(f'{where}: there is no "{name}"{nearest(str(name), known)} (known: {", ".join(known)})')
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise CodeparrotError(f"{where}: {name} is {value}; it must be a number")
        check_number(f"{where}: {name}", value, known[name])
    return Denoiser(**entry)


def chosen(mixture: Sequence[Denoiser], key: str) -> Denoiser:
    """Return the denoiser of a window."""
    if len(mixture) == 1:
        return mixture[0]
    sums = list(accumulate(each.weight for each in mixture))
    place = draw(1 << 53, key, "denoiser") / (1 << 53) * sums[-1]
    return next(each for each, up_to in zip(mixture, sums, strict=True) if place < up_to)


def longest(mixture: Sequence[Sizes]) -> tuple[int, int]:
    """Return the tokens of inputs and targets that all windows have, padding included."""
    return max(each.inputs for each in mixture), max(each.targets for each in mixture)


def padding(mixture: Sequence[Denoiser], sizes: Sequence[Sizes]) -> tuple[float, float]:
    """Return the shares of padding in inputs and in targets, in the mean."""
    total = sum(each.weight for each in mixture)
    pairs = list(zip(mixture, sizes, strict=True))
    read, written = longest(sizes)
    inputs = sum(each.weight * own.inputs for each, own in pairs) / total
    return 1 - inputs / read, 1 - sum(each.weight * own.targets for each, own in pairs) / total / written
