"""Whole matrices from the pieces that processes hold, and back: so an optimizer that needs whole ones works on every strategy.

Each matrix has one owner, which computes its change. Owners are dealt over all matrices of a step: the most expensive first,
each to the process that has the least to do. No process then has more than its even share and one matrix.

Where processes hold pieces (FSDP2, ZeRO-1, 2, 3), the work goes in batches of about one matrix a process. One all-to-all brings
each owner the pieces of its matrices, and one brings back the changes. While a batch is computed, the pieces of the next one
arrive and the changes of the last one leave. Where each process holds all (DDP), the owner updates the weight and sends it.

Memory: in a batch no process sends or receives more numbers than the largest matrix has. Two buffers of three batches are alive
at once: at most 24 bytes a number of the largest matrix, whatever the depth of the model and the number of processes. DDP needs
none: weights are sent from where they lie to where they lie.
"""

import heapq
from collections.abc import Sequence
from itertools import pairwise
from math import prod
from typing import Any, NamedTuple, Protocol

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor

BUFFERS = 6
"""That are alive at once, each of at most the numbers of the largest matrix."""

Bounds = tuple[int, ...]
"""Who holds what of a matrix whose numbers lie row after row: process r those from bounds[r] to before bounds[r + 1]."""


class Matrix(NamedTuple):
    cost: int
    """FLOPs of its change."""
    bounds: Bounds
    """Empty: every process holds all of it."""

    @property
    def numbers(self) -> int:
        return self.bounds[-1]

    def held(self, rank: int) -> int:
        return self.bounds[rank + 1] - self.bounds[rank]


class Part(Protocol):
    """What this process holds of a matrix, its momentum and its gradient."""

    weight: Tensor

    def update(self) -> Tensor:
        """Take the gradient into the momentum, and return what the change is made of. Called once a step."""
        ...

    def change(self, whole: Tensor) -> Tensor:
        """Return the change of the matrix.

        Args:
            whole: its update, of any shape.
        """
        ...

    def take(self, change: Tensor) -> None:
        """Change the weight. What is given is used up."""
        ...


class Inside(NamedTuple):
    """A matrix of which a flat tensor holds a piece."""

    place: int
    """In its group of parameters."""
    shape: torch.Size
    bounds: Bounds
    first: int
    """Where its piece begins in this process's tensor."""


class Flat(NamedTuple):
    """What a flat tensor of DeepSpeed holds, on all processes of a group."""

    matrices: list[Inside]
    group: Any


