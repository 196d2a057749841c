"""A plain GPT-2 and a bare training loop: the peers of the benchmarks of speed.

The model is what one writes by hand, as nanoGPT's is: pre-norm blocks, causal `scaled_dot_product_attention`, tanh GELU, a tied
head, `F.cross_entropy` over all logits. The loop is forward, backward, clip and update on one fixed batch, with torch's fused
AdamW where it exists, and nothing else.
"""

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, hidden: Tensor) -> Tensor:
        windows, length, width = hidden.shape
        shape = (windows, length, self.heads, width // self.heads)
        query, key, value = (part.view(shape).transpose(1, 2) for part in self.qkv(self.norm_1(hidden)).split(width, dim=2))
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        hidden = hidden + self.out(mixed.transpose(1, 2).reshape(windows, length, width))
        return hidden + self.down(functional.gelu(self.up(self.norm_2(hidden)), approximate="tanh"))


class PlainGPT2(nn.Module):
    """Args: the sizes in GPT-2's own names, as in the `model` section of a configuration; others are passed over."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        super().__init__()
        width, layers = settings["n_embd"], settings["n_layer"]
        self.tokens = nn.Embedding(settings["vocab_size"], width)
        self.positions = nn.Embedding(settings["n_positions"], width)
        self.blocks = nn.ModuleList(Block(width, settings["n_head"]) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, settings["vocab_size"], bias=False)
        self.head.weight = self.tokens.weight
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                nn.init.normal_(weight, std=0.02 / (math.sqrt(2 * layers) if "out" in name or "down" in name else 1))

    def forward(self, windows: Tensor) -> Tensor:
        """Return the mean loss of predicting each token of `windows` (windows, length) from those before it."""
        hidden = self.tokens(windows) + self.positions(torch.arange(windows.shape[1], device=windows.device))
        for block in self.blocks:
            hidden = block(hidden)
        logits = self.head(self.norm(hidden))[:, :-1]
        return functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), windows[:, 1:].reshape(-1))


def bare_loop(
    model: nn.Module,
    loss: Callable[[Tensor], Tensor],
    shape: tuple[int, int],
    *,
    vocab_size: int,
    micro_batches: int,
    precision: str,
    warm_up: int,
    steps: int,
) -> float:
    """Take steps on one fixed micro-batch of `shape` (windows, length); return tokens a second after the warm-up.

    Args:
        model: on the device to train on.
        loss: of a micro-batch; the model itself or a function that calls it.
        vocab_size: token ids are drawn below it.
        micro_batches: forward and backward passes a step.
        precision: fp32, or bf16 by autocast.
        warm_up, steps: steps before the clock starts, and those that it measures.
    """
    device = next(model.parameters()).device
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    batch = torch.randint(0, vocab_size, shape).to(device)
    began = time.perf_counter()
    for step in range(warm_up + steps):
        if step == warm_up:
            _wait(device)
            began = time.perf_counter()
        for _ in range(micro_batches):
            with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
                value = loss(batch)
            (value / micro_batches).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    _wait(device)
    return steps * micro_batches * batch.numel() / (time.perf_counter() - began)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
