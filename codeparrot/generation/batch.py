"""Sequences side by side in slots: one forward pass a token for all of them.

Guarantee, for a multiple of 16 rows: the logits of a sequence are a function of its own tokens, on a CPU in float32 to the last
bit. By construction, each prompt is read by itself, a sequence lies in a slot that begins with it (slots.py), and attention
treats each row by itself (attention.py). By measurement, with torch 2.13 and MKL, a matrix product of at least 16 rows, a
multiple of 16, orders the sums of a row alike whatever the number of rows and threads; one of 1 to 9 rows does not. Tests hold
both. On GPUs kernels are chosen by size: there completions can differ in the rare place where a last bit decides.
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

GRANULARITY = 64
"""Attention reads a multiple of so many tokens."""


class Batch(Protocol):
    """What the engine has of a model: rows of sequences, the first of them taken."""

    def reserve(self, count: int, length: int) -> None:
        """Have room for `count` sequences of `length` tokens."""

    def read(self, ids: Sequence[int]) -> torch.Tensor:
        """Read a prompt and return the logits [1, vocabulary] behind it, float32."""
        ...

    def put(self, row: int) -> None:
        """Start a sequence with the prompt that was read last, in the first row that is free."""

    def forward(self, newest: Sequence[int]) -> torch.Tensor:
        """Give each row its newest token and return the logits [rows, vocabulary] behind them, float32."""
        ...

    def leave(self, row: int) -> None:
        """End the sequence of a row; that of the last row takes its place."""


class NotInSlots(Exception):
    """The model remembers its past in another way than as keys and values of all of it."""


def obstacle(model: Any) -> str:
    """Return in words why sequences of a model can not lie in slots, empty where nothing is known that hinders it."""
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
    """Return to how many tokens a model attends where that is less than its context."""
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
        """Tokens of each row that the model was given."""
        self._read: tuple[tuple[int, ...], Any, torch.Tensor] | None = None

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        with attention(self._model, ROWWISE if self._multiple > 1 else FUSED):
            yield

    def reserve(self, count: int, length: int) -> None:
        self._slots.reserve(self._rounded(count), length)

    def _rounded(self, count: int) -> int:
        return -(-count // self._multiple) * self._multiple

    def read(self, ids: Sequence[int]) -> torch.Tensor:
        """Read a prompt. The last one is kept: its other samples cost no reading.

        Raises:
            NotInSlots: the model keeps something else than keys and values.
        """
        own = tuple(ids)
        if self._read is None or self._read[0] != own:
            self._read = None
            count = self._rounded(len(own))
            # What is behind the prompt changes nothing before it; its positions may be beyond the context.
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
