"""Samplers: how a completion draws its tokens.

A sampler is a description; state that changes while tokens are drawn belongs to the completion. Importing this module does not
import torch.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch

    from codeparrot.generation.requests import Completion

TEMPERATURES = "0 (greedy), or from 0.001 to 100"
"""Logits that are divided by less overflow, and then a distribution is not one."""


def is_temperature(value: float) -> bool:
    return value == 0 or 0.001 <= value <= 100


class Sampler(Protocol):
    """Draws the tokens of one completion. Rows of a batch whose samplers have the same class draw together."""

    def start(self) -> Any:
        """Return the `random` that a completion draws from; called when it begins."""

    @staticmethod
    def draw(logits: "torch.Tensor", completions: Sequence["Completion"]) -> list[int]:
        """Return the next token of each completion. `logits` [rows, vocabulary] are float32."""
        ...


@dataclass(frozen=True)
class Nucleus:
    """Samples among the likeliest tokens that together hold `top_p`, with a name's own random numbers."""

    temperature: float
    """0: the likeliest token each time."""
    top_p: float = 1.0
    """Above 0 and at most 1."""
    name: tuple[object, ...] = (0,)
    """The same name gets the same random numbers, whatever is drawn beside it."""

    def start(self) -> random.Random:
        from codeparrot.generation.nucleus import stream

        return stream(*self.name)

    @staticmethod
    def draw(logits: "torch.Tensor", completions: Sequence["Completion"]) -> list[int]:
        from codeparrot.generation.nucleus import draw

        own: list[Any] = [completion.request.sampler for completion in completions]
        streams = [completion.random for completion in completions]
        return draw(logits, [each.temperature for each in own], [each.top_p for each in own], streams)


GREEDY = Nucleus(temperature=0.0)
