"""Activations that give a number the same bits wherever it lies in memory.

torch's own kernels for SiLU and GELU compute most of a piece of memory with vectors and its last few numbers one by one, by
other functions; the pieces depend on the number of threads and of rows. With three threads a row of a batch so has other bits
than alone. Written out, they consist of operations that are exact, or computed with vectors to the end (exp).
"""

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from transformers.activations import FastGELUActivation, GELUTanh, NewGELUActivation, QuickGELUActivation, SiLUActivation

from codeparrot.generation.rows import is_plain, replaced


@contextlib.contextmanager
def even_activations(model: Any) -> Iterator[None]:
    """Compute the activations of a model in float32 on a CPU this way within the block; those of other kinds stay."""
    with contextlib.ExitStack() as stack:
        for module in model.modules() if is_plain(model) else ():
            if even := _EVEN.get(type(module)):
                stack.enter_context(replaced(module, even))
        yield


def silu(given: torch.Tensor) -> torch.Tensor:
    inner = (-given).exp_().add_(1)
    return torch.div(given, inner, out=inner)


def quick_gelu(given: torch.Tensor) -> torch.Tensor:
    inner = (given * -1.702).exp_().add_(1)
    return torch.div(given, inner, out=inner)


def gelu_tanh(given: torch.Tensor) -> torch.Tensor:
    """GELU by tanh, as GPT-2 has it: x (1 + tanh u) / 2 is x / (1 + exp(-2u)), which takes less time."""
    scale = -2 * math.sqrt(2 / math.pi)
    inner = (given * given).mul_(0.044715 * scale).add_(scale).mul_(given).exp_().add_(1)
    return torch.div(given, inner, out=inner)


_EVEN: dict[type[nn.Module], Callable[[torch.Tensor], torch.Tensor]] = {
    nn.SiLU: silu,
    SiLUActivation: silu,
    QuickGELUActivation: quick_gelu,
    GELUTanh: gelu_tanh,
    NewGELUActivation: gelu_tanh,
    FastGELUActivation: gelu_tanh,
}
