"""The state of a run as whole tensors by parameter name, wherever the strategy keeps its pieces.

One process, DDP, FSDP2 and ZeRO-1, 2 and 3 hold the same float32 weights and AdamW moments; they differ in who holds which
piece. A checkpoint holds whole tensors, so it does not depend on strategy or world size, and a run goes on with any other.

Cost: one collective for each tensor that is split, nothing for others. All processes call `whole` and `put` in the same order.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.functional import pad

from codeparrot.optim.average import AVERAGE
from codeparrot.optim.optimizer import UPDATES, OptimizerKind, new_state
from codeparrot.run import checkpoint
from codeparrot.training.strategy import strategy_of

WEIGHT = "weight"
MODELS = {WEIGHT: "model", AVERAGE: checkpoint.AVERAGE}
"""What is written as a model of its own, and the folder in a checkpoint."""


class ShardedState(Protocol):
    """Weights and moments of the parameters of a transformers model, under that model's own names."""

    sharded: bool
    """Whether a process holds less than all of the parameters, so that the model only runs on all processes together."""
    names: list[str]
    moments: dict[str, tuple[str, ...]]
    """Names of the tensors that the optimizer keeps for each parameter, by its name."""

    def shape(self, name: str) -> torch.Size: ...

    def whole(self, name: str, kind: str) -> Tensor:
        """Return a whole float32 tensor on the device. A tensor that is not split is returned itself, not copied."""
        ...

    def put(self, name: str, kind: str, value: Tensor) -> None:
        """Write a whole float32 tensor (from the host) into the pieces."""
        ...

    @property
    def num_updates(self) -> int:
        """How many updates the optimizer has made, without skipped steps."""
        ...

    @num_updates.setter
    def num_updates(self, count: int) -> None: ...


Moments = dict[str, tuple[str, ...]]


def sharded_state(
    accelerator: Any, model: Any, language_model: nn.Module, optimizer: Any, kind: OptimizerKind, moments: Moments
) -> ShardedState:
    """Return the state behind a model and an optimizer that Accelerate has prepared.

    Args:
        accelerator: the one that prepared them.
        model: as prepared.
        language_model: the transformers model inside it.
        optimizer: as `kind` has built it.
        kind: the optimizer's description.
        moments: what it keeps of each parameter (`moments_by_name`).
    """
    if strategy_of(accelerator) == "deepspeed":
        return ZeroState(model, language_model, optimizer, kind, moments)
    return TorchState(language_model, optimizer, kind, moments, sharded=strategy_of(accelerator) == "fsdp")


class TorchState:
    """One process and DDP (plain tensors), and FSDP2 (DTensors)."""

    def __init__(
        self, language_model: nn.Module, optimizer: torch.optim.Optimizer, kind: OptimizerKind, moments: Moments, sharded: bool
    ) -> None:
        self.sharded, self.moments = sharded, moments
        self._parameters = dict(language_model.named_parameters())
        self.names = list(self._parameters)
        self._optimizer = optimizer
        for group in optimizer.param_groups:
            _make_state(optimizer, kind.moments(group), group["params"])

    def shape(self, name: str) -> torch.Size:
        return self._parameters[name].shape

    def whole(self, name: str, kind: str) -> Tensor:
        tensor = self._tensor(name, kind)
        return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor

    def put(self, name: str, kind: str, value: Tensor) -> None:
        tensor = self._tensor(name, kind)
        if isinstance(tensor, DTensor):
            # Every process has the whole value, so nothing is sent.
            value = distribute_tensor(value.to(tensor.device), tensor.device_mesh, tensor.placements, src_data_rank=None)
        tensor.copy_(value)

    @property
    def num_updates(self) -> int:
        return int(self._optimizer.state[next(iter(self._parameters.values()))][UPDATES])

    @num_updates.setter
    def num_updates(self, count: int) -> None:
        for parameter in self._parameters.values():
            self._optimizer.state[parameter][UPDATES].fill_(count)

    def _tensor(self, name: str, kind: str) -> Tensor:
        parameter = self._parameters[name]
        return parameter.detach() if kind == WEIGHT else self._optimizer.state[parameter][kind]


