"""Matrices travel to their owners and back: who owns what, what is sent at once, and that everyone gets the change."""

import os
from dataclasses import asdict
from itertools import chain
from math import prod
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor
from torch.multiprocessing.spawn import spawn

from codeparrot.config import OptimConfig
from codeparrot.optim.exchange import (
    BUFFERS,
    Bounds,
    Flat,
    Inside,
    Matrix,
    batches,
    by_pieces,
    by_place,
    by_rows,
    deal,
    exchange_of,
)
from codeparrot.optim.muon import MuonAndAdamW, Split

SETTINGS = asdict(OptimConfig(lr=0.01))
SHAPES = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=30)
WORLDS = st.integers(1, 8)


def held_by(strategy: str, shapes: list[tuple[int, int]], world_size: int) -> list[Bounds]:
    if strategy == "FSDP2":
        return [by_rows(shape, world_size) for shape in shapes]
    if strategy == "ZeRO-3":
        return [by_pieces(shape, -(-prod(shape) // world_size), world_size) for shape in shapes]
    firsts = [sum(map(prod, shapes[:number])) for number in range(len(shapes))]
    share = -(-sum(map(prod, shapes)) // world_size)
    return [by_place(shape, first, share, world_size) for shape, first in zip(shapes, firsts, strict=True)]


@given(costs=st.lists(st.integers(1, 1000), min_size=1, max_size=60), world_size=WORLDS)
def test_no_process_has_more_than_its_even_share_and_one_matrix(costs, world_size) -> None:
    owners = deal(costs, world_size)
    loads = [sum(cost for cost, owner in zip(costs, owners, strict=True) if owner == rank) for rank in range(world_size)]
    assert sum(loads) == sum(costs)
    assert max(loads) <= sum(costs) / world_size + max(costs)


def test_the_most_expensive_matrices_have_an_owner_each_and_small_ones_share_another() -> None:
    assert deal([1, 9, 1, 9, 1, 9, 1], 4) == [3, 0, 3, 1, 3, 2, 3]


@pytest.mark.parametrize("strategy", ["FSDP2", "ZeRO-1", "ZeRO-3"])
@given(shapes=SHAPES, world_size=WORLDS)
def test_a_batch_sends_and_brings_each_process_no_more_than_the_largest_matrix(strategy, shapes, world_size) -> None:
    bounds = held_by(strategy, shapes, world_size)
    matrices = [Matrix(prod(shape), each) for shape, each in zip(shapes, bounds, strict=True)]
    assert [matrix.numbers for matrix in matrices] == list(map(prod, shapes))
    owners = deal([matrix.cost for matrix in matrices], world_size)
    found = batches(matrices, owners, world_size)
    assert sorted((number, owner) for batch in found for owner, mine in enumerate(batch) for number in mine) == [
        *enumerate(owners)
    ]
    largest = max(map(prod, shapes))
    for batch in found:
        for rank in range(world_size):
            assert sum(prod(shapes[number]) for number in batch[rank]) <= largest
            assert sum(matrices[number].held(rank) for mine in batch for number in mine) <= largest


def test_as_many_equal_matrices_as_processes_are_one_batch() -> None:
    matrices = [Matrix(1, by_rows((16, 4), 8))] * 24
    found = batches(matrices, deal([1] * 24, 8), 8)
    assert [sorted(chain(*batch)) for batch in found] == [[*range(8)], [*range(8, 16)], [*range(16, 24)]]


def test_under_zero_1_a_batch_takes_matrices_of_several_processes() -> None:
    """Of 48 equal ones in a row, 8 processes hold 6 each; one after another, each batch would come from one or two of them."""
    shapes = [(4, 4)] * 48
    matrices = [Matrix(1, each) for each in held_by("ZeRO-1", shapes, 8)]
    assert len(batches(matrices, deal([1] * 48, 8), 8)) <= 12


LAYERS = [(7, 5), (5, 7), (6, 18), (2, 3), (9, 1), (7, 5), (1, 8), (5, 5)]
SPLITS = [Split(1, (6, 6, 6)) if shape == (6, 18) else Split() for shape in LAYERS]


def weights_and_gradients() -> tuple[list[Tensor], list[list[Tensor]]]:
    torch.manual_seed(0)
    return [torch.randn(shape) for shape in LAYERS], [[torch.randn(shape) for shape in LAYERS] for _ in range(3)]


def updated(parameters: list[Any], gradients: list[list[Any]], exchanges: dict[int, Flat] | None = None) -> list[Any]:
    """Return the parameters after three steps, of which the second is skipped."""
    group = {"params": parameters, "splits": SPLITS, "matrices": True, "weight_decay": 0.1}
    optimizer = MuonAndAdamW([group], SETTINGS)
    optimizer.exchanges = exchanges or {}
    for number, step in enumerate(gradients):
        optimizer.found_inf = torch.tensor(float(number == 1))
        for parameter, gradient in zip(parameters, step, strict=True):
            parameter.grad = gradient
        optimizer.step()
    return [parameter.detach() for parameter in parameters]


def flat_of(values: list[Tensor], strategy: str, rank: int, world_size: int) -> tuple[Tensor, list[Inside]]:
    """Return what a process holds of matrices as DeepSpeed keeps it, and where; the rest of the tensor is padding."""
    bounds = held_by(strategy, LAYERS, world_size)
    if strategy == "ZeRO-3":
        sizes = [-(-value.numel() // world_size) for value in values]
        padded = [
            nn.functional.pad(value.flatten(), (0, size * world_size - value.numel()))
            for value, size in zip(values, sizes, strict=True)
        ]
        pieces = [value[rank * size : (rank + 1) * size] for value, size in zip(padded, sizes, strict=True)]
        firsts = [sum(sizes[:number]) for number in range(len(sizes))]
        inside = [Inside(*each) for each in zip(range(len(values)), map(torch.Size, LAYERS), bounds, firsts, strict=True)]
        return torch.cat(pieces), inside
    whole = torch.cat([value.flatten() for value in values])
    share = -(-whole.numel() // world_size)
    begins = [sum(map(prod, LAYERS[:number])) - rank * share for number in range(len(LAYERS))]
    firsts = [max(0, begin) for begin in begins]
    inside = [Inside(*each) for each in zip(range(len(values)), map(torch.Size, LAYERS), bounds, firsts, strict=True)]
    return nn.functional.pad(whole, (0, share * world_size - whole.numel()))[rank * share :][:share].clone(), inside


def compare(rank: int, world_size: int, folder: str) -> None:
    """Update the same matrices in a process as every strategy holds them, and compare what it holds then."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world_size)
    expected = torch.load(f"{folder}/expected.pt")
    weights, gradients = weights_and_gradients()
    found = updated([nn.Parameter(each.clone()) for each in weights], gradients)
    torch.testing.assert_close(found, expected)
    transposed = [nn.Parameter(each.clone().T.contiguous().T) for each in weights]  # their numbers do not lie row after row
    torch.testing.assert_close(updated(transposed, gradients), expected)

    mesh = init_device_mesh("cpu", (world_size,))
    rows = [nn.Parameter(distribute_tensor(each, mesh, [Shard(0)])) for each in weights]
    found = updated(rows, [[distribute_tensor(each, mesh, [Shard(0)]) for each in step] for step in gradients])
    torch.testing.assert_close([each.full_tensor() for each in found], expected)

    for strategy in ("ZeRO-1", "ZeRO-3"):
        flat, inside = flat_of(weights, strategy, rank, world_size)
        parameter = nn.Parameter(flat)
        pieces = [[flat_of(step, strategy, rank, world_size)[0]] for step in gradients]
        found = updated([parameter], pieces, {id(parameter): Flat(inside, dist.group.WORLD)})
        wanted, _ = flat_of(expected, strategy, rank, world_size)
        torch.testing.assert_close(found[0], wanted, msg=lambda text, strategy=strategy: f"{strategy}: {text}")
    Path(folder, f"done_{rank}").touch()
    dist.barrier()
    os._exit(0)  # gloo's threads may hang at the end


@pytest.mark.slow
def test_processes_that_hold_pieces_update_them_as_one_process_does(tmp_path) -> None:
    weights, gradients = weights_and_gradients()
    torch.save(updated([nn.Parameter(each) for each in weights], gradients), tmp_path / "expected.pt")
    spawn(compare, (3, str(tmp_path)), nprocs=3)
    assert len(list(tmp_path.glob("done_*"))) == 3


class Unchanged:
    """A part of a matrix whose change is its weight; it takes no memory of its own."""

    def __init__(self, weight: Tensor) -> None:
        self.weight = weight

    def update(self) -> Tensor:
        return self.weight

    def change(self, whole: Tensor) -> Tensor:
        return whole

    def take(self, change: Tensor) -> None:
        self.weight.copy_(change.view(self.weight.shape))


def test_buffers_take_what_is_stated_however_many_matrices_there_are() -> None:
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.testing._internal.distributed.fake_pg import FakeStore

    from codeparrot.plan.ledger import Ledger

    peaks = []
    for count in (32, 96):
        dist.init_process_group("fake", rank=0, world_size=8, store=FakeStore())
        try:
            with FakeTensorMode(allow_non_fake_inputs=True), Ledger() as ledger:
                bounds = by_rows((64, 32), 8)
                parts = [Unchanged(torch.zeros(8, 32)) for _ in range(count)]
                exchange = exchange_of([Matrix(1, bounds)] * count, dist.group.WORLD)
                weights = 4 * 8 * 32 * count
                exchange(parts)
            peaks.append(max(sum(held.values()) for held in ledger.peaks().values()) - weights)
        finally:
            dist.destroy_process_group()
    assert peaks[0] <= 4 * BUFFERS * 64 * 32 * 1.1 and peaks[1] == pytest.approx(peaks[0], rel=0.1)
