"""Span corruption: spans of a window are taken out, and an encoder-decoder writes them (T5, Raffel et al., arXiv:1910.10683).

    window    def area(width, height): return width * height
    inputs    def area(<extra_id_0> height):<extra_id_1> width * height <|endoftext|>
    targets   <extra_id_0>width,<extra_id_1> return<|endoftext|>

T5's rule: `rate` of a window's tokens are noise, in spans of `mean_span` tokens on average. The window begins with text, ends
with noise, and each division into spans is as likely as any other. All windows of a length have equally many noise tokens and
spans, so inputs and targets have one length each: no padding, and each window predicts equally many tokens. T5's own sizes: 568
tokens become 512 and 114. Like T5's, spans may hold ends of documents.

Spans are drawn from the number of the window in the run and the seed, those of validation from what the window holds. No token
is lost: `restored` puts a window together again from what the encoder reads and the decoder writes.

With `targets: text` it is BART's infilling (Lewis et al., arXiv:1910.13461): one mask token stands for each span, and the
decoder writes the whole window. Spans have T5's lengths, not Poisson's, so that lengths stay the same.

Cost: benchmarks/objectives.py measures it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import xxhash
from numpy.typing import NDArray

from codeparrot.errors import CodeparrotError
from codeparrot.model import IGNORED
from codeparrot.model.kinds import Kind
from codeparrot.objectives.objective import Examples
from codeparrot.setting import Rule, setting
from codeparrot.stream.sentinels import EXTRA_IDS

Window = NDArray[np.int64]
Targets = Literal["spans", "text"]


class Sizes(NamedTuple):
    """What the windows of a length become, in tokens."""

    noise: int
    spans: int
    inputs: int
    targets: int


@dataclass(frozen=True)
class Span:
    """Write the spans that were taken out of a text."""

    kind: ClassVar[Kind] = "encoder-decoder"

    rate: float = setting(0.15, rule=Rule("above 0 and below 1", lambda value: 0 < value < 1))
    """Share of the tokens that are taken out; 0.15 as T5, 0.3 as BART."""
    mean_span: float = setting(3.0, rule=Rule("at least 1", lambda value: value >= 1))
    """Tokens in a span, on average."""
    targets: Targets = "spans"
    """What is written: the spans behind their sentinels, as T5; or the whole text, as BART."""

    def sizes(self, length: int) -> Sizes:
        """Return what windows of `length` tokens, at least 2, become: T5's random_spans_noise_mask."""
        noise = min(max(round(length * self.rate), 1), length - 1)
        spans = min(max(round(noise / self.mean_span), 1), length - noise)
        written = noise + spans if self.targets == "spans" else length
        return Sizes(noise, spans, length - noise + spans + 1, written + 1)

    def lengths(self, length: int) -> tuple[int, int]:
        """Return the tokens of inputs and targets of a window of `length` tokens."""
        return self.sizes(length)[2:]

    def fitted(self, tokenizer: Any) -> "Spans":
        """Return the objective for a tokenizer of transformers.

        Raises:
            CodeparrotError: it lacks the sentinels, or the mask token.
        """
        if self.targets == "text":
            if tokenizer.mask_token_id is None:
                raise _missing("mask token", "masked")
            return Spans(self, (tokenizer.mask_token_id,), tokenizer.eos_token_id)
        vocabulary = tokenizer.get_vocab()
        sentinels = tuple(vocabulary[name] for name in EXTRA_IDS if name in vocabulary)
        if not sentinels:
            raise _missing(f"sentinels, {EXTRA_IDS[0]} and so on,", "span")
        return Spans(self, sentinels, tokenizer.eos_token_id)

    def card(self) -> str:
        what = "span corruption (T5)" if self.targets == "spans" else "infilling of spans, the whole text written (BART)"
        return f"{what}: {self.rate:.0%} of the tokens in spans of {self.mean_span:g} on average"


def _missing(what: str, objective: str) -> CodeparrotError:
    remedy = f"train one that has, with `codeparrot tokenizer train --objectives {objective}`"
    return CodeparrotError(f"objective.name span: the tokenizer has no {what}; {remedy}")


