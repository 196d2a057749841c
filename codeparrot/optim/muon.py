"""Muon (Jordan et al., 2024): matrices of the layers by orthogonalised Nesterov momentum, everything else by AdamW.

A step of AdamW moves each number by about the learning rate; one of Muon moves a matrix by a multiple of the orthogonal matrix
that is nearest to its momentum: all of its directions alike. The multiple is 0.2 * sqrt(longer side), so that the root mean
square of an update is AdamW's, and a learning rate means what it means there (Liu et al., 2025, Moonlight).

Embeddings, the head, biases and norms have no directions in that sense; AdamW updates them. A matrix that holds several
(queries, keys and values in one) is taken apart first. The iteration is computed in float32: in bfloat16, differences in the
last bits of gradients, which every strategy has, become 4e-4 of an update.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim.adamw import adamw
from transformers import PreTrainedModel

from codeparrot.optim.exchange import BUFFERS, Bounds, Exchange, Flat, Matrix, by_rows, deal, exchange_of, local
from codeparrot.optim.fused import Split, split_of
from codeparrot.optim.optimizer import UPDATES, UpdateCost, new_state

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic iteration: steepest at zero, so that five steps bring singular values from 0.01 to between 0.7 and 1.2."""
ITERATIONS = 5
UPDATE_RMS = 0.2
"""Root mean square of an update of AdamW, in learning rates."""
LEAST_NORM = 1e-7


def orthogonalise(update: Tensor) -> Tensor:
    """Return approximately the nearest orthogonal matrix, in float32 (Newton-Schulz iteration).

    Args:
        update: [..., rows, columns].
    """
    a, b, c = COEFFICIENTS
    x = update.float().reshape(-1, *update.shape[-2:])
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=LEAST_NORM)
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).reshape(update.shape)


def flops_of(shape: Sequence[int], split: Split) -> int:
    """Return the FLOPs of a matrix's change: of each of its parts of m by n numbers, m <= n, 5 * (4 m^2 n + 2 m^3).

    An iteration multiplies the matrix by its transpose (2 m^2 n), the product by itself (2 m^3), and the matrix by their sum
    (2 m^2 n). What is added and scaled, of the order of m n, is not counted.
    """
    found = 0
    for *experts, rows, columns in split.shapes(shape):
        m, n = sorted((rows, columns))
        found += math.prod(experts) * ITERATIONS * (4 * m**2 * n + 2 * m**3)
    return found


def update_of(update: Tensor, split: Split) -> Tensor:
    """Return the change of a matrix in learning rates: each of its parts orthogonalised, and scaled by its own sides."""
    return split.join([orthogonalise(part).mul_(UPDATE_RMS * math.sqrt(max(part.shape[-2:]))) for part in split.parts(update)])


def _working_numbers(shape: Sequence[int], split: Split) -> int:
    """Return how many numbers exist at once while a change is computed.

    They are the update, the old and the new matrix of an iteration, and two products with the transpose.
    """
    squares = max(math.prod(experts) * min(rows, columns) ** 2 for *experts, rows, columns in split.shapes(shape))
    return 3 * math.prod(shape) + 2 * squares


class Held:
    """What this process holds of a matrix (exchange.Part).

    Args:
        group: of parameters.
        index: of the matrix in it.
        shape: of the whole matrix.
        tensors: weight, gradient and momentum, as this process holds them.
        found_inf: not 0: the step is skipped; None: it is not.
    """

    def __init__(
        self, group: dict[str, Any], index: int, shape: torch.Size, tensors: Sequence[Tensor], found_inf: Tensor | None
    ) -> None:
        self._group, self._split, self._shape, self._found_inf = group, group["splits"][index], shape, found_inf
        self.weight, self._gradient, self._momentum = tensors

    @property
    def cost(self) -> int:
        return flops_of(self._shape, self._split)

    def update(self) -> Tensor:
        gradient, momentum = self._gradient, self._group["momentum"]
        if self._found_inf is not None:
            gradient = torch.where(self._found_inf == 0, gradient, 0.0)
        self._momentum.lerp_(gradient, taken(self._found_inf) * (1 - momentum))
        return gradient.lerp(self._momentum, momentum)

    def change(self, whole: Tensor) -> Tensor:
        return update_of(whole.view(self._shape), self._split)

    def take(self, change: Tensor) -> None:
        rate = taken(self._found_inf) * self._group["lr"]
        self.weight.mul_(1 - rate * self._group["weight_decay"])
        self.weight.sub_(change.mul_(rate).view(self.weight.shape))


