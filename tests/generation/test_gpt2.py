"""The forward pass for completions is transformers' to float32 rounding: prompts, blocks, single tokens, all kinds of GPT-2."""

from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest
import torch
from transformers import DynamicCache, GPT2Config, GPT2LMHeadModel

from codeparrot.generation import batch
from codeparrot.generation.batch import SlotBatch
from codeparrot.generation.gpt2 import own_forward
from codeparrot.generation.prefixes import BLOCK
from codeparrot.generation.rows import Measured

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
    {"activation_function": "gelu_pytorch_tanh"},
    {"attn_pdrop": 0.5, "embd_pdrop": 0.5, "resid_pdrop": 0.5},
]


def ids(count: int) -> torch.Tensor:
    return torch.randint(0, SHAPE["vocab_size"], (1, count), generator=torch.Generator().manual_seed(count))


def logits(model: Any, cache_tokens: int, multiple: int | None) -> list[torch.Tensor]:
    """The logits of three prompts, read in blocks or not, and of tokens behind them side by side."""
    slots = SlotBatch(model, multiple, cache_tokens)
    found = []
    with torch.no_grad(), slots.in_use():
        for row, length in enumerate((3, 257, 130)):
            reading = slots.read(ids(length)[0].tolist())
            while not reading.done:
                reading.advance()
            found.append(reading.logits)
            slots.reserve(3, 280)
            slots.put(row, reading)
        return [*found, *(slots.forward([5, 6, 7]) for _ in range(3))]


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


def test_where_not_all_products_are_even_rows_go_through_the_modules(monkeypatch) -> None:
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(**SHAPE, initializer_range=0.2)).eval()
    wanted = logits(model, 0, 16)
    monkeypatch.setattr(batch, "has_steps", lambda _: False)
    for one, other in zip(logits(model, 0, None), wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.fixture(scope="module")
def wide_gpt2() -> Any:
    """With an activation of torch's own, and so many numbers that threads share them unevenly."""
    torch.manual_seed(0)
    settings: Any = SHAPE | {"vocab_size": 518, "n_positions": 640, "n_inner": 1024, "n_layer": 2}
    return GPT2LMHeadModel(GPT2Config(**settings, activation_function="gelu_pytorch_tanh", initializer_range=0.2)).eval()


@pytest.fixture
def threads() -> Iterator[Any]:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["long_gpt2", "wide_gpt2"])
def test_each_row_has_the_bits_that_it_has_alone_in_any_company_on_any_threads(model, threads, request) -> None:
    model = request.getfixturevalue(model)
    measured, lengths = Measured(), (3, 130, 70, 33, 5, 200, 17, 90, 64, 1, 128)
    drawn = torch.randint(1, 512, (400,), generator=torch.Generator().manual_seed(0)).tolist()

    def steps(rows: list[int]) -> list[torch.Tensor]:
        slots = SlotBatch(model, None, 4 * BLOCK)
        slots._measured = measured
        with slots.in_use():
            for place, row in enumerate(rows):
                reading = slots.read(drawn[row : row + lengths[row]])
                while not reading.done:
                    reading.advance()
                slots.reserve(len(rows), 240)
                slots.put(place, reading)
            return [slots.forward([7 + row for row in rows]) for _ in range(2)]

    with torch.no_grad():
        threads(1)
        alone = [steps([row]) for row in range(len(lengths))]
        for count, rows in product((2, 3), ([2, 1, 0], [*range(10, 4, -1)], [*range(11)])):
            threads(count)
            for number, found in enumerate(steps(rows)):
                assert all(torch.equal(found[place], alone[row][number][0]) for place, row in enumerate(rows)), count


@pytest.mark.parametrize("model", ["long_gpt2", "wide_gpt2"])
@pytest.mark.parametrize("length", [129, 255, 256, 257, 300, 400, 513, 640])
def test_a_block_has_the_same_bits_in_every_pass_on_any_threads(model, length, threads, request) -> None:
    model = request.getfixturevalue(model)
    drawn = torch.randint(1, 512, (640,), generator=torch.Generator().manual_seed(0)).tolist()[:length]
    slots = SlotBatch(model, None, 8 * BLOCK)

    def read() -> tuple[int, list[torch.Tensor]]:
        slots._last = None
        reading = slots.read(drawn)
        while not reading.done:
            reading.advance()
        layers = [tensor[:, :, :length] for layer in reading.cache.layers for tensor in (layer.keys, layer.values)]
        return reading.cached, [reading.logits, *layers]

    with torch.no_grad(), slots.in_use():
        threads(1)
        fresh = read()
        threads(3)
        known = read()
        slots.clear()
        again = read()
        slots.clear()
        slots._pass = BLOCK
        by_block = read()
    assert [each[0] for each in (fresh, known, again, by_block)] == [0, (length - 1) // BLOCK * BLOCK, 0, 0]
    for cached, tensors in (known, again, by_block):
        assert all(torch.equal(one, other) for one, other in zip(fresh[1], tensors, strict=True)), cached