@dataclass(frozen=True)
class Spans:
    """The objective of a run, with what it takes from the tokenizer."""

    kind: ClassVar[Kind] = "encoder-decoder"

    settings: Span
    sentinels: tuple[int, ...]
    """Of the spans, in their order; the mask token alone, where it stands for each."""
    end: int
    """Ends inputs and targets."""

    def examples(self, windows: NDArray[np.int64], numbers: Sequence[int], seed: int) -> Examples:
        made = [self.corrupted(window, f"span/{seed}/{number}") for window, number in zip(windows, numbers, strict=True)]
        return Examples(*map(np.stack, zip(*made, strict=True)))

    def lengths(self, length: int) -> tuple[int, int]:
        sizes = self._sizes(length)
        return sizes.inputs, sizes.targets

    def of_validation(self, window: Window) -> tuple[Window, Window]:
        """Return inputs and targets of a window by what it holds: the same in each evaluation of each run.

        The last window of a document may be of one token, and nothing can be taken out of it: nothing is predicted.
        """
        if len(window) < 2:
            return np.append(window, self.end), np.array([IGNORED])
        return self.corrupted(window, f"span/validation/{xxhash.xxh3_128_hexdigest(window.astype('<i8').tobytes())}")

    def card(self) -> str:
        return self.settings.card()

    def corrupted(self, window: Window, key: str) -> tuple[Window, Window]:
        """Return inputs and targets of a window, drawn by a key.

        Raises:
            CodeparrotError: it is too short, or has more spans than there are sentinels.
        """
        sizes, of_text = self._sizes(len(window)), self.settings.targets == "text"
        lengths = _lengths(len(window), sizes, key)
        marks = np.broadcast_to(np.array(self.sentinels[: sizes.spans]), sizes.spans)
        parts = np.split(window, np.cumsum(lengths)[:-1])  # text and noise in turn
        end = np.array([self.end])
        inputs = [part for text, mark in zip(parts[::2], marks, strict=True) for part in (text, [mark])]
        targets = [part for noise, mark in zip(parts[1::2], marks, strict=True) for part in ([mark], noise)]
        return np.concatenate([*inputs, end]), np.concatenate([window, end] if of_text else [*targets, end])

    def _sizes(self, length: int) -> Sizes:
        if length < 2:
            raise CodeparrotError("objective.name span needs windows of at least 2 tokens; set stream.seq_length 2 or more")
        sizes = self.settings.sizes(length)
        if self.settings.targets == "spans" and sizes.spans > len(self.sentinels):
            enough = np.ceil(sizes.noise / len(self.sentinels) * 10) / 10
            raise CodeparrotError(
                f"objective.mean_span {self.settings.mean_span:g} makes {sizes.spans} spans of {length} tokens, but the "
                f"tokenizer has {len(self.sentinels)} sentinels; set it to {enough:g} or more"
            )
        return sizes


def _lengths(length: int, sizes: Sizes, key: str) -> NDArray[np.int64]:
    """Return the lengths of text and noise in turn."""
    # Raw numbers, which no release of numpy changes.
    drawn = np.random.Philox(key=xxhash.xxh3_128_intdigest(key.encode())).random_raw(length)
    lengths = np.empty(2 * sizes.spans, np.int64)
    lengths[::2] = _divided(length - sizes.noise, sizes.spans, drawn)
    lengths[1::2] = _divided(sizes.noise, sizes.spans, drawn[length - sizes.noise :])
    return lengths


def _divided(count: int, parts: int, drawn: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Divide `count` into numbers of at least 1, each division as likely as any other."""
    places = np.sort(np.argsort(drawn[: count - 1], kind="stable")[: parts - 1]) + 1
    return np.diff(places, prepend=0, append=count)


def restored(inputs: Window, targets: Window, sentinels: Sequence[int]) -> Window:
    """Return the window that inputs and targets were made of, given the sentinels in their order."""
    pieces = np.split(targets[:-1], np.flatnonzero(np.isin(targets[:-1], sentinels)))[1:]
    noise = {int(piece[0]): piece[1:] for piece in pieces}
    return np.concatenate([noise.get(int(token), np.array([token])) for token in inputs[:-1]])
