"""Prompts in the middle of a text: what is before the cursor, what is behind it, and how both become a prompt.

Healed at both ends. The prefix's end is taken back as any prompt's (healing.py), and the middle begins with it. Where the
cursor is inside a word, the rest of the word is taken off the suffix: the suffix then begins where tokens do, and the middle
must end with what was taken off.
"""

import unicodedata
from collections.abc import Sequence
from typing import Literal

from codeparrot.stream.sentinels import Sentinels

NUM_SENTINELS = len(Sentinels._fields)
_JOINER = "\u200d"
"""It joins two characters to one, as in many emoji."""


def rest_of_word(prefix: str, suffix: str) -> str:
    """Return the beginning of a suffix that goes on with the prefix's last word or character; empty where there is none."""
    if not (_is_mark(suffix[:1]) or (_is_word(prefix[-1:]) and _is_word(suffix[:1]))):
        return ""
    end = next((place for place, each in enumerate(suffix) if not (_is_word(each) or _is_mark(each))), len(suffix))
    return suffix[:end]


def _is_word(character: str) -> bool:
    return character == "_" or character.isalnum()


def _is_mark(character: str) -> bool:
    """Return whether a character is a part of the one before it."""
    return character == _JOINER or (character != "" and unicodedata.category(character).startswith("M"))


def shares(num_prefix: int, num_suffix: int, room: int, step: int = 1) -> tuple[int, int]:
    """Return how many tokens at the end of a prefix and at the beginning of a suffix stay where there is room for so many.

    The prefix loses its head first, down to half the room; then the suffix loses its tail. The head loses a multiple of `step`
    tokens, and a suffix that is cut keeps one: both then stay the same while the prefix grows by less.
    """
    kept = min(num_prefix, max(room - num_suffix, room // 2))
    right = min(num_suffix, room - kept)
    if right < num_suffix:
        right -= right % step
    lost = -(-(num_prefix - kept) // step) * step
    return max(0, num_prefix - lost), right


def arranged(order: Literal["psm", "spm"], sentinels: Sentinels, prefix: Sequence[int], suffix: Sequence[int]) -> list[int]:
    """Return the tokens of a prompt that the middle follows. The formats are those of stream/sentinels.py."""
    if order == "psm":
        return [sentinels.prefix, *prefix, sentinels.suffix, *suffix, sentinels.middle]
    return [sentinels.prefix, sentinels.suffix, *suffix, sentinels.middle, *prefix]
