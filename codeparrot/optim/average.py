"""An exponential average of the weights, kept beside what the optimizer keeps and by the same means on every strategy.

After an update, average = d * average + (1 - d) * weights, where d rises with the count t of updates to the decay that is asked
for: d = min(decay, (1 + t) / (10 + t)), as in TensorFlow's ExponentialMovingAverage. So the initial weights are soon forgotten.
A step that is skipped changes nothing. Cost: 4 bytes a parameter, and a pass over the weights in each step.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from codeparrot.optim.exchange import local
from codeparrot.optim.optimizer import UPDATES, OptimizerKind, UpdateCost, cost_of

AVERAGE = "weight_average"
"""Its name among the tensors that are kept for each parameter."""


class Averaged:
    """An optimizer, and the average of the weights that it makes.

    Args:
        kind: the optimizer.
        decay: above 0 and below 1.
    """

    def __init__(self, kind: OptimizerKind, decay: float) -> None:
        self._kind, self._decay = kind, decay

    def groups(self, model: nn.Module, settings: Mapping[str, Any]) -> list[dict[str, Any]]:
        return self._kind.groups(model, settings)

    def moments(self, group: Mapping[str, Any]) -> tuple[str, ...]:
        return (*self._kind.moments(group), AVERAGE)

    def build(self, model: nn.Module, settings: Mapping[str, Any]) -> torch.optim.Optimizer:
        optimizer = self._kind.build(model, settings)
        optimizer.register_step_post_hook(self._after)
        return optimizer

    def skip(self, optimizer: torch.optim.Optimizer, verdict: Tensor) -> None:
        self._kind.skip(optimizer, verdict)

    def cost(self, model: nn.Module, settings: Mapping[str, Any], world_size: int) -> UpdateCost:
        return cost_of(self._kind, model, settings, world_size)

    def card(self, settings: Mapping[str, Any]) -> str:
        return f"{self._kind.card(settings)}; average of the weights with decay {self._decay} in `ema/`"

    @torch.no_grad()
    def _after(self, optimizer: torch.optim.Optimizer, arguments: Any, options: Any) -> None:
        skipped = getattr(optimizer, "found_inf", None)
        for parameter in (parameter for group in optimizer.param_groups for parameter in group["params"]):
            state = optimizer.state[parameter]
            if AVERAGE not in state:
                state[AVERAGE] = parameter.detach().clone()
            share = 1 - torch.clamp((1 + state[UPDATES]) / (10 + state[UPDATES]), max=self._decay)
            share = share if skipped is None else share * (skipped == 0)
            local(state[AVERAGE]).lerp_(local(parameter.detach()), share)
