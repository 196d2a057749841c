"""Which documents a window is made of, and where they lie.

The lane is replayed from the state before the window, through the generators that training uses. On the way it notes what
training does not: which shards a block comes from, its drawn order, and where each document's tokens fall. Training itself pays
nothing for this. Cost: that of a resume, and one more look into each block that the windows touch.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from codeparrot.config import StreamConfig
from codeparrot.stream.best_fit import Kind, Packed, last_of
from codeparrot.stream.encode import Encoder
from codeparrot.stream.lane import Chunk, Cursor, DrawnBlock, Order, blocks, encoded, items
from codeparrot.stream.readers.rows import without_lone_surrogates
from codeparrot.stream.shards import Shard
from codeparrot.stream.shuffle import LaneState, best_fit, in_order, reading
from codeparrot.stream.transform import Transform

LONGEST_VALUE = 300
"""At most this many characters of a column's value are kept."""
MOST_VALUES = 16
"""At most this many elements of a list, or fields of a record, are kept."""
DEEPEST = 8
"""What lies inside so many lists and records is left out."""


class Span(NamedTuple):
    """Tokens `start` to `stop` of a window, all from one document, its end token included."""

    start: int
    stop: int
    document: Cursor
    """Where the document begins."""
    parts: tuple["Named", ...] = ()
    """What an objective made of it; those without a name are as they were."""
    cut: bool = False
    """Whether best-fit packing has put other tokens of the document into other windows."""


class Named(NamedTuple):
    """Tokens `start` to `stop` of a window, and what an objective calls them."""

    name: str
    start: int
    stop: int


Traced = tuple[NDArray[np.uint32], list[Span]]
"""Tokens and the documents that they are from."""


class TracedWindow(NamedTuple):
    """A window and what it is made of."""

    lane: int
    window: int
    """Index in the lane."""
    position: int
    """Row in the global batch that begins at the states that tracing started from."""
    tokens: NDArray[Any]
    documents: list[dict[str, Any]]
    """In order: `file` and `row` or `byte` of the document, `tokens` [start, stop) in the window, and the document's other
    columns. If the windows were tokenised before, `file` and `window`. Where the objective took middles out, `parts` too: the
    name of each (prefix, suffix, middle, unchanged) and its `tokens` in the window, sentinels and end included. Where best-fit
    packing has cut the document, `cut` true."""
    source: str = ""
    """Name of the source that all of it comes from; empty where the stream has one without a name."""
    padding: int = 0
    """Tokens of padding behind those of the documents."""

    def facts(self) -> dict[str, Any]:
        """Return everything but the tokens, ready for JSON."""
        where: dict[str, Any] = {"lane": self.lane, "window": self.window, "position": self.position}
        where |= {"padding": self.padding} if self.padding else {}
        return {**where, **({"source": self.source} if self.source else {}), "documents": self.documents}


def trace(
    shards: Sequence[Shard],
    order: Order,
    stream: StreamConfig,
    encoder: Encoder,
    start: LaneState,
    num_windows: int,
    transform: Transform | None = None,
    part: float = 1.0,
) -> list[tuple[NDArray[Any], list[dict[str, Any]]]]:
    """Return the tokens and the documents of a lane's next `num_windows` windows after `start`.

    `shards` must be the caller's own (see `Shard.fresh`); they are closed at the end. `part`: as of `reading`.

    Raises:
        CodeparrotError: the data can no longer be read.
    """
    origins: dict[Cursor, DrawnBlock] = {}
    tokenized, begin = all(shard.packed for shard in shards), start.cursor
    try:
        drawn = items(_noted(blocks(shards, order, reading(stream, tokenized, part), begin), origins), begin.row)
        if tokenized and transform is None:
            packed = ((window, [Span(0, len(window), at)]) for window, at in drawn)
        else:
            end = encoder.end_of_document if stream.packing == "best_fit" else None
            packed = spans(encoded(drawn, tokenized, encoder, begin, transform), stream.seq_length, end)
        # Of the cursors behind the windows, only the epochs are needed.
        ended = ((window, window[1][-1].document) for window in packed)
        if stream.packing == "best_fit":
            cut = _marked(ended, begin, encoder.end_of_document)
            ordered = best_fit(cut, TRACED, order, stream, encoder.end_of_document, start, Packed())
        else:
            ordered = in_order(ended, order, stream, tokenized, start)
        traced = [window for window, _ in islice(ordered, num_windows)]
        found = _describe([span.document for _, own in traced for span in own], origins)
        return [(np.array(tokens), [_entry(span, found[span.document]) for span in own]) for tokens, own in traced]
    finally:
        for shard in shards:
            shard.close()


