"""The text of new tokens, and where it ends.

Guarantees: a completion ends before the first stop text that the model itself wrote; the text shown while it grows is always
the beginning of the returned text.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


def cut(text: str, stop: Sequence[str], between: bool = False) -> str:
    """Return `text` up to the first stop text in it, without trailing white space unless it is `between` two texts."""
    ends = [position for word in stop if (position := text.find(word)) >= 0]
    text = text[: min(ends, default=len(text))]
    return text if between else text.rstrip()


def settled(text: str, stop: Sequence[str], join: str = "", exact: bool = False, by_lines: bool = False) -> str:
    """Return the part of `text` with which the completion will begin, whatever follows.

    Args:
        text: the text so far.
        stop: texts that end the completion.
        join: a text at its end that may not belong to it.
        exact: white space at the end of the completion stays.
        by_lines: the indentation of its next line may end the completion before that line.
    """
    if any(word in text for word in stop):
        return cut(text, stop, between=exact)
    known = untorn(text)
    # A partial stop text may still become whole; then it is cut along with the white space before it.
    begun = (length for word in stop for length in range(1, len(word)) if known.endswith(word[:length]))
    joining = (length for length in range(1, len(join) + 1) if known.endswith(join[:length]))
    known = known[: len(known) - max((0, *begun, *joining))]
    if not exact:
        return known.rstrip()
    lines, break_, indentation = known.rpartition("\n")
    return f"{lines}{break_}" if by_lines and break_ and not indentation.strip() else known


def untorn(text: str) -> str:
    """Return a text without the character that it ends inside: its first bytes decode to U+FFFD until the rest arrive."""
    return text.rstrip("\ufffd")


@dataclass(frozen=True)
class Decoder:
    """The text of tokens that follow a prompt."""

    tokenizer: Any
    prompt_ids: Sequence[int]

    def __call__(self, ids: Sequence[int]) -> str:
        # Some tokenizers drop the space before the first token of a text: decode after the last token of the prompt.
        before = list(self.prompt_ids[-1:])
        return self._decode([*before, *ids])[len(self._decode(before)) :]

    def _decode(self, ids: Sequence[int]) -> str:
        return self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)


@dataclass(frozen=True)
class BytesDecoder:
    """The text of tokens whose first bytes belong to the prompt."""

    bytes_of: Mapping[int, bytes]
    num_prompt: int
    """How many bytes are the prompt's."""

    def __call__(self, ids: Sequence[int]) -> str:
        data = b"".join(self.bytes_of.get(index, b"") for index in ids)
        return data[self.num_prompt :].decode(errors="replace")
