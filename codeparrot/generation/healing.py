"""Token healing: a prompt that ends where tokens do not is continued as text.

A prompt's last tokens may be the beginning of a longer token: "\n" of "\n    ", " nump" of " numpy". A model has never seen the
beginning followed by the rest, because the training data has the longer token there. So these tokens are taken back from the
end of the prompt, and the first new ones are constrained to spell the same bytes again: tokens that begin with what is left of
these bytes, and tokens that are a beginning of it where the tokenizer would go on like that: " i" is one of " index", but no
text has it as a token there, and a model that thinks of many words with i would be led astray. Special tokens are neither
taken back nor allowed.

Guarantees: whatever is drawn, the new tokens' bytes begin with those taken back; there is always an allowed token.
Cost: a table of the vocabulary, made once a tokenizer (0.1 s for 50,000 tokens), and an index into it for each text that was
taken back; nothing at the tokens behind it.
"""

import codecs
import logging
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, WeakSet

from codeparrot.errors import CodeparrotError
from codeparrot.stream.token_bytes import is_byte, token_bytes

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

log = logging.getLogger(__name__)

MOST_KEPT = 10_000
"""Texts whose allowed tokens are remembered: a server of completions sees ever new ones."""


class Vocabulary:
    """The tokens that text is made of, sorted by their bytes: those that begin with a text are neighbours."""

    def __init__(self, bytes_of: Mapping[int, bytes], follows: Callable[[int, int], bool] = lambda token, other: True) -> None:
        """
        Args:
            bytes_of: the bytes of each token by its id.
            follows: says whether the tokenizer would ever put the second token behind the first.
        """
        self.bytes_of, self._follows = bytes_of, follows
        self._ids = sorted(bytes_of, key=lambda index: (bytes_of[index], index))
        self._sorted = [bytes_of[index] for index in self._ids]
        self.longest = max(map(len, self._sorted), default=0)
        self._allowed: dict[bytes, NDArray[np.int64]] = {}

    def _beginning_with(self, text: bytes) -> range:
        """Return the places of the tokens that begin with a text."""
        first = bisect_left(self._sorted, text)
        return range(first, bisect_right(self._sorted, text, lo=first, key=lambda data: data[: len(text)]))

    def _equal_to(self, text: bytes) -> range:
        first = bisect_left(self._sorted, text)
        return range(first, bisect_right(self._sorted, text, lo=first))

    def goes_on(self, text: bytes) -> bool:
        """Return whether a token begins with a text and is longer."""
        places = self._beginning_with(text)
        return bool(places) and self._sorted[places[-1]] != text

    def allowed(self, text: bytes) -> "NDArray[np.int64]":
        """Return the tokens that may come next where the new tokens' bytes must begin with a text: none, if none spell it."""
        if text not in self._allowed:
            import numpy as np  # not for a help text

            spelling = self._spelling(text)
            usual = [token for token in spelling if self._is_usual(token, text)]
            if len(self._allowed) == MOST_KEPT:
                self._allowed.clear()
            self._allowed[text] = np.array(usual or spelling, np.int64)
        return self._allowed[text]

    def _is_usual(self, token: int, text: bytes) -> bool:
        """Return whether the tokenizer would begin with a token where a text begins with `text`."""
        rest = text[len(self.bytes_of[token]) :]
        return not rest or any(self._follows(token, other) for other in self._spelling(rest))

    def _spelling(self, text: bytes) -> list[int]:
        """Return the tokens with which a sequence may begin whose bytes begin with a text."""
        size = len(text)
        spelled = [False] * size + [True]
        """Whether tokens spell the text from a place on."""
        for start in reversed(range(size)):
            ends = (end for end in range(start + 1, min(size, start + self.longest) + 1) if spelled[end])
            whole = self._beginning_with(text[start:])
            spelled[start] = bool(whole) or any(self._equal_to(text[start:end]) for end in ends)
        beginnings = [place for end in range(1, size) if spelled[end] for place in self._equal_to(text[:end])]
        return [self._ids[place] for place in (*beginnings, *self._beginning_with(text))]


_VOCABULARIES: WeakKeyDictionary[Any, tuple[int, Vocabulary | None]] = WeakKeyDictionary()
_TOLD: WeakSet[Any] = WeakSet()


