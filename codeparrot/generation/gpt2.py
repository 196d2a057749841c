"""GPT-2's forward pass for completions on a CPU, over transformers' own modules, parameters and caches.

Guarantees: hidden states are transformers' to float32 rounding; keys and values go through the cache's `update`, as there; the
modules that own parameters are called as modules, so that a product that was replaced (rows.py) is the one that is used. Of a
prompt, attention is computed block by block: a block has the same bits whether those beside it are read in the same pass or not,
if products of so many rows agree.
Cost: of a token of a small model, where transformers' forward takes longer than its products, a third of its operations and
none of what it looks up at each call. Measured: benchmarks/serve.py.
"""

import contextlib
from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import DynamicCache, GPT2Model
from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions

from codeparrot.generation.attention import rowwise_attention
from codeparrot.generation.prefixes import BLOCK
from codeparrot.generation.rows import is_plain, replaced
from codeparrot.model.gpt2 import feed_forward


@contextlib.contextmanager
def own_forward(model: Any) -> Iterator[bool]:
    """Give the decoder of a GPT-2 in float32 on a CPU the forward pass of this module within the block; yield whether it has it."""
    decoder = model.base_model
    if not is_plain(model) or type(decoder) is not GPT2Model or decoder.config.add_cross_attention:
        yield False
        return
    with replaced(decoder, partial(_forward, decoder)):
        yield True


def _forward(
    decoder: Any,
    input_ids: Tensor,
    position_ids: Tensor,
    past_key_values: Any = None,
    attention_mask: Tensor | None = None,
    **_: Any,
) -> BaseModelOutputWithPastAndCrossAttentions:
    """Return the hidden states [sequences, tokens, width] and the cache.

    Args:
        decoder: in evaluation mode.
        input_ids: [sequences, tokens]. With a mask one token each; without, the next tokens of one prompt.
        position_ids: of the same shape.
        past_key_values: a cache that the tokens are added to; None: a new one.
        attention_mask: added to the scores of attention, [sequences, 1, 1, past tokens and the new one].
    """
    cache = DynamicCache() if past_key_values is None else past_key_values
    hidden = decoder.wte(input_ids) + decoder.wpe(position_ids)
    sequences, tokens, width = hidden.shape
    blocks = _blocks(tokens, cache.get_seq_length()) if attention_mask is None else []
    for index, block in enumerate(decoder.h):
        layer = block.attn
        shape = (sequences, tokens, 3, layer.num_heads, layer.head_dim)
        query, key, value = layer.c_attn(block.ln_1(hidden)).view(shape).permute(2, 0, 3, 1, 4)
        keys, values = cache.update(key, value, index)
        if attention_mask is not None:
            mixed, _ = rowwise_attention(layer, query, keys, values, attention_mask, layer.scaling)
        else:
            mixed = _mixed(query, keys, values, blocks, layer.scaling)
        hidden = hidden + layer.c_proj(mixed.reshape(sequences, tokens, width))
        hidden = hidden + feed_forward(block.mlp, block.ln_2(hidden))
    return BaseModelOutputWithPastAndCrossAttentions(last_hidden_state=decoder.ln_f(hidden), past_key_values=cache)


class _Block(NamedTuple):
    """Tokens of a pass over a prompt."""

    start: int
    stop: int
    seen: int
    """Tokens up to its end."""
    mask: Tensor | None
    """Added to the scores of attention, [tokens, seen]; None: what makes them causal, without a past."""


def _blocks(tokens: int, past: int) -> list[_Block]:
    """Return the blocks of a prompt's next tokens."""
    found = []
    for start in range(0, tokens, BLOCK):
        count, before = min(BLOCK, tokens - start), past + start
        mask = torch.full((count, before + count), -torch.inf).triu(before + 1) if before else None
        found.append(_Block(start, start + count, before + count, mask))
    return found


def _mixed(query: Tensor, keys: Tensor, values: Tensor, blocks: list[_Block], scale: float) -> Tensor:
    """Return what attention makes of a prompt's values, [1, tokens, heads, width of a head]."""
    parts = [
        scaled_dot_product_attention(
            query[:, :, block.start : block.stop],
            keys[:, :, : block.seen],
            values[:, :, : block.seen],
            block.mask,
            is_causal=block.mask is None,
            scale=scale,
        )
        for block in blocks
    ]
    return (parts[0] if len(parts) == 1 else torch.cat(parts, 2)).transpose(1, 2)
