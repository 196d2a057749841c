"""The most bytes that a language may have in the corpus: the rest is left out, after duplicates.

StarCoder (Li et al. 2023, section 3.5) kept 1 GB each of JSON and YAML and 3 GB of CSS: a model should learn their form, not
their data. Those that stay come first in the order of the corpus, so neither the order of reading nor the number of workers
matters, and a corpus of another size has the same ones at its beginning. Sizes are those before secrets are replaced.

Memory: half a megabyte for each language with a cap, and its documents in one of 65,536 parts of the order.
"""

import sys
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from codeparrot.corpus.documents import LANGUAGE, SIZE, UNKNOWN_LANGUAGE
from codeparrot.corpus.duplicates.choice import KEPT
from codeparrot.corpus.duplicates.pairs import Documents
from codeparrot.corpus.removed import POSITION
from codeparrot.corpus.segments import WHOLE
from codeparrot.errors import nearest
from codeparrot.languages.names import LANGUAGES

CAPPED = 3
"""Verdict on a document that its language has no room for."""
REASON = "capped"

_PARTS = 1 << 16
_SHIFT = np.uint64(48)


def rule(caps: Mapping[str, int]) -> str:
    """Return which documents are left out, in words."""
    return f"beyond the first {', '.join(f'{size:,} bytes of {name}' for name, size in caps.items())}"


def apply(documents: Documents, verdicts: NDArray[np.uint8], caps: Mapping[str, int]) -> None:
    """Set the verdict of kept documents to CAPPED where their language has no room for them."""
    for name, size in caps.items():
        last = _last_part(documents, verdicts, name, size)
        if last is None:
            continue
        room = size - last.before
        for kept in _kept(documents, verdicts, name):
            verdicts[kept.number[kept.part > last.number]] = CAPPED
        inside = [[each[kept.part == last.number] for each in kept[:4]] for kept in _kept(documents, verdicts, name)]
        numbers, sizes, positions, wholes = (np.concatenate(each) for each in zip(*inside, strict=True))
        order = np.lexsort((wholes, positions))
        verdicts[numbers[order[np.cumsum(sizes[order]) > room]]] = CAPPED


class _Kept(NamedTuple):
    """The kept documents of a language in one segment."""

    number: NDArray[np.int64]
    size: NDArray[np.int64]
    position: NDArray[np.uint64]
    whole: NDArray[np.uint64]
    part: NDArray[np.int64]
    """Of the order of the corpus, which comes in _PARTS parts."""


class _Last(NamedTuple):
    number: int
    """Of the part that does not fit as a whole."""
    before: int
    """Bytes of the parts in front of it."""


def _last_part(documents: Documents, verdicts: NDArray[np.uint8], name: str, size: int) -> _Last | None:
    sums = np.zeros(_PARTS, np.int64)
    for kept in _kept(documents, verdicts, name):
        np.add.at(sums, kept.part, kept.size)
    ends = np.cumsum(sums)
    number = int(np.searchsorted(ends, size, side="right"))
    return _Last(number, int(ends[number] - sums[number])) if number < _PARTS else None


def _kept(documents: Documents, verdicts: NDArray[np.uint8], name: str) -> Iterator[_Kept]:
    for segment, start in zip(documents.segments, documents.starts.tolist(), strict=False):
        table = segment.columns(LANGUAGE, SIZE, POSITION, WHOLE)
        is_named = _is_in(table, name)
        rows = np.flatnonzero(is_named & (verdicts[start : start + len(segment)] == KEPT))
        size, position, whole = (table.column(column).to_numpy()[rows] for column in (SIZE, POSITION, WHOLE))
        yield _Kept(rows + start, size, position, whole, (position >> _SHIFT).astype(np.int64))


def _is_in(table: pa.Table, name: str) -> NDArray[np.bool_]:
    return pc.call_function("equal", [table.column(LANGUAGE), pa.scalar(name, pa.large_string())]).to_numpy()


def report_strangers(documents: Documents, caps: Mapping[str, int]) -> None:
    """Say which caps no document has the language of, if no rule knows it: the name may be misspelt."""
    for name in caps.keys() - LANGUAGES.keys() - {UNKNOWN_LANGUAGE}:
        if not any(_is_in(each.columns(LANGUAGE), name).any() for each in documents.segments):
            hint = nearest(name, LANGUAGES) or "; --columns.language names the column of a table"
            print(f'codeparrot: warning: caps: no document that was read is in "{name}"{hint}', file=sys.stderr)
