"""The blocks of a window's documents in another order: BART's sentence permutation (Lewis et al., arXiv:1910.13461), for code.

A block begins with a document, or with a line that is not indented, behind an empty line: a function, a class, the imports. It
holds its tokens in their order. Blocks change places within their document; ends of documents stay where they are. A block
begins where a token does: a tokenizer that joins line breaks with what follows makes fewer. A text in quotes with such lines
is cut as well. A window begins and ends anywhere, so its first and last block may be parts of one. A last line without a break
stays last, so that no two lines become one.

Nothing is decoded: whether a block may begin with a token, or behind one, is a property of the token.
Cost: benchmarks/objectives.py measures it.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codeparrot.errors import CodeparrotError
from codeparrot.loading import largest_id, special_ids
from codeparrot.stream.order import permutation
from codeparrot.stream.token_bytes import token_bytes

Window = NDArray[np.int64]


def blocks_of(tokenizer: Any) -> "Blocks":
    """Return what finds the blocks of windows.

    Raises:
        CodeparrotError: the tokenizer works on characters, so that the text of a token is not known.
    """
    known, special = token_bytes(tokenizer), special_ids(tokenizer)
    if known is None:
        raise CodeparrotError("objective.permute needs a tokenizer that works on bytes; leave it out")
    spelled = [b"" if index in special else known.get(index, b"") for index in range(largest_id(tokenizer) + 1)]
    return Blocks(spelled, tokenizer.eos_token_id)


class Blocks:
    """Finds the blocks of windows, and puts them into another order.

    Args:
        spelled: the bytes of each token; empty for special ones.
        end: ends documents.
    """

    def __init__(self, spelled: Sequence[bytes], end: int) -> None:
        self._end = end
        self._begins = np.array([each[:1] not in (b"", b" ", b"\t", b"\n", b"\r", b"\f") for each in spelled])
        """Whether a line that begins with the token is not indented, nor empty."""
        breaks = [each.replace(b"\r", b"") for each in spelled]
        self._ends_line = np.array([each.endswith(b"\n") for each in breaks])
        self._ends_empty_line = np.array([each.endswith(b"\n\n") for each in breaks])
        self._is_break = np.array([each == b"\n" for each in breaks])

    def starts(self, window: Window) -> NDArray[np.bool_]:
        """Return which tokens begin a block, or are the end of a document."""
        ends_line = self._ends_line[window]
        empty_before = self._ends_empty_line[window]
        empty_before[1:] |= self._is_break[window[1:]] & ends_line[:-1]
        found = np.ones(len(window), np.bool_)
        is_end = window == self._end
        found[1:] = (self._begins[window[1:]] & empty_before[:-1]) | is_end[1:] | is_end[:-1]
        return found

    def order(self, window: Window, key: str) -> NDArray[np.int64]:
        """Return the places of a window's tokens in the order that a key draws: window[order] has its blocks in that order."""
        starts = np.flatnonzero(self.starts(window))
        sizes = np.diff(starts, append=len(window))
        # Each part of a document, and each end, has a number that grows; blocks of one part are sorted by chance.
        is_end = window[starts] == self._end
        part = np.cumsum(is_end) + np.cumsum(np.pad(is_end, (1, 0))[:-1])
        stays = ~self._ends_line[window[starts + sizes - 1]]
        by_chance = np.lexsort((permutation(len(starts), key, "blocks"), stays, part))
        sizes, begins = sizes[by_chance], starts[by_chance]
        return np.arange(len(window)) + np.repeat(begins - (np.cumsum(sizes) - sizes), sizes)
