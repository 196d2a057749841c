"""A request to the engine, and the completion that it returns."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from codeparrot.generation.sampling import GREEDY, Sampler
from codeparrot.generation.texts import Decoder, cut, settled

CANCELLED = "cancelled"


@dataclass(frozen=True)
class Request:
    """One completion of one prompt. Several samples are several requests whose samplers have different random numbers."""

    prompt: str | Sequence[int]
    """Text, or tokens where text alone cannot say it."""
    sampler: Sampler = GREEDY
    max_new_tokens: int = 128
    """Longest completion, in tokens, if the model's context has room for it."""
    stop: tuple[str, ...] = ()
    """Texts that end the completion and are not part of it; the prompt's own text does not count."""
    ends: frozenset[int] | None = None
    """Tokens that end it; None: the end tokens of the tokenizer and the model."""


class Completion:
    """A completion that grows while its engine runs.

    Iterating over it runs the engine and yields its text piece by piece: joined, the pieces are `text`.
    """

    def __init__(
        self, request: Request, prompt: list[int], longest: int, tokenizer: Any, ends: frozenset[int], step: Callable[[], Any]
    ) -> None:
        self.request = request
        self.prompt = prompt
        """Tokens that the model reads."""
        self.max_new_tokens = longest
        self.ids: list[int] = []
        """New tokens, without the end token."""
        self.ended = ""
        """Why it ended: stop (a stop text), end (an end token), length, or cancelled; empty while it grows."""
        self.random: Any = None
        """What its sampler draws from."""
        self._decode = Decoder(tokenizer, prompt)
        self._ends = ends if request.ends is None else request.ends
        self._step = step
        self._tail = ""
        # An unfinished stop text has at most all but one of its characters in the tail.
        self._longest_tail = max(map(len, request.stop), default=1) - 1
        self._taken = 0

    @property
    def length(self) -> int:
        """Longest sequence that it can become, in tokens."""
        return len(self.prompt) + self.max_new_tokens

    @property
    def text(self) -> str:
        """Its text so far, up to a stop text, without trailing white space."""
        return cut(self._decode(self.ids), self.request.stop)

    def __iter__(self) -> Iterator[str]:
        while True:
            if piece := self.take():
                yield piece
            if self.ended:
                return
            self._step()

    def take(self, last: bool = False) -> str:
        """Return the text that is now certain and was not taken before; with `last`, all the rest."""
        text = self.text if self.ended or last else settled(self._decode(self.ids), self.request.stop)
        piece, self._taken = text[self._taken :], max(self._taken, len(text))
        return piece

    def cancel(self) -> None:
        """Cancel it: it leaves the batch before the next token."""
        self.ended = self.ended or CANCELLED

    def add(self, token: int, text_of: Callable[[int], str]) -> None:
        """Take a token from the engine."""
        if token in self._ends:
            self.ended = "end"
            return
        self.ids.append(token)
        # The tail only decides when to stop; the completion itself is cut from the whole text.
        self._tail += text_of(token)
        if any(word in self._tail for word in self.request.stop):
            self.ended = "stop"
        elif len(self.ids) == self.max_new_tokens:
            self.ended = "length"
        self._tail = self._tail[-self._longest_tail :] if self._longest_tail else ""
