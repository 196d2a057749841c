"""How matrix products of few rows give each row the same bits, whatever is beside it: as few rows as this machine allows.

A product with W is computed by other kernels for 1, 2 or 16 rows, and these sum in other orders. Two ways out, for float32 on a
CPU. Which numbers of rows agree is the library's affair, so it is tried with the model's own shapes when a server starts:

- Rows are filled up to a multiple of some number, all multiples of which have the bits of ROWS rows: 4 with AVX2 (MKL 2024.2).
- The head, whose weight is by far the largest, is multiplied as W X^T, always for the same number of rows. MKL copies W into
  another layout for X W^T, which takes longer than the product.

Measured with a GPT-2 of 12.6M parameters and one client: benchmarks/serve.py.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

ROWS = 16
"""Matrix products of a multiple of this many rows sum each row in the same order; those of 1 to 9 rows need not."""
_FEWER = (4, 8)
_HEAD_ROWS = 4
"""Rows of the head's products."""


def fewest_rows(model: Any) -> int:
    """Return the least number whose multiples give each row the bits that it has among a multiple of ROWS."""
    if not _is_plain(model):
        return ROWS
    head = model.get_output_embeddings()
    products = [each for each in model.modules() if type(each) in (nn.Linear, Conv1D)]
    products = [each for each in products if each is not head or not _has_own_product(head)]
    shapes = {(type(each), tuple(each.weight.shape)): each for each in products}
    return next((rows for rows in _FEWER if all(_keeps_bits(each, rows) for each in shapes.values())), ROWS)


@contextlib.contextmanager
def fast_head(model: Any) -> Iterator[None]:
    """Compute the logits of single tokens as W X^T, where that gives each row its own bits."""
    head = model.get_output_embeddings()
    if not (_is_plain(model) and _has_own_product(head)):
        yield
        return
    before = vars(head).get("forward")  # in use already, by another engine
    head.forward = lambda hidden: _logits(head, hidden)
    try:
        yield
    finally:
        del head.forward
        if before is not None:
            head.forward = before


def _is_plain(model: Any) -> bool:
    return model.device.type == "cpu" and model.dtype == torch.float32


def _has_own_product(head: Any) -> bool:
    return type(head) is nn.Linear and head.bias is None and _is_even(head.weight)


def _logits(head: nn.Linear, hidden: torch.Tensor) -> torch.Tensor:
    """Return the logits of [sequences, tokens, width]. For many tokens of a sequence the usual product is faster."""
    if hidden.shape[1] > _HEAD_ROWS:
        return nn.functional.linear(hidden, head.weight)
    rows = hidden.reshape(-1, hidden.shape[-1])
    filled = nn.functional.pad(rows, (0, 0, 0, -len(rows) % _HEAD_ROWS))
    parts = [torch.mm(head.weight, part.t()).t() for part in filled.split(_HEAD_ROWS)]
    return torch.cat(parts)[: len(rows)].view(*hidden.shape[:-1], -1)


@torch.no_grad()
def _keeps_bits(product: Any, rows: int) -> bool:
    """Return whether products of multiples of `rows` rows have the bits of ROWS rows, in each row."""
    row = _drawn(product.nx if isinstance(product, Conv1D) else product.in_features)
    wanted = product(row.repeat(ROWS, 1))[:1]
    counts = (rows, 2 * rows, 3 * rows, ROWS, 2 * ROWS)
    return all(torch.equal(product(row.repeat(count, 1)), wanted.expand(count, -1)) for count in counts)


@torch.no_grad()
def _is_even(weight: torch.Tensor) -> bool:
    """Return whether each of the rows of a product W X^T has the same bits."""
    found = torch.mm(weight, _drawn(weight.shape[1]).repeat(_HEAD_ROWS, 1).t())
    return torch.equal(found, found[:, :1].expand(-1, _HEAD_ROWS))


def _drawn(width: int) -> torch.Tensor:
    """Return a row [1, width]: thousands of sums of it, or a few hundred, would hardly all agree by chance."""
    return torch.randn(1, width, generator=torch.Generator().manual_seed(0))
