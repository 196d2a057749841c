"""What the wrappers of models share: what Accelerate reads of them, heads that return losses, and checks.

Accelerate reads them for DeepSpeed's `auto` values, and for the modules that FSDP shards on their own.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from codeparrot.errors import CodeparrotError
from codeparrot.model import IGNORED
from codeparrot.model.loss import LossHead

logger = logging.getLogger("codeparrot")

Reduction = Literal["mean", "sum", "windows"]


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


class LabelledHead(LossHead):
    """A head that returns losses instead of logits while `losses_of` is entered: its `forward` reads what that sets.

    So a family's own forward pass, with whatever it does before the head, computes the loss.
    """

    labels: Tensor | None = None
    """[windows, length]; None: logits are asked for."""
    each = False
    """Whether the losses of each window are asked for, and not their sum."""

    @contextmanager
    def losses_of(self, labels: Tensor, each: bool) -> Iterator[None]:
        """Have the head return the losses of labels, 0 where one is IGNORED."""
        self.labels, self.each = labels, each
        try:
            yield
        finally:
            self.labels = None


def cross_entropy(logits: Tensor, labels: Tensor, reduction: str) -> Tensor:
    """Return the cross-entropy of logits, [windows, length, vocabulary], at the places of their labels, in float32."""
    flat = logits.float().flatten(0, -2)
    return nn.functional.cross_entropy(flat, labels.flatten(), ignore_index=IGNORED, reduction=reduction)


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
