"""The average of the weights is the one that its docstring writes down, whatever the optimizer, and skipped steps leave it."""

from dataclasses import asdict

import pytest
import torch

from codeparrot.config import Config
from codeparrot.optim import load_optimizer
from codeparrot.optim.average import AVERAGE
from codeparrot.optim.optimizer import kept_numbers, new_state


def made(name: str, decay: float):
    config = Config()
    config.optim.name, config.train.ema_decay = name, decay
    settings = config.optimizer_settings()
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Linear(8, 2))
    kind = load_optimizer(settings)
    optimizer = kind.build(model, settings)
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            optimizer.state[parameter] |= new_state(kind.moments(group), parameter)
            optimizer.state[parameter][AVERAGE].copy_(parameter.detach())
    return model, kind, optimizer, settings


@pytest.mark.parametrize("name", ["adamw", "muon"])
@pytest.mark.parametrize("decay", [0.5, 0.999])
def test_it_is_as_written_down_and_a_skipped_step_changes_nothing(name, decay) -> None:
    model, kind, optimizer, _ = made(name, decay)
    expected = [parameter.detach().clone() for parameter in model.parameters()]
    updates = 0
    for step in range(30):
        skipped = step % 7 == 3
        model(torch.full((3, 4), float(step))).square().sum().backward()
        kind.skip(optimizer, torch.tensor(float(skipped)))
        optimizer.step()
        optimizer.zero_grad()
        if not skipped:
            updates += 1
            d = min(decay, (1 + updates) / (10 + updates))
            expected = [d * old + (1 - d) * new.detach() for old, new in zip(expected, model.parameters(), strict=True)]
        for average, parameter in zip(expected, model.parameters(), strict=True):
            torch.testing.assert_close(optimizer.state[parameter][AVERAGE], average, rtol=1e-5, atol=1e-6)
    assert updates == 26


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_it_changes_no_update_and_is_counted(name) -> None:
    losses = []
    for decay in (0.0, 0.9):
        config = Config()
        config.optim.name, config.train.ema_decay = name, decay
        settings = config.optimizer_settings()
        torch.manual_seed(0)
        model = torch.nn.Linear(4, 8)
        kind = load_optimizer(settings)
        optimizer = kind.build(model, settings)
        for step in range(5):
            model(torch.full((3, 4), float(step))).square().sum().backward()
            optimizer.step()
        losses.append([parameter.detach().clone() for parameter in model.parameters()])
        kept = kept_numbers(kind, model, settings)
        assert kept - (40 if decay else 0) == (40 + (8 if name == "muon" else 40)), asdict(config.optim)
    assert all(torch.equal(one, other) for one, other in zip(*losses, strict=True))
