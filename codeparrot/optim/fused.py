"""Parameters that hold several matrices in one: which do, and how they are taken apart."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from codeparrot.errors import CodeparrotError


class Split:
    """How a parameter holds several matrices.

    Args:
        dim: along which they lie one behind the other.
        sizes: of each along it; empty: it is one matrix.
        heads: if not 0, they alternate head by head (GPT-NeoX).
    """

    def __init__(self, dim: int = 0, sizes: tuple[int, ...] = (), heads: int = 0) -> None:
        self.dim, self.sizes, self.heads = dim, sizes, heads

    def shapes(self, shape: Sequence[int]) -> list[tuple[int, ...]]:
        """Return the shapes of the parts of a matrix."""
        return [(*shape[: self.dim], size, *shape[self.dim + 1 :]) for size in self.sizes] or [tuple(shape)]

    def parts(self, whole: Tensor) -> list[Tensor]:
        if self.heads:
            by_head = whole.unflatten(0, (self.heads, len(self.sizes), -1))
            return [by_head[:, index].flatten(0, 1) for index in range(len(self.sizes))]
        return list(whole.split(self.sizes, self.dim)) if self.sizes else [whole]

    def join(self, parts: list[Tensor]) -> Tensor:
        if self.heads:
            return torch.stack([part.unflatten(0, (self.heads, -1)) for part in parts], 1).flatten(0, 2)
        return torch.cat(parts, self.dim) if self.sizes else parts[0]


def _thirds(module: nn.Module, config: Any) -> Split:
    """GPT-2's c_attn: queries, keys and values side by side; Conv1D keeps its weights as [in, out]."""
    weight: Any = module.weight
    return Split(1, (weight.shape[1] // 3,) * 3)


def _phi3(module: nn.Module, config: Any) -> Split:
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return Split(0, (config.num_attention_heads * head, *(config.num_key_value_heads * head,) * 2))


def _halves(module: nn.Module, config: Any) -> Split:
    weight: Any = module.weight
    return Split(0, (weight.shape[0] // 2,) * 2)


def _by_head(module: nn.Module, config: Any) -> Split:
    return Split(0, (config.hidden_size,) * 3, heads=config.num_attention_heads)


FUSED: dict[tuple[str, str], Callable[[nn.Module, Any], Split]] = {
    ("gpt2", "c_attn"): _thirds,
    ("phi3", "qkv_proj"): _phi3,
    ("phi3", "gate_up_proj"): _halves,
    ("gpt_neox", "query_key_value"): _by_head,
}
"""Matrices that hold several, by family and module."""
SAYS_FUSED = ("qkv", "query_key_value", "c_attn", "wqkv", "in_proj", "gate_up")
"""Names that say so; in a family that is not known here they are refused."""


def split_of(name: str, module: nn.Module, config: Any) -> Split:
    """Return how the weight of a module holds its matrices.

    Raises:
        CodeparrotError: its name says that it holds several, and how is not known.
    """
    last = name.rpartition(".")[2]
    if config is None:
        return Split()
    if (config.model_type, last) in FUSED:
        return FUSED[config.model_type, last](module, config)
    if any(word in last.lower() for word in SAYS_FUSED):
        what = f"{name} of a {config.model_type} model"
        raise CodeparrotError(f"optim.name muon: {what} holds several matrices in one, and how is not known here; use adamw")
    return Split()
