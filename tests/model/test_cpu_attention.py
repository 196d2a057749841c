"""Attention in bf16 on a CPU: as exact as SDPA's, and told apart from what SDPA computes."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from codeparrot.model import attention, cpu_attention
from codeparrot.model.families import build_model, model_config

SHAPES = [(1, 1, 1, 8), (2, 3, 5, 16), (3, 4, 128, 32), (2, 2, 129, 8), (9, 2, 300, 16)]
"""Windows, heads, length, width: less than a block of queries, a whole one, more, and more windows than are taken at once."""


def inputs(shape: tuple[int, ...], sharpness: float = 1.0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(sum(shape))
    windows, heads, length, width = shape
    tensors = [torch.randn(windows, length, heads, width, generator=generator).transpose(1, 2) for _ in range(4)]
    tensors[0] *= sharpness
    return [tensor.bfloat16() for tensor in tensors]


def computed(attend: Callable[..., Tensor], tensors: list[Tensor], dtype: torch.dtype) -> list[Tensor]:
    """Return the output, and the gradients of queries, keys and values; under autocast, as in training, if it is bf16."""
    *given_, gradient = (tensor.to(dtype) for tensor in tensors)
    parameters = [tensor.detach().requires_grad_() for tensor in given_]
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        output = attend(*parameters, 0.3)
    output.backward(gradient)
    return [output, *(parameter.grad for parameter in parameters if parameter.grad is not None)]


def sdpa(query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
    return nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True, scale=scale)


def errors(attend: Callable[..., Tensor], tensors: list[Tensor]) -> list[float]:
    """Return how far the results are from those in float64, by the results' size."""
    exact = computed(sdpa, tensors, torch.float64)
    found = computed(attend, tensors, torch.bfloat16)
    return [
        float((ours.detach().double() - value).norm() / value.norm())
        for ours, value in zip(found, (each.detach() for each in exact), strict=True)
    ]


@pytest.mark.parametrize("sharpness", [1.0, 8.0])
@pytest.mark.parametrize("shape", SHAPES[1:], ids=str)
def test_output_and_gradients_are_as_exact_as_those_of_sdpa(shape, sharpness) -> None:
    tensors = inputs(shape, sharpness)
    for ours, theirs in zip(errors(cpu_attention.causal_attention, tensors), errors(sdpa, tensors), strict=True):
        assert ours < 0.003  # bf16 keeps 8 bits: rounding the exact result gives 0.0017
        assert ours < 1.1 * theirs


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 280), st.sampled_from([8, 24]))
def test_no_token_sees_those_behind_it(windows, heads, length, width) -> None:
    query, key, value, _ = inputs((windows, heads, length, width))
    cut = length // 2 + 1
    whole = cpu_attention.causal_attention(query, key, value, 0.3)
    part = cpu_attention.causal_attention(query[:, :, :cut], key[:, :, :cut], value[:, :, :cut], 0.3)
    torch.testing.assert_close(whole[:, :, :cut], part, rtol=2**-7, atol=2**-7)


def test_gradients_are_made_for_what_needs_them() -> None:
    query, key, value, gradient = inputs(SHAPES[3])
    exact = computed(cpu_attention.causal_attention, [query, key, value, gradient], torch.bfloat16)
    value.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        cpu_attention.causal_attention(query, key, value, 0.3).backward(gradient)
    assert query.grad is None and key.grad is None
    assert value.grad is not None and torch.equal(value.grad, exact[3])


def test_other_products_keep_their_precision_and_so_do_those_after_an_error() -> None:
    products: Any = torch.backends.mkldnn
    before = products.matmul.fp32_precision
    query, key, value, _ = inputs(SHAPES[1])
    cpu_attention.causal_attention(query, key, value, 0.3)
    with pytest.raises(RuntimeError):
        cpu_attention.causal_attention(query, key[..., :2], value, 0.3)
    assert products.matmul.fp32_precision == before


@pytest.mark.parametrize(
    ("dtype", "dropout", "length", "ours"),
    [
        (torch.bfloat16, 0.0, 1024, True),
        (torch.bfloat16, 0.0, 1025, False),
        (torch.bfloat16, 0.1, 8, False),
        (torch.float32, 0.0, 8, False),
        (torch.float16, 0.0, 8, False),
    ],
)
def test_it_serves_only_bf16_without_dropout_in_windows_that_are_not_long(monkeypatch, dtype, dropout, length, ours) -> None:
    monkeypatch.setattr(cpu_attention, "_BF16", True)
    query = torch.zeros(1, 1, length, 8, dtype=dtype)
    assert cpu_attention.serves(query, dropout) is ours
    assert not cpu_attention.serves(query.to("meta"), dropout)
    monkeypatch.setattr(cpu_attention, "_BF16", False)
    assert not cpu_attention.serves(query, dropout)


def test_what_it_does_not_serve_is_computed_by_sdpa() -> None:
    query, key, value = (tensor.float() for tensor in inputs(SHAPES[1])[:3])
    assert torch.equal(attention.causal_attention(query, key, value, 0.0, 0.3), sdpa(query, key, value, 0.3))


def test_training_in_bf16_on_a_cpu_attends_this_way_in_every_layer(monkeypatch) -> None:
    calls: list[float] = []

    def attend(query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        calls.append(scale)
        return sdpa(query, key, value, scale)

    monkeypatch.setattr(cpu_attention, "_BF16", True)
    monkeypatch.setattr(cpu_attention, "causal_attention", attend)
    sizes = {"vocab_size": 64, "n_positions": 16, "n_embd": 32, "n_layer": 3, "n_head": 2}
    model = build_model(model_config({"family": "gpt2", **sizes, "attn_pdrop": 0.0}), seed=0)
    windows = torch.zeros(2, 16, dtype=torch.long)
    with torch.autocast("cpu", torch.bfloat16):
        model(windows, windows)
    assert calls == [16**-0.5] * 3
