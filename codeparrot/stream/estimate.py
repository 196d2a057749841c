"""The length of an epoch, where it can be known without reading everything."""

from codeparrot.stream.dataset import ConstantLengthDataset
from codeparrot.stream.lane import Cursor, encoded
from codeparrot.stream.readers.rows import Damaged
from codeparrot.stream.shards import Shard

_MOST_SHARDS = 64
"""Asking a remote file for its number of rows costs a request: at most this many shards are asked, and stand for all."""

_SOME_DOCUMENTS = 256
"""Their mean length stands for all."""


def epoch_tokens(dataset: ConstantLengthDataset) -> tuple[int, bool] | None:
    """Return the tokens in an epoch over all lanes, and whether that is exact; None if it is not known.

    It multiplies the number of documents by their mean length in one block, in which some may be changed by the objective.
    """
    shards = dataset.shards
    if not shards:
        return None
    some = shards[:_MOST_SHARDS]
    counts = [shard.num_items for shard in some]
    known = [count for count in counts if count is not None]
    if len(known) < len(counts):
        return None
    num_items = round(sum(known) * len(shards) / len(some))
    if dataset.tokenized and dataset.transform is None:
        return num_items * dataset.stream.seq_length, len(some) == len(shards)
    mean = _mean_tokens(some, dataset)
    return (round(num_items * mean), False) if mean else None


def _mean_tokens(shards: list[Shard], dataset: ConstantLengthDataset) -> float | None:
    for shard in shards:
        block = shard.read_marked(0, _SOME_DOCUMENTS)
        shard.close()
        if items := [(item, Cursor()) for item in block.items if not isinstance(item, Damaged)]:
            made = encoded(iter(items), dataset.tokenized, dataset.encoder, Cursor(), dataset.transform)
            return sum(len(chunk.tokens) for chunk in made) / len(items)
    return None
