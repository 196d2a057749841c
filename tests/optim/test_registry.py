"""An optimizer's name finds all that is known of it."""

from dataclasses import asdict

import pytest
import torch

from codeparrot.config import OptimConfig
from codeparrot.errors import CodeparrotError
from codeparrot.optim import OPTIMIZERS, load_optimizer
from codeparrot.optim.optimizer import UPDATES, new_state


def test_an_unknown_optimizer_is_refused_with_the_nearest() -> None:
    with pytest.raises(CodeparrotError, match=r'optim\.name: there is no "adam"; did you mean "adamw"\?'):
        load_optimizer({"name": "adam"})


def test_a_run_without_a_name_is_of_adamw() -> None:
    """Configurations of earlier versions name no optimizer."""
    assert load_optimizer({}).card(asdict(OptimConfig())) == "AdamW, lr 0.0005, betas 0.9 and 0.999, decay 0.1"


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_keeps_what_it_says_and_skips_when_it_is_told(name) -> None:
    kind, layer = load_optimizer({"name": name}), torch.nn.Linear(3, 2)
    optimizer = kind.build(layer, asdict(OptimConfig(lr=0.1)))
    for skipped in (1.0, 0.0):
        before = layer.weight.detach().clone()
        layer(torch.ones(1, 3)).sum().backward()
        kind.skip(optimizer, torch.tensor(skipped))
        optimizer.step()
        assert torch.equal(layer.weight, before) == bool(skipped)
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            expected = new_state(kind.moments(group), parameter)
            state = optimizer.state[parameter]
            assert {key: value.shape for key, value in state.items()} == {key: value.shape for key, value in expected.items()}
            assert state[UPDATES] == 1
