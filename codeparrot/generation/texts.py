"""The text of new tokens, and where it ends.

Guarantees: a completion ends before the first stop text that the model itself wrote; what is shown while it grows is always the
beginning of what is returned.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


def cut(text: str, stop: Sequence[str]) -> str:
    """Return `text` up to the first of the stop texts in it, without white space at its end."""
    ends = [position for word in stop if (position := text.find(word)) >= 0]
    return text[: min(ends, default=len(text))].rstrip()


def settled(text: str, stop: Sequence[str]) -> str:
    """Return the part of `text` that its completion will begin with, whatever follows."""
    if any(word in text for word in stop):
        return cut(text, stop)
    # The last bytes of a text may be the first of a character, which decodes to U+FFFD until the others have come.
    known = text.rstrip("\ufffd")
    # The start of a stop text may yet turn out to be one, and then it goes with the white space before it.
    begun = (length for word in stop for length in range(1, len(word)) if known.endswith(word[:length]))
    return known[: len(known) - max(begun, default=0)].rstrip()


@dataclass(frozen=True)
class Decoder:
    """The text of tokens that follow a prompt."""

    tokenizer: Any
    prompt_ids: Sequence[int]

    def __call__(self, ids: Sequence[int]) -> str:
        # Some tokenizers drop the space before the first token of a text: decode behind the last token of the prompt.
        before = list(self.prompt_ids[-1:])
        return self._decode([*before, *ids])[len(self._decode(before)) :]

    def _decode(self, ids: Sequence[int]) -> str:
        return self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