def vocabulary_of(tokenizer: Any) -> Vocabulary | None:
    """Return the table of a tokenizer, made once; None, and said once: its tokens do not stand for bytes."""
    size, found = _VOCABULARIES.get(tokenizer, (-1, None))
    if size != len(tokenizer):
        bytes_of = token_bytes(tokenizer)
        found = Vocabulary(bytes_of, _neighbours(tokenizer, bytes_of)) if bytes_of else None
        _VOCABULARIES[tokenizer] = len(tokenizer), found
        if found is None:
            _tell(tokenizer, "its tokens do not stand for bytes")
    return found


def _neighbours(tokenizer: Any, bytes_of: Mapping[int, bytes]) -> Callable[[int, int], bool]:
    """Return a function that says whether a tokenizer would ever put one token behind another.

    In byte-pair encoding, tokens are what their text is encoded as if each pair of neighbours is (github/rust-gems, crate bpe).
    """
    backend, names = tokenizer.backend_tokenizer, {index: name for name, index in tokenizer.get_vocab().items()}

    def follows(token: int, other: int) -> bool:
        if is_byte(names[token]) or is_byte(names[other]):
            return True  # it depends on the characters around them
        wanted = [token, other]
        try:
            text = (bytes_of[token] + bytes_of[other]).decode()
        except UnicodeDecodeError:
            text = ""
        if text and backend.encode(text, add_special_tokens=False).ids == wanted:
            return True
        # Some tokenizers put a space before a text; parts of characters are no text.
        return [each.id for each in backend.model.tokenize(names[token] + names[other])] == wanted

    return follows


def _tell(tokenizer: Any, reason: str) -> None:
    if tokenizer not in _TOLD:
        _TOLD.add(tokenizer)
        log.warning(f"prompts that end inside a token are not healed with this tokenizer: {reason}")


def text_and_rest(prompt: str | bytes) -> tuple[str, bytes]:
    """Return the whole characters of a prompt, and the bytes of the character that it ends in.

    Raises:
        CodeparrotError: it is not UTF-8.
    """
    if isinstance(prompt, str):
        return prompt, b""
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        return decoder.decode(prompt), decoder.getstate()[0]
    except UnicodeDecodeError as error:
        raise CodeparrotError(f"the prompt is not UTF-8: byte {error.start} is {prompt[error.start]:#x}") from error


def unfinished(data: bytes) -> int:
    """Return how many bytes at the end of `data` are the beginning of a character."""
    decoder = codecs.getincrementaldecoder("utf-8")("ignore")
    decoder.decode(data)
    return len(decoder.getstate()[0])


def take_back(ids: Sequence[int], text: str, rest: bytes, tokenizer: Any) -> tuple[int, bytes]:
    """Return how many of a prompt's tokens stay, and the bytes that the new tokens must begin with.

    Args:
        ids: the prompt's tokens, or those at its end.
        text: what they stand for.
        rest: bytes behind the text that are no whole character.

    Raises:
        CodeparrotError: there are such bytes, and the tokenizer has no tokens for them.
    """
    vocabulary = vocabulary_of(tokenizer)
    kept, begin = _taken_back(ids, rest, vocabulary) if vocabulary else (len(ids), rest)
    # Some tokenizers put a space before the text.
    if not f" {text}".encode().endswith(begin[: len(begin) - len(rest)]):
        _tell(tokenizer, "it changes the text before it encodes it")
        kept, begin = len(ids), rest
    if rest and (vocabulary is None or not len(vocabulary.allowed(begin))):
        raise CodeparrotError("the prompt ends inside a character, and the tokenizer has no tokens for its bytes")
    return kept, begin


def _taken_back(ids: Sequence[int], rest: bytes, vocabulary: Vocabulary) -> tuple[int, bytes]:
    kept, begin, end = len(ids), rest, rest
    for index in reversed(range(len(ids))):
        data = vocabulary.bytes_of.get(ids[index])
        if data is None:
            break
        end = data + end
        if len(end) >= vocabulary.longest:
            break
        if vocabulary.goes_on(end):
            kept, begin = index, end
    return kept, begin


def constrain(logits: "torch.Tensor", row: int, text: bytes, vocabulary: Vocabulary) -> None:
    """Take a row's tokens that do not go with `text` out of its logits [rows, vocabulary], in place.

    Raises:
        CodeparrotError: the model never writes any of those that do.
    """
    import torch

    allowed = torch.from_numpy(vocabulary.allowed(text)).to(logits.device)
    kept = logits[row, allowed]
    if not kept.amax().isfinite():
        raise CodeparrotError(f"the model gives no token a probability that goes on with {text!r}: complete without healing")
    logits[row] = -torch.inf
    logits[row, allowed] = kept