def local(tensor: Tensor | None) -> Tensor:
    """Return what this process holds of a tensor: FSDP2 keeps a piece of it."""
    assert tensor is not None
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def by_rows(shape: Sequence[int], world_size: int) -> Bounds:
    """Return who holds what under FSDP2: each process as many rows; the last ones have fewer, or none."""
    rows = -(-shape[0] // world_size)
    return tuple(min(rank * rows, shape[0]) * prod(shape[1:]) for rank in range(world_size + 1))


def by_pieces(shape: Sequence[int], piece: int, world_size: int) -> Bounds:
    """Return who holds what under ZeRO-3: each process a piece of as many numbers; the last ones are padded."""
    return tuple(min(rank * piece, prod(shape)) for rank in range(world_size + 1))


def by_place(shape: Sequence[int], first: int, share: int, world_size: int) -> Bounds:
    """Return who holds what under ZeRO-1 and 2: a tensor of all matrices is cut into shares; this one begins at `first`."""
    return tuple(min(max(rank * share - first, 0), prod(shape)) for rank in range(world_size + 1))


def deal(costs: Sequence[int], world_size: int) -> list[int]:
    """Return the owner of each matrix: the most expensive go first, each to the (first) process with the least to do."""
    owners = [0] * len(costs)
    loads = [(0, rank) for rank in range(world_size)]
    for number in sorted(range(len(costs)), key=lambda number: -costs[number]):
        load, owners[number] = loads[0]
        heapq.heapreplace(loads, (load + costs[number], owners[number]))
    return owners


Batch = list[list[int]]
"""Numbers of matrices, by owner."""


def batches(matrices: Sequence[Matrix], owners: Sequence[int], world_size: int) -> list[Batch]:
    """Return the matrices in batches in which no process sends or receives more numbers than the largest matrix has.

    Owners take theirs from the most expensive on, and leave one whose pieces do not fit to a later batch: under ZeRO-1 and 2 a
    process holds several whole matrices.
    """
    largest, smallest = (found(matrix.numbers for matrix in matrices) for found in (max, min))
    waiting: Batch = [[] for _ in range(world_size)]
    for number in sorted(range(len(matrices)), key=lambda number: -matrices[number].cost):
        waiting[owners[number]].append(number)
    holders = [[rank for rank in range(world_size) if matrix.held(rank)] for matrix in matrices]
    found: list[Batch] = []
    while any(waiting):
        sent, batch = [0] * world_size, []
        for owner, mine in enumerate(waiting):
            received, taken = 0, []
            for number in mine:
                if received + smallest > largest:
                    break
                matrix = matrices[number]
                fits = received + matrix.numbers <= largest
                if fits and all(sent[rank] + matrix.held(rank) <= largest for rank in holders[number]):
                    taken.append(number)
                    received += matrix.numbers
                    for rank in holders[number]:
                        sent[rank] += matrix.held(rank)
            waiting[owner] = [number for number in mine if number not in taken]
            batch.append(taken)
        found.append(batch)
    return found


class Exchange(Protocol):
    def __call__(self, parts: Sequence[Part]) -> None:
        """Update all matrices. All processes call this together."""
        ...


def exchange_of(matrices: Sequence[Matrix], group: Any) -> Exchange:
    """Return how matrices are updated.

    Args:
        matrices: alike: processes hold pieces of all of them, or all hold them whole.
        group: the processes that hold pieces; None where each holds all.
    """
    if matrices and matrices[0].bounds:
        return Pieces(matrices, group)
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        return Replicas(matrices)
    return alone


def alone(parts: Sequence[Part]) -> None:
    for part in parts:
        part.take(part.change(part.update()))


class Replicas:
    """Every process holds all (DDP): the owner updates a weight and sends it to the others. A round is a matrix a process."""

    def __init__(self, matrices: Sequence[Matrix]) -> None:
        owners = deal([matrix.cost for matrix in matrices], dist.get_world_size())
        order = sorted(range(len(matrices)), key=lambda number: -matrices[number].cost)
        by_owner = [[number for number in order if owners[number] == owner] for owner in range(dist.get_world_size())]
        rounds = range(max(map(len, by_owner)))
        self._rounds = [[mine[place : place + 1] for mine in by_owner] for place in rounds]

    def __call__(self, parts: Sequence[Part]) -> None:
        leaving: list[tuple[Any, Tensor, Tensor]] = []
        for batch in self._rounds:
            for owner, numbers in enumerate(batch):
                for part in (parts[number] for number in numbers):
                    update = part.update()
                    if owner == dist.get_rank():
                        part.take(part.change(update))
            sent = []
            for owner, numbers in enumerate(batch):
                for weight in (parts[number].weight for number in numbers):
                    buffer = weight.contiguous()  # itself, if its numbers lie in one piece
                    sent.append((dist.broadcast(buffer, owner, async_op=True), buffer, weight))
            _arrive(leaving)
            leaving = sent
        _arrive(leaving)


def _arrive(sent: Sequence[tuple[Any, Tensor, Tensor]]) -> None:
    for work, buffer, weight in sent:
        work.wait()
        if buffer is not weight:
            weight.copy_(buffer)


class Pieces:
    """Each process holds pieces (FSDP2, ZeRO-1, 2, 3)."""

    def __init__(self, matrices: Sequence[Matrix], group: Any) -> None:
        world_size = dist.get_world_size(group)
        self._matrices, self._group = matrices, group
        self._batches = batches(matrices, deal([matrix.cost for matrix in matrices], world_size), world_size)

    def __call__(self, parts: Sequence[Part]) -> None:
        coming, leaving = self._start(0, parts), None
        for number in range(len(self._batches)):
            batch, coming = coming, self._start(number + 1, parts)
            assert batch is not None
            batch.compute()
            if leaving:
                leaving.finish()
            leaving = batch
        if leaving:
            leaving.finish()

    def _start(self, number: int, parts: Sequence[Part]) -> "_Travelling | None":
        if number == len(self._batches):
            return None
        return _Travelling(self._batches[number], self._matrices, parts, self._group)


class _Travelling:
    """A batch under way. Pieces lie by process, and of one process in the order of the batch."""

    def __init__(self, batch: Batch, matrices: Sequence[Matrix], parts: Sequence[Part], group: Any) -> None:
        self._rank, self._group = dist.get_rank(group), group
        self._matrices, self._parts, self._mine = matrices, parts, batch[self._rank]
        self._order = [number for owned in batch for number in owned]
        held = [[matrices[number].held(self._rank) for number in owned] for owned in batch]
        self._given = [sum(sizes) for sizes in held]
        """Numbers that this process gives to each owner."""
        ranks = range(dist.get_world_size(group))
        self._got = [sum(matrices[number].held(rank) for number in self._mine) for rank in ranks]
        """Numbers that it gets from each process, of the matrices that it owns."""
        like = parts[0].weight
        self._pieces = like.new_empty(sum(self._given), dtype=torch.float32)
        self._whole: Tensor | None = like.new_empty(sum(self._got), dtype=torch.float32)
        for number, into in self._of_mine():
            into.copy_(parts[number].update().flatten())
        self._work: Any = dist.all_to_all_single(self._whole, self._pieces, self._got, self._given, group, async_op=True)

    def _of_mine(self) -> list[tuple[int, Tensor]]:
        """Return the numbers of the matrices that this process holds some of, each with its place among the pieces."""
        sizes = [self._matrices[number].held(self._rank) for number in self._order]
        places = zip(self._order, self._pieces.split(sizes), strict=True) if sizes else ()
        return [(number, piece) for number, piece in places if piece.numel()]

    def compute(self) -> None:
        """Wait for the pieces, compute the changes of the matrices that this process owns, and send them."""
        self._work.wait()
        received, self._whole = self._whole, None
        assert received is not None
        sizes = [self._matrices[number].held(rank) for rank in range(len(self._got)) for number in self._mine]
        pieces, count = received.split(sizes) if sizes else (), len(self._mine)
        changes = []
        for place, number in enumerate(self._mine):
            whole = received if count == 1 else torch.cat(pieces[place::count])
            changes.append(self._parts[number].change(whole).flatten())
        # The pieces that come back take the room of those that were sent.
        self._changes = changes[0] if count == 1 else self._by_process(changes)
        self._work = dist.all_to_all_single(self._pieces, self._changes, self._given, self._got, self._group, async_op=True)

    def _by_process(self, changes: list[Tensor]) -> Tensor:
        if not changes:
            return self._pieces.new_empty(0)
        bounds = (self._matrices[number].bounds for number in self._mine)
        cut = [[change[low:high] for low, high in pairwise(ends)] for change, ends in zip(changes, bounds, strict=True)]
        return torch.cat([piece for pieces in zip(*cut, strict=True) for piece in pieces])

    def finish(self) -> None:
        """Wait for the changes of what this process holds, and take them."""
        self._work.wait()
        for number, change in self._of_mine():
            self._parts[number].take(change)
