"""What is asked of the engine, and what comes of it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from codeparrot.generation.sampling import GREEDY, Sampler
from codeparrot.generation.texts import Decoder, cut, settled

CANCELLED = "cancelled"


@dataclass(frozen=True)
class Request:
    """One completion of one prompt. Several samples are several requests, whose samplers have other random numbers."""

    prompt: str | Sequence[int]
    """Text, or its tokens where it is more than text."""
    sampler: Sampler = GREEDY
    max_new_tokens: int = 128
    """Longest completion, in tokens, where the context of the model has room for it."""
    stop: tuple[str, ...] = ()
    """Texts that end the completion and are not part of it; those in the prompt do not count."""
    ends: frozenset[int] | None = None
    """Tokens that end it; None: those of the tokenizer and the model."""


class Completion:
    """A completion that grows while its engine runs.

    Iterated over, it runs the engine and yields its text piece by piece: the pieces joined are `text`.
    """

    def __init__(
        self, request: Request, prompt: list[int], longest: int, tokenizer: Any, ends: frozenset[int], step: Callable[[], Any]
    ) -> None:
        self.request = request
        self.prompt = prompt
        """Tokens that the model reads."""
        self.max_new_tokens = longest
        self.ids: list[int] = []
        """New tokens, without the one that ended it."""
        self.ended = ""
        """What ended it: stop (a stop text), end (an end token), length, or cancelled; empty while it grows."""
        self.random: Any = None
        """What its sampler draws with."""
        self._decode = Decoder(tokenizer, prompt)
        self._ends = ends if request.ends is None else request.ends
        self._step = step
        self._tail = ""
        # A stop text that is still to be completed has all but one of its characters in the tail at most.
        self._longest_tail = max(map(len, request.stop), default=1) - 1
        self._taken = 0

    @property
    def length(self) -> int:
        """Longest sequence that can come of it, in tokens."""
        return len(self.prompt) + self.max_new_tokens

    @property
    def text(self) -> str:
        """What there is of it: up to its stop text, without white space at the end."""
        return cut(self._decode(self.ids), self.request.stop)

    def __iter__(self) -> Iterator[str]:
        while True:
            if piece := self.take():
                yield piece
            if self.ended:
                return
            self._step()

    def take(self, last: bool = False) -> str:
        """Return the text that is certain by now and was not taken before; with `last` all the rest of it."""
        text = self.text if self.ended or last else settled(self._decode(self.ids), self.request.stop)
        piece, self._taken = text[self._taken :], max(self._taken, len(text))
        return piece

    def cancel(self) -> None:
        """Give it up: it leaves the batch before the next token."""
        self.ended = self.ended or CANCELLED

    def add(self, token: int, text_of: Callable[[int], str]) -> None:
        """Take a token from the engine."""
        if token in self._ends:
            self.ended = "end"
            return
        self.ids.append(token)
        # Only when to stop is decided by this: what the completion is, by the whole text.
        self._tail += text_of(token)
        if any(word in self._tail for word in self.request.stop):
            self.ended = "stop"
        elif len(self.ids) == self.max_new_tokens:
            self.ended = "length"
        self._tail = self._tail[-self._longest_tail :] if self._longest_tail else ""
