"""An encoder-decoder whose forward pass is its loss: what training wraps and evaluation measures.

Guarantees: the loss is the family's own, the mean of the cross-entropy over the tokens that the decoder is to write, in float32
(tests/model/test_encoder_decoder.py). What the decoder reads is made of the labels by the family's own rule. Logits are
computed a chunk at a time (loss.py), of what the family gives its head: T5 scales it if the head is the embedding. Where a
family does more than its head for its logits, or adds to their cross-entropy, its own loss is used and the log says so.

Costs: `EncoderDecoder` runs the new model twice on 16 tokens.
"""

from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from codeparrot.errors import CodeparrotError
from codeparrot.model import IGNORED
from codeparrot.model.loss import LossHead
from codeparrot.model.wrapper import (
    LabelledHead,
    Reduction,
    Wrapper,
    check_finite,
    cross_entropy,
    own_loss_because,
    probe_windows,
)


class DecoderHead(LabelledHead):
    """A head that returns the sum of the losses of labels, (1, 1), or that of each window, (windows, 1).

    In this shape, what BART adds to logits, a row that must be 0, may be added to it.
    """

    def forward(self, input: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        if self.labels is None:
            return super().forward(input)
        if self.each:
            return super().forward(input, self.labels, "none").sum(1, keepdim=True)
        return super().forward(input, self.labels).reshape(1, 1)


class EncoderDecoder(Wrapper):
    """An encoder-decoder whose forward pass is its loss.

    `model` is the transformers model: it can still be called, it generates, and it is what a checkpoint holds.

    Args:
        model: with a head for the decoder, which becomes a `DecoderHead` (same weight, same names).
        own_loss: whether to use the family's own loss, which holds the logits of the whole micro-batch. None finds out by
            running the model, which needs real weights: set it for a model on the meta device.

    Raises:
        CodeparrotError: the model cannot make of labels what its decoder reads.
    """

    way = "transformers"
    """How hidden states are computed."""

    def __init__(self, model: PreTrainedModel, own_loss: bool | None = None) -> None:
        super().__init__()
        self.model = model
        self._check_start()
        self.own_loss = self._try() if own_loss is None else own_loss
        if not self.own_loss:
            self._head.__class__ = DecoderHead

    def forward(self, input_ids: Tensor, labels: Tensor, reduction: Reduction = "mean") -> Tensor:
        """Return the loss of writing labels after reading input_ids, in float32.

        Args:
            input_ids: (windows, length): what the encoder reads, all of it.
            labels: (windows, other length), not shifted: what the decoder is to write; IGNORED (-100) is not predicted.
            reduction: "mean" over the predicted tokens, which training minimises; "sum" for evaluation over several batches,
                to be divided by the sum of `num_predicted(labels)`; "windows" those of each, (windows,), without gradients.
                Only the mean includes a family's auxiliary losses.
        """
        if self.own_loss:
            return self._forward_own_loss(input_ids, labels, reduction)
        head = self._head
        assert isinstance(head, DecoderHead)
        with head.losses_of(labels, each=reduction == "windows"):
            found = self._run(input_ids, labels).logits[:, 0]
        if reduction == "windows":
            return found
        return found[0] if reduction == "sum" else found[0] / self.num_predicted(labels).clamp(min=1)

    @staticmethod
    def num_predicted(labels: Tensor) -> Tensor:
        """Return the number of tokens that labels name (a scalar tensor on their device)."""
        return labels.ne(IGNORED).sum()

    def get_input_embeddings(self) -> None:
        """Return none: Accelerate would have FSDP2 shard embedding and head apart from the rest, which has T5's one, too."""

    def get_output_embeddings(self) -> None:
        """Return none; see `get_input_embeddings`."""

    def mask_documents(self, end: int) -> None:
        """Refuse to keep documents apart.

        Raises:
            CodeparrotError: always: what the decoder writes belongs to no document that it could look at alone.
        """
        raise CodeparrotError("stream.document_mask: an encoder-decoder cannot keep documents apart; set it to false")

    def _run(self, input_ids: Tensor, labels: Tensor) -> Any:
        read: Any = self.model.prepare_decoder_input_ids_from_labels(labels)  # pyright: ignore[reportCallIssue]
        return self.model(input_ids=input_ids, decoder_input_ids=read, use_cache=False)

    def _forward_own_loss(self, input_ids: Tensor, labels: Tensor, reduction: Reduction) -> Tensor:
        if reduction == "mean":
            return self.model(input_ids=input_ids, labels=labels, use_cache=False).loss
        losses = cross_entropy(self._run(input_ids, labels).logits, labels, "none").view(labels.shape)
        return losses.sum(1) if reduction == "windows" else losses.sum()

    def _check_start(self) -> None:
        config, family = self.model.config, self.model.config.model_type
        if not hasattr(self.model, "prepare_decoder_input_ids_from_labels"):
            raise CodeparrotError(f"model.family: a {family} does not say what its decoder reads; choose t5, mt5 or bart")
        for name in ("decoder_start_token_id", "pad_token_id"):
            if getattr(config, name, None) is None:
                raise CodeparrotError(f"model.{name} is missing: the decoder of a {family} begins with it; set it to an id")

    @torch.no_grad()
    def _try(self) -> bool:
        """Return whether the family needs its own loss."""
        training = self.model.training
        self.model.eval()
        try:
            with torch.random.fork_rng(devices=[]):
                return self._tried(probe_windows(self.model), self.model.get_output_embeddings())
        finally:
            self.model.train(training)

    def _tried(self, windows: Tensor, head: nn.Module | None) -> bool:
        """Compare the model's own logits and loss with those of a linear head."""
        model, labels = self.model, windows.flip(1)[:, :-1].clone()
        labels[:, ::3] = IGNORED
        plain = self._run(windows, labels).logits
        check_finite(model, plain)
        if head is None or type(head) not in (nn.Linear, DecoderHead, LossHead):
            return own_loss_because(model, "its head is not one linear layer")
        seen: list[Tensor] = []
        scale = 64 / plain.abs().max()  # the logits of a new model are too small for a soft cap to show
        before = head.register_forward_pre_hook(lambda _, inputs: (inputs[0] * scale, *inputs[1:]))
        behind = head.register_forward_hook(lambda _module, _inputs, output: seen.append(cast(Tensor, output)))
        own = model(input_ids=windows, labels=labels, use_cache=False)
        before.remove()
        behind.remove()
        if not seen or seen[0].shape != own.logits.shape or not torch.allclose(own.logits, seen[0], rtol=0, atol=1e-4 * 64):
            return own_loss_because(model, "it changes the logits after the head")
        if not torch.allclose(own.loss.float(), cross_entropy(own.logits, labels, "mean"), rtol=1e-5, atol=0):
            return own_loss_because(model, "it adds to the cross-entropy")
        return False
