"""The length of an epoch, where it can be known without reading everything."""

from codeparrot.stream.dataset import ConstantLengthDataset
from codeparrot.stream.lane import Cursor, encoded
from codeparrot.stream.opened import OpenSource
from codeparrot.stream.readers.rows import Damaged
from codeparrot.stream.shards import Shard

_MOST_SHARDS = 64
"""Asking a remote file for its number of rows costs a request: at most this many shards are asked, and stand for all."""

_SOME_DOCUMENTS = 256
"""Their mean length stands for all."""


def epoch_tokens(dataset: ConstantLengthDataset) -> tuple[int, bool] | None:
    """Return the tokens in an epoch of all sources over all lanes, and whether that is exact; None if it is not known."""
    known = [source_tokens(source) for source in dataset.sources]
    counted = [each for each in known if each is not None]
    if len(counted) < len(known):
        return None
    return sum(count for count, _ in counted), all(exact for _, exact in counted)


def source_tokens(source: OpenSource) -> tuple[int, bool] | None:
    """Return the tokens in an epoch of a source over all lanes, and whether that is exact; None if it is not known.

    It multiplies the number of documents by their mean length in one block, in which some may be changed by the objective.
    """
    shards = source.shards
    if not shards:
        return None
    some = shards[:_MOST_SHARDS]
    counts = [shard.num_items for shard in some]
    known = [count for count in counts if count is not None]
    if len(known) < len(counts):
        return None
    num_items = round(sum(known) * len(shards) / len(some))
    if source.tokenized and source.transform is None:
        return num_items * source.stream.seq_length, len(some) == len(shards)
    mean = _mean_tokens(some, source)
    return (round(num_items * mean), False) if mean else None


def _mean_tokens(shards: list[Shard], source: OpenSource) -> float | None:
    for shard in shards:
        block = shard.read_marked(0, _SOME_DOCUMENTS)
        shard.close()
        if items := [(item, Cursor()) for item in block.items if not isinstance(item, Damaged)]:
            made = encoded(iter(items), source.tokenized, source.encoder, Cursor(), source.transform)
            return sum(len(chunk.tokens) for chunk in made) / len(items)
    return None
