"""Causal attention in bf16 on CPUs that multiply in bf16: what training calls there in place of SDPA.

Guarantees: as accurate as SDPA's kernel for the CPU, which also keeps scores in float32 and rounds the operands of products to
bf16 (tests/model/test_cpu_attention.py).

Costs: two thirds of the time of SDPA's kernel on windows of 256 and 512 tokens, as much on 1,024 (benchmarks/attention.py). The
backward pass computes the scores again: nothing but queries, keys and values is kept for it.

The products take float32 operands that hold bf16 values and may be computed in bf16 (`fp32_precision`): oneDNN returns them in
float32, which a product of bf16 tensors does not on a CPU.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_QUERIES = 128
"""Queries whose scores are computed at once. They need no keys after the last of them."""
_SCORES_BYTES = 2 * 2**20
"""Float32 scores that exist at once, so that they stay in the cache."""
_LONGEST = 1024
"""Tokens. Windows of 2,048 take longer than with SDPA (docs/LOG.md)."""
_BF16 = torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()


def serves(query: Tensor, dropout: float) -> bool:
    """Return whether `causal_attention` is the way to compute attention for queries like these."""
    suits = query.device.type == "cpu" and query.dtype == torch.bfloat16 and query.shape[2] <= _LONGEST
    return _BF16 and suits and not dropout and not torch.compiler.is_compiling()


def causal_attention(query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
    """Return softmax(query @ key.T * scale) @ value, where every token sees those before it.

    Can be differentiated once.

    Args:
        query, key, value: (windows, heads, length, width of a head), bf16, on the CPU.
        scale: what scores are multiplied with.

    Returns:
        Of the shape of `query`; in memory, (windows, length, heads, width).
    """
    return _CausalAttention.apply(query, key, value, scale)


class _CausalAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(query, key, value)
        ctx.scale = scale
        output, unseen = _empty_like(query), _unseen(query.shape[2])
        with _products_in_bf16():
            for windows in _pieces(query):
                keys, values = _wide(key[windows]), _wide(value[windows])
                for start, stop in _blocks(query.shape[2]):
                    place = (windows, slice(None), slice(start, stop))
                    weights = _weights(_wide(query[place]), keys[:, :stop], scale, unseen)
                    _put(output[place], torch.bmm(weights, values[:, :stop]))
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        query, key, value = ctx.saved_tensors
        unseen = _unseen(query.shape[2])
        of_queries, of_keys, of_values = _empty_like(query), _empty_like(query), _empty_like(query)
        with _products_in_bf16():
            for windows in _pieces(query):
                keys, values = _wide(key[windows]), _wide(value[windows])
                keys_sum, values_sum = torch.zeros_like(keys), torch.zeros_like(values)
                for start, stop in _blocks(query.shape[2]):
                    place = (windows, slice(None), slice(start, stop))
                    queries, of_output = _wide(query[place]), _wide(gradient[place])
                    weights = _weights(queries, keys[:, :stop], ctx.scale, unseen)
                    values_sum[:, :stop] += torch.bmm(weights.transpose(1, 2), of_output)
                    of_weights = torch.bmm(of_output, values[:, :stop].transpose(1, 2))
                    of_scores = torch.ops.aten._softmax_backward_data(of_weights, weights, -1, weights.dtype)
                    keys_sum[:, :stop] += torch.bmm(of_scores.transpose(1, 2), queries)
                    _put(of_queries[place], torch.bmm(of_scores, keys[:, :stop]).mul_(ctx.scale))
                _put(of_keys[windows], keys_sum.mul_(ctx.scale))
                _put(of_values[windows], values_sum)
        return of_queries, of_keys, of_values, None


def _empty_like(query: Tensor) -> Tensor:
    """Return a tensor like `query` whose heads lie beside each other, as the layer that projects them wants them."""
    windows, heads, length, width = query.shape
    return query.new_empty(windows, length, heads, width).transpose(1, 2)


def _pieces(query: Tensor) -> Iterator[slice]:
    """Yield as many windows at a time as may be computed at once."""
    windows, heads, length, _ = query.shape
    step = max(1, _SCORES_BYTES // (4 * heads * min(_QUERIES, length) * length))
    yield from (slice(start, start + step) for start in range(0, windows, step))


def _blocks(length: int) -> Iterator[tuple[int, int]]:
    yield from ((start, min(start + _QUERIES, length)) for start in range(0, length, _QUERIES))


def _wide(tensor: Tensor) -> Tensor:
    """Return (windows, heads, length, width) in float32 as (windows x heads, length, width)."""
    return tensor.float().reshape(-1, *tensor.shape[2:])


def _put(place: Tensor, found: Tensor) -> None:
    place.copy_(found.view(place.shape))


def _unseen(length: int) -> Tensor:
    """Return what is added to the scores of a block of queries with their own keys, (queries, queries)."""
    count = min(_QUERIES, length)
    return torch.full((count, count), -torch.inf).triu_(1)


def _weights(queries: Tensor, keys: Tensor, scale: float, unseen: Tensor) -> Tensor:
    """Return the attention weights of the last queries over all keys, (windows x heads, queries, keys)."""
    scores = torch.bmm(queries, keys.transpose(1, 2)).mul_(scale)
    count, seen = scores.shape[1:]
    scores[:, :, seen - count :] += unseen[:count, :count]
    return torch.softmax(scores, -1)


@contextmanager
def _products_in_bf16() -> Iterator[None]:
    """Allow oneDNN to multiply float32 in bf16, and turn autocast off. Where oneDNN does not, products are in float32."""
    setting = cast(Any, torch.backends.mkldnn).matmul
    before = setting.fp32_precision
    setting.fp32_precision = "bf16"
    try:
        with torch.autocast("cpu", enabled=False):
            yield
    finally:
        setting.fp32_precision = before
