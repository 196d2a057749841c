"""A forward pass of GPT-2 for training, over transformers' own modules and parameters.

Guarantees: loss and gradients are those of transformers' forward pass to float32 rounding; state dict, saving, loading and
generation stay transformers'. Attention gets no mask tensor and `is_causal`, so that SDPA can take its fastest kernels, and
nothing waits for the device: transformers looks into `position_ids` for packed sequences, which costs a synchronisation, or a
mask where it is compiled. The tanh form of GELU is one kernel instead of nine. Under autocast the residual stream and the norms
stay float32, as they are in transformers.

A block is still called as a module, because FSDP2, ZeRO-3 and activation checkpointing work at that call, and so is every
module that owns parameters. No block knows its number, so that one compiled graph serves all of them.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import GPT2Config, GPT2Model, PreTrainedModel
from transformers.activations import FastGELUActivation, NewGELUActivation
from transformers.models.gpt2 import modeling_gpt2

from codeparrot.model import documents
from codeparrot.model.attention import causal_attention

_TANH_GELU = (NewGELUActivation, FastGELUActivation)
"""Activations that are written out in transformers and mean `gelu(approximate="tanh")`."""


class GPT2Block(modeling_gpt2.GPT2Block):
    """A block of transformers that can also run for training. The name is transformers': Accelerate shards blocks by it."""

    def forward(
        self,
        hidden_states: Any,
        *others: Any,
        causal: bool = False,
        query_scale: Any = None,
        seen: Any = None,
        **options: Any,
    ) -> Any:
        """Return the hidden states behind the block, of the same shape and type.

        Args:
            hidden_states: (windows, length, width).
            others: of transformers' forward.
            causal: whether to compute for training: every token sees those before it, and there is no cache.
            query_scale: a scalar tensor that queries are multiplied with, or None.
            seen: `Documents.attention` where documents do not see each other, or None.
            options: of transformers' forward.
        """
        if not causal:
            return super().forward(hidden_states, *others, **options)
        hidden_states = hidden_states + self._attention(self.ln_1(hidden_states), query_scale, seen)
        return hidden_states + self._mlp(self.ln_2(hidden_states))

    def _attention(self, normed: Tensor, query_scale: Tensor | None, seen: Tensor | None) -> Tensor:
        attention = self.attn
        windows, length, width = normed.shape
        shape = (windows, length, attention.num_heads, attention.head_dim)
        query, key, value = (part.view(shape).transpose(1, 2) for part in attention.c_attn(normed).split(width, dim=2))
        if query_scale is not None:
            query = query * query_scale
        dropout = attention.attn_dropout.p if self.training else 0.0
        # Not attention.scaling, which may differ from layer to layer.
        scale = attention.head_dim**-0.5 if attention.scale_attn_weights else 1.0
        if seen is None:
            mixed = causal_attention(query, key, value, dropout, scale)
        else:
            mixed = documents.attention(query, key, value, seen, dropout, scale)
        return attention.resid_dropout(attention.c_proj(mixed.transpose(1, 2).reshape(windows, length, width)))

    def _mlp(self, normed: Tensor) -> Tensor:
        mlp = self.mlp
        inner = mlp.c_fc(normed)
        inner = nn.functional.gelu(inner, approximate="tanh") if isinstance(mlp.act, _TANH_GELU) else mlp.act(inner)
        return mlp.dropout(mlp.c_proj(inner))


def adapt(model: PreTrainedModel) -> bool:
    """Give a GPT-2 the blocks that `hidden_states` calls. The parameters are not touched, and generation stays what it was.

    Returns:
        Whether `hidden_states` may be called. It is for GPT-2 alone, and not where the settings ask for cross-attention or for
        an attention other than SDPA (model.attn_implementation), which is transformers' business.
    """
    decoder = model.base_model
    if type(decoder) is not GPT2Model or decoder.config._attn_implementation != "sdpa" or decoder.config.add_cross_attention:
        return False
    for block in decoder.h:
        block.__class__ = GPT2Block
    return True


def hidden_states(decoder: Any, input_ids: Tensor, end: int | None = None) -> Tensor:
    """Return what the head sees, (windows, length, width), of the decoder of a model that was adapted.

    Args:
        decoder: a GPT2Model.
        input_ids: (windows, length).
        end: the token that ends documents, where these do not see each other.
    """
    if end is None:
        positions, seen = torch.arange(input_ids.shape[1], device=input_ids.device), None
    else:
        device = input_ids.device
        autocast = torch.is_autocast_enabled(device.type)
        dtype = torch.get_autocast_dtype(device.type) if autocast else decoder.wte.weight.dtype
        found = documents.documents(input_ids, end, documents.takes_flash(decoder, device, dtype), dtype)
        positions, seen = found.positions, found.attention
    hidden = decoder.drop(decoder.wte(input_ids) + decoder.wpe(positions))
    for block, query_scale in zip(decoder.h, _query_scales(decoder.config, input_ids.device), strict=True):
        hidden = block(hidden, causal=True, query_scale=query_scale, seen=seen)
    return decoder.ln_f(hidden)


def _query_scales(config: GPT2Config, device: torch.device) -> Any:
    """Return what each layer multiplies its queries with: tensors, because a number would be compiled into the graph."""
    if not config.scale_attn_by_inverse_layer_idx:
        return [None] * config.n_layer
    return (1 / torch.arange(1, config.n_layer + 1, device=device)).unbind()
