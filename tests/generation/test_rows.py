"""As few rows as the machine allows have the bits of many, and the head's own product gives each row its own."""

import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from codeparrot.generation.rows import _HEAD_ROWS, ROWS, _keeps_bits, fast_head, fewest_rows


@pytest.mark.parametrize("family", ["long_gpt2", "long_llama"])
def test_rows_keep_their_bits_among_any_multiple_of_the_fewest(family, request) -> None:
    model, rows = request.getfixturevalue(family), fewest_rows(request.getfixturevalue(family))
    head = model.get_output_embeddings()
    for layer in (each for each in model.modules() if type(each) in (nn.Linear, Conv1D) and each is not head):
        given = torch.randn(4 * ROWS, layer.nx if isinstance(layer, Conv1D) else layer.in_features)
        wanted = layer(given)
        for count in range(rows, 4 * ROWS, rows):
            assert torch.equal(layer(given[-count:]), wanted[-count:])


def test_a_product_whose_bits_depend_on_the_number_of_rows_is_noticed() -> None:
    layer = nn.Linear(300, 70)
    assert _keeps_bits(layer, ROWS)

    def uneven(input: torch.Tensor) -> torch.Tensor:
        return nn.Linear.forward(layer, input) * (1 if len(input) >= ROWS else 1 + 2**-23)

    layer.forward = uneven
    assert not _keeps_bits(layer, 4) and not _keeps_bits(layer, 8)


@pytest.mark.parametrize("family", ["long_gpt2", "long_llama"])
def test_logits_of_a_token_are_those_of_the_usual_product_and_its_own(family, request) -> None:
    model = request.getfixturevalue(family)
    head = model.get_output_embeddings()
    hidden = torch.randn(11, 1, head.in_features)
    usual = head(hidden)
    with fast_head(model):
        if "forward" not in vars(head):
            pytest.skip("this processor's products W X^T give rows different bits: the usual product is taken")
        found = head(hidden)
        torch.testing.assert_close(found, usual, rtol=1e-5, atol=1e-5)
        for first in range(len(hidden)):
            for count in range(1, len(hidden) - first + 1):
                assert torch.equal(head(hidden[first : first + count]), found[first : first + count])
        many = torch.randn(1, _HEAD_ROWS + 1, head.in_features)
        assert torch.equal(head(many), nn.functional.linear(many, head.weight))
    assert "forward" not in vars(head) and torch.equal(head(hidden), usual)


def test_other_types_take_the_usual_ways(long_gpt2) -> None:
    model = long_gpt2.to(torch.bfloat16)
    try:
        assert fewest_rows(model) == ROWS
        with fast_head(model):
            assert "forward" not in vars(model.lm_head)
    finally:
        model.float()
