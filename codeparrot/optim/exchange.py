"""Whole matrices from the pieces that processes hold, and back: so an optimizer that needs whole ones works on every strategy.

Of a group of parameters, each process gives what it holds of the momenta; whoever has a whole one computes its change; each
process gets what it holds of the changes. The work is dealt to the processes: a matrix is computed
once, or, under ZeRO-1 and 2, by each process that holds a part of it.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor

Change = Callable[[int, Tensor], Tensor]


Exchange = Callable[[list[Tensor], Change], list[Tensor]]


def local(tensor: Tensor | None) -> Tensor:
    """Return what this process holds of a tensor: FSDP2 keeps a piece of it."""
    assert tensor is not None
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def exchange_of(parameters: Sequence[Tensor]) -> Exchange:
    """Return the exchange of parameters that are whole on every process (one, DDP), or DTensors (FSDP2)."""
    if parameters and isinstance(parameters[0], DTensor):
        return Sharded([parameter for parameter in parameters if isinstance(parameter, DTensor)])
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        return replicated
    return alone


def alone(updates: list[Tensor], change: Change) -> list[Tensor]:
    return [change(index, update) for index, update in enumerate(updates)]


def replicated(updates: list[Tensor], change: Change) -> list[Tensor]:
    """Every process holds all of the momenta; each computes its share of the changes and sends it to the others."""
    rank, world_size = dist.get_rank(), dist.get_world_size()
    changes, sent = [], []
    for index, update in enumerate(updates):
        owner = index % world_size
        mine = change(index, update).contiguous() if owner == rank else torch.empty(update.shape, device=update.device)
        sent.append(dist.broadcast(mine, owner, async_op=True))
        changes.append(mine)
    for work in sent:
        work.wait()
    return changes


class Sharded:
    """Every process holds some rows of each matrix (FSDP2): they are gathered by one process, which sends back the changes."""

    def __init__(self, parameters: Sequence[DTensor]) -> None:
        self._parameters = parameters
        self._group: Any = parameters[0].device_mesh.get_group()

    def __call__(self, updates: list[Tensor], change: Change) -> list[Tensor]:
        world_size = dist.get_world_size(self._group)
        changes = []
        for index, (parameter, update) in enumerate(zip(self._parameters, updates, strict=True)):
            # FSDP2 gives each process as many rows; the last ones have fewer, or none.
            rows = -(-parameter.shape[0] // world_size)
            by_owner = _by_owner(_padded(update, rows), index % world_size, self._group)
            changes.append(
                by_owner(lambda held, index=index, rows=parameter.shape[0]: change(index, held[:rows]))[: update.shape[0]]
            )
        return changes


class Partitioned:
    """Every process holds an equal piece of each matrix, laid flat, one behind the other in one tensor (ZeRO-3).

    Args:
        shapes: of the matrices in the order in which their pieces lie, each with its place in the group of parameters.
        pieces: numbers that a process holds of each.
        group: the processes.
    """

    def __init__(self, shapes: Sequence[tuple[int, torch.Size]], pieces: Sequence[int], group: Any) -> None:
        self._shapes, self._pieces, self._group = shapes, list(pieces), group

    def __call__(self, updates: list[Tensor], change: Change) -> list[Tensor]:
        world_size = dist.get_world_size(self._group)
        (flat,) = updates
        result = torch.zeros_like(flat)
        places = zip(
            self._shapes,
            flat[: sum(self._pieces)].split(self._pieces),
            result.split([*self._pieces, flat.numel() - sum(self._pieces)]),
            strict=False,
        )
        for number, ((index, shape), held, into) in enumerate(places):
            by_owner = _by_owner(held.contiguous(), number % world_size, self._group)
            into.copy_(
                by_owner(lambda flat, index=index, shape=shape: change(index, flat[: shape.numel()].view(shape)).flatten())
            )
        return [result]


class Flat:
    """The matrices of a group lie one behind the other in one tensor, of which every process holds an equal piece (ZeRO-1, 2).

    Args:
        matrices: each with its place in the group of parameters, its shape, and its first number in the whole tensor.
        group: the processes.
    """

    def __init__(self, matrices: Sequence[tuple[int, torch.Size, int]], group: Any) -> None:
        self._matrices, self._group = matrices, group

    def __call__(self, updates: list[Tensor], change: Change) -> list[Tensor]:
        rank, world_size = dist.get_rank(self._group), dist.get_world_size(self._group)
        (held,) = updates
        whole = held.new_empty(world_size * held.numel())
        dist.all_gather_into_tensor(whole, held.contiguous(), group=self._group)
        begin, end = rank * held.numel(), (rank + 1) * held.numel()
        result = torch.zeros_like(held)
        for index, shape, first in self._matrices:
            last = first + shape.numel()
            if first < end and last > begin:  # this process holds some of it
                found = change(index, whole[first:last].view(shape)).flatten()
                low, high = max(first, begin), min(last, end)
                result[low - begin : high - begin] = found[low - first : high - first]
        return [result]


def _by_owner(held: Tensor, owner: int, group: Any) -> Callable[[Callable[[Tensor], Tensor]], Tensor]:
    """Gather equal pieces on one process, one behind the other; what is returned applies a function there, and sends back."""
    world_size, to = dist.get_world_size(group), dist.get_global_rank(group, owner)
    pieces = [torch.empty_like(held) for _ in range(world_size)] if dist.get_rank(group) == owner else None
    dist.gather(held, pieces, to, group=group)

    def applied(function: Callable[[Tensor], Tensor]) -> Tensor:
        back = None
        if pieces is not None:
            whole = _padded(function(torch.cat(pieces)), world_size * held.shape[0])
            back = list(whole.chunk(world_size))
        received = torch.empty_like(held)
        dist.scatter(received, back, to, group=group)
        return received

    return applied


def _padded(part: Tensor, rows: int) -> Tensor:
    missing = rows - part.shape[0]
    return torch.cat([part, part.new_zeros((missing, *part.shape[1:]))]) if missing else part.contiguous()
