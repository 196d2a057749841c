"""Attention over the rows that hold sequences alone gives them the bits that they have beside padding."""

from typing import Any

import pytest
import torch

from codeparrot.generation.attention import ROWWISE
from codeparrot.generation.batch import SlotBatch


def logits(model: Any, batch: SlotBatch, only_live: bool) -> list[torch.Tensor]:
    with torch.no_grad(), batch.in_use():
        assert model.config._attn_implementation == ROWWISE and batch._only_live
        batch._only_live = only_live
        for row, length in enumerate((3, 70, 33)):
            reading = batch.read([1 + (length * each) % 500 for each in range(length)])
            reading.advance()
            batch.reserve(16, 90)
            batch.put(row, reading)
        found = [batch.forward([5, 6, 7]) for _ in range(4)]
        batch.leave(0)
        return [*found, batch.forward([8, 9])]


@pytest.mark.parametrize("family", ["long_gpt2", "long_llama"])
def test_leaving_padding_out_of_attention_changes_no_bit(family, request) -> None:
    model = request.getfixturevalue(family)
    live, all_rows = (logits(model, SlotBatch(model, 16), only_live) for only_live in (True, False))
    assert all(torch.equal(one, other) for one, other in zip(live, all_rows, strict=True))
