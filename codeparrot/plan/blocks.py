"""The layers of any family's model: finding them, having fewer of them, giving weights another type."""

import copy
from typing import Any

import torch
from torch import nn


def blocks(model: nn.Module, settings: Any) -> list[nn.Module]:
    """Return the layers of a model, from the first to the last."""
    count = settings.get_text_config().num_hidden_layers
    lists = (module for module in model.modules() if isinstance(module, nn.ModuleList) and len(module) == count)
    return list(next(lists, []))


def with_layers(settings: Any, layers: int) -> Any:
    """Return the transformers config of the same model with this many layers."""
    cut = copy.deepcopy(settings)
    text = cut.get_text_config()
    if layers != text.num_hidden_layers:
        text.num_hidden_layers = layers
        if getattr(text, "layer_types", None):
            text.layer_types = text.layer_types[:layers]
    return cut


def cast(model: nn.Module, dtype: torch.dtype) -> None:
    """Give a model parameters of another type. `Module.to` would swap tensors, which those that a ledger watches refuse."""
    made: dict[nn.Parameter, nn.Parameter] = {}
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                module._parameters[name] = made.setdefault(parameter, nn.Parameter(parameter.detach().to(dtype)))
