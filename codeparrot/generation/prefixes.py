"""Keys and values of prompts' beginnings, kept for the prompts that begin alike: a keystroke later, or in another sample.

Guarantees: it never holds more than its tokens' worth of blocks; the block used longest ago goes first, and no block goes
before those that follow it. What is kept is what the model computed, to the bit: it is copied in and out.
Cost: memory for `most_tokens` tokens; a look-up hashes the prompt's tokens once, a block at a time.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

BLOCK = 128
"""Tokens of a block. Prompts are read in such blocks from their first token on."""

Layers = list[tuple[torch.Tensor, torch.Tensor]]
"""Of each layer the keys and values of a block's tokens, [1, heads, BLOCK, width]."""


@dataclass(eq=False)
class Block:
    """A block of tokens behind the blocks before it."""

    tokens: tuple[int, ...] = ()
    layers: Layers = field(default_factory=list)
    before: "Block | None" = None
    behind: "dict[tuple[int, ...], Block]" = field(default_factory=dict)
    """The known blocks that follow it, by their tokens."""


class PrefixCache:
    """A tree of blocks; its root is the beginning of every prompt."""

    def __init__(self, most_tokens: int) -> None:
        """`most_tokens`: memory's bound; less than a block keeps nothing."""
        self._most = most_tokens // BLOCK
        self._root = Block()
        self._by_use: OrderedDict[Block, None] = OrderedDict()
        """The blocks, the one used longest ago first. A block is always younger than those behind it."""

    @property
    def num_tokens(self) -> int:
        """How many tokens it holds."""
        return len(self._by_use) * BLOCK

    def find(self, ids: Sequence[int]) -> list[Block]:
        """Return the known blocks that a prompt begins with, but not with its last token, whose logits are needed."""
        found, block = [], self._root
        for start in range(0, len(ids) - BLOCK, BLOCK):
            known = block.behind.get(tuple(ids[start : start + BLOCK]))
            if known is None:
                break
            found.append(known)
            block = known
        self._touch(block)
        return found

    def add(self, before: Block | None, tokens: Sequence[int], layers: Layers) -> Block | None:
        """Keep a block behind another, or at the beginning; return it, or None where there is no room for it."""
        block = before or self._root
        key = tuple(tokens)
        if known := block.behind.get(key):
            self._touch(known)
            return known
        self._touch(block)
        if len(self._by_use) >= self._most:
            oldest = next(iter(self._by_use), None)
            if oldest is None or oldest is block:
                return None  # only the prompt's own beginning is left
            self._drop(oldest)
        made = Block(key, layers, block)
        block.behind[key] = made
        self._by_use[made] = None
        self._touch(made)
        return made

    def clear(self) -> None:
        """Give the memory back."""
        self._root.behind.clear()
        self._by_use.clear()

    def _touch(self, block: Block) -> None:
        """Make a block and those before it the youngest, the first one last."""
        while block is not self._root and block.before is not None:
            # A block that was cleared meanwhile is no longer kept.
            if block in self._by_use:
                self._by_use.move_to_end(block)
            block = block.before

    def _drop(self, block: Block) -> None:
        assert block.before is not None and not block.behind, "blocks behind it are older"
        del block.before.behind[block.tokens]
        del self._by_use[block]


def block_of(cache: Any, start: int) -> Layers:
    """Return a copy of the keys and values of the block of a prompt's cache that begins at a token."""
    places = slice(start, start + BLOCK)
    return [(layer.keys[:, :, places].clone(), layer.values[:, :, places].clone()) for layer in cache.layers]
