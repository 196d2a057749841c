"""A causal language model whose forward pass is its loss: what training wraps and evaluation measures.

Guarantees: the loss is the family's own. Where a family's logits are more than `head(hidden)`, or its loss is more than their
cross-entropy, the chunked loss (loss.py) is not used and the log says so. GPT-2 runs the forward pass of gpt2.py; other
families run transformers', without masks where these would be plain causal ones (attention.py). What leads to other hidden
states than transformers' own way is not used, and the log says so. Generation is always transformers'.

Costs: `LanguageModel` runs the new model five times on 16 tokens.
"""

import logging
from contextlib import nullcontext
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from codeparrot.errors import CodeparrotError
from codeparrot.model import IGNORED, attention, documents, gpt2
from codeparrot.model.kinds import families
from codeparrot.model.loss import LossHead, next_token_labels, num_predicted
from codeparrot.model.wrapper import Wrapper, check_finite, own_loss_because, probe_windows

logger = logging.getLogger("codeparrot")


class LanguageModel(Wrapper):
    """A causal language model whose forward pass is its loss.

    The loss uses the head's weight, so it must be computed inside the module that DDP, DeepSpeed or FSDP wraps: this one.
    `model` is the transformers model: it can still be called, it generates, and it is what a checkpoint holds.

    Args:
        model: a causal language model. Its head becomes a `LossHead` (same weight, same names).
        own_loss: whether to use the family's own loss, which holds the logits of the whole micro-batch. None finds out by
            running the model, which needs real weights: set it for a model on the meta device. Whether a family can do
            without masks is not tried then.
    """

    def __init__(self, model: PreTrainedModel, own_loss: bool | None = None) -> None:
        super().__init__()
        self.model = model
        if getattr(model, "loss_type", "") is None:
            model.loss_type = "ForCausalLM"  # transformers falls back to it anyway, with a warning at each start
        self.way: Literal["gpt2", "without masks", "transformers"] = "gpt2" if gpt2.adapt(model) else "transformers"
        """How hidden states are computed."""
        self.end_of_document: int | None = None
        """The token that ends documents, where these do not see each other."""
        self.own_loss = self._try() if own_loss is None else own_loss
        if not self.own_loss:
            self._head.__class__ = LossHead

    def forward(
        self, input_ids: Tensor, labels: Tensor, reduction: Literal["mean", "sum", "windows", "tokens"] = "mean"
    ) -> Tensor:
        """Return the loss of predicting each token of a window from those before it, in float32.

        Args:
            input_ids: (windows, length).
            labels: (windows, length), not shifted: usually `input_ids` itself; IGNORED (-100) is not predicted.
            reduction: "mean" over the predicted tokens, which training minimises; "sum" for evaluation over several batches,
                to be divided by the sum of `num_predicted(labels)`; "windows" those of each, (windows,), without gradients;
                "tokens" that of each token, (windows, length), at the place in front of it, without gradients.
                Only the mean includes a family's auxiliary losses.
        """
        if self.own_loss:
            return self._forward_own_loss(input_ids, labels, reduction)
        if reduction in ("windows", "tokens"):
            losses = self._head(self.hidden_states(input_ids), next_token_labels(labels), "none")
            return losses if reduction == "tokens" else losses.sum(1)
        total = self._head(self.hidden_states(input_ids), next_token_labels(labels))
        return total if reduction == "sum" else total / num_predicted(labels).clamp(min=1)

    @staticmethod
    def num_predicted(labels: Tensor) -> Tensor:
        """Return the number of tokens that a batch of windows predicts (a scalar tensor on the labels' device)."""
        return num_predicted(labels)

    def hidden_states(self, input_ids: Tensor) -> Tensor:
        """Return what the head sees, (windows, length, width)."""
        if self.way == "gpt2":
            return gpt2.hidden_states(self.model.base_model, input_ids, self.end_of_document)
        with self._masks():
            return self.model.base_model(input_ids=input_ids, use_cache=False, **self._positions(input_ids))[0]

    @torch.no_grad()
    def mask_documents(self, end: int) -> None:
        """Have the documents of a window not see each other. The weights must be real: the model is run on a few tokens.

        Args:
            end: the token that ends documents.

        Raises:
            CodeparrotError: the family cannot.
        """
        training, windows = self.training, probe_windows(self.model, length=12)[:1]
        windows[windows == end] = (end + 1) % self.config.get_text_config().vocab_size
        middle = windows.shape[1] // 2
        windows[0, middle - 1] = end
        self.eval()
        apart = torch.cat([self.hidden_states(each) for each in (windows[:, :middle], windows[:, middle:])], dim=1)
        self.end_of_document = end
        try:
            together = self.hidden_states(windows)
            kept_apart = torch.allclose(together, apart, rtol=0, atol=1e-4 * float(apart.abs().max()))
        except TypeError:  # the family takes no positions
            kept_apart = False
        self.train(training)
        if not kept_apart:
            raise CodeparrotError(
                f"stream.document_mask: model.family {self.config.model_type} cannot keep documents apart; set it to false"
            )

    def _positions(self, input_ids: Tensor) -> dict[str, Tensor]:
        """Return the positions that transformers tells documents apart by, if they do not see each other."""
        return {} if self.end_of_document is None else {"position_ids": documents.positions(input_ids, self.end_of_document)}

    def _forward_own_loss(self, input_ids: Tensor, labels: Tensor, reduction: str) -> Tensor:
        with self._masks():
            if reduction == "mean":
                return self.model(input_ids=input_ids, labels=labels, use_cache=False, **self._positions(input_ids)).loss
            logits = self.model(input_ids=input_ids, use_cache=False, **self._positions(input_ids)).logits
        if reduction in ("windows", "tokens"):
            losses = _cross_entropy(logits, labels, "none").view(labels.shape)
            return losses if reduction == "tokens" else losses.sum(1)
        return _cross_entropy(logits, labels, "sum")

    def _masks(self) -> Any:
        plain = self.way == "without masks" and self.end_of_document is None
        return attention.without_masks(self.model.config) if plain else nullcontext()

    @torch.no_grad()
    def _try(self) -> bool:
        """Find out how hidden states are computed; return whether the family needs its own loss."""
        model = self.model
        head, decoder = model.get_output_embeddings(), model.base_model
        if head is None or type(head) not in (nn.Linear, LossHead) or decoder is model:
            return own_loss_because(model, "its head is not one linear layer")
        windows, training = probe_windows(model), model.training
        model.eval()
        try:
            with torch.random.fork_rng(devices=[]):
                hidden = decoder(input_ids=windows, use_cache=False)[0]
                _check_causal(model, hidden)
                self._settle_way(windows, hidden)
                return _needs_own_loss(model, head, windows, hidden)
        finally:
            model.train(training)

    def _settle_way(self, windows: Tensor, hidden: Tensor) -> None:
        """Keep to a way other than transformers' only where it leads to the same hidden states."""
        if self.way == "transformers" and attention.has_plain_masks(self.model, windows):
            self.way = "without masks"
        if not torch.allclose(self.hidden_states(windows), hidden, rtol=0, atol=1e-4 * float(hidden.abs().max())):
            self.way = "transformers"
        if self.way == "transformers" and self.model.config._attn_implementation == "sdpa":
            text = "model.family %s runs transformers' forward pass: its masks are not plain, or ours computes otherwise"
            logger.info(text, self.model.config.model_type)


