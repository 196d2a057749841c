"""Sequences side by side in slots: one forward pass gives each of them a token.

Guarantee, for a multiple of 16 rows, and for what rows.py measures: the logits of a sequence are a function of its own tokens,
on a CPU in float32 to the last bit. By construction, each prompt is read by itself, a sequence starts at the beginning of its
slot (slots.py), and attention and activations treat each row by itself (attention.py, activations.py). By measurement, with
torch 2.13 and MKL, a matrix product of a multiple of 16 rows orders the sums of a row the same way for any number of rows and
threads; one of 1 to 9 rows does not. Tests hold both. GPUs choose kernels by size: completions can differ there in the rare
place where a last bit decides.
"""

import contextlib
import inspect
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import torch

from codeparrot.generation.activations import even_activations
from codeparrot.generation.attention import FUSED, ROWWISE, attention
from codeparrot.generation.gpt2 import Steps, has_steps, own_forward
from codeparrot.generation.prefixes import BLOCK, PrefixCache
from codeparrot.generation.prompts import context_length
from codeparrot.generation.reading import Reading, SlotReading
from codeparrot.generation.rows import Measured, Multiples, fast_products, pass_tokens
from codeparrot.generation.slots import Slots
from codeparrot.model.attention import kernels

GRANULARITY = 64
"""Attention reads a multiple of this many tokens."""


class Batch(Protocol):
    """The engine's view of a model: rows of sequences, filled from the first row on."""

    def in_use(self) -> AbstractContextManager[None]:
        """Prepare the model for this batch within the block."""
        ...

    def reserve(self, count: int, length: int) -> None:
        """Make room for `count` sequences of `length` tokens."""

    def read(self, ids: Sequence[int], num_likely: int | None = None) -> Reading:
        """Begin to read a prompt, with the likelihoods of its tokens and of so many others in the place of each, if wanted."""
        ...

    def put(self, row: int, reading: Any) -> None:
        """Start a sequence with the prompt of this batch that has been read, in the first free row."""

    def forward(self, newest: Sequence[int]) -> torch.Tensor:
        """Give each row its newest token and return the logits [rows, vocabulary] after them, float32."""
        ...

    def leave(self, row: int) -> None:
        """End the sequence in a row; the one in the last row takes its place."""

    def wipe(self, row: int) -> None:
        """Forget what a row holds, before it leaves."""

    def clear(self) -> None:
        """Give memory back that is kept for prompts to come."""


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

    def __init__(self, model: Any, multiple: int | None, cache_tokens: int = 0) -> None:
        """
        Args:
            model: of the sequences.
            multiple: what rows are filled up to; None: what this machine allows, which is measured, with fast products.
            cache_tokens: tokens of prompts' beginnings that are kept; then, and only then, prompts are read in blocks.
        """
        self._model, self._multiple = model, multiple
        self._filled, self._pass = Multiples(multiple or 1, multiple or 1), BLOCK
        self._measured = Measured()
        self._context = context_length(model)
        self._slots = Slots(0, 0, GRANULARITY, model.device)
        self._lengths: list[int] = []
        """How many tokens of each row the model was given."""
        self._prefixes = PrefixCache(cache_tokens) if cache_tokens else None
        self._last: SlotReading | None = None
        self._only_live = False
        self._steps: Steps | None = None

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        # Not cuDNN, which torch prefers on an H100 or B200: it plans some 30 ms for each new length. Flash takes no mask.
        way = attention(self._model, FUSED if self._multiple == 1 else ROWWISE)
        even = contextlib.nullcontext() if self._multiple == 1 else even_activations(self._model)
        with way, kernels(self._model.device, "efficient"), even, self._products():
            # A model that computes attention by itself, or on another device, needs keys and values for the padding too.
            rowwise = self._model.config._attn_implementation == ROWWISE
            self._only_live = rowwise and self._model.device.type == "cpu"
            yield

    @contextlib.contextmanager
    def _products(self) -> Iterator[None]:
        if self._multiple is not None:
            yield
            return
        with fast_products(self._model, self._measured) as self._filled, own_forward(self._model) as is_own:
            if is_own and self._prefixes is not None:
                self._measured.pass_tokens = self._measured.pass_tokens or pass_tokens(self._model, self._filled.tokens)
                self._pass = self._measured.pass_tokens
            self._steps = Steps(self._model) if is_own and has_steps(self._model) else None
            try:
                yield
            finally:
                self._steps = None

    def reserve(self, count: int, length: int) -> None:
        self._slots.reserve(self._rounded(count), length)

    def _rounded(self, count: int) -> int:
        return -(-count // self._filled.rows) * self._filled.rows

    def read(self, ids: Sequence[int], num_likely: int | None = None) -> SlotReading:
        """Begin to read a prompt. The last one is kept, so its other samples need no reading."""
        last = self._last
        if last is not None and last.done and (last.ids, last.num_likely) == (tuple(ids), num_likely):
            last.cached = len(last.ids)
            return last
        self._last = None  # give its memory back first
        self._last = SlotReading(self._model, ids, self._filled.tokens, self._context, num_likely, self._prefixes, self._pass)
        return self._last

    def put(self, row: int, reading: SlotReading) -> None:
        assert row == len(self._lengths)
        self._slots.put(row, reading.cache, len(reading.ids))
        self._lengths.append(len(reading.ids))

    def forward(self, newest: Sequence[int]) -> torch.Tensor:
        count, rows = len(newest), self._rounded(len(newest))
        ids = torch.tensor([*newest, *[0] * (rows - count)], device=self._model.device)[:, None]
        live = count if self._only_live else rows
        given = self._slots.next_token(rows, live, max(self._lengths))
        if self._steps is None:
            logits = self._model(input_ids=ids, **given).logits[:, -1]
        else:
            logits = self._steps.logits(ids[:, 0], self._slots, given["attention_mask"][:, 0, 0])
        self._slots.advance(count)
        self._lengths = [length + 1 for length in self._lengths]
        return logits[:count].float()

    def wipe(self, row: int) -> None:
        self._slots.wipe(row)

    def clear(self) -> None:
        self._last = None
        if self._prefixes is not None:
            self._prefixes.clear()

    def leave(self, row: int) -> None:
        last = len(self._lengths) - 1
        length = self._lengths.pop()
        if row < last:
            self._slots.move(last, row, length)
            self._lengths[row] = length
        self._slots.clear(last)
