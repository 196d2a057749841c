"""Muon (Jordan et al., 2024): matrices of the layers by orthogonalised Nesterov momentum, everything else by AdamW.

A step of AdamW moves each number by about the learning rate; one of Muon moves a matrix by a multiple of the orthogonal matrix
that is nearest to its momentum: all of its directions alike. The multiple is 0.2 * sqrt(longer side), so that the root mean
square of an update is AdamW's, and a learning rate means what it means there (Liu et al., 2025, Moonlight).

Embeddings, the head, biases and norms have no directions in that sense; AdamW updates them. A matrix that holds several
(queries, keys and values in one) is taken apart first. The iteration is computed in float32: in bfloat16, differences in the
last bits of gradients, which every strategy has, become 4e-4 of an update.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw
from transformers import PreTrainedModel

from codeparrot.errors import CodeparrotError
from codeparrot.optim.exchange import Exchange, exchange_of, local
from codeparrot.optim.optimizer import UPDATES, new_state

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
    x = update.float()
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=LEAST_NORM)
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x


def update_of(update: Tensor, split: "Split") -> Tensor:
    """Return the change of a matrix in learning rates: each of its parts orthogonalised, and scaled by its own sides."""
    return split.join([orthogonalise(part) * (UPDATE_RMS * math.sqrt(max(part.shape[-2:]))) for part in split.parts(update)])


class Split:
    """How a parameter holds several matrices.

    Args:
        dim: along which they lie one behind the other.
        sizes: of each along it; empty: it is one matrix.
        heads: if not 0, they alternate head by head (GPT-NeoX).
    """

    def __init__(self, dim: int = 0, sizes: tuple[int, ...] = (), heads: int = 0) -> None:
        self.dim, self.sizes, self.heads = dim, sizes, heads

    def parts(self, whole: Tensor) -> list[Tensor]:
        if self.heads:
            by_head = whole.unflatten(0, (self.heads, len(self.sizes), -1))
            return [by_head[:, index].flatten(0, 1) for index in range(len(self.sizes))]
        return list(whole.split(self.sizes, self.dim)) if self.sizes else [whole]

    def join(self, parts: list[Tensor]) -> Tensor:
        if self.heads:
            return torch.stack([part.unflatten(0, (self.heads, -1)) for part in parts], 1).flatten(0, 2)
        return torch.cat(parts, self.dim) if self.sizes else parts[0]


def _thirds(module: nn.Module, config: Any) -> Split:
    """GPT-2's c_attn: queries, keys and values side by side; Conv1D keeps its weights as [in, out]."""
    weight: Any = module.weight
    return Split(1, (weight.shape[1] // 3,) * 3)


def _phi3(module: nn.Module, config: Any) -> Split:
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return Split(0, (config.num_attention_heads * head, *(config.num_key_value_heads * head,) * 2))


def _halves(module: nn.Module, config: Any) -> Split:
    weight: Any = module.weight
    return Split(0, (weight.shape[0] // 2,) * 2)


def _by_head(module: nn.Module, config: Any) -> Split:
    return Split(0, (config.hidden_size,) * 3, heads=config.num_attention_heads)


FUSED: dict[tuple[str, str], Callable[[nn.Module, Any], Split]] = {
    ("gpt2", "c_attn"): _thirds,
    ("phi3", "qkv_proj"): _phi3,
    ("phi3", "gate_up_proj"): _halves,
    ("gpt_neox", "query_key_value"): _by_head,
}
"""Matrices that hold several, by family and module."""
SAYS_FUSED = ("qkv", "query_key_value", "c_attn", "wqkv", "in_proj", "gate_up")
"""Names that say so; in a family that is not known here they are refused."""


def split_of(name: str, module: nn.Module, config: Any) -> Split:
    """Return how the weight of a module holds its matrices.

    Raises:
        CodeparrotError: its name says that it holds several, and how is not known.
    """
    last = name.rpartition(".")[2]
    if config is None:
        return Split()
    if (config.model_type, last) in FUSED:
        return FUSED[config.model_type, last](module, config)
    if any(word in last.lower() for word in SAYS_FUSED):
        what = f"{name} of a {config.model_type} model"
        raise CodeparrotError(f"optim.name muon: {what} holds several matrices in one, and how is not known here; use adamw")
    return Split()


class MuonAndAdamW(torch.optim.Optimizer):
    """Groups whose `matrices` is true are updated by Muon, the others by AdamW.

    `found_inf`, a float32 scalar on the device, makes the next update change nothing where it is not 0.
    """

    found_inf: Tensor | None = None

    def __init__(self, groups: list[dict[str, Any]], settings: Mapping[str, Any]) -> None:
        names = ("lr", "momentum", "beta1", "beta2", "eps")
        super().__init__(groups, {name: settings[name] for name in names})
        self.exchanges: dict[int, Exchange] = {}
        """How whole matrices come from a flat tensor that holds pieces of several, by its id; others say it by their kind."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            for parameter in parameters:
                if not self.state[parameter]:
                    self.state[parameter] = new_state(moments_of(group), parameter)
            (self._orthogonal if group["matrices"] else self._adaptive)(group, parameters)
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

    def _orthogonal(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        if not parameters:
            return
        places = [place for place, parameter in enumerate(group["params"]) if parameter.grad is not None]
        taken = 1.0 if self.found_inf is None else (self.found_inf == 0).to(torch.float32)
        updates = []
        for parameter in parameters:
            gradient, momentum = local(parameter.grad), local(self.state[parameter][MOMENTUM])
            if self.found_inf is not None:
                gradient = torch.where(self.found_inf == 0, gradient, 0.0)
            momentum.lerp_(gradient, taken * (1 - group["momentum"]))
            updates.append(gradient.lerp(momentum, group["momentum"]))
            self.state[parameter][UPDATES] += taken
        # A flat tensor holds all matrices of its group; otherwise those without a gradient are not among the updates.
        flat = self.exchanges.get(id(parameters[0]))
        exchange, numbers = (flat, range(len(group["splits"]))) if flat else (exchange_of(parameters), places)
        changes = exchange(updates, lambda index, whole: update_of(whole, group["splits"][numbers[index]]))
        for parameter, change in zip(parameters, changes, strict=True):
            weight = local(parameter)
            weight.mul_(1 - taken * (group["lr"] * group["weight_decay"]))
            weight.sub_(change * (taken * group["lr"]))


MOMENTUM, SQUARE = "exp_avg", "exp_avg_sq"


def moments_of(group: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of the tensors that are kept for each parameter of a group."""
    return (MOMENTUM,) if group["matrices"] else (MOMENTUM, SQUARE)


def parameter_groups(model: nn.Module, settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Split the trainable parameters of a model: the matrices of each layer, embeddings, the head, and vectors.

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
    layers: dict[str, dict[str, Any]] = {}
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
            layer = next((part for part in owner.split(".") if part.isdigit()), "")
            group = layers.setdefault(layer, {"params": [], "splits": [], "matrices": True, "rate": 1.0})
            group["params"].append(parameter)
            # What is a parameter of its own, as the experts' matrices, is called by its own name.
            called = owner if name == f"{owner}.weight" else name
            group["splits"].append(split_of(called, modules[owner], family))
    decay = settings["weight_decay"]
    rates = {kind: (settings[f"{kind}_lr"] or settings["lr"]) / settings["lr"] for kind in others}
    groups = [{**group, "weight_decay": decay} for group in layers.values()]
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

    def card(self, settings: Mapping[str, Any]) -> str:
        return (
            f"Muon, lr {settings['lr']}, momentum {settings['momentum']}, decay {settings['weight_decay']}; AdamW for the rest"
        )
