"""A data set as one shard that is read in its own order, and a DataLoader's workers.

What `ConstantLengthDataset` needs for the use in a notebook; training takes neither.
"""

import logging
from typing import Any, NamedTuple

from torch.utils.data import get_worker_info

from codeparrot.config import StreamConfig
from codeparrot.errors import CodeparrotError
from codeparrot.stream.encode import Encoder, make_encoder
from codeparrot.stream.sources import HubShard

logger = logging.getLogger("codeparrot")


class Whole(NamedTuple):
    stream: StreamConfig
    encoder: Encoder
    shard: HubShard


def whole(tokenizer: Any, dataset: Any, infinite: bool, seq_length: int, buffer_characters: float, text_column: str) -> Whole:
    """Check what `ConstantLengthDataset.from_dataset` was given.

    Raises:
        CodeparrotError: see there.
    """
    if not isinstance(infinite, bool):
        raise CodeparrotError(f"infinite is {infinite!r}, not true or false: give seq_length by its name")
    if seq_length < 2 or buffer_characters <= 0:
        raise CodeparrotError("seq_length must be 2 or more, and num_of_sequences and chars_per_token more than 0")
    if not hasattr(tokenizer, "backend_tokenizer"):
        raise CodeparrotError(f"{type(tokenizer).__name__} is no fast tokenizer: take one that has a tokenizer.json")
    if tokenizer.eos_token_id is None:
        raise CodeparrotError("the tokenizer has no eos_token, which ends each document: set it")
    if not hasattr(dataset, "__iter__") or isinstance(dataset, str | dict):
        raise CodeparrotError(f"dataset is a {type(dataset).__name__}: give one split of a data set, or a list of documents")
    if hasattr(dataset, "__next__"):
        raise CodeparrotError("dataset is an iterator, which can be read only once: give a data set, or a list of documents")
    stream = StreamConfig(seq_length=seq_length, text_column=text_column, order="documents")
    encoder = make_encoder(tokenizer.backend_tokenizer.to_str(), tokenizer.eos_token_id)
    return Whole(stream, encoder, HubShard(dataset, text_column))


class Share(NamedTuple):
    """What a worker of a DataLoader hands out of the windows of its process."""

    lanes: list[int]
    """Lanes that it reads."""
    worker: int = 0
    num_workers: int = 1
    """Workers that read the same lanes and hand out every so many windows each."""

    def has(self, number: int) -> bool:
        """Whether window `number` of the lanes is handed out by this worker."""
        return number % self.num_workers == self.worker


def share_of_worker(lanes: list[int]) -> Share:
    """Return the share of the worker that asks, out of its process's lanes; outside of a DataLoader's workers, all of them."""
    worker = get_worker_info()
    if worker is None:
        return Share(lanes)
    if len(lanes) % worker.num_workers == 0:
        return Share(lanes[worker.id :: worker.num_workers])
    if worker.id == 0:
        logger.warning(
            "%d workers of the DataLoader share %s: each reads all and hands out its part; one worker does it with less work",
            worker.num_workers,
            "one lane" if len(lanes) == 1 else f"{len(lanes)} lanes",
        )
    return Share(lanes, worker.id, worker.num_workers)
