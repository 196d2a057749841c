"""The forward pass for completions is transformers' to float32 rounding: prompts, blocks, single tokens, all kinds of GPT-2."""

from typing import Any

import pytest
import torch
from transformers import DynamicCache, GPT2Config, GPT2LMHeadModel

from codeparrot.generation.batch import SlotBatch
from codeparrot.generation.gpt2 import own_forward
from codeparrot.generation.prefixes import BLOCK

SHAPE: Any = {
    "vocab_size": 96,
    "n_positions": 300,
    "n_embd": 48,
    "n_layer": 3,
    "n_head": 3,
    "bos_token_id": 0,
    "eos_token_id": 0,
}
VARIANTS: list[Any] = [
    {},
    {"activation_function": "relu"},
    {"scale_attn_by_inverse_layer_idx": True},
    {"scale_attn_weights": False},
    {"n_inner": 100},
    {"attn_pdrop": 0.5, "embd_pdrop": 0.5, "resid_pdrop": 0.5},
]


def ids(count: int) -> torch.Tensor:
    return torch.randint(0, SHAPE["vocab_size"], (1, count), generator=torch.Generator().manual_seed(count))


def logits(model: Any, cache_tokens: int, multiple: int | None) -> list[torch.Tensor]:
    """The logits of three prompts, read in blocks or not, and of tokens behind them side by side."""
    batch = SlotBatch(model, multiple, cache_tokens)
    found = []
    with torch.no_grad(), batch.in_use():
        for row, length in enumerate((3, 257, 130)):
            reading = batch.read(ids(length)[0].tolist())
            while not reading.done:
                reading.advance()
            found.append(reading.logits)
            batch.reserve(3, 280)
            batch.put(row, reading)
        return [*found, *(batch.forward([5, 6, 7]) for _ in range(3))]


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: next(iter(variant), "plain"))
@pytest.mark.parametrize("cache_tokens", [0, 4 * BLOCK])
def test_logits_are_those_of_transformers_forward(variant, cache_tokens) -> None:
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(**SHAPE, **variant, initializer_range=0.2)).eval()
    with own_forward(model):
        assert "forward" in vars(model.transformer)
    own, usual = logits(model, cache_tokens, None), logits(model, cache_tokens, 16)
    assert "forward" not in vars(model.transformer)
    for one, other in zip(own, usual, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_a_block_that_is_read_later_has_the_keys_that_it_has_in_one_pass() -> None:
    torch.manual_seed(0)
    model: Any = GPT2LMHeadModel(GPT2Config(**SHAPE, initializer_range=0.2)).eval()
    positions = torch.arange(200)[None]
    with torch.no_grad(), own_forward(model):
        whole = model(ids(200), position_ids=positions, use_cache=True)
        cache, last = DynamicCache(), whole
        for part in positions.split(80, 1):
            last = model(ids(200)[:, part[0]], position_ids=part, past_key_values=cache, use_cache=True)
    torch.testing.assert_close(last.logits, whole.logits[:, 160:], rtol=1e-4, atol=1e-4)
    layers: Any = zip(cache.layers, whole.past_key_values.layers, strict=True)
    for one, other in layers:
        torch.testing.assert_close(one.keys, other.keys, rtol=1e-4, atol=1e-4)


def test_other_models_keep_their_forward_pass(long_llama, long_gpt2) -> None:
    with own_forward(long_llama):
        assert "forward" not in vars(long_llama.model)
    torch.manual_seed(0)
    crossing: Any = GPT2LMHeadModel(GPT2Config(**SHAPE, add_cross_attention=True))
    with own_forward(crossing):
        assert "forward" not in vars(crossing.transformer)
    try:
        with own_forward(long_gpt2.to(torch.bfloat16)):
            assert "forward" not in vars(long_gpt2.transformer)
    finally:
        long_gpt2.float()


@pytest.mark.parametrize("threads", [1, 2])
def test_each_row_has_the_bits_that_it_has_alone_in_any_company(long_gpt2, threads) -> None:
    lengths = (3, 130, 70, 33, 5, 200, 17, 90, 64, 1, 128)
    drawn = torch.randint(1, 512, (400,), generator=torch.Generator().manual_seed(0)).tolist()

    def steps(rows: list[int]) -> list[torch.Tensor]:
        batch = SlotBatch(long_gpt2, None, 4 * BLOCK)
        with batch.in_use():
            for place, row in enumerate(rows):
                reading = batch.read(drawn[row : row + lengths[row]])
                while not reading.done:
                    reading.advance()
                batch.reserve(len(rows), 240)
                batch.put(place, reading)
            return [batch.forward([7 + row for row in rows]) for _ in range(2)]

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.no_grad():
            alone = [steps([row]) for row in range(len(lengths))]
            for rows in ([0, 1], [2, 1, 0], [4, 3, 2, 1, 0], [*range(8)], [*range(11)], [10, 9, 8, 7, 6, 5]):
                for number, found in enumerate(steps(rows)):
                    assert all(torch.equal(found[place], alone[row][number][0]) for place, row in enumerate(rows))
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("length", [129, 255, 256, 257, 300, 400, 513, 640])
def test_a_block_has_the_same_bits_in_every_pass(long_gpt2, length) -> None:
    drawn = torch.randint(1, 512, (640,), generator=torch.Generator().manual_seed(0)).tolist()[:length]
    batch = SlotBatch(long_gpt2, None, 8 * BLOCK)

    def read() -> tuple[int, list[torch.Tensor]]:
        batch._last = None
        reading = batch.read(drawn)
        while not reading.done:
            reading.advance()
        layers = [tensor[:, :, :length] for layer in reading.cache.layers for tensor in (layer.keys, layer.values)]
        return reading.cached, [reading.logits, *layers]

    with torch.no_grad(), batch.in_use():
        fresh, known = read(), read()
        batch.clear()
        batch._pass = BLOCK
        by_block = read()
    assert [each[0] for each in (fresh, known, by_block)] == [0, (length - 1) // BLOCK * BLOCK, 0]
    for cached, tensors in (known, by_block):
        assert all(torch.equal(one, other) for one, other in zip(fresh[1], tensors, strict=True)), cached
