"""Undoes what fill-in-the-middle does to documents, and an encoder for it."""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from codeparrot.objectives.fim import Middles
from codeparrot.stream.sentinels import Sentinels
from tests.stream.bytes_encoder import END

MARKS = Sentinels(prefix=257, middle=258, suffix=259)


def middles(rate: float = 1.0, spm_rate: float = 0.5, level: str = "character", seed: int = 0, seq_length: int = 16) -> Middles:
    """Return what takes middles out for BytesEncoder."""
    return Middles(rate, spm_rate, level, seed, seq_length, MARKS, END)  # type: ignore[arg-type]


def pieces_of(tokens: NDArray[np.integer]) -> list[tuple[str, list[bytes]]]:
    """Cut a stream at its ends; return the kind of each piece (PSM, SPM, or nothing) and its parts in the document's order."""
    found = []
    ends = np.flatnonzero(tokens == END)
    for start, stop in pairwise([-1, *ends.tolist()]):
        piece = tokens[start + 1 : stop]
        marks = np.flatnonzero(piece > END)
        if not len(marks):
            found.append(("", [_bytes(piece)]))
            continue
        assert marks[0] == 0 and piece[marks].tolist() == [MARKS.prefix, MARKS.suffix, MARKS.middle]
        prefix, suffix, last = (_bytes(part[1:]) for part in np.split(piece, marks)[1:])
        # Of SPM only the place of the suffix shows; a PSM without a prefix looks like one.
        found.append(("PSM", [prefix, last, suffix]) if marks[1] > 1 else ("SPM", [last, suffix]))
    return found


def restored(tokens: NDArray[np.integer]) -> list[bytes]:
    """Return the text of each piece."""
    return [b"".join(parts) for _, parts in pieces_of(tokens)]


def _bytes(tokens: NDArray[np.integer]) -> bytes:
    assert (tokens < END).all()
    return tokens.astype(np.uint8).tobytes()
