"""What a run measures of fill-in-the-middle: the loss on the middles of validation documents, given both of their sides.

All documents are changed, prefix first, and packed like those of the training. A middle counts if its piece begins in the same
window, its end token included. The windows depend on the lanes alone, and the seed is none of the run's, so the loss depends
neither on the number of processes nor on the run. They are the first ones of lanes that read places all over the data.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from codeparrot.config import StreamConfig, as_list
from codeparrot.model import IGNORED
from codeparrot.objectives.fim import Middles
from codeparrot.stream.encode import Encoder
from codeparrot.stream.lane import Cursor, Order, windows
from codeparrot.stream.shuffle import place_tokens, reading
from codeparrot.stream.sources import lanes_of, open_shards
from codeparrot.stream.validation import ValidationSet


@dataclass(frozen=True)
class MiddleSet:
    """The windows of one process, of which only middles are predicted."""

    whole: ValidationSet
    middles: Middles

    @property
    def num_predicted(self) -> int:
        labels = [only_middles(window.astype(np.int64), self.middles) for window in self.whole.windows]
        return sum(int(np.count_nonzero(each != IGNORED)) for each in labels)

    def num_batches(self, size: int) -> int:
        return self.whole.num_batches(size)

    def batch(self, index: int, size: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return a batch's input ids and labels, as `ValidationSet.batch` does."""
        input_ids, labels = self.whole.batch(index, size)
        return input_ids, np.stack([only_middles(row, self.middles) for row in labels])


def only_middles(tokens: NDArray[np.int64], middles: Middles) -> NDArray[np.int64]:
    """Return the labels of a window in which only the middles are predicted of pieces that begin in it."""
    labels, mark = np.full_like(tokens, IGNORED), middles.sentinels
    begun, start = False, len(tokens)
    for place in np.flatnonzero(np.isin(tokens, (mark.prefix, mark.middle, middles.end_of_document))).tolist():
        if tokens[place] == mark.prefix:
            begun = True
        elif tokens[place] == mark.middle and begun:
            start = place + 1
        elif tokens[place] == middles.end_of_document:
            labels[start : place + 1] = tokens[start : place + 1]
            begun, start = False, len(tokens)
    labels[start:] = tokens[start:]
    return labels


def load_middles(
    stream: StreamConfig,
    middles: Middles,
    encoder: Encoder,
    *,
    num_tokens: int,
    rank: int = 0,
    world_size: int = 1,
    broken_off: Callable[[], bool] = lambda: False,
) -> MiddleSet:
    """Read the windows that this process measures.

    Args:
        stream: of the run.
        middles: of its objective; seed, rate and order are others here.
        encoder: text to ids.
        num_tokens: how many, over all processes, at least a window a lane; 0: all of `stream.valid`.
        rank, world_size: of the process.
        broken_off: is asked after each window; once it says true, those before are returned.

    Raises:
        CodeparrotError: the data cannot be read.
    """
    measured = replace(middles, rate=1.0, spm_rate=0.0, seed=0)
    per_lane = max(1, num_tokens // (stream.lanes * stream.seq_length)) if num_tokens else None
    shards = open_shards(as_list(stream.valid), split="valid", column=stream.text_column, seq_length=stream.seq_length)
    tokenized = all(shard.packed for shard in shards)
    kept: list[NDArray[np.uint32]] = []
    counts: dict[int, int] = {}
    how = reading(replace(stream, order="windows"), tokenized)
    # Those that are read together hold about what is asked for.
    part = max(1, per_lane * stream.seq_length // how.together) if per_lane else place_tokens(stream, tokenized)
    for lane, own in enumerate(lanes_of(shards, stream.lanes)):
        if lane % world_size == rank:
            places = [place for shard in own for place in shard.spread(part)]
            order = Order(seed=0, lane=lane, epochs=1)
            packed = windows(places, order, how, encoder, stream.seq_length, Cursor(), measured)
            counts[lane] = 0
            for window, _ in islice(packed, per_lane):
                if broken_off():
                    break
                kept.append(np.array(window, np.uint32))
                counts[lane] += 1
    return MiddleSet(ValidationSet(kept, stream.seq_length, counts), measured)
