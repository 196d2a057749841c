"""What `plan` counts of an update that multiplies matrices: FLOPs as they are dealt, seconds, buffers."""

from dataclasses import asdict

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from codeparrot.config import OptimConfig
from codeparrot.model.families import model_config, without_weights
from codeparrot.optim import load_optimizer
from codeparrot.optim.exchange import BUFFERS
from codeparrot.optim.muon import Split, flops_of, update_of
from codeparrot.optim.optimizer import UpdateCost, cost_of
from codeparrot.plan import gpus, speed
from codeparrot.plan.ledger import ACTIVATIONS
from codeparrot.plan.memory import model_of
from tests.plan.test_memory import NAMED, configuration, memory_of

SETTINGS = asdict(OptimConfig(name="muon"))


FUSED = {"columns": ((8, 24), Split(1, (8, 8, 8))), "rows": ((24, 5), Split(0, (16, 8)))}
PLAIN = {"wide": ((12, 30), Split()), "tall": ((30, 12), Split()), "experts": ((4, 12, 30), Split())}


@pytest.mark.parametrize(("shape", "split"), (PLAIN | FUSED).values(), ids=PLAIN | FUSED)
def test_the_flops_of_a_change_are_those_that_torch_counts(shape, split) -> None:
    with FlopCounterMode(display=False) as counter:
        update_of(torch.randn(shape), split)
    assert counter.get_total_flops() == flops_of(shape, split)


def test_the_parts_have_the_shapes_that_are_counted() -> None:
    for split in (Split(), Split(1, (4, 4, 4)), Split(0, (8, 2, 2)), Split(0, (4, 4, 4), heads=2)):
        assert [tuple(part.shape) for part in split.parts(torch.zeros(12, 12))] == split.shapes((12, 12))


def test_flops_are_of_the_process_to_which_the_most_are_dealt() -> None:
    model = without_weights(model_config(configuration(layers=2).model))
    attention, projection, rest = 3 * flops_of((64, 64), Split()), flops_of((64, 64), Split()), flops_of((64, 256), Split())
    whole = 2 * (attention + projection + 2 * rest)
    assert cost_of(load_optimizer(SETTINGS), model, SETTINGS, 1).flops == whole
    # Six of equal cost and two of a third of it: on two processes an even half, on three two and one small one.
    assert attention == rest == 3 * projection
    assert [cost_of(load_optimizer(SETTINGS), model, SETTINGS, size).flops for size in (2, 3, 500)] == [
        *(whole // 2, 2 * rest + projection, rest)
    ]


def test_an_average_of_the_weights_leaves_the_cost_as_it_is() -> None:
    model = without_weights(model_config(configuration().model))
    averaged = {**SETTINGS, "ema_decay": 0.9}
    assert cost_of(load_optimizer(averaged), model, averaged, 2) == cost_of(load_optimizer(SETTINGS), model, SETTINGS, 2)
    adamw = asdict(OptimConfig())
    assert cost_of(load_optimizer(adamw), model, adamw, 2) == UpdateCost(0, 0, 0)


def test_a_step_takes_as_much_longer_as_the_update_multiplies_in_float32() -> None:
    device = gpus.device("a100-40gb", 1)
    alone = speed.by_share(device, "bf16", 0.5, 10**9, 8)
    found = speed.by_share(device, "bf16", 0.5, 10**9, 8, speed.Update(10**13, 8 * 10**13, 10**6))
    assert alone is not None and found is not None and alone.update_seconds == 0
    seconds = 10**13 / (0.5 * 19.5e12)
    assert found.update_seconds == pytest.approx(seconds)
    assert 10**6 / found.tokens_per_second == pytest.approx(10**6 / alone.tokens_per_second + seconds)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["FSDP2", "ZeRO-1", "ZeRO-2", "ZeRO-3"])
def test_an_update_holds_the_buffers_of_the_exchange(name) -> None:
    config = configuration(precision="fp32")
    held = {}
    for config.optim.name in ("adamw", "muon"):
        held[config.optim.name] = memory_of(config, processes=4).phases(NAMED[name], 1)["update"][ACTIVATIONS]
    buffers = 4 * BUFFERS * 64 * 256
    assert held["muon"] >= buffers and held["adamw"] < buffers
    numbers = model_of(model_config(config.model), "fp32", SETTINGS)
    assert numbers.update_bytes == buffers + 4 * (3 * 64 * 256 + 2 * 64**2)
