"""What a compiled layer keeps for its backward pass.

torch.compile decides by a partition of the graph what to keep and what to compute again. It is the same on every device, so
the layer is compiled here for a back end that makes no code (aot_eager_decomp_partition), on fake tensors: two seconds.
"""

from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers.initialization import no_init_weights

from codeparrot.config import Config
from codeparrot.model.families import WRAPPERS, _new_model
from codeparrot.model.kinds import kind_of
from codeparrot.plan.blocks import blocks, cast, with_layers

_TOKENS = 96
"""Length of the window that the layer is compiled for. No weight has this size: shapes tell saved tensors from weights."""
BACK_END = "aot_eager_decomp_partition"


def is_compiled(config: Config, on_gpu: bool) -> bool:
    """Whether a run compiles its model: `auto` does on GPUs."""
    asked: Any = config.train.compile
    return on_gpu if asked == "auto" else bool(asked)


def bytes_a_token(settings: Any, dtype: torch.dtype, autocast: bool) -> float:
    """Return what one compiled layer keeps for a token, without weights and casts of them.

    Args:
        settings: the transformers config of the model.
        dtype: of the computation.
        autocast: whether weights are float32 and cast for their products; else they have this type.
    """
    one = with_layers(settings, 1)
    if kind_of(one) != "causal":  # its positions are in a table that may be too short
        one.max_position_embeddings = 2 * _TOKENS
    with FakeTensorMode(allow_non_fake_inputs=True):
        with no_init_weights():
            model: Any = _new_model(one)
        language_model = WRAPPERS[kind_of(settings)](model, own_loss=False).train()
        if not autocast:
            cast(model, dtype)
        layer = blocks(model, model.config)[0]
        watched = _Watched(layer)
        for module in model.modules():
            if isinstance(module, nn.ModuleList) and len(module) == 1 and module[0] is layer:
                module[0] = watched
        windows = torch.zeros((1, _TOKENS), dtype=torch.long)
        with torch.autocast("cpu", dtype, enabled=autocast and dtype != torch.float32):
            language_model.hidden_states(windows)
    torch._dynamo.reset()
    return sum(storage.nbytes() for storage in watched.saved) / _TOKENS


class _Watched(nn.Module):
    """A compiled layer that notes what autograd saves in it."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        shapes = {tuple(weight.shape) for weight in layer.parameters()}
        self._shapes = shapes | {shape[::-1] for shape in shapes}
        self._run = torch.compile(layer, backend=BACK_END, dynamic=False)
        self.saved: set[Any] = set()

    def __getattr__(self, name: str) -> Any:
        """Return what a model asks its layers, such as the kind of their attention."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("_run"), name)

    def forward(self, *inputs: Any, **options: Any) -> Any:
        with torch.autograd.graph.saved_tensors_hooks(self._note, lambda tensor: tensor):
            return self._run(*inputs, **options)

    def _note(self, tensor: torch.Tensor) -> torch.Tensor:
        if tuple(tensor.shape) not in self._shapes:
            self.saved.add(tensor.untyped_storage())
        return tensor
