"""The validation set: finite and complete.

The documents are packed in order, lane by lane; the last window of a lane is short. The windows depend on the lanes alone, so
the loss over all of them does not depend on the number of processes, and neither does that over a sample: it is drawn lane by
lane. They are encoded once and kept: 4 bytes per token of a process's share.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from codeparrot.config import StreamConfig, as_list
from codeparrot.stream.encode import Encoder
from codeparrot.stream.given import are_given, unmarked
from codeparrot.stream.labels import Codes, has_languages, labelled
from codeparrot.stream.lane import Cursor, Order, Reading, windows
from codeparrot.stream.losses import leave_out, refuse
from codeparrot.stream.order import permutation
from codeparrot.stream.readers.rows import Damaged, Where
from codeparrot.stream.shards import check_all
from codeparrot.stream.sources import lanes_of, open_shards
from codeparrot.stream.transform import Transform

IGNORED = -100
"""Label of a position that is not predicted, as in torch and transformers."""


@dataclass(frozen=True)
class ValidationSet:
    """The windows of one process."""

    windows: list[NDArray[np.uint32]]
    """Each holds `seq_length` tokens, or fewer at the end of a lane."""
    seq_length: int
    lanes: dict[int, int]
    """How many of them each lane has, in their order."""
    damaged: Mapping[Where, Damaged] = field(default_factory=dict)
    """What was left out, with `stream.on_error` skip."""
    languages: list[NDArray[np.uint16]] = field(default_factory=list)
    """The language of each token of each window, as a place in `names`; nothing where the data do not say it."""
    names: Sequence[str] = ()

    @property
    def num_tokens(self) -> int:
        return sum(map(len, self.windows))

    @property
    def num_predicted(self) -> int:
        """Tokens that have one before them in their window, without those that are given."""
        return sum(map(_predicted, self.windows))

    @property
    def tokens_by_language(self) -> dict[str, int]:
        """Return the predicted tokens of each language that the data name."""
        counts = np.zeros(len(self.names), np.int64)
        for window, languages in zip(self.windows, self.languages, strict=False):
            counts += np.bincount(languages[1:][~are_given(window[1:])], minlength=len(counts))
        return dict(zip(self.names, counts.tolist(), strict=True))

    def named(self, names: Sequence[str]) -> "ValidationSet":
        """Return the set with these languages; what is in none of them counts as the last. Without names, it has none."""
        if not names:
            return replace(self, names=(), languages=[])
        places = np.array([names.index(each) if each in names else len(names) - 1 for each in self.names], np.uint16)
        return replace(self, names=names, languages=[places[each] for each in self.languages])

    def language_batch(self, index: int, size: int) -> NDArray[np.int64]:
        """Return the languages of a batch's tokens, [size, seq_length]; beyond the end they mean nothing."""
        found = np.zeros((size, self.seq_length), np.int64)
        for row, languages in enumerate(self.languages[index * size : (index + 1) * size]):
            found[row, : len(languages)] = languages
        return found

    def sample(self, per_lane: int) -> "ValidationSet":
        """Return so many windows of each lane, or all that it has: always the same ones, drawn from its whole length."""
        kept: list[int] = []
        first = 0
        lanes: dict[int, int] = {}
        for lane, count in self.lanes.items():
            # One in which all is given measures nothing.
            numbered = list(enumerate(self.windows[first : first + count], first))
            own = [index for index, window in numbered if not are_given(window[1:]).any() or _predicted(window)]
            drawn = np.sort(permutation(len(own), "validation", lane)[:per_lane])
            kept += [own[index] for index in drawn]
            lanes[lane] = len(drawn)
            first += count
        windows = [self.windows[index] for index in kept]
        languages = [self.languages[index] for index in kept] if self.languages else []
        return replace(self, windows=windows, lanes=lanes, languages=languages)

    def batch(self, index: int, size: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return a batch's input ids and labels, [size, seq_length]; beyond the end there is nothing to predict.

        One process may have a batch more than another. Batches beyond the end let all run the same number, so none waits.
        """
        input_ids = np.zeros((size, self.seq_length), np.int64)
        labels = np.full((size, self.seq_length), IGNORED, np.int64)
        for row, window in enumerate(self.windows[index * size : (index + 1) * size]):
            input_ids[row, : len(window)] = unmarked(window)
            labels[row, : len(window)] = np.where(are_given(window), IGNORED, window.astype(np.int64))
        return input_ids, labels

    def num_batches(self, size: int) -> int:
        return -(-len(self.windows) // size)


def _predicted(window: NDArray[np.uint32]) -> int:
    return int(np.count_nonzero(~are_given(window[1:])))


def load_validation_set(
    stream: StreamConfig,
    encoder: Encoder,
    *,
    rank: int = 0,
    world_size: int = 1,
    split: str = "valid",
    setting: str | None = None,
    description: str = "",
    transform: Transform | None = None,
    by_language: bool = False,
    broken_off: Callable[[], bool] = lambda: False,
) -> ValidationSet:
    """Read, encode and pack the whole of `stream.valid`; keep the windows of this process's lanes.

    Errors name `setting`, by default `stream.valid`. With a column of descriptions, `transform` makes pairs of them.
    `by_language` keeps the language of each token where the data have a column of languages (labels.py). `broken_off` is asked
    every 256 windows; once it says true, what was read so far is returned.

    Raises:
        NoSplit: the data are divided, and hold nothing of this split.
        CodeparrotError: the data cannot be read.
    """
    names = as_list(stream.valid)
    shards = open_shards(
        names, split=split, column=stream.text_column, seq_length=stream.seq_length, setting=setting, description=description
    )
    kept: list[NDArray[np.uint32]] = []
    languages: list[NDArray[np.uint16]] = []
    codes = Codes()
    counts: dict[int, int] = {}
    found: list[Damaged] = []
    how = Reading(1, 256, found.append if stream.on_error == "skip" else refuse)
    check_all(shards[rank::world_size], leave_out)  # reading meets the damage itself
    by_language = by_language and has_languages(shards)
    for lane, own in enumerate(lanes_of(shards, stream.lanes)):
        if lane % world_size == rank:
            order = Order(seed=0, lane=lane, shuffle=False, epochs=1)
            counts[lane] = 0
            if by_language:
                stretch = labelled(own, order, how, encoder, stream.seq_length, transform, codes)
            else:
                stretch = windows(own, order, how, encoder, stream.seq_length, Cursor(), transform)
            for window, of_tokens in stretch:
                kept.append(np.array(window, np.uint32))
                if isinstance(of_tokens, np.ndarray):
                    languages.append(of_tokens)
                counts[lane] += 1
                if len(kept) % 256 == 0 and broken_off():
                    return ValidationSet(kept, stream.seq_length, counts)
    return ValidationSet(kept, stream.seq_length, counts, {each.where: each for each in found}, languages, codes.names)
