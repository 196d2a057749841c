"""From a prompt's tokens to the model's keys, values and logits: whole, or block by block.

Guarantees
- The keys, values and logits of a prompt are a function of the model and the prompt, on a CPU in float32 to the last bit:
  padding behind the prompt changes nothing before it, and a block has the same shape and the same past whether blocks before
  it were read now or are kept from before (prefixes.py). Where a pass reads several, each has the bits that it has alone
  (gpt2.py).
- Between two passes the model can do other work.

Cost: one forward pass; with a cache one for every `pass_tokens` tokens that are not known. Likelihoods of the prompt's tokens
take one for each block, and no block is known: logits are not kept.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from codeparrot.generation.likelihoods import Likelihood, likelihoods
from codeparrot.generation.prefixes import BLOCK, Block, PrefixCache, block_of


class Reading(Protocol):
    """A prompt that is being read."""

    cached: int
    """Tokens that need not be read."""
    logits: torch.Tensor
    """[1, vocabulary] after the prompt, float32; there once it is done."""
    likelihoods: list[Likelihood | None]
    """Of the prompt's tokens, if wanted."""

    @property
    def done(self) -> bool: ...

    def advance(self) -> None:
        """Read on."""


class NotInSlots(Exception):
    """The model does not remember its past as keys and values of every token."""


class SlotReading:
    """A prompt whose keys and values go into a slot."""

    def __init__(
        self,
        model: Any,
        ids: Sequence[int],
        multiple: int,
        context: int | None,
        num_likely: int | None,
        prefixes: PrefixCache | None,
        pass_tokens: int = BLOCK,
    ) -> None:
        """
        Args:
            model: a model of transformers with keys and values.
            ids: the prompt, one token at least.
            multiple: each pass is filled up to a multiple of this many tokens.
            context: most tokens that the model can read.
            num_likely: how many of the likeliest tokens are wanted in the place of each of the prompt's; None: no likelihoods.
            prefixes: where blocks are kept. None: the prompt is read in one pass.
            pass_tokens: how many tokens, in whole blocks, are read at a time with `prefixes`.
        """
        self.ids, self.num_likely = tuple(ids), num_likely
        self.likelihoods: list[Likelihood | None] = [] if num_likely is None else [None]
        self._model, self._multiple, self._context, self._prefixes = model, multiple, context, prefixes
        # Logits of all tokens are large.
        self._pass_tokens = pass_tokens if num_likely is None else BLOCK
        known = prefixes.find(ids) if prefixes and num_likely is None else []
        self._last: Block | None = known[-1] if known else None
        """The last block that is kept."""
        self.cached = self._read = len(known) * BLOCK
        self.cache: Any = _joined([block.layers for block in known]) if prefixes else None

    @property
    def done(self) -> bool:
        return self._read == len(self.ids)

    def advance(self) -> None:
        """Read the next blocks, or all.

        Raises:
            NotInSlots: the model keeps something other than keys and values.
        """
        start, whole = self._read, len(self.ids)
        end = whole if self._prefixes is None else min(whole, start + self._pass_tokens)
        logits = self._forward(start, end)
        if self.num_likely is not None:
            assert logits is not None
            self._count(logits, start, end)
        if end == whole:
            assert logits is not None
            self.logits = logits[:, end - start - 1 - self._padded(end - start)].float()
        self._keep(start, end)
        self._read = end

    def _keep(self, start: int, end: int) -> None:
        """Keep the whole blocks of a pass, as long as there is room for those before them."""
        if (prefixes := self._prefixes) is None:
            return
        for first in range(start, end - BLOCK + 1, BLOCK):
            if first and self._last is None:
                return
            self._last = prefixes.add(self._last, self.ids[first : first + BLOCK], block_of(self.cache, first))

    def _padded(self, count: int) -> int:
        return -(-count // self._multiple) * self._multiple

    def _forward(self, start: int, end: int) -> torch.Tensor | None:
        """Read ids[start:end] and its padding; return the logits [1, kept, vocabulary] of its last tokens, if needed."""
        count = self._padded(end - start)
        # Padding after the prompt changes nothing before it; its positions may lie beyond the context.
        given = torch.tensor([[*self.ids[start:end], *[0] * (count - (end - start))]], device=self._model.device)
        positions = torch.arange(start, start + count, device=given.device).clamp(max=(self._context or start + count) - 1)
        kept = self._multiple if self.num_likely is None else count
        past = {} if self._prefixes is None else {"past_key_values": self.cache}
        inputs = {"input_ids": given, "position_ids": positions[None], "use_cache": True, **past}
        is_needed = end == len(self.ids) or self.num_likely is not None
        # The head of a small model costs more than its layers.
        output = self._model(**inputs, logits_to_keep=kept) if is_needed else self._model.base_model(**inputs)
        self.cache = output.past_key_values
        if not all(isinstance(layer, DynamicLayer) for layer in self.cache.layers):
            raise NotInSlots
        return output.logits if is_needed else None

    def _count(self, logits: torch.Tensor, start: int, end: int) -> None:
        """Add the likelihoods of the tokens that follow those of a pass."""
        following = self.ids[start + 1 : end + 1]
        for first in range(0, len(following), BLOCK):
            some = following[first : first + BLOCK]
            rows = logits[0, first : first + len(some)].float()
            self.likelihoods += likelihoods(rows, some, [self.num_likely or 0] * len(some))


def _joined(blocks: list[list[tuple[torch.Tensor, torch.Tensor]]]) -> DynamicCache:
    """Return a cache of one sequence that begins with some blocks."""
    cache = DynamicCache()
    for index, parts in enumerate(zip(*blocks, strict=True)):
        cache.update(torch.cat([keys for keys, _ in parts], 2), torch.cat([values for _, values in parts], 2), index)
    return cache
