"""How matrix products of few rows give each row the same bits, whatever is beside it, as fast as memory gives the weights.

A product with W is computed by other kernels for 1, 2 or 16 rows, and these sum in other orders. Filling up to ROWS rows is one
way out (batch.py). A server, which often completes for one client alone, has another for float32 on a CPU: W X^T, always for
GROUP rows, or for two groups at once where that has the same bits. MKL copies W into another layout for X W^T, which takes
longer than the product. GPT-2's weights are laid out for that as those of nn.Linear are.

Which numbers of rows agree is the library's affair, so it is tried with the model's own shapes when a server starts. Layers
whose products are not even keep the usual ones, and rows are filled up to as few as these allow: 4 with AVX2 (MKL 2024.2).

Measured with a GPT-2 of 12.6M parameters: benchmarks/serve.py.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from codeparrot.generation.prefixes import BLOCK

ROWS = 16
"""Matrix products of a multiple of this many rows sum each row in the same order; those of 1 to 9 rows need not."""
GROUP = 4
"""Rows of a product W X^T."""
_FEWER = (4, 8)
_DENSE = ("gpt2", "llama")
"""Types of models all of whose products get [sequences, tokens, width]."""


class Multiples(NamedTuple):
    """What passes are filled up to."""

    rows: int
    """Of single tokens."""
    tokens: int
    """Of a prompt."""


@dataclass
class Measured:
    """What was found out about the products of a model."""

    groups: dict[Any, int] = field(default_factory=dict)
    """How many groups of rows agree, by the shape of a weight."""
    multiples: Multiples | None = None
    pass_tokens: int = 0
    """What `pass_tokens` returned."""


@contextlib.contextmanager
def fast_products(model: Any, known: Measured) -> Iterator[Multiples]:
    """Multiply single tokens as W X^T within the block, where that gives each row its own bits; yield what passes need.

    Of models that are not known to be dense it is the head alone, whose weight is by far the largest.

    Args:
        model: of transformers.
        known: is added to.
    """
    if not is_plain(model):
        yield Multiples(ROWS, ROWS)
        return
    head, is_dense = model.get_output_embeddings(), model.config.model_type in _DENSE
    layers = layers_of(model)
    with contextlib.ExitStack() as stack:
        for layer in layers if is_dense else ():
            stack.enter_context(_turned(layer))
        usual = []
        for layer in layers:
            # Of a prompt the head gets its last tokens alone; the layers get blocks, of which the last one may be short.
            product = _product(layer, GROUP if layer is head else 1, known.groups) if is_dense or layer is head else None
            if product is None:
                usual.append(layer)
            else:
                stack.enter_context(replaced(layer, product))
        if known.multiples is None:
            of_prompts = [each for each in layers if each is not head]
            tokens = fewest_rows(of_prompts)
            rows = tokens if usual == of_prompts else fewest_rows(usual) if usual else GROUP
            known.multiples = Multiples(rows, tokens)
        yield known.multiples


def layers_of(model: Any) -> list[Any]:
    """Return the layers of a model that are products with a weight."""
    return [each for each in model.modules() if type(each) in (nn.Linear, Conv1D)]


def is_plain(model: Any) -> bool:
    """Return whether a model computes in float32 on a CPU."""
    return model.device.type == "cpu" and model.dtype == torch.float32


@contextlib.contextmanager
def replaced(module: nn.Module, forward: Callable[..., Any]) -> Iterator[None]:
    """Give a module another forward pass within the block."""
    before = vars(module).get("forward")  # in use already, by another engine
    module.forward = forward
    try:
        yield
    finally:
        del module.forward
        if before is not None:
            module.forward = before


def fewest_rows(layers: list[Any]) -> int:
    """Return the least number whose multiples give each row of the usual products the bits that it has among ROWS."""
    return next((rows for rows in _FEWER if _all_keep_bits(layers, (rows, 2 * rows, 3 * rows, ROWS, 2 * ROWS))), ROWS)


def pass_tokens(model: Any, multiple: int) -> int:
    """Return how many tokens of a prompt can be read in one pass: whole blocks, whose bits are those that they have alone.

    Args:
        model: with the usual products for a prompt.
        multiple: what the last block is filled up to.
    """
    layers = [each for each in layers_of(model) if each is not model.get_output_embeddings()]
    few = (multiple, 2 * multiple, BLOCK // 2, BLOCK - multiple)
    for blocks in (4, 2):
        counts = (*few, *(number * BLOCK + more for number in range(1, blocks) for more in (0, *few)), blocks * BLOCK)
        if _all_keep_bits(layers, counts):
            return blocks * BLOCK
    return BLOCK


@contextlib.contextmanager
def _turned(layer: Any) -> Iterator[None]:
    """Lay the weight of a Conv1D, [inputs, outputs], out as that of nn.Linear; its values and its shape stay."""
    if not (isinstance(layer, Conv1D) and layer.weight.is_contiguous()):
        yield
        return
    layer.weight.data = layer.weight.data.t().contiguous().t()
    try:
        yield
    finally:
        layer.weight.data = layer.weight.data.contiguous()


class Product:
    """The product of a layer: W X^T for single tokens, and the usual one for many."""

    def __init__(self, layer: Any, groups: int, tokens: int) -> None:
        """
        Args:
            layer: nn.Linear, or a Conv1D whose weight was turned.
            groups: how many groups of rows can be multiplied at once.
            tokens: up to how many tokens of a sequence are single ones.
        """
        self._layer, self._most, self._tokens = layer, groups * GROUP, tokens
        self._weight, self._bias = _of(layer)

    def rows(self, rows: torch.Tensor) -> torch.Tensor:
        """Multiply [rows, inputs], a multiple of GROUP."""
        if len(rows) <= self._most:
            return _times(self._weight, self._bias, rows)
        return torch.cat([_times(self._weight, self._bias, part) for part in rows.split(self._most)])

    def __call__(self, hidden: torch.Tensor) -> torch.Tensor:
        """Multiply [sequences, tokens, inputs]. For many tokens of a sequence the usual product is faster."""
        if hidden.ndim != 3 or hidden.shape[1] > self._tokens:
            return type(self._layer).forward(self._layer, hidden)
        rows = hidden.reshape(-1, hidden.shape[-1]).contiguous()
        short = -len(rows) % GROUP
        found = self.rows(nn.functional.pad(rows, (0, 0, 0, short)) if short else rows)
        return found[: len(rows)].view(*hidden.shape[:-1], -1)


def _product(layer: Any, tokens: int, known: dict[Any, int]) -> Product | None:
    """Return the layer's product W X^T, or None where its rows differ.

    Args:
        layer: of a model.
        tokens: up to how many tokens of a sequence are single ones.
        known: how many groups agree, by the shape of a weight; it is added to.
    """
    weight, bias = _of(layer)
    shape = (tuple(weight.shape), bias is None)
    if shape not in known:
        known[shape] = _agreeing(weight, bias)
    return Product(layer, known[shape], tokens) if known[shape] else None


def _of(layer: Any) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return a layer's weight, [outputs, inputs], and its bias as a column."""
    weight = layer.weight.t() if isinstance(layer, Conv1D) else layer.weight
    return weight, None if layer.bias is None else layer.bias[:, None]


