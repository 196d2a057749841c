"""Keys and values of sequences of different lengths, side by side, as a cache of transformers.

A row of the batch is a slot. One sequence holds it from its prompt to its end, then the next takes it. Token number p of a
sequence lies at position p of its slot, whatever its neighbours do: nothing is padded in front, positions are those the model
was trained with, and attention for a row does not depend on how long the others are. Everything after a sequence's last token
is masked.

Cost: memory for slots x length tokens, taken when the first sequence arrives and copied when a longer one than any before
arrives. A new token is written in place.
"""

from typing import Any

import torch
from transformers import Cache
from transformers.cache_utils import CacheLayerMixin


class Slots:
    """The slots of a batch.

    Args:
        count: number of slots.
        length: longest sequence, in tokens.
        granularity: attention reads a multiple of this many tokens, the longest sequence rounded up.
    """

    def __init__(self, count: int, length: int, granularity: int, device: torch.device) -> None:
        self._granularity, self._device = granularity, device
        self.cache = Cache(layers=[])
        self.reach = 0
        """Tokens that attention reads."""
        self.live = 0
        """Rows that attention reads: the first ones."""
        self._make(count, length)

    def _make(self, count: int, length: int) -> None:
        length = _round_up(max(length, 1), self._granularity)
        mask = torch.full((count, 1, 1, length), -torch.inf, device=self._device)
        mask[..., 0] = 0.0  # a row without any token would be 0 / 0
        positions, rows = torch.zeros(count, dtype=torch.int64, device=self._device), torch.arange(count, device=self._device)
        # All at once: memory may not suffice for one of them.
        self.length, self.rows = length, rows
        self.mask = mask
        """Added to attention's scores: 0 for the tokens that a sequence has, -inf for the rest."""
        self.positions = positions
        """Where each row's next token goes."""

    def reserve(self, count: int, length: int) -> None:
        """Make room for `count` sequences of `length` tokens; the present ones stay, also where memory does not suffice."""
        old, mask, positions = len(self.rows), self.mask, self.positions
        if count <= old and length <= self.length:
            return
        count, length = max(count, old), _round_up(max(length, self.length), self._granularity)
        layers = [layer for layer in self.cache.layers if isinstance(layer, _SlotLayer)]
        grown = [layer.grown(count, length) for layer in layers]
        self._make(count, length)
        self.mask[:old, ..., : mask.shape[-1]] = mask
        self.positions[:old] = positions
        for layer, (keys, values) in zip(layers, grown, strict=True):
            layer.keys, layer.values = keys, values

    def put(self, row: int, prompt: Cache, num_tokens: int) -> None:
        """Start a sequence in a slot with the first `num_tokens` tokens of a cache of one sequence."""
        if not self.cache.layers:
            self.cache.layers.extend([_SlotLayer(self, layer) for layer in prompt.layers])  # all, or none without memory
        for own, layer in zip(self.cache.layers, prompt.layers, strict=True):
            own.keys[row, :, :num_tokens] = layer.keys[0, :, :num_tokens]  # type: ignore[index]
            own.values[row, :, :num_tokens] = layer.values[0, :, :num_tokens]  # type: ignore[index]
        self.positions[row] = num_tokens
        self.mask[row, ..., :num_tokens] = 0.0
        self.mask[row, ..., num_tokens:] = -torch.inf

    def move(self, source: int, target: int, num_tokens: int) -> None:
        """Move a sequence of `num_tokens` tokens into another slot."""
        for layer in self.cache.layers:
            layer.keys[target, :, :num_tokens] = layer.keys[source, :, :num_tokens]  # type: ignore[index]
            layer.values[target, :, :num_tokens] = layer.values[source, :, :num_tokens]  # type: ignore[index]
        self.positions[target] = self.positions[source]
        self.mask[target] = self.mask[source]

    def clear(self, row: int) -> None:
        """Empty a slot; it then costs as little as a row can."""
        self.positions[row] = 0
        self.mask[row, ..., 1:] = -torch.inf

    def wipe(self, row: int) -> None:
        """Forget a slot's keys and values: what is not finite there would reach the next sequence through its mask."""
        for layer in self.cache.layers:
            layer.keys[row], layer.values[row] = 0, 0  # type: ignore[index]

    def next_token(self, count: int, live: int, longest: int) -> dict[str, Any]:
        """Return the arguments of a forward pass that gives the first `count` rows one more token each.

        Args:
            count: rows.
            live: how many of them, from the first on, have keys and values; the rest is padding.
            longest: the largest position of the new tokens.
        """
        self.live = live
        self.reach = _round_up(longest + 1, self._granularity)
        positions = self.positions[:count]
        self.mask[self.rows[:count], 0, 0, positions] = 0.0
        return {
            "attention_mask": self.mask[:count, ..., : self.reach],
            "position_ids": positions[:, None],
            "past_key_values": self.cache,
            "use_cache": True,
        }

    def places(self, heads: int) -> torch.Tensor:
        """Return where the new keys and values of the live rows go, [rows * heads], among all of a layer: see `write`."""
        firsts = self.rows[: self.live, None] * heads + torch.arange(heads, device=self._device)
        return (firsts * self.length + self.positions[: self.live, None]).view(-1)

    def write(self, layer: int, places: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Write a layer's new keys and values, [rows * heads, width]; return those of the live rows that attention reads.

        Returns:
            Keys and values, [rows * heads, tokens, width].
        """
        own: Any = self.cache.layers[layer]
        read = []
        for cached, new in ((own.keys, keys), (own.values, values)):
            cached.view(-1, cached.shape[3]).index_copy_(0, places, new)
            read.append(cached.view(-1, *cached.shape[2:])[: len(places), : self.reach])
        return tuple(read)

    def advance(self, count: int) -> None:
        """Count the token that each of the first `count` rows was given."""
        self.positions[:count] += 1


class _SlotLayer(CacheLayerMixin):
    """One layer of all slots: [slots, heads, length, head dimension]."""

    is_sliding = False

    def __init__(self, slots: Slots, like: Any) -> None:
        super().__init__()
        self._slots = slots
        count, length = len(slots.rows), slots.length
        self.keys, self.values = self._room(like.keys, count, length), self._room(like.values, count, length)
        self.is_initialized = True

    def _room(self, like: torch.Tensor, count: int, length: int) -> torch.Tensor:
        # Zeros: masked positions get weight 0, and 0 times a finite number is 0.
        return like.new_zeros((count, like.shape[1], length, like.shape[3]))

    def grown(self, count: int, length: int) -> list[torch.Tensor]:
        """Return copies of keys and values with room for `count` slots of `length` tokens."""
        copies = []
        for old in (self.keys, self.values):
            assert old is not None
            copies.append(self._room(old, count, length))
            copies[-1][: len(old), :, : old.shape[2]] = old
        return copies

    def update(self, key_states: Any, value_states: Any, *args: Any, **kwargs: Any) -> tuple[torch.Tensor, torch.Tensor]:
        keys, values, slots, count = self.keys, self.values, self._slots, self._slots.live
        assert keys is not None and values is not None
        rows, positions = slots.rows[:count], slots.positions[:count]
        keys[rows, :, positions] = key_states[:count, :, 0]
        values[rows, :, positions] = value_states[:count, :, 0]
        return keys[:count, :, : slots.reach], values[:count, :, : slots.reach]

    def lazy_initialization(self, key_states: Any, value_states: Any) -> None:
        raise AssertionError("made initialised")

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self._slots.reach, 0

    def get_seq_length(self) -> int:
        return self._slots.reach

    def get_max_length(self) -> int:
        return self._slots.length


def _round_up(value: int, unit: int) -> int:
    return -(-value // unit) * unit
