"""Everything known of an optimizer in one place: how it is built, what it keeps, how it skips a step, what the card says.

Its state is a few tensors a parameter, each of the parameter's shape, and a count of updates. A checkpoint holds them whole, by
parameter name, so any strategy writes and reads them.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


class OptimizerKind(Protocol):
    moments: ClassVar[tuple[str, ...]]
    """Names of the tensors in the optimizer's state that have a parameter's shape; each costs 4 bytes a parameter."""

    def build(self, model: "nn.Module", settings: Mapping[str, Any]) -> "torch.optim.Optimizer":
        """Return the optimizer of a model whose parameters already have the device and type they are trained with.

        Args:
            model: the model to train; it lists a tied parameter once.
            settings: the section `optim` of the configuration.
        """
        ...

    def skip(self, optimizer: "torch.optim.Optimizer", verdict: "Tensor") -> None:
        """Have the next update change nothing if `verdict` is not 0, without reading it on the host.

        Args:
            optimizer: as built.
            verdict: a float32 scalar on the device.
        """
        ...

    def card(self, settings: Mapping[str, Any]) -> str:
        """Return the optimizer's line on the model card."""
        ...


UPDATES = "step"
"""Name of the count of updates in the optimizer's state, a float32 scalar a parameter."""


def new_state(kind: OptimizerKind, parameter: "Tensor") -> "dict[str, Tensor]":
    """Return the state of a parameter as the first update would make it, so that it can be saved and loaded before then."""
    import torch

    state = {UPDATES: torch.zeros((), dtype=torch.float32, device=parameter.device)}
    return state | {name: torch.zeros_like(parameter).detach() for name in kind.moments}


def set_learning_rate(optimizer: "torch.optim.Optimizer", lr: float) -> None:
    """Set the learning rate of every parameter group."""
    for group in optimizer.param_groups:
        group["lr"] = lr
