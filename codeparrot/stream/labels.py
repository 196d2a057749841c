"""The language of each token of a validation set, by the document that it is from.

Cost: the column of languages is read beside the texts (what is not Parquet is parsed twice), and 2 bytes a token are kept.
Documents are told apart as `codeparrot inspect` does (provenance.py).
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from codeparrot.stream.described import DescribedShard
from codeparrot.stream.encode import Encoder
from codeparrot.stream.lane import Cursor, DrawnBlock, Order, Reading, blocks, encoded, items
from codeparrot.stream.languages_of import UNKNOWN, language_column, language_in
from codeparrot.stream.parquet import ParquetShard
from codeparrot.stream.provenance import spans
from codeparrot.stream.readers.parquet import Table
from codeparrot.stream.readers.rows import Damaged
from codeparrot.stream.shards import Shard
from codeparrot.stream.transform import Transform

MOST_LANGUAGES = 12
"""So many are measured by name, those with the most tokens; the rest is OTHER."""
OTHER = "other"
SETTING = "the loss by language"


class Codes:
    """Numbers languages in the order in which they are met."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._numbers: dict[str, int] = {}

    def of(self, name: str) -> int:
        if name not in self._numbers:
            self._numbers[name] = len(self.names)
            self.names.append(name)
        return self._numbers[name]


def has_languages(shards: Iterable[Shard]) -> bool:
    """Whether the documents of some shard have a column of languages."""
    return any(_column(shard) for shard in shards)


def labelled(
    shards: Sequence[Shard],
    order: Order,
    how: Reading,
    encoder: Encoder,
    seq_length: int,
    transform: Transform | None,
    codes: Codes,
) -> Iterator[tuple[NDArray[np.uint32], NDArray[np.uint16]]]:
    """Yield what `lane.windows` yields of a lane in the order of its documents, and the language of each token."""
    found: dict[tuple[int, int], NDArray[np.uint16]] = {}
    columns = [_column(shard) for shard in shards]
    readers = [shard.of_column(column, SETTING) if column else None for shard, column in zip(shards, columns, strict=True)]

    def noted(stream: Iterator[DrawnBlock]) -> Iterator[DrawnBlock]:
        for block in stream:
            place, position = block.cursor.shard, block.cursor.block
            found[place, position] = _languages(readers[place], position, len(block.items), codes)
            yield block

    drawn = items(noted(blocks(shards, order, how, Cursor())), 0)
    for tokens, own in spans(encoded(drawn, False, encoder, Cursor(), transform), seq_length):
        languages = np.empty(len(tokens), np.uint16)
        for span in own:
            languages[span.start : span.stop] = found[span.document.shard, span.document.block][span.document.row]
        yield tokens, languages
    for reader in readers:
        if reader is not None:
            reader.close()


def languages_to_measure(counts: Iterable[Mapping[str, int]]) -> list[str]:
    """Return the languages that are measured by name, from the predicted tokens that each process has of each.

    The last one is OTHER where some are left. Nothing is returned where all is in one language.
    """
    total: Counter[str] = Counter()
    for each in counts:
        total.update(each)
    ordered = sorted((name for name, count in total.items() if count), key=lambda name: (-total[name], name))
    if len(ordered) < 2:
        return []
    return ordered if len(ordered) <= MOST_LANGUAGES else [*ordered[:MOST_LANGUAGES], OTHER]


def _column(shard: Shard) -> str | None:
    """Return the column of languages, as the file or its first document has it."""
    if shard.packed:
        return None
    texts = shard.texts if isinstance(shard, DescribedShard) else shard
    try:
        if isinstance(texts, ParquetShard):
            with Table(texts.path) as table:
                return language_column(table.schema.names)
        first = shard.fresh()
        if not first.read_marked(0, 1).items:
            return None
        facts = first.describe(0, [0])[0]
        first.close()
    except Damaged:
        return None
    return language_column(list(facts))


def _languages(reader: Shard | None, position: int, count: int, codes: Codes) -> NDArray[np.uint16]:
    if reader is None:
        return np.full(count, codes.of(UNKNOWN), np.uint16)
    values = reader.read_marked(position, count).items
    named = [codes.of(UNKNOWN if isinstance(value, Damaged) else language_in(value)) for value in values]
    return np.array(named, np.uint16)
