"""What Accelerate reads from a model that it wraps: for DeepSpeed's `auto` values, and for the modules that FSDP shards."""

import logging
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from codeparrot.errors import CodeparrotError

logger = logging.getLogger("codeparrot")


class Wrapper(nn.Module):
    """A model whose forward pass is its loss; it passes on what others ask the transformers model inside."""

    model: PreTrainedModel

    @property
    def config(self) -> PreTrainedConfig:
        return self.model.config

    @property
    def _no_split_modules(self) -> Any:
        return self.model._no_split_modules

    @property
    def _head(self) -> nn.Module:
        return cast(nn.Module, self.model.get_output_embeddings())

    def get_input_embeddings(self) -> nn.Module | None:
        return self.model.get_input_embeddings()

    def get_output_embeddings(self) -> nn.Module | None:
        return self.model.get_output_embeddings()

    def tie_weights(self) -> None:
        self.model.tie_weights()


def check_finite(model: PreTrainedModel, numbers: Tensor) -> None:
    """Check what a model computes of a few tokens.

    Raises:
        CodeparrotError: some of it is not finite.
    """
    if not numbers.isfinite().all():
        raise CodeparrotError(
            f"this {model.config.model_type} computes numbers that are not finite; name an earlier checkpoint"
        )


def own_loss_because(model: PreTrainedModel, reason: str) -> bool:
    """Say that a family's own loss is used, and return that it is."""
    text = "model.family %s uses its own loss (%s): the logits of a whole micro-batch are held at once"
    logger.warning(text, model.config.model_type, reason)
    return True


def probe_windows(model: PreTrainedModel, length: int = 8) -> Tensor:
    """Return two windows that differ only in their last token."""
    text = model.config.get_text_config()
    length = min(length, getattr(text, "max_position_embeddings", None) or length)
    windows = (torch.arange(length, device=model.device) * 7).repeat(2, 1)
    windows[1, -1] += 1
    return windows % text.vocab_size
