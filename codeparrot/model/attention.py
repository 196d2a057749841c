"""Causal attention for training: without a mask, and by the fastest kernel that the machine has.

transformers makes a mask for every batch. A plain causal one becomes `is_causal`, but finding out that it is plain costs a
synchronisation with the device a forward pass. `has_plain_masks` finds it out once, with the new model; from then on the loss
is computed with an attention function for which transformers makes no mask. Generation, with cache and padding, keeps "sdpa".
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, activate_flash_attention_impl, sdpa_kernel
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedConfig, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import causal_mask_function, sdpa_mask

from codeparrot.errors import CodeparrotError
from codeparrot.model import cpu_attention

_WITHOUT_MASKS, _ASKING, _BETWEEN = "sdpa_without_masks", "sdpa_asking_for_masks", "sdpa_between_some"
"""Attention functions of transformers that are `sdpa`. The first has no function that makes masks."""

_PRIORITY: dict[str, Any] = {
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "math": SDPBackend.MATH,
}
_FLASH = {"fa3": ("FA3", "flash_attn_interface"), "fa4": ("FA4", "flash_attn.cute")}
"""Implementations of flash attention that torch knows and does not ship: their names in torch, and the modules they need."""

AttentionInterface.register(_WITHOUT_MASKS, sdpa_attention_forward)
AttentionInterface.register(_ASKING, sdpa_attention_forward)
AttentionInterface.register(_BETWEEN, sdpa_attention_forward)


def causal_attention(query: Tensor, key: Tensor, value: Tensor, dropout: float, scale: float) -> Tensor:
    """Return softmax(query @ key.T * scale) @ value, where every token sees those before it, in the shape of `query`.

    Args:
        query, key, value: (windows, heads, length, width of a head).
        dropout: the share of weights that is dropped.
        scale: what scores are multiplied with.
    """
    if cpu_attention.serves(query, dropout):
        return cpu_attention.causal_attention(query, key, value, scale)
    return nn.functional.scaled_dot_product_attention(query, key, value, dropout_p=dropout, is_causal=True, scale=scale)


def without_masks(config: PreTrainedConfig) -> AbstractContextManager[None]:
    """Have transformers make no masks within the block. Only for models that have plain ones, without padding and cache."""
    return _using(config, _WITHOUT_MASKS)


@contextmanager
def between(config: PreTrainedConfig, seen: Tensor) -> Iterator[None]:
    """Have attention leave out pairs of tokens within the block, beside those that the family's own masks leave out.

    Args:
        config: of the model; its attention is `sdpa`.
        seen: (windows, length, length), whether a token (second dimension) may see another one.
    """

    def masks(*arguments: Any, allow_is_causal_skip: bool, allow_is_bidirectional_skip: bool, **options: Any) -> Tensor:
        whole = sdpa_mask(*arguments, allow_is_causal_skip=False, allow_is_bidirectional_skip=False, **options)
        assert whole is not None
        return whole & seen[:, None]

    AttentionMaskInterface.register(_BETWEEN, masks)
    with _using(config, _BETWEEN):
        yield


@contextmanager
def _using(config: PreTrainedConfig, name: str) -> Iterator[None]:
    before = config._attn_implementation
    config._attn_implementation = name
    try:
        yield
    finally:
        config._attn_implementation = before


def has_plain_masks(model: PreTrainedModel, windows: Tensor) -> bool:
    """Return whether all masks that a model asks for are causal ones and nothing else.

    Sliding windows, chunks and other additions show in what it asks for, whatever the length of the windows that it is tried
    with. A family that makes its masks itself asks for none, and keeps them.
    """
    if model.config._attn_implementation != "sdpa":
        return False
    asked = []

    def asking(*arguments: Any, mask_function: Any = causal_mask_function, **options: Any) -> Tensor | None:
        asked.append(mask_function)
        return sdpa_mask(*arguments, mask_function=mask_function, **options)

    AttentionMaskInterface.register(_ASKING, asking)
    with _using(model.config, _ASKING):
        model.base_model(input_ids=windows, use_cache=False)
    return bool(asked) and all(mask_function is causal_mask_function for mask_function in asked)


def kernels(device: torch.device, first: str) -> AbstractContextManager[Any]:
    """Have SDPA take, of the kernels that can compute what is asked, the first by priority. Does nothing without CUDA.

    Args:
        device: of the computation.
        first: `train.attention`. auto: cuDNN on GPUs of compute capability 9 and 10, where torch itself prefers it, else flash.
    """
    if device.type != "cuda":
        return nullcontext()
    if first == "auto":
        first = "cudnn" if torch.cuda.get_device_capability(device)[0] in (9, 10) else "flash"
    named = _PRIORITY["flash" if first in _FLASH else first]
    return sdpa_kernel([named, *(each for each in _PRIORITY.values() if each != named)], set_priority=True)


def activate(first: str) -> None:
    """Have torch use an implementation of flash attention that it does not ship, for the rest of the process.

    Raises:
        CodeparrotError: it is not installed, or does not work here.
    """
    if first not in _FLASH:
        return
    name, module = _FLASH[first]
    if find_spec(module.partition(".")[0]) is None:
        raise CodeparrotError(
            f"train.attention {first} needs the Python module {module}; install it, or set train.attention auto"
        )
    try:
        activate_flash_attention_impl(name)
    except (ImportError, RuntimeError, AttributeError) as error:
        why = " ".join(str(error).split())
        raise CodeparrotError(f"train.attention {first} does not work here ({why}); set train.attention auto") from error


def chosen(config: PreTrainedConfig, device: torch.device, dtype: torch.dtype, length: int) -> str:
    """Return the name of the kernel that SDPA takes for a window of a model in training: cudnn, flash, efficient or math."""
    text = config.get_text_config()
    heads = text.num_attention_heads
    width = getattr(text, "head_dim", None) or text.hidden_size // heads
    groups = getattr(text, "num_key_value_heads", None) or heads
    query, key, value = (
        torch.empty(1, number, length, width, device=device, dtype=dtype, requires_grad=True)
        for number in (heads, groups, groups)
    )
    dropout = float(getattr(text, "attention_dropout", getattr(text, "attn_pdrop", 0.0)))
    number = torch.ops.aten._fused_sdp_choice(query, key, value, dropout_p=dropout, is_causal=True, enable_gqa=groups != heads)
    return next((name for name, backend in _PRIORITY.items() if int(backend) == number), f"no. {number}")