def taken(found_inf: Tensor | None) -> Any:
    """Return 1 if a step is taken, 0 if it is skipped, without reading that on the host."""
    return 1.0 if found_inf is None else (found_inf == 0).to(torch.float32)


class MuonAndAdamW(torch.optim.Optimizer):
    """Groups whose `matrices` is true are updated by Muon, the others by AdamW.

    `found_inf`, a float32 scalar on the device, makes the next update change nothing where it is not 0.
    """

    found_inf: Tensor | None = None

    def __init__(self, groups: list[dict[str, Any]], settings: Mapping[str, Any]) -> None:
        names = ("lr", "momentum", "beta1", "beta2", "eps")
        super().__init__(groups, {name: settings[name] for name in names})
        self.exchanges: dict[int, Flat] = {}
        """What a flat tensor holds, by its id; other tensors say it by their kind."""
        self._known: dict[tuple[int, ...], Exchange] = {}
        """How matrices are updated, by the ids of the tensors that they are or lie in."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        matrices: list[tuple[dict[str, Any], int, Tensor]] = []
        for group in self.param_groups:
            with_gradient = [each for each in enumerate(group["params"]) if each[1].grad is not None]
            for _, parameter in with_gradient:
                if not self.state[parameter]:
                    self.state[parameter] = new_state(moments_of(group), parameter)
            if group["matrices"]:
                matrices += [(group, *each) for each in with_gradient]
            else:
                self._adaptive(group, [parameter for _, parameter in with_gradient])
        if matrices:
            self._orthogonal(matrices)
        return loss

    def _adaptive(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        states = [self.state[parameter] for parameter in parameters]
        adamw(
            parameters,
            [parameter.grad for parameter in parameters if parameter.grad is not None],
            [state[MOMENTUM] for state in states],
            [state[SQUARE] for state in states],
            [],
            [state[UPDATES] for state in states],
            fused=True,
            found_inf=self.found_inf,
            **{name: group[name] for name in ("beta1", "beta2", "lr", "weight_decay", "eps")},
            amsgrad=False,
            maximize=False,
        )

    def _orthogonal(self, matrices: list[tuple[dict[str, Any], int, Tensor]]) -> None:
        """Update matrices, each the parameter of this place in its group, or a flat tensor that holds pieces of several."""
        parts: list[Held] = []
        bounds: list[Bounds] = []
        processes = None
        for group, index, parameter in matrices:
            state = self.state[parameter]
            state[UPDATES] += taken(self.found_inf)
            tensors = [local(each) for each in (parameter.detach(), parameter.grad, state[MOMENTUM])]
            flat = self.exchanges.get(id(parameter))
            if flat is None:
                parts.append(Held(group, index, parameter.shape, tensors, self.found_inf))
                processes = parameter.device_mesh.get_group() if isinstance(parameter, DTensor) else None
                bounds.append(by_rows(parameter.shape, dist.get_world_size(processes)) if processes is not None else ())
                continue
            processes = flat.group
            for each in flat.matrices:
                rank = dist.get_rank(processes)
                last = each.first + each.bounds[rank + 1] - each.bounds[rank]
                pieces = [tensor[each.first : last] for tensor in tensors]
                parts.append(Held(group, each.place, each.shape, pieces, self.found_inf))
                bounds.append(each.bounds)
        key = tuple(id(parameter) for _, _, parameter in matrices)
        if key not in self._known:
            known = [Matrix(part.cost, each) for part, each in zip(parts, bounds, strict=True)]
            self._known[key] = exchange_of(known, processes)
        self._known[key](parts)


MOMENTUM, SQUARE = "exp_avg", "exp_avg_sq"


def moments_of(group: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of the tensors that are kept for each parameter of a group."""
    return (MOMENTUM,) if group["matrices"] else (MOMENTUM, SQUARE)


