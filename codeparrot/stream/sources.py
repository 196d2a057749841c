"""From names in the configuration to shards, and from shards to lanes.

Which lane holds which part of the data depends on the files and the number of lanes, never on the number of processes. Files
that do not divide evenly among the lanes are cut so that every lane gets the same number of equal parts of each.
"""

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from codeparrot.errors import CodeparrotError
from codeparrot.location import is_address
from codeparrot.stream.described import DescribedShard
from codeparrot.stream.jsonl import CompressedJsonlShard, JsonlShard
from codeparrot.stream.languages_of import indexed
from codeparrot.stream.of_language import LanguageShard
from codeparrot.stream.parquet import ParquetShard
from codeparrot.stream.readers import hub, ranges
from codeparrot.stream.readers.folder import PACKED, PARQUET, NoSplit, find_data, standing_for
from codeparrot.stream.remote_shards import RemoteJsonlShard
from codeparrot.stream.shards import SequentialShard, Shard
from codeparrot.stream.tokenized import read_manifest, window_shards, windows_at

_ENOUGH = 16
"""From this many files per lane on, one file more or less is an imbalance of at most 1 in 16, so files are left whole."""


class HubShard(SequentialShard):
    """One shard of a streaming data set of `datasets` that is not in Parquet."""

    shares = True

    def __init__(self, dataset: Any, column: str, offset: int = 0, stride: int = 1, part: int | None = None) -> None:
        super().__init__(getattr(getattr(dataset, "info", None), "dataset_name", None) or "data set", column, offset, stride)
        self.dataset, self.part = dataset, part
        self._shared = True

    @property
    def source(self) -> str:
        return self.path if self.part is None else f"{self.path}, shard {self.part}"

    def iterate(self) -> Iterator[tuple[int, Any]]:
        # An iteration of `datasets` notes its position in the data set object: each thread needs its own copy.
        dataset = self.dataset if self._shared else self._copy()
        with hub.readable(self.source):
            yield from islice(enumerate(hub.rows_of(dataset)), self.offset, None, self.stride)

    def record(self, item: tuple[int, Any]) -> Mapping[str, Any]:
        return item[1]

    def _copy(self) -> Any:
        try:
            return copy.deepcopy(self.dataset)
        except TypeError as error:
            raise CodeparrotError(f"{self.source} cannot be read twice at the same time: {error}; use files instead") from error

    def fresh(self) -> Shard:
        other = HubShard(self.dataset, self.column, self.offset, self.stride, self.part)
        other._shared = False
        return other

    @property
    def identity(self) -> str:
        return f"{self.path}:{getattr(self.dataset, 'num_shards', 1)}"

    def cut(self, parts: int) -> list[Shard]:
        return [HubShard(self.dataset, self.column, part, parts, self.part) for part in range(parts)]


def open_shards(
    names: Sequence[Any],
    *,
    split: str,
    column: str,
    seq_length: int,
    setting: str | None = None,
    description: str = "",
    language: str = "",
) -> list[Shard]:
    """Return the shards behind `names`: paths, folders, globs, Hub names, or streaming data sets of `datasets`.

    The package `readers` decides which files of a folder are data, and which split they belong to. Errors name `setting`, by
    default `stream.train` or `stream.valid`. With the name of a column of descriptions, items have theirs (described.py). With
    a language, its documents alone are one shard (of_language.py).

    Raises:
        NoSplit: a name leads to data that are divided and have nothing of this split.
        CodeparrotError: a name leads to nothing that can be read.
    """
    shards: list[Shard] = []
    for name in names:
        shards.extend(_open(name, split, column, seq_length, setting or f"stream.{split}"))
    if len({shard.packed for shard in shards}) > 1:
        raise CodeparrotError(f"stream.{split} mixes windows and documents; name one kind")
    if language and shards:
        where = setting or f"stream.{split}"
        shards = [LanguageShard(indexed(shards, where), language, where)]
    return [DescribedShard(shard, description) for shard in shards] if description else shards


def has_split(name: str, split: str) -> bool:
    """Whether some of the data behind a name belong to this split and to no other.

    Raises:
        CodeparrotError: the name leads to nothing that can be read.
    """
    if hub.is_on_hub(name):
        spec = hub.parse(name)
        with hub.readable(name):
            return standing_for(split, hub.open_data_set(spec, spec.revision).splits) is not None
    if (folder := windows_at(name)) is not None:
        return standing_for(split, read_manifest(folder)["splits"]) is not None
    return find_data(name).has(split)


def lanes_of(shards: Sequence[Shard], num_lanes: int) -> list[list[Shard]]:
    """Deal shards to lanes, cut where there are too few to deal evenly."""
    count = len(shards)
    even = 1 if count % num_lanes == 0 or count >= _ENOUGH * num_lanes else num_lanes // math.gcd(count, num_lanes)
    # Shards that can only be read from their start are cut as little as possible: every part reads from the start again.
    least = 1 if count >= num_lanes else math.ceil(num_lanes / count)
    units = [part for shard in shards for part in shard.cut(even if shard.seekable else least)]
    return [units[lane::num_lanes] for lane in range(num_lanes)]


def _open(name: Any, split: str, column: str, seq_length: int, setting: str) -> list[Shard]:
    if not isinstance(name, str):
        return _dataset_shards(name, column)
    try:
        if hub.is_on_hub(name):
            return _hub_shards(name, split, column)
        if (folder := windows_at(name)) is not None:
            return window_shards(folder, split, seq_length)
        files = find_data(name).of(split)
        if is_address(name):
            ranges.fetch_ends([file for file in files if file.endswith(PARQUET)])
        return [_file_shard(file, column) for file in files]
    except NoSplit as error:
        raise NoSplit(f"{setting}: {error}", error.present) from error
    except CodeparrotError as error:
        raise CodeparrotError(f"{setting}: {error}") from error


def _file_shard(file: str, column: str) -> Shard:
    if file.endswith(PARQUET):
        return ParquetShard(file, column)
    if file.endswith(PACKED):
        return CompressedJsonlShard(file, column)
    return RemoteJsonlShard(file, column) if is_address(file) else JsonlShard(file, column)


def _dataset_shards(dataset: Any, column: str) -> list[Shard]:
    """Return the shards of an open data set. It relies on the order within a shard of `datasets`, not on its state."""
    if isinstance(dataset, Shard):
        return [dataset]
    if hasattr(dataset, "to_iterable_dataset"):
        dataset = dataset.to_iterable_dataset()
    count = max(1, dataset.num_shards)
    if count == 1:
        return [HubShard(dataset, column)]
    return [HubShard(dataset.shard(num_shards=count, index=index), column, part=index) for index in range(count)]


def _hub_shards(spec: str, split: str, column: str) -> list[Shard]:
    name = hub.parse(spec)
    with hub.readable(spec):
        data = hub.open_data_set(name, name.revision)
        chosen = standing_for(split, data.splits)
        if chosen is None:
            raise NoSplit(f"{spec} has no {split} split, only {', '.join(data.splits) or 'none'}; name other data", data.splits)
        if data.is_parquet:
            return [ParquetShard(file, column) for file in data.files[chosen]]
        return _dataset_shards(data.rows(chosen), column)
