"""Documents that do not see each other, in windows that hold several: `stream.document_mask`.

A document begins at the first token of a window and behind end-of-document tokens; of several in a row, as of padding, each but
the first belongs to the document before it. Its positions count from 0, and its
tokens see those of the same document alone. With labels of `within_documents`, loss and gradients are those of the documents
one by one (1e-5, tests/model/test_documents.py).

GPT-2 takes flash attention for sequences of many lengths (torch.nn.attention.varlen) on GPUs that have it, and a mask of
[windows, 1, length, length] numbers elsewhere. Other families get the positions, from which transformers makes such a
mask. A family that computes something else from them is refused with the new model.

Cost of a mask: attention computes all pairs, also those that the causal order leaves out (benchmarks/packing.py).
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from codeparrot.model import IGNORED

FLASH_CAPABILITY = (8, 0)
"""Of GPUs that torch's flash attention runs on."""
WIDEST_HEAD = 256


class Documents(NamedTuple):
    """Where the documents of a batch of windows are."""

    positions: Tensor
    """[windows, length], of each token in its document."""
    mask: Tensor | None
    """[windows, 1, length, length], added to scores: 0 for tokens (last dimension) that a token sees, else -inf. None where
    `bounds` serves."""
    bounds: Tensor | None
    """[documents + 1], int32: where each begins in the joined windows, and the end. The last ones may be empty."""

    @property
    def attention(self) -> Tensor:
        """Return what attention needs: `bounds` or `mask`."""
        found = self.mask if self.bounds is None else self.bounds
        assert found is not None
        return found


def positions(input_ids: Tensor, end: int) -> Tensor:
    """Return the position of each token in its document, [windows, length]. `end`: the token that ends documents."""
    places = torch.arange(input_ids.shape[1], device=input_ids.device)
    begins = torch.zeros_like(input_ids)
    begins[:, 1:] = torch.where((input_ids[:, :-1] == end) & (input_ids[:, 1:] != end), places[1:], 0)
    return places - begins.cummax(1).values


def documents(input_ids: Tensor, end: int, flash: bool, dtype: torch.dtype) -> Documents:
    """Find the documents of windows, [windows, length], that end with the token `end`.

    Args:
        flash: whether attention takes `bounds`; to count the documents waits for the device.
        dtype: of the mask, that of queries: with truth values each layer would make and keep a mask of numbers.
    """
    found = positions(input_ids, end)
    if flash:
        starts = found.flatten().eq(0).nonzero().flatten().to(torch.int32)
        # Each number of documents compiles attention anew: empty ones fill up to a power of four.
        room = 4 ** ((int(starts.shape[0]).bit_length() + 1) // 2)
        return Documents(found, None, torch.nn.functional.pad(starts, (0, room - starts.shape[0]), value=input_ids.numel()))
    places = torch.arange(input_ids.shape[1], device=input_ids.device)
    first = (places - found)[:, :, None]
    seen = (places[None, None, :] >= first) & (places[None, None, :] <= places[None, :, None])
    mask = torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill(~seen, float("-inf"))
    return Documents(found, mask[:, None], None)


def takes_flash(decoder: Any, device: torch.device, dtype: torch.dtype) -> bool:
    """Return whether attention of a GPT2Model in `dtype` may take flash attention for sequences of many lengths."""
    width = decoder.h[0].attn.head_dim
    dropout = decoder.h[0].attn.attn_dropout.p if decoder.training else 0.0
    if device.type != "cuda" or dtype not in (torch.bfloat16, torch.float16) or dropout or width % 8 or width > WIDEST_HEAD:
        return False
    return torch.version.hip is None and torch.cuda.get_device_capability(device) >= FLASH_CAPABILITY


def attention(query: Tensor, key: Tensor, value: Tensor, seen: Tensor, dropout: float, scale: float) -> Tensor:
    """Return softmax(query @ key.T * scale) @ value, where every token sees those before it in its document.

    Args:
        query, key, value: (windows, heads, length, width of a head).
        seen: `Documents.attention`.
        dropout: the share of weights that is dropped.
        scale: what scores are multiplied with.
    """
    if seen.dim() == 4:
        return torch.nn.functional.scaled_dot_product_attention(
            query, key, value, attn_mask=seen.to(query.dtype), dropout_p=dropout, scale=scale
        )
    from torch.nn.attention.varlen import varlen_attn

    windows, heads, length, width = query.shape
    queries, keys, values = (each.transpose(1, 2).reshape(windows * length, heads, width) for each in (query, key, value))
    mixed: Any = varlen_attn(queries, keys, values, seen, seen, length, length, scale=scale, window_size=(-1, 0))
    return mixed.view(windows, length, heads, width).transpose(1, 2)


def within_documents(input_ids: NDArray[np.int64], labels: NDArray[np.int64], end: int) -> NDArray[np.int64]:
    """Return labels that leave out the first token of each document, which has none before it to be predicted from."""
    found = labels.copy()
    found[:, 1:][input_ids[:, :-1] == end] = IGNORED
    return found
