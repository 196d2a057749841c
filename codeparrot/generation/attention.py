"""Attention for one new token per sequence. A sequence gets the same bits whatever is computed beside it.

torch's fused attention on a CPU gives each thread a piece of one buffer. The piece's alignment decides the order of a sum, so
the last bit of a row depends on the thread that computes it. Here each head of each sequence is its own matrix product in a
batched product. Measured with torch 2.13 (MKL): equal bits for any number of rows, any position among them, any length of
cache after the sequence's end, and one or two threads. It is as fast as the fused kernel: both are bound by memory.

Prompts go through the fused kernel one at a time: they have many rows, and their buffers are aligned.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch.nn.functional import pad
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

ROWWISE, FUSED = "codeparrot_rowwise", "codeparrot_fused"
"""Attention in slots: ROWWISE gives a row the same bits whatever is beside it; FUSED is faster for a few rows."""


def fused_attention(
    module: Any, query: Any, key: Any, value: Any, attention_mask: Any, scaling: float | None = None, **kwargs: Any
) -> tuple[torch.Tensor, None]:
    """transformers' SDPA. Its kernels on NVIDIA GPUs refuse a mask of another type than the query; that of slots is float32.

    A mask of booleans, which transformers makes for a block behind others of its prompt, says which tokens are seen.
    """
    if attention_mask is not None and attention_mask.dtype != torch.bool:
        attention_mask = attention_mask.to(query.dtype)
    output, _ = sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
    return output, None


def rowwise_attention(
    module: Any, query: Any, key: Any, value: Any, attention_mask: Any, scaling: float | None = None, **kwargs: Any
) -> tuple[torch.Tensor, None]:
    """Attention as transformers calls it: query [rows, heads, new, head dimension]; output [rows, new, heads, ...].

    Keys and values may be there for the first rows only: the rest is padding, whose output is 0. The fused kernel serves
    prompts, which have several new tokens or no mask, and every device but the CPU.
    """
    _, heads, new, width = query.shape
    if new > 1 or attention_mask is None or query.device.type != "cpu":
        return fused_attention(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
    # Several heads may share keys and values. The loop takes them one by one, so all products have the same shape.
    rows, groups = len(key), heads // key.shape[1]
    queries = query[:rows].view(rows, heads // groups, groups, width) * (width**-0.5 if scaling is None else scaling)
    keys, values = _matrices(key).transpose(1, 2), _matrices(value)
    outputs = []
    for group in range(groups):
        scores = torch.bmm(queries[:, :, group].reshape(-1, 1, width), keys).view(rows, -1, 1, key.shape[2])
        weights = torch.softmax(scores + attention_mask[:rows], -1).to(value.dtype)
        outputs.append(torch.bmm(weights.view(-1, 1, key.shape[2]), values).view(rows, -1, value.shape[3]))
    output = torch.stack(outputs, 2).view(rows, 1, heads, value.shape[3])
    return pad(output, (0, 0, 0, 0, 0, 0, 0, len(query) - rows)) if rows < len(query) else output, None


def _matrices(cache: torch.Tensor) -> torch.Tensor:
    """View the part of a cache that is read, [rows, heads, length, width], as [rows * heads, length, width], without a copy."""
    rows, heads, length, width = cache.shape
    assert cache.stride(0) == heads * cache.stride(1), "heads of a row are contiguous"
    return cache.as_strided((rows * heads, length, width), (cache.stride(1), cache.stride(2), cache.stride(3)))


AttentionInterface.register(ROWWISE, rowwise_attention)
AttentionInterface.register(FUSED, fused_attention)
for name in (ROWWISE, FUSED):
    AttentionMaskInterface.register(name, sdpa_mask)


@contextlib.contextmanager
def attention(model: PreTrainedModel, name: str) -> Iterator[None]:
    """Make a model compute attention one of these ways, and restore its own afterwards."""
    before = model.config._attn_implementation or "eager"
    model.set_attn_implementation(name)
    try:
        yield
    finally:
        model.set_attn_implementation(before)
