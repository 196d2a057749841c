"""Saves during training: whose share each file is, that failed saves are tried again, that the state comes back."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from codeparrot.optim.adamw import AdamW
from codeparrot.optim.optimizer import moments_by_name
from codeparrot.run import checkpoint
from codeparrot.training import saver as saving
from codeparrot.training.saver import HostCopy, deal
from codeparrot.training.sharding import WEIGHT, sharded_state


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=60), st.integers(1, 16))
def test_all_moments_are_dealt_and_no_process_writes_much_more_than_its_part(sizes, world_size) -> None:
    named = {f"p{index}": size for index, size in enumerate(sizes)}
    owners = deal(named, world_size, dict.fromkeys(named, 2))
    assert owners.keys() == named.keys()
    loads = [0] * world_size
    loads[0] = sum(sizes) if world_size > 1 else 0
    for name, rank in owners.items():
        loads[rank] += 2 * named[name]
    fair = 3 * sum(sizes) / world_size
    assert max(loads) <= max(fair + 2 * max(sizes), sum(sizes) + 2 * max(sizes))
    assert deal(dict(reversed(named.items())), world_size, dict.fromkeys(named, 2)) == owners


def test_an_older_checkpoint_that_cannot_be_removed_is_no_failed_save(tmp_path, monkeypatch, caplog) -> None:
    partial = checkpoint.partial_of(tmp_path, 8)
    checkpoint.begin(partial)
    saver: Any = object.__new__(saving.Saver)
    config = SimpleNamespace(checkpoint=SimpleNamespace(keep_last=1, keep_every_steps=0))
    saver._training = SimpleNamespace(config=config, checkpoints=tmp_path)
    saver._published, saver._unfinished = set, SimpleNamespace(partial=partial, facts={"step": 8})

    def busy(*_: object) -> None:
        raise OSError(39, "Directory not empty")

    monkeypatch.setattr(checkpoint, "prune", busy)
    assert saving._persist(lambda: saver._publish({})) == ({}, None)
    assert checkpoint.newest_complete(tmp_path) == tmp_path / "step_00000008"
    assert "older checkpoints could not be removed: [Errno 39] Directory not empty" in caplog.text


def test_what_cannot_be_written_is_tried_again_and_then_reported(monkeypatch) -> None:
    monkeypatch.setattr(saving, "RETRY_SECONDS", (0.0, 0.0))
    outcomes = iter([OSError("disk quota"), RuntimeError("short write"), {"file": 1}])

    def write() -> dict:
        outcome = next(outcomes)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    assert saving._persist(write) == ({"file": 1}, None)

    def never() -> dict:
        raise OSError("disk quota")

    assert saving._persist(never) == ({}, "disk quota")


def test_a_defect_is_not_taken_for_a_full_disk() -> None:
    def wrong() -> dict:
        raise TypeError("a defect")

    with pytest.raises(TypeError):
        saving._persist(wrong)


def state_of(model: torch.nn.Module, optimizer: torch.optim.Optimizer):
    accelerator = SimpleNamespace(distributed_type=SimpleNamespace(name="NO"))
    moments = moments_by_name(AdamW(), optimizer, model)
    return sharded_state(accelerator, model, model, optimizer, AdamW(), moments)


def trained(seed: int) -> tuple[torch.nn.Module, torch.optim.AdamW]:
    torch.manual_seed(seed)
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Linear(8, 2))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, fused=True)
    return model, optimizer


def take_steps(model: torch.nn.Module, optimizer: torch.optim.Optimizer, count: int) -> None:
    for number in range(count):
        model(torch.full((3, 4), float(number))).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()


def test_a_state_read_into_a_new_optimizer_goes_on_to_the_last_bit() -> None:
    model, optimizer = trained(0)
    state = state_of(model, optimizer)
    take_steps(model, optimizer, 3)
    copy = HostCopy()
    copy.take(state, 0, 1, torch.device("cpu"))
    other, other_optimizer = trained(1)
    other_state = state_of(other, other_optimizer)
    for name in other_state.names:
        for kind in (WEIGHT, *other_state.moments[name]):
            other_state.put(name, kind, copy.tensors[f"{kind}/{name}"])
    other_state.num_updates = state.num_updates
    assert state.num_updates == 3
    take_steps(model, optimizer, 3)
    take_steps(other, other_optimizer, 3)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


def test_the_copy_is_of_its_moment_and_its_buffers_are_kept() -> None:
    model, optimizer = trained(0)
    state, copy = state_of(model, optimizer), HostCopy()
    copy.take(state, 0, 1, torch.device("cpu"))
    buffers = {key: tensor.data_ptr() for key, tensor in copy.tensors.items()}
    before = copy.tensors["weight/0.weight"].clone()
    take_steps(model, optimizer, 1)
    assert torch.equal(copy.tensors["weight/0.weight"], before)
    copy.take(state, 0, 1, torch.device("cpu"))
    assert {key: tensor.data_ptr() for key, tensor in copy.tensors.items()} == buffers
    assert not torch.equal(copy.tensors["weight/0.weight"], before)
