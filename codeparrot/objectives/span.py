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
decoder writes the whole window. Spans have T5's lengths, not Poisson's, so that lengths stay the same. With `permute` the
encoder reads the blocks of each document in another order, too (blocks.py).

With a `mixture`, each window is corrupted in one of several ways (denoisers.py), and what is shorter than the longest is
padded: inputs with ends of documents, which the encoder sees, targets with what is not predicted.

Cost: benchmarks/objectives.py measures it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
import xxhash
from numpy.typing import NDArray

from codeparrot.errors import CodeparrotError
from codeparrot.model import IGNORED
from codeparrot.model.kinds import Kind
from codeparrot.objectives.blocks import Blocks, blocks_of
from codeparrot.objectives.denoisers import BETWEEN_0_AND_1, MIXTURE, Denoiser, Sizes, chosen, denoisers_of, longest, padding
from codeparrot.objectives.objective import Examples
from codeparrot.setting import Rule, setting
from codeparrot.stream.sentinels import EXTRA_IDS

Window = NDArray[np.int64]
Targets = Literal["spans", "text"]


@dataclass(frozen=True)
class Span:
    """Write the spans that were taken out of a text."""

    kind: ClassVar[Kind] = "encoder-decoder"

    rate: float = setting(0.15, rule=BETWEEN_0_AND_1)
    """Share of the tokens that are taken out; 0.15 as T5, 0.3 as BART."""
    mean_span: float = setting(3.0, rule=Rule("at least 1", lambda value: value >= 1))
    """Tokens in a span, on average."""
    targets: Targets = "spans"
    """What is written: the spans behind their sentinels, as T5; or the whole text, as BART."""

    mixture: str | list[Any] = "none"
    """Ways to corrupt, of which each window has one, instead of `rate` and `mean_span`: `ul2` for UL2's seven, or a list of
    `{rate, mean_span, weight}`."""

    permute: bool = False
    """Whether the encoder reads the top-level blocks of each document shuffled, as BART's sentences are; only with `text`."""

    def __post_init__(self) -> None:
        if self.permute and self.targets != "text":
            raise CodeparrotError("objective.permute needs objective.targets text; set it so, or leave permute out")
        if self.mixture == "none":
            return
        for name, default in (("rate", 0.15), ("mean_span", 3.0)):
            if getattr(self, name) != default:
                words = f"objective.{name} {getattr(self, name):g} has no effect beside {MIXTURE}"
                raise CodeparrotError(f"{words}; remove one of the two")
        denoisers_of(self.mixture)  # refused now, not at the first window

    @cached_property
    def denoisers(self) -> tuple[Denoiser, ...]:
        """Return the ways to corrupt a window."""
        if self.mixture == "none":
            return (Denoiser(self.rate, self.mean_span),)
        return denoisers_of(self.mixture)

    @property
    def even(self) -> bool:
        """Return whether each window predicts equally many tokens."""
        return len(self.denoisers) == 1 or self.targets == "text"

    def sizes(self, length: int, denoiser: Denoiser | None = None) -> Sizes:
        """Return what windows of `length` tokens, at least 2, become: with a denoiser of the mixture, if there is one."""
        return (denoiser or self.denoisers[0]).sizes(length, self.targets == "text")

    def lengths(self, length: int) -> tuple[int, int]:
        """Return the tokens of inputs and targets of a window of `length` tokens, padding included."""
        return longest([self.sizes(length, each) for each in self.denoisers])

    def padding(self, length: int) -> tuple[float, float]:
        """Return the shares of padding in inputs and targets of windows of `length` tokens."""
        return padding(self.denoisers, [self.sizes(length, each) for each in self.denoisers])

    def fitted(self, tokenizer: Any) -> "Spans":
        """Return the objective for a tokenizer of transformers.

        Raises:
            CodeparrotError: it lacks the sentinels, or the mask token.
        """
        if self.targets == "text":
            if tokenizer.mask_token_id is None:
                raise _missing("mask token", "masked")
            blocks = blocks_of(tokenizer) if self.permute else None
            return Spans(self, (tokenizer.mask_token_id,), tokenizer.eos_token_id, blocks)
        vocabulary = tokenizer.get_vocab()
        sentinels = tuple(vocabulary[name] for name in EXTRA_IDS if name in vocabulary)
        if not sentinels:
            raise _missing(f"sentinels, {EXTRA_IDS[0]} and so on,", "span")
        return Spans(self, sentinels, tokenizer.eos_token_id)

    def card(self) -> str:
        what = "span corruption (T5)" if self.targets == "spans" else "infilling of spans, the whole text written (BART)"
        order = "; top-level blocks in another order" if self.permute else ""
        if len(self.denoisers) == 1:
            return f"{what}: {self.denoisers[0]}{order}"
        known, mixed = (" (UL2)" if self.mixture == "ul2" else ""), self.denoisers
        return f"{what.removesuffix(' (T5)')}, a mixture of {len(mixed)} denoisers{known}: {'; '.join(map(str, mixed))}{order}"


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
    blocks: Blocks | None = None
    """Puts the blocks of what is read into another order, if asked."""

    def examples(self, windows: NDArray[np.int64], numbers: Sequence[int], seed: int) -> Examples:
        made = [self.corrupted(window, f"span/{seed}/{number}") for window, number in zip(windows, numbers, strict=True)]
        lengths, fills = self.lengths(windows.shape[1]), (self.end, IGNORED)
        found = (np.full((len(made), length), fill) for length, fill in zip(lengths, fills, strict=True))
        input_ids, labels = found
        for row, (inputs, targets) in enumerate(made):
            input_ids[row, : len(inputs)], labels[row, : len(targets)] = inputs, targets
        return Examples(input_ids, labels)

    @property
    def even(self) -> bool:
        return self.settings.even

    def lengths(self, length: int) -> tuple[int, int]:
        return longest([self._sizes(length, each) for each in self.settings.denoisers])

    def padding(self, length: int) -> tuple[float, float]:
        return self.settings.padding(length)

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
        denoiser, of_text = chosen(self.settings.denoisers, key), self.settings.targets == "text"
        sizes = self._sizes(len(window), denoiser)
        lengths = _lengths(len(window), sizes, key)
        marks = np.broadcast_to(np.array(self.sentinels[: sizes.spans]), sizes.spans)
        read = window if self.blocks is None else window[self.blocks.order(window, key)]
        parts = np.split(read, np.cumsum(lengths)[:-1])  # text and noise in turn
        end = np.array([self.end])
        inputs = [part for text, mark in zip(parts[::2], marks, strict=True) for part in (text, [mark])]
        targets = [part for noise, mark in zip(parts[1::2], marks, strict=True) for part in ([mark], noise)]
        return np.concatenate([*inputs, end]), np.concatenate([window, end] if of_text else [*targets, end])

    def _sizes(self, length: int, denoiser: Denoiser) -> Sizes:
        if length < 2:
            raise CodeparrotError("objective.name span needs windows of at least 2 tokens; set stream.seq_length 2 or more")
        sizes = self.settings.sizes(length, denoiser)
        if self.settings.targets == "spans" and sizes.spans > len(self.sentinels):
            enough = np.ceil(sizes.noise / len(self.sentinels) * 10) / 10
            what = "objective." if self.settings.mixture == "none" else f"{MIXTURE}: "
            remedy = f"set it to {enough:g} or more"
            if self.settings.mixture == "ul2":
                what, remedy = f"{MIXTURE} ul2: ", f"set stream.seq_length to {self._most(length)} or less, or list denoisers"
            raise CodeparrotError(
                f"{what}mean_span {denoiser.mean_span:g} makes {sizes.spans} spans of {length} tokens, but the tokenizer has "
                f"{len(self.sentinels)} sentinels; {remedy}"
            )
        return sizes

    def _most(self, length: int) -> int:
        """Return the longest windows, shorter than `length`, for whose spans there are sentinels."""
        mixture, most = self.settings.denoisers, len(self.sentinels)
        fits = (each for each in range(length - 1, 1, -1) if all(of.sizes(each, False).spans <= most for of in mixture))
        return next(fits, 2)


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