def _cross_entropy(logits: Tensor, labels: Tensor, reduction: str) -> Tensor:
    flat = logits.float().flatten(0, -2)
    return nn.functional.cross_entropy(flat, next_token_labels(labels).flatten(), ignore_index=IGNORED, reduction=reduction)


def _needs_own_loss(model: PreTrainedModel, head: nn.Module, windows: Tensor, hidden: Tensor) -> bool:
    """Compare the model's own logits and loss with those of a linear head.

    The head's input is scaled until the largest logit is 64: a new model's logits are too small for a soft cap to show.
    """
    scale = 64 / head(hidden).abs().max()
    hook = head.register_forward_pre_hook(lambda _, inputs: (inputs[0] * scale, *inputs[1:]))
    logits = head(hidden)
    own = model(input_ids=windows, labels=windows, use_cache=False)
    hook.remove()
    if not torch.allclose(own.logits.float(), logits.float(), rtol=0, atol=1e-4 * 64):
        return own_loss_because(model, "it changes the logits after the head")
    if not torch.allclose(own.loss.float(), _cross_entropy(own.logits, windows, "mean"), rtol=1e-6, atol=0):
        return own_loss_because(model, "it adds to the cross-entropy")
    return False


def _check_causal(model: PreTrainedModel, hidden: Tensor) -> None:
    check_finite(model, hidden)
    if not torch.allclose(hidden[0, :-1], hidden[1, :-1], rtol=0, atol=1e-4 * float(hidden.abs().max())):
        hint = "set model.is_decoder: true" if hasattr(model.config, "is_decoder") else "choose another family"
        hint += ", or objective.name masked" if model.config.model_type in families("masked") else ""
        raise CodeparrotError(f"model.family: this {model.config.model_type} sees the tokens that it is to predict; {hint}")
