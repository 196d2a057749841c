"""A request to the engine, and the completion that it returns."""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from codeparrot.generation.blocks import Block
from codeparrot.generation.healing import Vocabulary, unfinished
from codeparrot.generation.sampling import GREEDY, Sampler
from codeparrot.generation.texts import BytesDecoder, Decoder, cut, settled

CANCELLED = "cancelled"


@dataclass(frozen=True)
class Request:
    """One completion of one prompt. Several samples are several requests whose samplers have different random numbers."""

    prompt: str | bytes | Sequence[int]
    """Text, its UTF-8, which may end inside a character, or tokens where text alone cannot say it."""
    sampler: Sampler = GREEDY
    max_new_tokens: int = 128
    """Longest completion, in tokens, if the model's context has room for it."""
    stop: tuple[str, ...] = ()
    """Texts that end the completion and are not part of it; the prompt's own text does not count."""
    block: Block | None = None
    """Block of code at whose end the completion ends."""
    ends: frozenset[int] | None = None
    """Tokens that end it; None: the end tokens of the tokenizer and the model."""
    heal: bool = True
    """Whether the end of a prompt of text is taken back where it may go on into a longer token (healing.py)."""
    suffix: str | None = None
    """Text behind the cursor: the completion is the middle between prompt and suffix. White space at its end then stays."""
    order: Literal["psm", "spm"] = "psm"
    """Of a prompt with a suffix: prefix, suffix, middle; or suffix, prefix, middle."""
    begin: bytes = b""
    """Of a prompt in tokens: the new tokens' text begins with these bytes, which are the prompt's and not the completion's."""
    join: bytes = b""
    """Of a prompt in tokens: the text must end with these bytes before an end token; they are the suffix's."""


class Completion:
    """A completion that grows while its engine runs.

    Iterating over it runs the engine and yields its text piece by piece: joined, the pieces are `text`.
    """

    def __init__(
        self,
        request: Request,
        tokenizer: Any,
        ends: frozenset[int],
        step: Callable[[], Any],
        vocabulary: Vocabulary | None = None,
    ) -> None:
        """
        Args:
            request: as `prompts.resolved` returns it.
            tokenizer: its tokenizer.
            ends: tokens that end it, unless the request names others.
            step: runs the engine by one token.
            vocabulary: the tokenizer's, for a request with `begin` or `join`.
        """
        self.request = request
        self.prompt: list[int] = list(request.prompt)  # type: ignore[arg-type]
        """Tokens that the model reads."""
        self.ids: list[int] = []
        """New tokens, without the end token."""
        self.ended = ""
        """Why it ended: stop (a stop text, or its block's end), end (a token), length, or cancelled; empty while it grows."""
        self.random: Any = None
        """What its sampler draws from."""
        self.rest = request.begin
        """Bytes that its next tokens must begin with."""
        self.vocabulary = vocabulary
        self._decode: Callable[[Sequence[int]], str] = Decoder(tokenizer, self.prompt)
        if vocabulary is not None:
            # A prompt that ends inside a character leaves it to the completion.
            whole = len(request.begin) - unfinished(request.begin)
            self._decode = BytesDecoder(vocabulary.bytes_of, whole)
        self.ends = ends if request.ends is None else request.ends
        self._step = step
        self._tail = ""
        # An unfinished stop text has at most all but one of its characters in the tail.
        self._longest_tail = sys.maxsize if request.block else max(map(len, request.stop), default=1) - 1
        self._taken = 0
        self._join = request.join.decode()
        self._written = b""
        """The last bytes of its text, as many as join it to the suffix."""

    @property
    def unjoined(self) -> bool:
        """Whether it may not end yet: its text does not end with what joins it to the suffix."""
        return not self._written.endswith(self.request.join)

    @property
    def healed(self) -> bool:
        """Whether the end of its prompt was taken back."""
        return bool(self.request.begin)

    @property
    def length(self) -> int:
        """Longest sequence that it can become, in tokens."""
        return len(self.prompt) + self.request.max_new_tokens

    @property
    def text(self) -> str:
        """Its text so far, up to a stop text or its block's end; without trailing white space, unless a suffix follows it.

        Whole lines of a block stay so: the suffix then begins its own line, as it did behind the cursor.
        """
        text, suffix = self._so_far(), self.request.suffix
        if self.ended == "end":
            text = text.removesuffix(self._join)
        found = cut(text, self.request.stop, between=suffix is not None and self.ended != "stop")
        block, begins_line = self.request.block, suffix and not suffix.startswith(("\n", "\r"))
        is_lines = begins_line and found and block and not block.line and text.removeprefix(found).isspace()
        return f"{found}\n" if is_lines and self.ended == "stop" else found

    def _so_far(self) -> str:
        text = self._decode(self.ids)
        return text[: self.request.block.end(text)] if self.request.block else text

    def __iter__(self) -> Iterator[str]:
        while True:
            if piece := self.take():
                yield piece
            if self.ended:
                return
            self._step()

    def take(self, last: bool = False) -> str:
        """Return the text that is now certain and was not taken before; with `last`, all the rest."""
        text = self.text if self.ended or last else settled(self._so_far(), self.request.stop, self._join)
        piece, self._taken = text[self._taken :], max(self._taken, len(text))
        return piece

    def cancel(self) -> None:
        """Cancel it: it leaves the batch before the next token."""
        self.ended = self.ended or CANCELLED

    def add(self, token: int, text_of: Callable[[int], str]) -> None:
        """Take a token from the engine."""
        if token in self.ends:
            self.ended = "end"
            return
        self.ids.append(token)
        spells_prompt, behind = bool(self.rest), self._behind(token)
        # The tail only decides when to stop; the completion itself is cut from the whole text.
        self._tail += behind.decode(errors="replace") if spells_prompt else text_of(token)
        if self.request.join:
            self._written = (self._written + behind)[-len(self.request.join) :]
        block = self.request.block
        if any(word in self._tail for word in self.request.stop) or (block and block.end(self._tail) is not None):
            self.ended = "stop"
        elif len(self.ids) == self.request.max_new_tokens:
            self.ended = "length"
        self._tail = self._tail[-self._longest_tail :] if self._longest_tail else ""

    def _behind(self, token: int) -> bytes:
        """Return the bytes of a token that are behind those of the prompt, if they are needed."""
        if self.vocabulary is None:
            return b""
        data, rest = self.vocabulary.bytes_of.get(token, b""), self.rest
        self.rest = rest[len(data) :]
        return data[len(rest) :]
