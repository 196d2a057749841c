"""Vectors of texts from a model.

Guarantees: a text has one vector, whatever texts stand beside it (to 1e-5), of length 1, and it is the one that
sentence-transformers computes with the exported folder. `load` computes in float32 on every device, so that vectors of several
machines may be mixed. A text that is longer than the context of the model is cut there, and
counted: what a long class has behind the cut has vectors of its own, those of its methods.

Cost: one forward pass without the head. Texts are sorted by length, so that a batch has little padding, and a batch is bound by
its tokens, padding included. A GPT-2 takes the forward pass of model/gpt2.py. A causal model gets no mask: no token sees the
padding behind it.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from codeparrot.errors import CodeparrotError
from codeparrot.model.context import context_of
from codeparrot.model.kinds import kind_stored, reader_of
from codeparrot.result import progress_bar
from codeparrot.search.pooling import Pooling, pooling_of

if TYPE_CHECKING:
    from torch import Tensor

Vectors = NDArray[np.float32]
"""[texts, width], each of length 1."""
TOKENS_PER_BATCH = 4096
"""Padding included. More fill a GPU no better, and fall out of the cache of a CPU."""
MOST_TEXTS = 64
"""Of a batch: a caller that keeps what is done loses no more."""
_TOKENIZED_AT_ONCE = 4096


class Batch(NamedTuple):
    """What one forward pass gives."""

    texts: NDArray[np.int64]
    """Numbers of its texts."""
    vectors: Vectors


class Embedder:
    """Makes vectors of texts."""

    def __init__(self, model: Any, tokenizer: Any, pooling: Pooling = "auto", tokens_per_batch: int = TOKENS_PER_BATCH) -> None:
        """Take a model and its tokenizer, as `load_model` returns them. The vectors are computed where the model lies.

        Args:
            model: of transformers, in evaluation mode; its head, if it has one, is not used. Of an encoder-decoder, the
                encoder is.
            tokenizer: the model's.
            pooling: how the vectors of tokens become one.
            tokens_per_batch: padding included; a longer text is a batch of its own.

        Raises:
            CodeparrotError: the tokenizer has no token that could stand for an empty text.
        """
        from codeparrot.model import gpt2

        self.causal = kind_stored(model.config) == "causal"
        self.pooling = pooling_of(pooling)
        self.tokenizer = tokenizer
        self.tokens_per_batch = tokens_per_batch
        self.num_cut = 0
        """Texts so far that were longer than the context."""
        self._network: Any = reader_of(model)
        self._own = self.causal and gpt2.adapt(model)
        self.context = _context(self._network, tokenizer)
        """Tokens of a text that are read; None: all."""
        ends = (tokenizer.eos_token_id, tokenizer.bos_token_id, tokenizer.unk_token_id)
        nothing = next((each for each in ends if each is not None), None)
        if nothing is None:
            raise CodeparrotError("the tokenizer has no eos_token, which stands for an empty text; set it in its config")
        self._nothing: int = nothing

    @property
    def width(self) -> int:
        """Numbers of a vector."""
        return self._network.config.get_text_config().hidden_size

    def embed(self, texts: Sequence[str], what: str = "") -> Vectors:
        """Return the vectors of texts, [texts, width]. An empty text has that of the end-of-document token.

        Args:
            texts: of any length.
            what: names the progress bar; empty: there is none.

        Raises:
            CodeparrotError: the model gives NaN or infinity.
        """
        found = np.zeros((len(texts), self.width), np.float32)
        with progress_bar(total=len(texts), desc=what, unit="text", shown=bool(what)) as bar:
            for batch in self.batches(texts):
                found[batch.texts] = batch.vectors
                bar.update(len(batch.texts))
        return found

    def batches(self, texts: Sequence[str]) -> Iterator[Batch]:
        """Yield all texts once, the longest first, so that what does not fit into memory shows at once."""
        import torch

        encoded = self._encoded(texts)
        order = sorted(range(len(encoded)), key=lambda index: (-len(encoded[index]), index))
        start = 0
        while start < len(order):
            longest = len(encoded[order[start]])
            numbers = order[start : start + max(1, min(MOST_TEXTS, self.tokens_per_batch // longest))]
            with torch.inference_mode():
                vectors = self._vectors([encoded[number] for number in numbers])
            yield Batch(np.array(numbers, np.int64), vectors)
            start += len(numbers)

    def _encoded(self, texts: Sequence[str]) -> list[list[int]]:
        options: dict[str, Any] = {"truncation": True, "max_length": self.context} if self.context else {}
        found: list[list[int]] = []
        for start in range(0, len(texts), _TOKENIZED_AT_ONCE):
            part = list(texts[start : start + _TOKENIZED_AT_ONCE])
            encoded = self.tokenizer(part, return_attention_mask=False, verbose=False, **options)
            self.num_cut += sum(bool(each.overflowing) for each in encoded.encodings)
            found += [ids or [self._nothing] for ids in encoded["input_ids"]]
        return found

    def _vectors(self, encoded: list[list[int]]) -> Vectors:
        import torch
        from torch.nn.functional import normalize

        device = self._network.get_input_embeddings().weight.device
        lengths = torch.tensor([len(ids) for ids in encoded])
        longest = int(lengths.max())
        padding = self.tokenizer.pad_token_id or 0
        ids = torch.tensor([[*each, *[padding] * (longest - len(each))] for each in encoded]).to(device)
        lengths = lengths.to(device)
        seen = torch.arange(longest, device=device) < lengths[:, None]
        pooled = _pooled(self._hidden(ids, seen), lengths, seen, self.pooling)
        if not pooled.isfinite().all():
            raise CodeparrotError("the model gives vectors that are no numbers (NaN or infinite): name another checkpoint")
        return normalize(pooled, dim=-1).cpu().numpy()

    def _hidden(self, ids: "Tensor", seen: "Tensor") -> "Tensor":
        """Return what the head would see, [texts, tokens, width]."""
        if self._own:
            from codeparrot.model import gpt2

            return gpt2.hidden_states(self._network, ids)
        if self.causal:
            return self._network(input_ids=ids, use_cache=False).last_hidden_state
        return self._network(input_ids=ids, attention_mask=seen.long()).last_hidden_state


def load(checkpoint: str, pooling: Pooling = "auto", device: str = "auto") -> Embedder:
    """Load a model that makes vectors, in float32.

    Args:
        checkpoint: a run, a checkpoint, a folder, a GGUF file or a name on the Hub.
        pooling: how the vectors of tokens become one.
        device: where the model goes; auto takes the first accelerator there is.

    Raises:
        CodeparrotError: it cannot be loaded.
    """
    import torch

    from codeparrot.loading import find_model, load_model

    return Embedder(*load_model(find_model(checkpoint), device, dtype=torch.float32, kind=None), pooling)


def _pooled(hidden: "Tensor", lengths: "Tensor", seen: "Tensor", pooling: str) -> "Tensor":
    """Return one vector a text in float32, [texts, width]."""
    import torch

    if pooling == "last":
        return hidden[torch.arange(len(hidden), device=hidden.device), lengths - 1].float()
    # Not a product with the mask: padding may be computed to NaN.
    return hidden.float().masked_fill(~seen[..., None], 0).sum(1) / lengths[:, None]


def _context(network: Any, tokenizer: Any) -> int | None:
    """Return how many tokens a model reads."""
    known = context_of(network.config)
    named = tokenizer.model_max_length  # a huge number where it is not known
    return min(each for each in (known, named) if each is not None) if known or named < 10**9 else None
