"""Fill-in-the-middle: some documents give up their middle, which then comes last (Bavarian et al., arXiv:2207.14255).

    <fim_prefix> prefix <fim_suffix> suffix <fim_middle> middle <|endoftext|>        PSM
    <fim_prefix> <fim_suffix> suffix <fim_middle> prefix middle <|endoftext|>        SPM, as SantaCoder (arXiv:2301.03988)

Whether a document is changed depends on (seed, epoch, its text), the rest on these and the number of the piece: never on its
place, the lane or the machine. All pieces of such a document are changed, each by itself, and each gets an end token. A piece
is about a window long: a middle is learned only where its sides are in the same window, and shorter pieces cost more of what is
learned left to right (docs/LOG.md). The parts are encoded one by one. No token of a document is lost, and none added but
sentinels and ends of pieces; other documents stay as they are.

Windows that were tokenised before are changed by their tokens: there, what an end token ends in a window is a document.

Cost: 4 tokens a piece, and time that benchmarks/stream.py measures.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import xxhash
from numpy.typing import NDArray

from codeparrot.stream.lane import cut
from codeparrot.stream.order import draw, happens
from codeparrot.stream.sentinels import Sentinels
from codeparrot.stream.transform import Part, Texts

Level = Literal["character", "line", "token"]
Tokens = NDArray[np.uint32]

CHARACTERS_PER_TOKEN = 3
"""Of code, roughly."""


@dataclass(frozen=True)
class Middles:
    """Takes the middles out of documents. A Transform of the stream."""

    rate: float
    """Share of the documents."""
    spm_rate: float
    """Share of their pieces in which the suffix comes first."""
    level: Level
    seed: int
    seq_length: int
    sentinels: Sentinels
    end_of_document: int

    @property
    def settings(self) -> Mapping[str, Any]:
        return {"fim_rate": self.rate, "fim_spm_rate": self.spm_rate, "fim_level": self.level}

    def of_text(self, text: str, epoch: int) -> Iterator[Texts] | None:
        key = self._drawn(text.encode(), epoch)
        if key is None or not text:
            return None
        pieces = cut(text, self.seq_length * CHARACTERS_PER_TOKEN)
        return (self._piece(piece, f"{key}/{number}") for number, piece in enumerate(pieces))

    def of_tokens(self, tokens: Tokens, epoch: int) -> list[Part]:
        parts: list[Part] = []
        for document in np.split(tokens, np.flatnonzero(tokens == self.end_of_document) + 1):
            ended = len(document) > 0 and document[-1] == self.end_of_document
            text = document[:-1] if ended else document
            key = self._drawn(text.astype("<u4").tobytes(), epoch)
            if key is None or not len(text):
                parts += [Part("", document)] if len(document) else []
                continue
            parts += self._between_tokens(f"{key}/0", [text])
        return parts

    def _drawn(self, content: bytes, epoch: int) -> str | None:
        """Return the key of a document that is changed in this epoch, or None."""
        key = f"fim/{self.seed}/{epoch}/{xxhash.xxh3_128_hexdigest(content)}"
        return key if happens(self.rate, key, "document") else None

    def _piece(self, text: str, key: str) -> Texts:
        if self.level == "token":
            return Texts((text,), partial(self._between_tokens, key))
        places = _line_starts(text) if self.level == "line" else range(len(text) + 1)
        first, second = (_outside_of_a_line_end(text, place) for place in self._places(places, key))
        return Texts((text[:first], text[first:second], text[second:]), partial(self._arranged, key))

    def _between_tokens(self, key: str, texts: Sequence[Tokens]) -> list[Part]:
        (tokens,) = texts
        return self._arranged(key, np.split(tokens, self._places(range(len(tokens) + 1), key)))

    def _places(self, places: Sequence[int], key: str) -> list[int]:
        return sorted(places[draw(len(places), key, name)] for name in ("one place", "another"))

    def _arranged(self, key: str, texts: Sequence[Tokens]) -> list[Part]:
        """Return prefix, middle and suffix in their order, with the sentinels and the end."""
        prefix, middle, suffix = texts
        suffix_first = happens(self.spm_rate, key, "order")
        mark, end = self.sentinels, [self.end_of_document]
        if suffix_first:
            parts = ("suffix", [mark.prefix, mark.suffix], suffix, []), ("prefix", [mark.middle], prefix, [])
            return [_part(*part) for part in (*parts, ("middle", [], middle, end))]
        parts = ("prefix", [mark.prefix], prefix, []), ("suffix", [mark.suffix], suffix, [])
        return [_part(*part) for part in (*parts, ("middle", [mark.middle], middle, end))]


def _part(name: str, before: list[int], tokens: Tokens, behind: list[int]) -> Part:
    return Part(name, np.concatenate([np.array(before, np.uint32), tokens, np.array(behind, np.uint32)]))


def _line_starts(text: str) -> list[int]:
    """Return where lines start, and the end."""
    starts = [0]
    while (found := text.find("\n", starts[-1])) >= 0:
        starts.append(found + 1)
    return starts if starts[-1] == len(text) else [*starts, len(text)]


def _outside_of_a_line_end(text: str, place: int) -> int:
    """Return a place, or the next one if it is inside of \\r\\n."""
    return place + 1 if text[place - 1 : place + 1] == "\r\n" else place
