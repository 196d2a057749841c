"""Optimizer and learning rate.

Guarantees: the learning rate is a pure function of the step, so a resumed run needs no scheduler state; weight decay follows
the shape of a parameter, so it is right for every family of models and does not depend on names.
"""

import math
from collections.abc import Iterable
from typing import Any, Literal

import torch
from torch import nn

from codeparrot.errors import CodeparrotError, nearest

Schedule = Literal["cosine", "linear", "wsd", "constant"]
SCHEDULES: tuple[Schedule, ...] = ("cosine", "linear", "wsd", "constant")


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Split the trainable parameters into those that decay and those that do not.

    Matrices and embeddings (two dimensions and more) decay; biases and the gains of norms (one dimension) do not. A tied
    parameter is listed once.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]


def build_optimizer(
    model: nn.Module, lr: float, betas: tuple[float, float], eps: float, weight_decay: float
) -> torch.optim.AdamW:
    """AdamW with decoupled weight decay (Loshchilov and Hutter, 2019), in torch's fused implementation.

    Args:
        model: its parameters must already be on the device and in the type that they are trained in.
        lr: learning rate of the first step; `set_learning_rate` changes it.
        betas: decay of the running means of the gradient and of its square.
        eps: added to the root of the mean square.
        weight_decay: factor of lr by which matrices shrink each step.
    """
    return torch.optim.AdamW(parameter_groups(model, weight_decay), lr=lr, betas=betas, eps=eps, fused=True)


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of every parameter group."""
    groups: Iterable[dict[str, Any]] = optimizer.param_groups
    for group in groups:
        group["lr"] = lr


def learning_rate(
    step: int,
    *,
    peak: float,
    warmup_steps: int,
    max_steps: int,
    name: Schedule,
    final_fraction: float,
    decay_fraction: float,
) -> float:
    """Return the learning rate of optimizer step `step`.

    Warm-up is linear: step 0 uses peak / warmup_steps, step warmup_steps - 1 uses peak. Then the rate falls so that the last
    step, max_steps - 1, uses exactly final_fraction * peak. A run that is all warm-up ends at the peak.

    Args:
        step: 0 for the first optimizer step. Past the end of the run the final value holds.
        peak: the highest learning rate.
        warmup_steps: optimizer steps of linear warm-up; 0 starts at the peak.
        max_steps: optimizer steps of the whole run.
        name: cosine (Loshchilov and Hutter, 2017), linear, constant, or wsd: warm-up, stable, then linear decay (Hu et al.,
            2024, MiniCPM).
        final_fraction: learning rate of the last step as a fraction of the peak; constant ignores it.
        decay_fraction: wsd only: the last part of the run, as a fraction of max_steps, in which the rate decays.
    """
    if step < warmup_steps:
        return peak * ((step + 1) / warmup_steps)
    start, last = max(warmup_steps - 1, 0), max_steps - 1
    if name == "wsd":
        start = max(start, last - max(1, round(decay_fraction * max_steps)))
    if step <= start or last <= start:
        return peak
    progress = min((step - start) / (last - start), 1.0)
    return peak * (final_fraction + (1 - final_fraction) * _remaining(name, progress))


def _remaining(name: str, progress: float) -> float:
    """What is left of the way from the peak to the final value, from 1 at progress 0 to 0 at progress 1."""
    if name == "cosine":
        return 0.5 * (1 + math.cos(math.pi * progress))
    if name in ("linear", "wsd"):
        return 1 - progress
    if name == "constant":
        return 1.0
    raise CodeparrotError(f'schedule.name: unknown schedule "{name}"{nearest(name, SCHEDULES)} ({", ".join(SCHEDULES)})')
