"""Activations are torch's to rounding, and a number has the same bits wherever it lies and however many threads there are."""

import pytest
import torch
from transformers.activations import ACT2FN

from codeparrot.generation.activations import even_activations

KINDS = ["silu", "swish", "quick_gelu", "gelu_pytorch_tanh", "gelu_new", "gelu_fast", "gelu", "relu"]


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("kind", KINDS)
def test_a_number_has_its_own_bits(kind, threads) -> None:
    holder = Holder(kind)
    row = torch.randn(1, 1024, generator=torch.Generator().manual_seed(0)) * 3
    usual = holder.act(row)
    with even_activations(holder):
        threads(1)
        wanted = holder.act(row.repeat(16, 1))[:1]
        torch.testing.assert_close(wanted, usual, rtol=1e-5, atol=1e-6)
        for count in (1, 2, 3, 5, 7):
            threads(count)
            for rows in (4, 20, 43, 128, 512):
                assert torch.equal(holder.act(row.repeat(rows, 1)), wanted.expand(rows, -1)), (count, rows)
    assert torch.equal(holder.act(row), usual)


class Holder(torch.nn.Module):
    """A model that has an activation."""

    device, dtype = torch.device("cpu"), torch.float32

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.act = ACT2FN[kind]


@pytest.mark.parametrize("kind", KINDS[:6])
def test_large_and_odd_numbers_are_as_usual(kind) -> None:
    holder, numbers = Holder(kind), torch.tensor([-200.0, -30.0, -0.0, 0.0, 30.0, 200.0, torch.inf, torch.nan])
    usual = holder.act(numbers)
    with even_activations(holder):
        torch.testing.assert_close(holder.act(numbers), usual, rtol=1e-5, atol=1e-6, equal_nan=True)