def _times(weight: torch.Tensor, bias: torch.Tensor | None, rows: torch.Tensor) -> torch.Tensor:
    # Contiguous: a product of rows that lie otherwise in memory has other bits, and takes twice as long.
    found = torch.mm(weight, rows.t()) if bias is None else torch.addmm(bias, weight, rows.t())
    return found.t().contiguous()


@torch.no_grad()
def _agreeing(weight: torch.Tensor, bias: torch.Tensor | None) -> int:
    """Return how many groups of rows can be multiplied at once: 0, where not even those of one have the same bits."""
    row = _drawn(weight.shape[1])
    one, two = (_times(weight, bias, row.expand(groups * GROUP, -1).contiguous()) for groups in (1, 2))
    if not torch.equal(one, one[:1].expand_as(one)):
        return 0
    return 2 if torch.equal(two, one[:1].expand_as(two)) else 1


def _all_keep_bits(layers: list[Any], counts: Iterable[int]) -> bool:
    """Return whether products of so many rows have the bits of ROWS rows, in each row, for one layer of each shape."""
    shapes = {(type(each), tuple(each.weight.shape)): each for each in layers}
    return all(_keeps_bits(each, counts) for each in shapes.values())


@torch.no_grad()
def _keeps_bits(product: Any, counts: Iterable[int]) -> bool:
    row = _drawn(product.nx if isinstance(product, Conv1D) else product.in_features)
    wanted = product(row.repeat(ROWS, 1))[:1]
    return all(torch.equal(product(row.repeat(count, 1)), wanted.expand(count, -1)) for count in counts)


def _drawn(width: int) -> torch.Tensor:
    """Return a row [1, width]: thousands of sums of it, or a few hundred, would hardly all agree by chance."""
    return torch.randn(1, width, generator=torch.Generator().manual_seed(0))