class ZeroState:
    """DeepSpeed ZeRO-1, 2 and 3, through DeepSpeed's own functions (deepspeed.utils.safe_get_...)."""

    def __init__(
        self, engine: Any, language_model: nn.Module, optimizer: torch.optim.Optimizer, kind: OptimizerKind, moments: Moments
    ) -> None:
        self._zero = engine.optimizer
        self._stage = engine.zero_optimization_stage()
        self.sharded, self.moments = self._stage == 3, moments
        self._parameters = dict(language_model.named_parameters())
        self.names = list(self._parameters)
        self._optimizer = optimizer
        for number, flat in enumerate(self._flat()):
            group = optimizer.param_groups[self._zero.sub_group_to_group_id[number] if self._stage == 3 else number]
            _make_state(optimizer, kind.moments(group), [flat])
        if self._stage < 3:
            # Otherwise the first step would do this, and no moments could be loaded before it.
            self._zero._lazy_init_hp_params_optimizer_state()

    def shape(self, name: str) -> torch.Size:
        parameter: Any = self._parameters[name]
        return parameter.ds_shape if self._stage == 3 else parameter.shape

    def whole(self, name: str, kind: str) -> Tensor:
        from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_optimizer_state

        parameter = self._parameters[name]
        value = safe_get_full_fp32_param(parameter) if kind == WEIGHT else safe_get_full_optimizer_state(parameter, kind)
        assert value is not None, f"DeepSpeed holds no {kind} of {name}"
        return value.view(self.shape(name))

    def put(self, name: str, kind: str, value: Tensor) -> None:
        from deepspeed.utils import safe_set_full_fp32_param, safe_set_full_optimizer_state

        parameter = self._parameters[name]
        value = value.to(parameter.device)
        if self._stage == 3:
            self._put_piece(parameter, kind, value)
        elif kind != WEIGHT:
            safe_set_full_optimizer_state(parameter, value, kind)
        else:
            # The float32 master and the parameter that the model computes with.
            safe_set_full_fp32_param(parameter, value)
            parameter.data.copy_(value)

    def _put_piece(self, parameter: Any, kind: str, value: Tensor) -> None:
        """Write this process's piece under ZeRO-3. DeepSpeed's function for whole tensors fails where these divide unevenly."""
        import deepspeed
        from deepspeed.utils import safe_set_local_fp32_param, safe_set_local_optimizer_state

        group, size = parameter.ds_process_group, parameter.ds_tensor.numel()
        missing = size * dist.get_world_size(group) - value.numel()
        piece = pad(value.flatten(), (0, missing)).narrow(0, size * dist.get_rank(group), size)
        if kind != WEIGHT:
            safe_set_local_optimizer_state(parameter, piece, kind)
            return
        safe_set_local_fp32_param(parameter, piece)
        with deepspeed.zero.GatheredParameters([parameter], modifier_rank=0):
            parameter.data.copy_(value)

    @property
    def num_updates(self) -> int:
        return int(self._optimizer.state[next(self._flat())][UPDATES])

    @num_updates.setter
    def num_updates(self, count: int) -> None:
        for flat in self._flat():
            self._optimizer.state[flat][UPDATES].fill_(count)

    def _flat(self) -> Iterator[Tensor]:
        """Yield the joined float32 pieces of this process, which the optimizer updates."""
        yield from self._zero.single_partition_of_fp32_groups if self._stage < 3 else self._zero.fp32_partitioned_groups_flat


def has_average(state: ShardedState) -> bool:
    """Whether an average of the weights is kept (`train.ema_decay`)."""
    return AVERAGE in state.moments[state.names[0]]


def begin_average(state: ShardedState) -> None:
    """Have the average of the weights begin at the weights. All processes call this."""
    for name in state.names if has_average(state) else ():
        state.put(name, AVERAGE, state.whole(name, WEIGHT).clone())


@contextmanager
def averaged(state: ShardedState, model: nn.Module) -> Iterator[None]:
    """Have the model compute with the average of the weights inside, and with the weights again after. All processes call this.

    Args:
        state: of the model.
        model: as prepared.
    """
    _swap(state, model)
    yield
    # An error ends the run: collectives that only this process would call then are none to begin.
    _swap(state, model)


def _swap(state: ShardedState, model: nn.Module) -> None:
    for name in state.names:
        weight, average = (state.whole(name, kind).clone() for kind in (WEIGHT, AVERAGE))
        state.put(name, WEIGHT, average)
        state.put(name, AVERAGE, weight)
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()  # what it gathered was of before


def _make_state(optimizer: torch.optim.Optimizer, moments: Iterable[str], parameters: Iterable[Tensor]) -> None:
    for parameter in parameters:
        if not optimizer.state[parameter]:
            optimizer.state[parameter] = new_state(moments, parameter)
