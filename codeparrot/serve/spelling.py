"""How tokens are written where a client sees them one by one, and where each lies in the text."""

import codecs
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from codeparrot.loading import special_ids
from codeparrot.stream.token_bytes import token_bytes


class Spelled(NamedTuple):
    """A token in a text."""

    name: str
    """Its text; of one that is no whole characters its bytes, as `bytes:\\xe2\\x82`."""
    offset: int
    """Characters of the text before it. A token inside a character begins where that does."""


class Spelling:
    """The tokens of a tokenizer, written out.

    Cost: a table of the vocabulary, made once (0.1 s for 50,000 tokens).
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._bytes = token_bytes(tokenizer) or {}
        self._special = special_ids(tokenizer)

    def name(self, token: int) -> str:
        """Return a token as text. Special tokens are written as they are called."""
        data = self._bytes.get(token)
        if data is None:
            return self._tokenizer.decode([token], skip_special_tokens=False, clean_up_tokenization_spaces=False)
        try:
            return data.decode()
        except UnicodeDecodeError:
            return "bytes:" + "".join(f"\\x{byte:02x}" for byte in data)

    def text(self, ids: Iterable[int]) -> str:
        """Return the text of tokens, special ones written as they are called."""
        return self._tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)

    def places(self, offset: int, special: bool) -> Callable[[int], Spelled]:
        """Return a function that is called with the tokens of a text, one after the other, and says where each lies.

        Args:
            offset: where the first lies.
            special: whether the text holds the names of special tokens.
        """
        decoder = codecs.getincrementaldecoder("utf-8")("replace")

        def place(token: int) -> Spelled:
            nonlocal offset
            found, data = Spelled(self.name(token), offset), self._bytes.get(token)
            if data is not None:
                offset += len(decoder.decode(data))
            elif special or token not in self._special:
                offset += len(found.name)
            return found

        return place
