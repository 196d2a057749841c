"""Everything known of an optimizer in one place: how it is built, what it keeps, how it skips a step, what the card says.

Its state is a few tensors a parameter, perhaps others for other groups of them, each of the parameter's shape, and a count of
updates. A checkpoint holds them whole, by parameter name, so any strategy writes and reads them.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


class OptimizerKind(Protocol):
    def groups(self, model: "nn.Module", settings: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the groups of a model's trainable parameters; it may be without weights, to be counted."""
        ...

    def moments(self, group: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the names of the tensors that are kept for each parameter of a group, in its shape, 4 bytes a number.

        Args:
            group: one of `groups`.
        """
        ...

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


@runtime_checkable
class NeedsWhole(Protocol):
    """An optimizer that needs whole matrices (exchange.py); the groups with `matrices` true do."""

    exchanges: dict[int, Any]
    """What a flat tensor holds pieces of (exchange.Flat), by its id."""


class UpdateCost(NamedTuple):
    """What an update takes beside reading and writing each number a few times."""

    flops: int
    """In float32, of the process that has the most to do."""
    working_bytes: int
    """Held while it is computed."""
    exchange_bytes: int
    """Of buffers, where processes hold pieces of matrices (FSDP2, ZeRO); at most."""


@runtime_checkable
class Computes(Protocol):
    """An optimizer whose update is more than some operations a number; `plan` asks for its cost."""

    def cost(self, model: "nn.Module", settings: Mapping[str, Any], world_size: int) -> UpdateCost:
        """Return the cost of an update of a model, which may be without weights, on so many processes."""
        ...


def cost_of(kind: OptimizerKind, model: "nn.Module", settings: Mapping[str, Any], world_size: int) -> UpdateCost:
    """Return what an update takes."""
    return kind.cost(model, settings, world_size) if isinstance(kind, Computes) else UpdateCost(0, 0, 0)


UPDATES = "step"
"""Name of the count of updates in the optimizer's state, a float32 scalar a parameter."""


def new_state(moments: Iterable[str], parameter: "Tensor") -> "dict[str, Tensor]":
    """Return the state of a parameter as the first update would make it, so that it can be saved and loaded before then."""
    import torch

    state = {UPDATES: torch.zeros((), dtype=torch.float32, device=parameter.device)}
    return state | {name: torch.zeros_like(parameter).detach() for name in moments}


def kept_numbers(kind: OptimizerKind, model: "nn.Module", settings: Mapping[str, Any]) -> int:
    """Return how many numbers an optimizer keeps for all parameters of a model."""
    return sum(
        len(kind.moments(group)) * parameter.numel() for group in kind.groups(model, settings) for parameter in group["params"]
    )


def moments_by_name(kind: OptimizerKind, optimizer: "torch.optim.Optimizer", model: "nn.Module") -> dict[str, tuple[str, ...]]:
    """Return what an optimizer keeps of each parameter of a model, before either is wrapped."""
    of = {id(parameter): kind.moments(group) for group in optimizer.param_groups for parameter in group["params"]}
    return {name: of[id(parameter)] for name, parameter in model.named_parameters()}


def set_learning_rate(optimizer: "torch.optim.Optimizer", lr: float) -> None:
    """Set the learning rate of every parameter group: `lr`, times the group's own `rate` if it has one."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("rate", 1.0)
