"""Samples as transformers' `generate` does, with torch's random numbers: `codeparrot complete` draws this way.

Guarantee: with the same logits and seed s, a request that is row r of n gets exactly the tokens of row r that
`torch.manual_seed(s); model.generate(do_sample=True, num_return_sequences=n)` draws.

torch.multinomial draws one token per row as argmax(p / q), with exponential noise q of the shape of p (the exponential form of
the Gumbel trick). So the noise of a step depends on the seed, the step, the number of rows and the vocabulary, and not on the
rows' contents; rows that have ended still consume theirs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from transformers import TemperatureLogitsWarper, TopPLogitsWarper

if TYPE_CHECKING:
    from codeparrot.generation.requests import Completion


class Noise:
    """The noise of rows that are sampled side by side. Any step can be requested; rows at the same step cost least."""

    def __init__(self, seed: int | None, num_rows: int, device: torch.device) -> None:
        self._generator = torch.Generator(device)
        if seed is None:
            self._generator.seed()
        else:
            self._generator.manual_seed(seed)
        self._num_rows = num_rows
        self._states: list[torch.Tensor] = []
        """State of the generator before each step that was drawn."""
        self._drawn: tuple[int, torch.Tensor] | None = None

    def of_row(self, row: int, step: int, size: int) -> torch.Tensor:
        """Return the noise [size] of a row at a step, for a vocabulary of `size` tokens."""
        if self._drawn is None or self._drawn[0] != step:
            if step < len(self._states):
                self._generator.set_state(self._states[step])
            for number in range(min(step, len(self._states)), step + 1):
                self._states[number:] = [self._generator.get_state()]
                noise = torch.empty(self._num_rows, size, device=self._generator.device)
                self._drawn = number, noise.exponential_(1, generator=self._generator)
        assert self._drawn is not None
        return self._drawn[1][row]


@dataclass(frozen=True)
class Multinomial:
    """One of several rows that share their noise."""

    temperature: float
    """0: the likeliest token each time."""
    top_p: float
    noise: Noise
    row: int = 0

    def start(self) -> None:
        return None

    @staticmethod
    def draw(logits: torch.Tensor, completions: Sequence["Completion"]) -> list[int]:
        samplers: list[Any] = [completion.request.sampler for completion in completions]
        tokens = [0] * len(completions)
        for wanted in {(sampler.temperature, sampler.top_p) for sampler in samplers}:
            rows = [row for row, sampler in enumerate(samplers) if (sampler.temperature, sampler.top_p) == wanted]
            scores = logits if len(rows) == len(tokens) else logits[rows]
            if wanted[0] > 0:
                drawn = ((samplers[row], len(completions[row].ids)) for row in rows)
                noise = [sampler.noise.of_row(sampler.row, step, logits.shape[1]) for sampler, step in drawn]
                scores = _probabilities(scores, *wanted) / torch.stack(noise)
            for row, token in zip(rows, scores.argmax(-1).tolist(), strict=True):
                tokens[row] = token
        return tokens


def _probabilities(scores: torch.Tensor, temperature: float, top_p: float) -> torch.Tensor:
    unread: Any = None  # warpers take the tokens but do not read them
    if temperature != 1:
        scores = TemperatureLogitsWarper(float(temperature))(unread, scores)  # type: ignore[arg-type]
    if top_p < 1:
        scores = TopPLogitsWarper(top_p)(unread, scores)  # type: ignore[arg-type]
    return torch.softmax(scores, -1)