def spans(stream: Iterator[Chunk], seq_length: int, end: int | None = None) -> Iterator[Traced]:
    """Cut the joined chunks into windows as `pack` does, and say which documents each holds; the last may be shorter.

    Given the token that ends documents, cut behind it too, as `best_fit.parts` does.
    """
    parts: list[NDArray[np.uint32]] = []
    own: list[Span] = []
    filled = 0
    for tokens, document, name in _joined_parts(stream):
        rest = tokens
        while len(rest):
            part, rest = rest[: seq_length - filled], rest[seq_length - filled :]
            parts.append(part)
            begun = own.pop() if own and own[-1].document == document else Span(filled, filled, document)
            stop = filled + len(part)
            named = Named(name, filled, stop)
            if not name and begun.parts and not begun.parts[-1].name:
                *before, last = begun.parts
                own.append(begun._replace(stop=stop, parts=(*before, last._replace(stop=stop))))
            else:
                own.append(begun._replace(stop=stop, parts=(*begun.parts, named)))
            filled = stop
            if filled == seq_length or part[-1] == end:
                yield np.concatenate(parts), own
                parts, own, filled = [], [], 0
    if filled:
        yield np.concatenate(parts), own


def _marked(stream: Iterator[tuple[Traced, Cursor]], begin: Cursor, end: int) -> Iterator[tuple[Traced, Cursor]]:
    """Mark parts of documents that are cut. The first one goes on with a document where the lane was in the middle of it."""
    ended = None
    for (tokens, (span,)), document in stream:
        if ended is None:
            ended = not begin.token or document != begin._replace(piece=0, token=0) or bool(span.parts[0].name)
        whole, ended = ended and tokens[-1] == end, bool(tokens[-1] == end)
        yield (tokens, [span._replace(cut=not whole)]), document


def _joined(parts: list[Traced]) -> Traced:
    found: list[Span] = []
    offset = 0
    for tokens, (span,) in parts:
        named = tuple(part._replace(start=part.start + offset, stop=part.stop + offset) for part in span.parts)
        found.append(span._replace(start=offset, stop=offset + len(tokens), parts=named))
        offset += len(tokens)
    return np.concatenate([tokens for tokens, _ in parts]), found


def _size(part: Traced) -> int:
    return len(part[0])


def _last(part: Traced) -> int:
    return last_of(part[0])


TRACED: Kind[Traced] = Kind(_size, _last, _joined)


def _joined_parts(stream: Iterator[Chunk]) -> Iterator[tuple[NDArray[np.uint32], Cursor, str]]:
    """Yield the tokens of each part of each piece, with the cursor at the beginning of its document, and the part's name."""
    for chunk in stream:
        stop = int(chunk.starts[0]) if chunk.cursors else 0
        for cursor, parts in zip(chunk.cursors, chunk.parts, strict=True):
            for name, size in parts:
                start, stop = stop, stop + size
                yield chunk.tokens[max(start, 0) : max(stop, 0)], cursor._replace(piece=0, token=0), name


def _noted(stream: Iterator[DrawnBlock], origins: dict[Cursor, DrawnBlock]) -> Iterator[DrawnBlock]:
    """Pass blocks on and remember where they come from, but not what they hold."""
    for block in stream:
        origins[block.cursor] = block._replace(items=())
        yield block


def _describe(documents: Sequence[Cursor], origins: Mapping[Cursor, DrawnBlock]) -> dict[Cursor, dict[str, Any]]:
    """Look documents up in their shards; each is read once a block."""
    wanted: dict[tuple[int, int], tuple[Shard, dict[Cursor, int]]] = {}
    for document in dict.fromkeys(documents):
        shard, index = origins[document._replace(row=0)].origin(document.row)
        wanted.setdefault((id(shard), document.block), (shard, {}))[1][document] = index
    found: dict[Cursor, dict[str, Any]] = {}
    for (_, position), (shard, indexes) in wanted.items():
        found.update(zip(indexes, shard.describe(position, list(indexes.values())), strict=True))
    return found


def _entry(span: Span, facts: Mapping[str, Any]) -> dict[str, Any]:
    parts = [{"name": part.name or "unchanged", "tokens": [part.start, part.stop]} for part in span.parts]
    own = {"tokens": [span.start, span.stop], **({"parts": parts} if any(part.name for part in span.parts) else {})}
    own |= {"cut": True} if span.cut else {}
    return {**{name: light(value) for name, value in facts.items()}, **own}


def light(value: Any, depth: int = 0) -> Any:
    """Return a value in a form JSON can hold, cut to a readable length and depth."""
    if value is None or isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if isinstance(value, Mapping | list | tuple) and depth == DEEPEST:
        return "…"
    if isinstance(value, Mapping):
        return {str(name): light(each, depth + 1) for name, each in islice(value.items(), MOST_VALUES)}
    if isinstance(value, list | tuple):
        return [light(each, depth + 1) for each in value[:MOST_VALUES]]
    text = without_lone_surrogates(str(value[:LONGEST_VALUE] if isinstance(value, bytes) else value))
    return text if len(text) <= LONGEST_VALUE else text[:LONGEST_VALUE] + "…"
