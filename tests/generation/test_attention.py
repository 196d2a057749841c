"""How attention is called in generation, on devices that are not here too: tensors without data."""

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import AttentionInterface, GPT2Config, GPT2LMHeadModel

from codeparrot.generation import batch
from codeparrot.generation.attention import FUSED, ROWWISE


@pytest.mark.parametrize("name", [FUSED, ROWWISE])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_off_the_cpu_a_mask_has_the_type_of_the_query(monkeypatch, name, dtype) -> None:
    """CUDA's kernel says "invalid dtype for bias - should match query's dtype" to a float32 mask beside bfloat16 weights."""
    masks = []

    def sdpa(query: Any, *_: Any, attn_mask: Any, **options: Any) -> Any:
        masks.append(attn_mask)
        return query

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", sdpa)
    query = torch.empty(16, 4, 1, 8, dtype=dtype, device="meta")
    mask = torch.empty(16, 1, 1, 64, device="meta")
    cache = torch.empty(16, 4, 64, 8, dtype=dtype, device="meta")
    AttentionInterface()[name](SimpleNamespace(), query, cache, cache, mask)
    assert [mask.dtype for mask in masks] == [dtype]


def test_kernels_that_plan_anew_for_each_length_are_not_preferred(monkeypatch) -> None:
    """torch itself takes cuDNN on an H100; 23 to 37 ms for each number of rows and each length of the cache."""
    asked: list[Any] = []
    monkeypatch.setattr(batch, "kernels", lambda *arguments: asked.append(arguments) or nullcontext())
    model = GPT2LMHeadModel(GPT2Config(vocab_size=8, n_embd=8, n_layer=1, n_head=1, n_positions=8))
    with batch.SlotBatch(model, 16).in_use():
        assert asked == [(torch.device("cpu"), "efficient")]
