"""A request to the engine, and the completion that it returns."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from codeparrot.errors import CodeparrotError
from codeparrot.generation.adjust import Adjust
from codeparrot.generation.blocks import Block, LessIndented, Scan
from codeparrot.generation.functions import Function
from codeparrot.generation.healing import Vocabulary, unfinished
from codeparrot.generation.likelihoods import Likelihood
from codeparrot.generation.sampling import GREEDY, Sampler
from codeparrot.generation.texts import BytesDecoder, Decoder, cut, settled

CANCELLED, FAILED = "cancelled", "failed"


@dataclass(frozen=True)
class Request:
    """One completion of one prompt. Several samples are several requests whose samplers have different random numbers."""

    prompt: str | bytes | Sequence[int]
    """Text, its UTF-8, which may end inside a character, or tokens where text alone cannot say it."""
    sampler: Sampler = GREEDY
    max_new_tokens: int = 128
    """Longest completion, in tokens, if the model's context has room for it; 0 only reads the prompt."""
    stop: tuple[str, ...] = ()
    """Texts that end the completion and are not part of it; the prompt's own text does not count."""
    block: Block | Function | None = None
    """Block of code, or function, at whose end the completion ends."""
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
    extra: tuple[str, ...] = ()
    """Texts of other files, nearest last: each is a document before the prompt. They go first where the context is short."""
    steady: bool = False
    """Whether a text that is too long is cut in steps, so that prompts of successive keystrokes begin alike."""
    exact: bool = False
    """Whether white space at the end of the completion stays."""
    num_likely: int | None = None
    """Keep each new token's likelihood, and so many of the likeliest ones in its place; None: keep none."""
    of_prompt: bool = False
    """Keep the likelihoods of the prompt's tokens too. Needs `num_likely`, and a prompt that is not healed."""
    adjust: Adjust | None = None
    """Changes of the model's probabilities before a token is drawn."""
    min_indent: int = 0
    """End before a line, not blank, that is indented by fewer characters; 0: nowhere."""


class Completion:
    """A completion that grows while its engine runs.

    Iterating over it runs the engine and yields its text piece by piece: joined, the pieces are `text`. It raises the error of
    a completion that fails.
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
        """Why it ended: stop (a stop text, or its block's end), end (a token), length, cancelled, or failed; empty while it
        grows."""
        self.final: int | None = None
        """The end token that ended it."""
        self.stopped_by = ""
        """The stop text that ended it."""
        self.error: CodeparrotError | None = None
        """Why it failed."""
        self.read = False
        """Whether its prompt has been read."""
        self.truncated = ""
        """What is said of text that the context has no room for."""
        self.cached = 0
        """Tokens of its prompt that the model did not have to read again."""
        self.likelihoods: list[Likelihood] = []
        """Of each new token, the end token included, where the request asks for them."""
        self.prompt_likelihoods: list[Likelihood | None] = []
        """Of each token of the prompt, where the request asks for them; None for the first, which follows nothing."""
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
        self._longest_tail = max(map(len, request.stop), default=1) - 1
        self._scans = _scans(request)
        """What looks for its end while it grows."""
        self._ascii_stops = all(map(str.isascii, request.stop))
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
        """Its text so far, up to a stop text or its block's end; without trailing white space, unless a suffix follows it or
        the request wants it exact.

        Whole lines of a block stay so: the suffix then begins its own line, as it did behind the cursor.
        """
        text, suffix = self._so_far(), self.request.suffix
        if self.ended == "end":
            text = text.removesuffix(self._join)
        if self.request.exact:
            return cut(text, self.request.stop, between=True)
        found = cut(text, self.request.stop, between=suffix is not None and self.ended != "stop")
        block, begins_line = self.request.block, suffix and not suffix.startswith(("\n", "\r"))
        is_lines = begins_line and found and block and not block.line and text.removeprefix(found).isspace()
        return f"{found}\n" if is_lines and self.ended == "stop" else found

    def _so_far(self) -> str:
        text = self._decode(self.ids)
        if all(scan.end is None for scan in self._scans):
            return text
        # Where a character is of several tokens, the text that was searched is longer.
        ends = (scan.feed(text) for scan in _scans(self.request))
        return text[: min((end for end in ends if end is not None), default=None)]

    def __iter__(self) -> Iterator[str]:
        while True:
            if piece := self.take():
                yield piece
            if self.ended:
                self.raise_failure()
                return
            self._step()

    def take(self, last: bool = False) -> str:
        """Return the text that is now certain and was not taken before; with `last`, all the rest."""
        text = self.text if self.ended or last else self._certain()
        piece, self._taken = text[self._taken :], max(self._taken, len(text))
        return piece

    def _certain(self) -> str:
        by_lines = bool(self.request.block or self.request.min_indent)
        return settled(self._so_far(), self.request.stop, self._join, self.request.exact, by_lines)

    def begin(self, cached: int, prompt_likelihoods: Sequence[Likelihood | None]) -> None:
        """Its prompt has been read: new tokens follow, if it wants any."""
        self.read, self.cached, self.prompt_likelihoods = True, cached, list(prompt_likelihoods)
        self.random = self.request.sampler.start()
        if not self.request.max_new_tokens:
            self.ended = "length"

    def cancel(self) -> None:
        """Cancel it: it leaves the batch before the next token."""
        self.ended = self.ended or CANCELLED

    def fail(self, error: CodeparrotError) -> None:
        """End it with an error of its own, also where nobody waits for it any more."""
        if self.ended in ("", CANCELLED):
            self.ended, self.error = FAILED, error

    def raise_failure(self) -> None:
        """Raise the error with which it failed, if it did."""
        if self.error is not None:
            raise self.error

    def add(self, token: int, text_of: Callable[[int], str]) -> None:
        """Take a token from the engine."""
        if token in self.ends:
            self.ended, self.final = "end", token
            return
        self.ids.append(token)
        spells_prompt, behind = bool(self.rest), self._behind(token)
        # The tail only decides when to stop; the completion itself is cut from the whole text.
        piece = behind.decode(errors="replace") if spells_prompt else text_of(token)
        self._tail += piece
        if self.request.join:
            self._written = (self._written + behind)[-len(self.request.join) :]
        # A character of several tokens is in no token's text.
        written = self._tail if self._ascii_stops else self._decode(self.ids)
        found = [word for word in self.request.stop if word in written]
        if found:
            # The text is cut at the first of them.
            self.stopped_by = min(found, key=lambda word: (written.index(word), -len(word)))
        ends = [scan.feed(piece) for scan in self._scans]
        if found or any(end is not None for end in ends):
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


def _scans(request: Request) -> list[Scan]:
    """Return new searches for the end of a request's text."""
    block = [request.block.scan()] if request.block else []
    return [*block, *([LessIndented(request.min_indent)] if request.min_indent else [])]
