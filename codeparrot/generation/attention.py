"""Attention of one new token a sequence, with the same bits for a sequence whatever is computed beside it.

torch's fused attention on a CPU gives each thread a piece of one buffer, whose alignment decides how a sum is ordered: the last
bit of a row depends on the thread that it falls to. Here each head of each sequence is a matrix product of its own in a batched
product. Measured with torch 2.13 (MKL): equal bits for any number of rows, any place among them, any length
of cache behind the sequence's end, and one or two threads; as fast as the fused kernel, both are bound by memory.

Prompts go through the fused kernel, each by itself: there rows are many and the buffers aligned.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

ROWWISE, FUSED = "codeparrot_rowwise", "codeparrot_fused"
"""Attention in slots: with the same bits for a row whatever is beside it; or by the fused kernel, quicker for a few rows."""


def rowwise_attention(
    module: Any, query: Any, key: Any, value: Any, attention_mask: Any, scaling: float | None = None, **kwargs: Any
) -> tuple[torch.Tensor, None]:
    """Attention in the form that transformers calls: query [rows, heads, new, head dimension]; output [rows, new, heads, ...].

    The fused kernel serves prompts, which have several new tokens or no mask, and what is not on a CPU.
    """
    rows, heads, new, width = query.shape
    if new > 1 or attention_mask is None or query.device.type != "cpu":
        output, _ = sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
        return output, None
    # Several heads may share keys and values. Taken one after the other, all products have the same shape.
    groups = heads // key.shape[1]
    queries = query.view(rows, heads // groups, groups, width) * (width**-0.5 if scaling is None else scaling)
    keys, values = _matrices(key).transpose(1, 2), _matrices(value)
    outputs = []
    for group in range(groups):
        scores = torch.bmm(queries[:, :, group].reshape(-1, 1, width), keys).view(rows, -1, 1, key.shape[2])
        weights = torch.softmax(scores + attention_mask, -1).to(value.dtype)
        outputs.append(torch.bmm(weights.view(-1, 1, key.shape[2]), values).view(rows, -1, value.shape[3]))
    return torch.stack(outputs, 2).view(rows, 1, heads, value.shape[3]), None


def _matrices(cache: torch.Tensor) -> torch.Tensor:
    """Return the part of a cache [rows, heads, length, width] that is read as [rows * heads, length, width], without a copy."""
    rows, heads, length, width = cache.shape
    assert cache.stride(0) == heads * cache.stride(1), "heads of a row lie one behind the other"
    return cache.as_strided((rows * heads, length, width), (cache.stride(1), cache.stride(2), cache.stride(3)))


AttentionInterface.register(ROWWISE, rowwise_attention)
AttentionInterface.register(FUSED, sdpa_attention_forward)
for name in (ROWWISE, FUSED):
    AttentionMaskInterface.register(name, sdpa_mask)


@contextlib.contextmanager
def attention(model: PreTrainedModel, name: str) -> Iterator[None]:
    """Have a model compute attention one of these ways."""
    before = model.config._attn_implementation or "eager"
    model.set_attn_implementation(name)
    try:
        yield
    finally:
        model.set_attn_implementation(before)