def parameter_groups(model: nn.Module, settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Split the trainable parameters of a model: the matrices of its layers, embeddings, the head, and vectors.

    Raises:
        CodeparrotError: a matrix holds several, and how is not known.
    """
    embedded = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    heads = {
        id(head.weight)
        for each in model.modules()
        if isinstance(each, PreTrainedModel)
        if (head := each.get_output_embeddings())
    }
    family = next((module.config for module in model.modules() if isinstance(module, PreTrainedModel)), None)
    matrices: dict[str, list[Any]] = {"params": [], "splits": []}
    others: dict[str, list[Tensor]] = {"embedding": [], "head": [], "vector": []}
    modules = dict(model.named_modules())
    for name, parameter in model.named_parameters():
        owner = name.rpartition(".")[0]
        if not parameter.requires_grad:
            continue
        if parameter.dim() < 2:
            others["vector"].append(parameter)
        elif id(parameter) in embedded:
            others["embedding"].append(parameter)
        elif id(parameter) in heads:
            others["head"].append(parameter)
        else:
            matrices["params"].append(parameter)
            # What is a parameter of its own, as the experts' matrices, is called by its own name.
            called = owner if name == f"{owner}.weight" else name
            matrices["splits"].append(split_of(called, modules[owner], family))
    decay = settings["weight_decay"]
    rates = {kind: (settings[f"{kind}_lr"] or settings["lr"]) / settings["lr"] for kind in others}
    # One group: DeepSpeed updates group by group, and the owners are dealt over all matrices of an update.
    groups = [{**matrices, "matrices": True, "rate": 1.0, "weight_decay": decay}] if matrices["params"] else []
    groups += [
        {"params": found, "matrices": False, "rate": rates[kind], "weight_decay": 0.0 if kind == "vector" else decay}
        for kind, found in others.items()
        if found
    ]
    return groups


class Muon:
    def groups(self, model: nn.Module, settings: Mapping[str, Any]) -> list[dict[str, Any]]:
        return parameter_groups(model, settings)

    def moments(self, group: Mapping[str, Any]) -> tuple[str, ...]:
        return moments_of(group)

    def build(self, model: nn.Module, settings: Mapping[str, Any]) -> MuonAndAdamW:
        return MuonAndAdamW(self.groups(model, settings), settings)

    def skip(self, optimizer: torch.optim.Optimizer, verdict: Tensor) -> None:
        optimizer.found_inf = verdict  # type: ignore[attr-defined]

    def cost(self, model: nn.Module, settings: Mapping[str, Any], world_size: int) -> UpdateCost:
        """Return the FLOPs of the process to which the most are dealt; see `flops_of`."""
        matrices = [
            (parameter, split)
            for group in self.groups(model, settings)
            if group["matrices"]
            for parameter, split in zip(group["params"], group["splits"], strict=True)
        ]
        costs = [flops_of(parameter.shape, split) for parameter, split in matrices]
        loads = [0] * world_size
        for cost, owner in zip(costs, deal(costs, world_size), strict=True):
            loads[owner] += cost
        largest = max((parameter.numel() for parameter, _ in matrices), default=0)
        working = max((_working_numbers(parameter.shape, split) for parameter, split in matrices), default=0)
        return UpdateCost(max(loads), 4 * working, 4 * BUFFERS * largest)

    def card(self, settings: Mapping[str, Any]) -> str:
        return (
            f"Muon, lr {settings['lr']}, momentum {settings['momentum']}, decay {settings['weight_decay']}; AdamW for the rest"
        )
