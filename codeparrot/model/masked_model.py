"""A masked language model whose forward pass is its loss: what training wraps and evaluation measures.

Guarantees: the loss is the family's own, the mean of the cross-entropy over the tokens that are predicted, in float32
(tests/model/test_masked_model.py). Logits are computed for these alone, a chunk at a time (loss.py). Where a family does more
than its output embedding for its logits, or adds to their cross-entropy, its own loss is used and the log says so.

Costs: `MaskedModel` runs the new model three times on 16 tokens. On a GPU each loss waits for the number of predicted tokens.
"""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from codeparrot.errors import CodeparrotError
from codeparrot.model import IGNORED, attention, documents
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

if TYPE_CHECKING:
    pass

SHAPES = 32
"""A compiled loss gets one of so many numbers of rows: each new one compiles it again."""


class MaskedHead(LabelledHead):
    """An output embedding that returns the sum of the losses of labels, or those of each token."""

    most_rows: int | None = None
    """How many rows to compute instead of those that are predicted: for tracing, where labels hold no numbers."""

    def forward(self, input: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        labels = self.labels
        if labels is None:
            return super().forward(input)
        if self.each:
            return super().forward(input, labels, "none")
        rows, targets = input.reshape(-1, input.shape[-1]), labels.reshape(-1)
        if self.most_rows is not None:
            return super().forward(rows[: self.most_rows], targets[: self.most_rows])
        kept = targets.ne(IGNORED)
        rows, targets = rows[kept], targets[kept]
        if self.compiled:
            unit = max(1, labels.numel() // SHAPES)
            missing = -rows.shape[0] % unit
            rows = nn.functional.pad(rows, (0, 0, 0, missing))
            targets = nn.functional.pad(targets, (0, missing), value=IGNORED)
        return super().forward(rows, targets)


class MaskedModel(Wrapper):
    """A masked language model whose forward pass is its loss.

    `model` is the transformers model: it can still be called, and it is what a checkpoint holds.

    Args:
        model: a masked language model. Its output embedding becomes a `MaskedHead` (same weight, same names).
        own_loss: whether to use the family's own loss, which holds the logits of the whole micro-batch. None finds out by
            running the model, which needs real weights: set it for a model on the meta device.

    Raises:
        CodeparrotError: the model does not see the tokens on both sides, or cannot run as it is set.
    """

    way = "transformers"
    """How hidden states are computed."""

    def __init__(self, model: PreTrainedModel, own_loss: bool | None = None) -> None:
        super().__init__()
        self.model = model
        self.end_of_document: int | None = None
        """The token that ends documents, where these do not see each other."""
        self._first_position = 0
        self.own_loss = self._try() if own_loss is None else own_loss
        if not self.own_loss:
            self._head.__class__ = MaskedHead

    def forward(self, input_ids: Tensor, labels: Tensor, reduction: Reduction = "mean") -> Tensor:
        """Return the loss of predicting the tokens that labels name, in float32.

        Args:
            input_ids: (windows, length), with some tokens hidden.
            labels: (windows, length): what to predict at its own place; IGNORED (-100) is not predicted.
            reduction: "mean" over the predicted tokens, which training minimises; "sum" for evaluation over several batches;
                "windows" those of each, (windows,), without gradients. Only the mean includes a family's auxiliary losses.
        """
        if self.own_loss:
            return self._forward_own_loss(input_ids, labels, reduction)
        head = self._head
        assert isinstance(head, MaskedHead)
        with head.losses_of(labels, each=reduction == "windows"):
            found = self._run(input_ids).logits
        if reduction == "windows":
            return found.sum(1)
        return found if reduction == "sum" else found / self.num_predicted(labels).clamp(min=1)

    @staticmethod
    def num_predicted(labels: Tensor) -> Tensor:
        """Return the number of tokens that labels name (a scalar tensor on their device)."""
        return labels.ne(IGNORED).sum()

    @property
    def _no_split_modules(self) -> Any:
        """Return the modules that FSDP2 shards on their own: not the embeddings, whose weight may be the head's too."""
        embeddings = self.model.get_input_embeddings()
        holders = {type(module).__name__ for module in self.model.modules() if embeddings in module.children()}
        return [name for name in self.model._no_split_modules or [] if name not in holders]

    def get_input_embeddings(self) -> None:
        """Return none: Accelerate would have FSDP2 shard embedding and head apart from the rest, which has BERT's bias too."""

    def get_output_embeddings(self) -> None:
        """Return none; see `get_input_embeddings`."""

    @torch.no_grad()
    def mask_documents(self, end: int) -> None:
        """Have the documents of a window not see each other. The weights must be real: the model is run on a few tokens.

        Args:
            end: the token that ends documents.

        Raises:
            CodeparrotError: the family cannot.
        """
        training, windows = self.training, probe_windows(self.model, length=12)[:1]
        padding = getattr(self.config, "pad_token_id", None)
        free = next(other for other in (1, 2, 3) if other not in (end, padding))
        for special in {end, padding} - {None}:  # at the padding token, families after RoBERTa have no position
            windows[windows == special] = free
        middle = windows.shape[1] // 2
        windows[0, middle - 1] = end
        self.eval()
        apart = torch.cat([self._run(each).logits for each in (windows[:, :middle], windows[:, middle:])], dim=1)
        self.end_of_document = end
        # Families after RoBERTa count positions from behind the number of their padding token.
        kept_apart = self.config._attn_implementation == "sdpa" and any(
            self._keeps_apart(windows, apart, first) for first in (0, *([] if padding is None else [padding + 1]))
        )
        self.train(training)
        if not kept_apart:
            raise CodeparrotError(
                f"stream.document_mask: model.family {self.config.model_type} cannot keep documents apart; set it to false"
            )

    def _keeps_apart(self, windows: Tensor, apart: Tensor, first_position: int) -> bool:
        self._first_position = first_position
        try:
            together = self._run(windows).logits
        except (TypeError, IndexError):  # the family takes no positions, or has none that are so large
            return False
        return torch.allclose(together, apart, rtol=0, atol=1e-4 * float(apart.abs().max()))

    def _run(self, input_ids: Tensor, **options: Any) -> Any:
        if self.end_of_document is None:
            return self.model(input_ids=input_ids, **options)
        found = documents.positions(input_ids, self.end_of_document)
        begins = torch.arange(input_ids.shape[1], device=input_ids.device) - found
        with attention.between(self.model.config, begins[:, :, None] == begins[:, None, :]):
            return self.model(input_ids=input_ids, position_ids=found + self._first_position, **options)

    def hidden_states(self, input_ids: Tensor) -> Tensor:
        """Return what the family's head sees, (windows, length, width)."""
        return self.model.base_model(input_ids=input_ids)[0]

    def _forward_own_loss(self, input_ids: Tensor, labels: Tensor, reduction: Reduction) -> Tensor:
        if reduction == "mean":
            return self._run(input_ids, labels=labels).loss
        losses = cross_entropy(self._run(input_ids).logits, labels, "none").view(labels.shape)
        return losses.sum(1) if reduction == "windows" else losses.sum()

    @torch.no_grad()
    def _try(self) -> bool:
        """Check that the model sees both sides; return whether the family needs its own loss."""
        model, training = self.model, self.model.training
        model.eval()
        try:
            with torch.random.fork_rng(devices=[]):
                return self._tried(probe_windows(model), model.get_output_embeddings())
        except TypeError as error:
            if getattr(model.config, "pad_token_id", None) is not None:
                raise
            raise CodeparrotError(
                f"model.family {model.config.model_type} does not run without a padding token; name a tokenizer that has one, "
                "or set model.pad_token_id"
            ) from error
        finally:
            model.train(training)

    def _tried(self, windows: Tensor, head: nn.Module | None) -> bool:
        """Compare the model's own logits and loss with those of a linear head."""
        model = self.model
        plain = model(input_ids=windows).logits
        check_finite(model, plain)
        if torch.allclose(plain[0, :-1], plain[1, :-1], rtol=0, atol=1e-6 * float(plain.abs().max())):
            hint = "set model.is_decoder: false" if getattr(model.config, "is_decoder", False) else "choose another family"
            raise CodeparrotError(
                f"model.family: this {model.config.model_type} sees only the tokens before a masked one; {hint}"
            )
        if head is None or type(head) not in (nn.Linear, MaskedHead, LossHead):
            return own_loss_because(model, "its head is not one linear layer")
        seen: list[Any] = []
        scale = 64 / plain.abs().max()  # the logits of a new model are too small for a soft cap to show
        before = head.register_forward_pre_hook(lambda _, inputs: (inputs[0] * scale, *inputs[1:]))
        behind = head.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
        labels = windows.clone()
        labels[:, ::2] = IGNORED
        logits, own = model(input_ids=windows).logits, model(input_ids=windows, labels=labels).loss
        before.remove()
        behind.remove()
        if not seen or seen[0].shape != logits.shape or not torch.allclose(logits, seen[0], rtol=0, atol=1e-4 * 64):
            return own_loss_because(model, "it changes the logits after the head")
        if not torch.allclose(own.float(), cross_entropy(logits, labels, "mean"), rtol=1e-5, atol=0):
            return own_loss_because(model, "it adds to the cross-entropy")
        return False
