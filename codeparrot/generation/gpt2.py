"""GPT-2's forward pass for completions on a CPU, over transformers' own parameters and caches.

Guarantees
- Hidden states are transformers' to float32 rounding.
- Of a prompt, attention is computed block by block: a block has the same bits whether those beside it are read in the same pass
  or not, if products of so many rows agree (rows.py). The modules that own parameters are called as modules.
- Of single tokens side by side, each row has its own bits: products are W X^T, and each head of each row attends by itself.

Cost: a token takes a third of the operations of transformers' forward pass. In a small model these take longer than the
products. Measured: benchmarks/serve.py.
"""

import contextlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import Linear
from torch.nn.functional import embedding, layer_norm, scaled_dot_product_attention
from transformers import DynamicCache, GPT2Model
from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions
from transformers.pytorch_utils import Conv1D

from codeparrot.generation.attention import rowwise_attention
from codeparrot.generation.prefixes import BLOCK
from codeparrot.generation.rows import Product, is_plain, replaced
from codeparrot.generation.slots import Slots


@contextlib.contextmanager
def own_forward(model: Any) -> Iterator[bool]:
    """Give the decoder of a GPT-2 in float32 on a CPU this module's forward pass within the block; yield whether it has it.

    Passes that name no positions, which are not those of a batch in slots, stay transformers'.
    """
    decoder = model.base_model
    if not is_plain(model) or type(decoder) is not GPT2Model or decoder.config.add_cross_attention:
        yield False
        return

    def forward(*inputs: Any, **options: Any) -> BaseModelOutputWithPastAndCrossAttentions:
        own = options.get("position_ids") is not None
        return (_forward if own else GPT2Model.forward)(decoder, *inputs, **options)

    with replaced(decoder, forward):
        yield True


class Steps:
    """The next token of each of the sequences side by side."""

    def __init__(self, model: Any) -> None:
        """`model`: a GPT-2 all of whose products are replaced (see `has_steps`), in evaluation mode."""
        self._decoder, self._head = model.base_model, model.get_output_embeddings().forward

    def logits(self, ids: Tensor, slots: Slots, mask: Tensor) -> Tensor:
        """Return the logits [rows, vocabulary] after one more token of each row.

        Args:
            ids: the tokens, [rows]: a multiple of GROUP.
            slots: of the sequences. The first `slots.live` rows have keys and values, to which the tokens' are added.
            mask: added to the scores of attention, [rows, tokens that attention reads].
        """
        decoder, rows = self._decoder, len(ids)
        hidden = embedding(ids, decoder.wte.weight) + embedding(slots.positions[:rows], decoder.wpe.weight)
        heads, width = decoder.h[0].attn.num_heads, decoder.h[0].attn.head_dim
        live = slots.live * heads
        places = slots.places(heads)
        unseen = mask[: slots.live, None].expand(-1, heads, -1).reshape(live, 1, -1)
        # Where there is no sequence the output of attention stays 0.
        mixed = hidden.new_zeros(rows * heads, 1, width)
        into, mixed_rows = mixed[:live], mixed.view(rows, -1)
        for index, block in enumerate(decoder.h):
            attention, mlp = block.attn, block.mlp
            parts = attention.c_attn.forward.rows(_normed(block.ln_1, hidden)).view(rows, 3, heads, width)
            query, key, value = (part.reshape(-1, width)[:live] for part in parts.unbind(1))
            keys, values = slots.write(index, places, key, value)
            scores = torch.baddbmm(unseen, query[:, None], keys.transpose(1, 2), alpha=attention.scaling)
            torch.bmm(torch.softmax(scores, -1), values, out=into)
            hidden = hidden + attention.c_proj.forward.rows(mixed_rows)
            inner = mlp.act(mlp.c_fc.forward.rows(_normed(block.ln_2, hidden)))
            hidden = hidden + mlp.c_proj.forward.rows(inner)
        return self._head.rows(_normed(decoder.ln_f, hidden))


def has_steps(model: Any) -> bool:
    """Return whether all products of a GPT-2 with its own forward pass are W X^T."""
    return all(isinstance(vars(each).get("forward"), Product) for each in model.modules() if type(each) in (Linear, Conv1D))


def _normed(norm: Any, hidden: Tensor) -> Tensor:
    return layer_norm(hidden, norm.normalized_shape, norm.weight, norm.bias, norm.eps)


def _forward(
    decoder: Any,
    input_ids: Tensor,
    position_ids: Tensor,
    past_key_values: Any = None,
    attention_mask: Tensor | None = None,
    **others: Any,
) -> BaseModelOutputWithPastAndCrossAttentions:
    """Return the hidden states [sequences, tokens, width] and the cache.

    Args:
        decoder: in evaluation mode.
        input_ids: [sequences, tokens]. With a mask one token each; without, the next tokens of one prompt.
        position_ids: of the same shape.
        past_key_values: a cache that the tokens are added to; None: a new one.
        attention_mask: added to the scores of attention, [sequences, 1, 1, past tokens and the new one].
        others: of transformers' forward, which completions do not need.
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
        hidden = hidden + block.mlp.c_proj(block.mlp.act(block.mlp.c_fc(block.ln_2(hidden))))
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
