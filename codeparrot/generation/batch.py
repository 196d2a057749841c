"""Sequences side by side in slots: one forward pass gives each of them a token.

Guarantee, for a multiple of 16 rows: the logits of a sequence are a function of its own tokens, on a CPU in float32 to the last
bit. By construction, each prompt is read by itself, a sequence starts at the beginning of its slot (slots.py), and attention
treats each row by itself (attention.py). By measurement, with torch 2.13 and MKL, a matrix product of a multiple of 16 rows
orders the sums of a row the same way for any number of rows and threads; one of 1 to 9 rows does not. Tests hold both. GPUs
choose kernels by size: completions can differ there in the rare place where a last bit decides.
"""

import contextlib
import inspect
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import torch
from transformers.cache_utils import DynamicLayer

from codeparrot.generation.attention import FUSED, ROWWISE, attention
from codeparrot.generation.prompts import context_length
from codeparrot.generation.slots import Slots
from codeparrot.model.attention import kernels

GRANULARITY = 64
"""Attention reads a multiple of this many tokens."""


class Batch(Protocol):
    """The engine's view of a model: rows of sequences, filled from the first row on."""

    def reserve(self, count: int, length: int) -> None:
        """Make room for `count` sequences of `length` tokens."""

    def read(self, ids: Sequence[int]) -> torch.Tensor:
        """Read a prompt and return the logits [1, vocabulary] after it, float32."""
        ...

    def put(self, row: int) -> None:
        """Start a sequence with the prompt that was read last, in the first free row."""

    def forward(self, newest: Sequence[int]) -> torch.Tensor:
        """Give each row its newest token and return the logits [rows, vocabulary] after them, float32."""
        ...

    def leave(self, row: int) -> None:
        """End the sequence in a row; the one in the last row takes its place."""


class NotInSlots(Exception):
    """The model does not remember its past as keys and values of every token."""


def obstacle(model: Any) -> str:
    """Say why sequences of a model cannot lie in slots; return an empty string where no reason is known."""
    config = model.config.get_text_config()
    taken = set(inspect.signature(model.forward).parameters)
    if missing := {"position_ids", "past_key_values", "attention_mask", "logits_to_keep"} - taken:
        return f"they take no {min(missing)}"
    if set(getattr(config, "layer_types", None) or ()) - {"full_attention", "sliding_attention"}:
        return "not all their layers are attention"
    for name, words in (("attn_logit_softcapping", "soft-capped scores"), ("alibi", "ALiBi")):
        if getattr(config, name, None):
            return f"their attention has {words}"
    return ""


def window(model: Any) -> int | None:
    """Return how many tokens a model attends to where that is less than its context."""
    config = model.config.get_text_config()
    if "local" in (getattr(config, "attention_layers", None) or ()):  # GPT-Neo
        return config.window_size
    return getattr(config, "sliding_window", None) if getattr(config, "use_sliding_window", True) else None


class SlotBatch:
    """Rows in slots, filled up to a multiple of `multiple` in each pass."""

    def __init__(self, model: Any, multiple: int) -> None:
        self._model, self._multiple = model, multiple
        self._context = context_length(model)
        self._slots = Slots(0, 0, GRANULARITY, model.device)
        self._lengths: list[int] = []
        """How many tokens of each row the model was given."""
        self._read: tuple[tuple[int, ...], Any, torch.Tensor] | None = None

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        # Not cuDNN, which torch prefers on an H100 or B200: it plans some 30 ms for each new length. Flash takes no mask.
        with attention(self._model, ROWWISE if self._multiple > 1 else FUSED), kernels(self._model.device, "efficient"):
            yield

    def reserve(self, count: int, length: int) -> None:
        self._slots.reserve(self._rounded(count), length)

    def _rounded(self, count: int) -> int:
        return -(-count // self._multiple) * self._multiple

    def read(self, ids: Sequence[int]) -> torch.Tensor:
        """Read a prompt. The last one is kept, so its other samples need no reading.

        Raises:
            NotInSlots: the model keeps something other than keys and values.
        """
        own = tuple(ids)
        if self._read is None or self._read[0] != own:
            self._read = None
            count = self._rounded(len(own))
            # Padding after the prompt changes nothing before it; its positions may lie beyond the context.
            given = torch.tensor([[*own, *[0] * (count - len(own))]], device=self._model.device)
            positions = torch.arange(count, device=given.device).clamp(max=(self._context or count) - 1)
            output = self._model(input_ids=given, position_ids=positions[None], use_cache=True, logits_to_keep=self._multiple)
            if not all(isinstance(layer, DynamicLayer) for layer in output.past_key_values.layers):
                raise NotInSlots
            self._read = own, output.past_key_values, output.logits[:, len(own) - 1 - count].float()
        return self._read[2]

    def put(self, row: int) -> None:
        assert self._read is not None and row == len(self._lengths)
        ids, cache, _ = self._read
        self._slots.put(row, cache, len(ids))
        self._lengths.append(len(ids))

    def forward(self, newest: Sequence[int]) -> torch.Tensor:
        count, rows = len(newest), self._rounded(len(newest))
        ids = torch.tensor([*newest, *[0] * (rows - count)], device=self._model.device)[:, None]
        output = self._model(input_ids=ids, **self._slots.next_token(rows, max(self._lengths)))
        self._slots.advance(count)
        self._lengths = [length + 1 for length in self._lengths]
        return output.logits[:count, -1].float()

    def leave(self, row: int) -> None:
        last = len(self._lengths) - 1
        length = self._lengths.pop()
        if row < last:
            self._slots.move(last, row, length)
            self._lengths[row] = length
        self._slots.clear(last)
