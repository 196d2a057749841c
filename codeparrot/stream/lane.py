"""A lane: an endless, deterministic sequence of windows, as a chain of small generators of `(item, cursor)`.

    documents  ->  pieces  ->  chunks of tokens  ->  windows

The order of the documents depends on (seed, epoch, lane) alone: the lane's shards come in a drawn order, several are read side
by side, and the documents of a block come in a drawn order, so there is no shuffle buffer to save. The packer carries the tail
of a document into the next window: a lane's windows, joined, are its documents, joined, with an end-of-document token after
each. A cursor says how far the windows up to here have consumed the lane; reading goes on from there with one block. shuffle.py
says in which order the windows are handed out. A piece may be what an objective makes of a part of a document (transform.py).

A damaged document ends the lane, or is left out and keeps its row: the order of all others is the one without damage.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import chain, islice, pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from codeparrot.errors import CodeparrotError
from codeparrot.stream.encode import Encoder
from codeparrot.stream.losses import Meet, raise_it
from codeparrot.stream.order import permutation
from codeparrot.stream.readers.rows import Damaged
from codeparrot.stream.shards import Shard
from codeparrot.stream.transform import Part, Texts, Transform

PIECE_CHARACTERS = 1 << 20
"""Longer documents are encoded in pieces, so one document of 100 MB is never held or awaited whole."""
CHUNK_CHARACTERS = 1 << 18
"""Text encoded per call: enough to keep every thread of the encoder busy, little enough to hold for every lane."""
FIRST_CHUNK_CHARACTERS = 1 << 13
"""Text encoded in the first call. Each further call doubles it, so a start or a resume soon has its first window."""


class Cursor(NamedTuple):
    """How far a lane has been consumed: `token` tokens of one piece of a document, and everything before that piece."""

    epoch: int = 0
    shard: int = 0
    """Index of the shard, or of the first of those read together, in the epoch's order of the lane's shards."""
    block: int = 0
    """Position of the block in the shard, in the shard's own unit."""
    row: int = 0
    """Index of the document in the block's drawn order."""
    piece: int = 0
    token: int = 0


class Order(NamedTuple):
    """What determines the order of a lane's documents."""

    seed: int
    lane: int
    shuffle: bool = True
    epochs: int | None = None
    """Passes over the lane's shards; None: endless."""
    source: int = 0
    """Place of the source in the stream: each has an order of its own."""

    def draw(self, size: int, *key: int | str) -> NDArray[np.int64]:
        own = (f"source {self.source}",) if self.source else ()
        return permutation(size, self.seed, self.lane, *own, *key) if self.shuffle else np.arange(size)

    def __str__(self) -> str:
        """Name the lane, for errors."""
        return f"lane {self.lane} of the stream" + (f", in its source {self.source + 1}," if self.source else "")


class Reading(NamedTuple):
    """How a lane reads its shards."""

    together: int
    """Shards that are read side by side: the documents of a block come from all of them."""
    documents: int
    """Documents of a block, in equal parts from each, unless a shard is read whole."""
    meet: Meet = raise_it
    """Called for each item that is damaged, when its block is read."""


class DrawnBlock(NamedTuple):
    """A block of documents in its drawn order."""

    items: Sequence[Any]
    """`Damaged` in the place of each that is left out."""
    cursor: Cursor
    """The cursor at the first item."""
    shards: list[Shard]
    """Those that the items come from."""
    counts: list[int]
    """How many come from each."""
    rows: NDArray[np.int64]
    """`rows[i]` is the index of item i in the block as read: the items of the first shard, then those of the second, ..."""

    def origin(self, row: int) -> tuple[Shard, int]:
        """Return the shard of an item, and the item's index among those that were read from it."""
        index, bounds = int(self.rows[row]), np.cumsum(self.counts)
        shard = int(np.searchsorted(bounds, index, side="right"))
        return self.shards[shard], index - int(bounds[shard] - self.counts[shard])


class Piece(NamedTuple):
    """Part of a document, encoded at once."""

    texts: tuple[str, ...]
    arrange: Callable[[Sequence[NDArray[np.uint32]]], list[Part]]
    """Returns what the tokens of the texts become."""
    cursor: Cursor


class Chunk(NamedTuple):
    """The tokens of several pieces, joined. `starts[i]` is where the piece that began at `cursors[i]` starts."""

    tokens: NDArray[np.uint32]
    starts: NDArray[np.int64]
    cursors: list[Cursor]
    parts: list[list[tuple[str, int]]]
    """Name and number of tokens of each part of each piece; those of the first one may have been consumed."""


