"""What tests of the stream on small documents share."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import numpy as np
import pytest

from codeparrot.stream import lane
from codeparrot.stream.shuffle import LaneState


@contextmanager
def sizes(first: int, chunk: int, piece: int | None = None) -> Iterator[None]:
    """Have the lanes read chunks and pieces of so many characters: of the usual ones, one would hold all documents."""
    with pytest.MonkeyPatch.context() as patch:
        if piece is not None:
            patch.setattr(lane, "PIECE_CHARACTERS", piece)
        patch.setattr(lane, "FIRST_CHUNK_CHARACTERS", first)
        patch.setattr(lane, "CHUNK_CHARACTERS", chunk)
        yield


def check_going_on(handed_out: Callable[[LaneState], Iterator[Any]], first: int, second: int) -> None:
    """Go on after `first` windows, and after `second` more from there again: windows and states are those without a stop."""
    whole = list(islice(handed_out(LaneState()), first + second + 10))
    start = whole[first - 1][1] if first else LaneState()
    resumed = list(islice(handed_out(start), second + 10))
    again_from = resumed[second - 1][1] if second else start
    again = list(islice(handed_out(again_from), 10))
    for (expected, state), (window, same) in zip(whole[first + second :], again, strict=True):
        np.testing.assert_array_equal(expected, window)
        assert state == same
