"""Optimizer and learning rate.

Guarantees: the learning rate is a pure function of the step, so a resumed run needs no scheduler state; weight decay follows
the shape of a parameter, so it is right for every family of models and does not depend on names.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn


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
