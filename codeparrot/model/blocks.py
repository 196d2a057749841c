"""What training does to the blocks of a model: compile them, and compute some of their activations a second time.

Guarantees: names in the state dict stay the same, and so do loss and gradients to the rounding of the compute type. A block is
compiled by itself, before a strategy wraps the model: one graph serves all blocks, its compilation takes as long as one block
takes, and FSDP2 still gathers the weights block by block.
"""

from typing import Any, Literal

import torch
from torch import nn
from torch.utils.checkpoint import create_selective_checkpoint_contexts
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from codeparrot.errors import CodeparrotError

Checkpointing = Literal["none", "selective", "full"]

_aten = torch.ops.aten
_KEPT = [
    _aten.mm.default,
    _aten.addmm.default,
    _aten._grouped_mm.default,
    _aten._scaled_dot_product_flash_attention.default,
    _aten._scaled_dot_product_efficient_attention.default,
    _aten._scaled_dot_product_cudnn_attention.default,
    _aten._scaled_dot_product_flash_attention_for_cpu.default,
]
"""What costs the most to compute again for its size. Not bmm: attention without SDPA would keep its length x length scores."""


def blocks_of(model: PreTrainedModel) -> list[nn.Module]:
    """Return the layers of a decoder; none for the few families whose layers transformers does not mark."""
    return [module for module in model.base_model.modules() if isinstance(module, GradientCheckpointingLayer)]


def checkpoint(model: PreTrainedModel, what: Checkpointing) -> None:
    """Have the backward pass compute activations again instead of keeping them.

    Args:
        what: full: keep a block's input; selective: also the results of matrix products and of attention; none: keep all.

    Raises:
        CodeparrotError: the family cannot.
    """
    if what == "none":
        return
    options: dict[str, Any] = {"use_reentrant": False}
    if what == "selective":
        options["context_fn"] = _keep_products
    try:
        model.activation_checkpointing_enable(options)
    except ValueError as error:
        raise CodeparrotError(f"train.activation_checkpointing {what}: {error}; set it to none") from error


def _keep_products() -> Any:
    from torch.nn.attention import varlen  # it brings the operation of documents that do not see each other

    assert varlen
    return create_selective_checkpoint_contexts([*_KEPT, torch.ops.torch_attn._varlen_attn.default])


def compile_blocks(model: PreTrainedModel, whole: bool) -> None:
    """Compile each block at its first call.

    Args:
        whole: whether a block that is not one graph is an error. Only blocks of ours are known to be.
    """
    # DDP would cut the graph where its buckets end, for which a block is too small.
    torch._dynamo.config.optimize_ddp = False
    for block in blocks_of(model) or [model.base_model]:
        block.compile(fullgraph=whole, dynamic=False)