def blocks(shards: Sequence[Shard], order: Order, reading: Reading, start: Cursor) -> Iterator[DrawnBlock]:
    """Yield the lane's blocks from the block of `start` on, from its first row.

    Raises:
        CodeparrotError: an endless lane has no documents.
    """
    epoch, place, position = start.epoch, start.shard, start.block
    while order.epochs is None or epoch < order.epochs:
        whole_epoch, found, damaged = (place, position) == (0, 0), False, None
        shard_order = order.draw(len(shards), "shards", epoch)
        while place < len(shards):
            # In the order of the files, so that parts of one row group are read one behind the other.
            indexes = sorted(shard_order[place : place + reading.together].tolist())
            together, following = [shards[index] for index in indexes], position
            _ahead(together, position, reading)
            while following is not None:
                position = following
                parts, items, counts, following = _read(together, position, -(-reading.documents // len(together)))
                for item in items:
                    if isinstance(item, Damaged):
                        reading.meet(item)
                        damaged = item
                    else:
                        found = True
                drawn = order.draw(len(items), "rows", epoch, indexes[0], position)
                cursor = Cursor(epoch, place, position)
                after = shard_order[place + len(together) :][: reading.together].tolist() if following is None else indexes
                _ahead([shards[index] for index in after], following or 0, reading)
                yield DrawnBlock([items[row] for row in drawn], cursor, parts, counts, drawn)
            for shard in together:
                shard.close()
            place, position = place + len(together), 0
        if whole_epoch and not found and order.epochs is None:
            if damaged:
                raise CodeparrotError(f"{order} has nothing that is not damaged; {damaged}")
            raise CodeparrotError(f"{order} has no documents; add data or lower stream.lanes")
        epoch, place = epoch + 1, 0


def _ahead(together: list[Shard], position: int, reading: Reading) -> None:
    """Have what is read next fetched from other machines meanwhile."""
    for shard in together:
        if not (shard.whole and position):
            with suppress(Damaged):  # reading it says so
                shard.ahead(position, sys.maxsize if shard.whole else -(-reading.documents // len(together)))


def _read(together: list[Shard], position: int, num_documents: int) -> tuple[list[Shard], list[Any], list[int], int | None]:
    """Return the shards that were read at `position`, all their items, the number of each, and the next position."""
    # A shard that is read whole has nothing left behind its beginning.
    parts = [shard for shard in together if not (shard.whole and position)]
    reads = [shard.read_marked(position, sys.maxsize if shard.whole else num_documents) for shard in parts]
    items = [item for block in reads for item in block.items]
    for shard in parts:
        if shard.whole:
            shard.close()  # a process may own hundreds of lanes: open files and decoded row groups add up
    following = max((block.following for block in reads if block.following is not None), default=None)
    return parts, items, [len(block.items) for block in reads], following


def items(stream: Iterator[DrawnBlock], first_row: int) -> Iterator[tuple[Any, Cursor]]:
    """Yield each item that is not damaged with the cursor at its beginning, from `first_row` of the first block on."""
    for block in stream:
        for row in range(first_row, len(block.items)):
            if not isinstance(block.items[row], Damaged):
                yield block.items[row], block.cursor._replace(row=row)
        first_row = 0


def pieces(
    documents: Iterator[tuple[str, Cursor]], first_piece: int, end_of_document: int, transform: Transform | None = None
) -> Iterator[Piece]:
    """Cut documents into pieces, from `first_piece` of the first document on. Each document ends with the end token."""
    end = Part("", np.array([end_of_document], np.uint32))
    for text, cursor in documents:
        changed = transform.of_text(text, cursor.epoch) if transform else None
        if changed is None:
            cuts = cut(text, PIECE_CHARACTERS)
            ends = [*([()] * (len(cuts) - 1)), (end,)]
            changed = (Texts((each,), partial(_followed, by)) for each, by in zip(cuts, ends, strict=True))
        for index, piece in enumerate(islice(changed, first_piece, None), first_piece):
            yield Piece(piece.texts, piece.arrange, cursor._replace(piece=index))
        first_piece = 0


def _followed(by: tuple[Part, ...], tokens: Sequence[NDArray[np.uint32]]) -> list[Part]:
    return [Part("", tokens[0]), *by]


def cut(text: str, most: int) -> list[str]:
    """Cut a text after the last newline of each stretch of `most` characters, or anywhere if the stretch has none."""
    cuts, start = [], 0
    while start < len(text):
        end = min(start + most, len(text))
        newline = text.rfind("\n", start, end) + 1 if end < len(text) else end
        end = newline if newline > start else end
        cuts.append(text[start:end])
        start = end
    return cuts or [text]


def encoded(
    drawn: Iterator[tuple[Any, Cursor]], packed: bool, encoder: Encoder, start: Cursor, transform: Transform | None
) -> Iterator[Chunk]:
    """Encode a lane's documents from the row of `start` on, without the tokens in front of `start`.

    `packed`: they are windows that were tokenised before, for `transform` to change.
    """
    first = next(drawn, None)
    if first is None:
        return
    # A document that was damaged after the lane had begun it is gone: the next one is read from its beginning.
    is_begun = first[1] == start._replace(piece=0, token=0)
    piece, token = (start.piece, start.token) if is_begun else (0, 0)
    whole = chain([first], drawn)
    if packed and transform:
        yield from rearranged(whole, transform, token)
    else:
        yield from chunks(pieces(whole, piece, encoder.end_of_document, transform), encoder, token)


def chunks(stream: Iterator[Piece], encoder: Encoder, skip_tokens: int) -> Iterator[Chunk]:
    """Encode pieces, many per call. `skip_tokens` tokens of the first piece have already been consumed."""
    batch: list[Piece] = []
    size, enough = 0, FIRST_CHUNK_CHARACTERS
    for piece in stream:
        batch.append(piece)
        size += sum(map(len, piece.texts)) + 1  # the end token counts: a lane of empty documents is a stream of end tokens
        if size >= enough:
            yield _encode(batch, encoder, skip_tokens)
            batch, size, skip_tokens = [], 0, 0
            enough = min(2 * enough, CHUNK_CHARACTERS)
    if batch:
        yield _encode(batch, encoder, skip_tokens)


def rearranged(stream: Iterator[tuple[NDArray[Any], Cursor]], transform: Transform, skip_tokens: int) -> Iterator[Chunk]:
    """Change windows that were tokenised before. `skip_tokens` tokens of what the first becomes have been consumed."""
    for window, cursor in stream:
        yield _joined([transform.of_tokens(window.astype(np.uint32), cursor.epoch)], [cursor], skip_tokens)
        skip_tokens = 0


def _encode(batch: list[Piece], encoder: Encoder, skip_tokens: int) -> Chunk:
    flat, offsets = encoder.encode([text for piece in batch for text in piece.texts])
    texts = (flat[start:stop] for start, stop in pairwise(offsets.tolist()))
    parts = [piece.arrange(list(islice(texts, len(piece.texts)))) for piece in batch]
    return _joined(parts, [piece.cursor for piece in batch], skip_tokens)


def _joined(parts: list[list[Part]], cursors: list[Cursor], skip_tokens: int) -> Chunk:
    tokens = np.concatenate([part.tokens for piece in parts for part in piece])
    sizes = [[(part.name, len(part.tokens)) for part in piece] for piece in parts]
    starts = np.zeros(len(parts), np.int64)
    np.cumsum([sum(size for _, size in piece) for piece in sizes[:-1]], out=starts[1:])
    if skip_tokens:
        tokens, starts = tokens[skip_tokens:], np.maximum(starts - skip_tokens, 0)
        starts[0] = -skip_tokens
    return Chunk(tokens, starts, cursors, sizes)


def pack(stream: Iterator[Chunk], seq_length: int) -> Iterator[tuple[NDArray[np.uint32], Cursor]]:
    """Cut the joined chunks into windows of `seq_length` tokens; the last window of a finite stream may be shorter.

    The cursor of a window names the piece in which its last token lies and how many tokens of that piece are consumed.
    """
    carried, cursor = np.empty(0, np.uint32), Cursor()
    for chunk in stream:
        offset = len(carried)
        joined = np.concatenate([carried, chunk.tokens])
        stops = np.arange(seq_length, len(joined) + 1, seq_length)
        owners = np.searchsorted(chunk.starts, stops - offset, side="left") - 1
        for stop, owner in zip(stops.tolist(), owners.tolist(), strict=True):
            cursor = chunk.cursors[owner]._replace(token=stop - offset - int(chunk.starts[owner]))
            yield joined[stop - seq_length : stop].copy(), cursor  # a part would keep the whole in memory
        carried = joined[len(stops) * seq_length :]
        if len(chunk.tokens):
            cursor = chunk.cursors[-1]._replace(token=len(chunk.tokens) - int(chunk.starts[-1]))
    if len(carried):
        yield carried, cursor


def windows(
    shards: Sequence[Shard],
    order: Order,
    reading: Reading,
    encoder: Encoder,
    seq_length: int,
    start: Cursor,
    transform: Transform | None = None,
) -> Iterator[tuple[NDArray[Any], Cursor]]:
    """Run the whole chain: yield a lane's windows after `start`, as they are packed, or as window files hold them."""
    drawn = items(blocks(shards, order, reading, start), start.row)
    packed = all(shard.packed for shard in shards)
    if packed and transform is None:
        return ((window, at._replace(row=at.row + 1)) for window, at in drawn)
    return pack(encoded(drawn, packed, encoder, start, transform), seq_length)
