"""As few rows as the machine allows have the bits of many, and products W X^T give each row its own."""

from typing import Any

import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from codeparrot.generation import rows
from codeparrot.generation.rows import GROUP, ROWS, Measured, _keeps_bits, _product, fast_products, fewest_rows, layers_of

FAMILIES = pytest.mark.parametrize("family", ["long_gpt2", "long_llama"])


def width(layer: Any) -> int:
    return layer.nx if isinstance(layer, Conv1D) else layer.in_features


@FAMILIES
def test_rows_keep_their_bits_among_any_multiple_of_the_fewest(family, request) -> None:
    layers = layers_of(request.getfixturevalue(family))
    fewest = fewest_rows(layers)
    for layer in layers:
        given = torch.randn(4 * ROWS, width(layer))
        wanted = layer(given)
        for count in range(fewest, 4 * ROWS, fewest):
            assert torch.equal(layer(given[-count:]), wanted[-count:])


def test_a_product_whose_bits_depend_on_the_number_of_rows_is_noticed() -> None:
    layer = nn.Linear(300, 70)
    assert _keeps_bits(layer, [ROWS, 2 * ROWS])

    def uneven(input: torch.Tensor) -> torch.Tensor:
        return nn.Linear.forward(layer, input) * (1 if len(input) >= ROWS else 1 + 2**-23)

    layer.forward = uneven
    assert not _keeps_bits(layer, [4, ROWS]) and not _keeps_bits(layer, [8])


@FAMILIES
def test_products_of_single_tokens_are_the_usual_ones_and_each_row_s_own(family, request) -> None:
    model = request.getfixturevalue(family)
    layers = layers_of(model)
    given = {layer: torch.randn(11, 1, width(layer)) for layer in layers}
    usual = {layer: layer(given[layer]) for layer in layers}
    with fast_products(model, Measured()):
        for layer in layers:
            if "forward" not in vars(layer):
                pytest.skip("this processor's products W X^T give rows different bits: the usual ones are taken")
            hidden = given[layer]
            found = layer(hidden)
            torch.testing.assert_close(found, usual[layer], rtol=1e-5, atol=1e-5)
            for first in range(len(hidden)):
                for count in range(1, len(hidden) - first + 1):
                    assert torch.equal(layer(hidden[first : first + count]), found[first : first + count])
            many = torch.randn(1, GROUP + 1, width(layer))
            assert torch.equal(layer(many), type(layer).forward(layer, many))
    for layer in layers:
        assert "forward" not in vars(layer) and torch.equal(layer(given[layer]), usual[layer])


def test_weights_are_laid_out_for_it_and_back_whatever_happens(long_gpt2) -> None:
    weights = {layer: layer.weight.clone() for layer in layers_of(long_gpt2)}
    with pytest.raises(KeyboardInterrupt), fast_products(long_gpt2, Measured()):
        for layer, weight in weights.items():
            assert torch.equal(layer.weight, weight)
            assert layer.weight.is_contiguous() == (layer is long_gpt2.lm_head)
        raise KeyboardInterrupt
    assert all(layer.weight.is_contiguous() and torch.equal(layer.weight, weight) for layer, weight in weights.items())


def test_two_engines_on_one_model_leave_it_as_it_was(long_gpt2) -> None:
    hidden = torch.randn(3, 1, long_gpt2.config.n_embd)
    layer = long_gpt2.transformer.h[0].attn.c_attn
    usual = layer(hidden)
    first, second = (fast_products(long_gpt2, Measured()) for _ in range(2))
    with first:
        wanted = layer(hidden)
        with second:
            assert torch.equal(layer(hidden), wanted)
        assert torch.equal(layer(hidden), wanted)
    assert torch.equal(layer(hidden), usual)


def test_a_product_whose_rows_differ_is_not_taken(monkeypatch) -> None:
    layer, times = nn.Linear(64, 32), torch.addmm
    monkeypatch.setattr(
        torch, "addmm", lambda *given: times(*given) * torch.tensor([1.0, 1.0, 1.0, 1 + 2**-23]).repeat(2)[: given[2].shape[1]]
    )
    assert _product(layer, 1, {}) is None
    # Two groups at once have other bits: one by one.
    monkeypatch.setattr(torch, "addmm", lambda *given: times(*given) * (1 if given[2].shape[1] == GROUP else 1 + 2**-23))
    product = _product(layer, 1, {})
    assert product is not None
    hidden = torch.randn(2 * GROUP, 1, 64)
    assert torch.equal(product(hidden)[:GROUP], product(hidden[:GROUP]))


def test_other_types_take_the_usual_ways(long_gpt2) -> None:
    model = long_gpt2.to(torch.bfloat16)
    try:
        with fast_products(model, Measured()) as filled:
            assert filled == (ROWS, ROWS)
            assert "forward" not in vars(model.lm_head)
    finally:
        model.float()


def test_what_was_measured_is_not_measured_again(long_gpt2, monkeypatch) -> None:
    known = Measured()
    with fast_products(long_gpt2, known) as first:
        pass
    monkeypatch.setattr(rows, "fewest_rows", None)
    monkeypatch.setattr(rows, "_agreeing", None)
    with fast_products(long_gpt2, known) as again:
        assert again == first
