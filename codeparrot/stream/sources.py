"""From names in the configuration to shards, and from shards to lanes.

Which lane holds which part of the data depends on the files and on the number of lanes, never on the number of processes.
Files that the lanes do not share evenly are cut so that every lane gets the same number of equal parts of each.
"""

import copy
import glob
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from codeparrot.errors import CodeparrotError
from codeparrot.stream.parquet import ParquetShard
from codeparrot.stream.shards import CompressedJsonlShard, JsonlShard, SequentialShard, Shard, text_in
from codeparrot.stream.tokenized import MANIFEST, window_shards

_ENDINGS = (".parquet", ".jsonl", ".json", ".jsonl.gz", ".json.gz", ".jsonl.zst", ".json.zst")
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")
_ENOUGH = 16
"""With this many files a lane, one file more or less is an imbalance of at most 1 in 16, and files are left whole."""


class HubShard(SequentialShard):
    """One shard of a streaming data set of `datasets` that is not in Parquet."""

    def __init__(self, dataset: Any, column: str, offset: int = 0, stride: int = 1, part: int | None = None) -> None:
        super().__init__(getattr(getattr(dataset, "info", None), "dataset_name", None) or "data set", column, offset, stride)
        self.dataset, self.part = dataset, part
        self._shared = True

    @property
    def source(self) -> str:
        return self.path if self.part is None else f"{self.path}, shard {self.part}"

    def iterate(self) -> Any:
        # An iteration of `datasets` notes its position in the data set: another thread needs one of its own.
        dataset = self.dataset if self._shared else self._copy()
        for number, record in enumerate(dataset):
            if number % self.stride == self.offset:
                yield record

    def text(self, item: Any) -> str:
        return text_in(item, self.column, str(self.path))

    def record(self, item: Any) -> Mapping[str, Any]:
        return item

    def _copy(self) -> Any:
        try:
            return copy.deepcopy(self.dataset)
        except TypeError as error:
            raise CodeparrotError(f"{self.source} cannot be read a second time at once: {error}; use files instead") from error

    def fresh(self) -> Shard:
        other = HubShard(self.dataset, self.column, self.offset, self.stride, self.part)
        other._shared = False
        return other

    @property
    def identity(self) -> str:
        return f"{self.path}:{self.dataset.num_shards}"

    def cut(self, parts: int) -> list[Shard]:
        return [HubShard(self.dataset, self.column, part, parts, self.part) for part in range(parts)]


def open_shards(names: Sequence[Any], *, split: str, column: str, seq_length: int) -> list[Shard]:
    """Return the shards behind `names`: paths, folders, globs, Hub names, or streaming data sets of `datasets`.

    Of a folder that holds both `train-*` and `valid-*` files only those of `split` are taken.

    Raises:
        CodeparrotError: a name leads to nothing that can be read.
    """
    shards: list[Shard] = []
    for name in names:
        shards.extend(_open(name, split, column, seq_length))
    if len({shard.packed for shard in shards}) > 1:
        raise CodeparrotError(f"stream.{split} mixes windows and documents; name one kind")
    return shards


def lanes_of(shards: Sequence[Shard], num_lanes: int) -> list[list[Shard]]:
    """Deal shards to lanes, cut where there are too few to deal evenly."""
    count = len(shards)
    even = 1 if count % num_lanes == 0 or count >= _ENOUGH * num_lanes else num_lanes // math.gcd(count, num_lanes)
    # What can be read only from its start is cut as little as possible: each cut is read once more from the start.
    least = 1 if count >= num_lanes else math.ceil(num_lanes / count)
    units = [part for shard in shards for part in shard.cut(even if shard.seekable else least)]
    return [units[lane::num_lanes] for lane in range(num_lanes)]


def _open(name: Any, split: str, column: str, seq_length: int) -> list[Shard]:
    if not isinstance(name, str):
        return _dataset_shards(name, column)
    if name.startswith("hub:"):
        return _hub_shards(name.removeprefix("hub:"), split, column)
    if Path(name).exists() or glob.has_magic(name):
        return _path_shards(name, split, column, seq_length)
    if _HUB_NAME.fullmatch(name) and not name.startswith(("./", "../")) and not name.endswith(_ENDINGS):
        return _hub_shards(name, split, column)
    raise CodeparrotError(f"stream.{split}: {name} does not exist; build it with `codeparrot corpus build` or mend the path")


def _path_shards(name: str, split: str, column: str, seq_length: int) -> list[Shard]:
    path = Path(name)
    if (path / MANIFEST).is_file():
        return window_shards(path, split, seq_length)
    if path.is_dir():
        files = sorted(str(file) for file in path.rglob("*") if file.name.endswith(_ENDINGS) and file.is_file())
        of_split = [file for file in files if Path(file).name.startswith(f"{split}-")]
        split_up = any(Path(file).name.startswith(("train-", "valid-")) for file in files)
        files = of_split if split_up else files
    else:
        files = sorted(glob.glob(name, recursive=True)) if glob.has_magic(name) and not path.exists() else [name]
    if not files:
        raise CodeparrotError(f"stream.{split}: {name} holds no Parquet or JSONL files; name the files of the {split} split")
    return [_file_shard(file, column) for file in files]


def _file_shard(path: str, column: str) -> Shard:
    if path.endswith(".parquet"):
        return ParquetShard(path, column)
    if path.endswith((".jsonl", ".json")):
        return JsonlShard(path, column)
    if path.endswith(_ENDINGS):
        return CompressedJsonlShard(path, column)
    raise CodeparrotError(f"{path}: unknown kind of file; the stream reads {', '.join(_ENDINGS)}")


def _dataset_shards(dataset: Any, column: str) -> list[Shard]:
    """Shards of a data set that is already open. Of `datasets` only the order within a shard is relied on, not its state."""
    if hasattr(dataset, "to_iterable_dataset"):
        dataset = dataset.to_iterable_dataset()
    count = max(1, dataset.num_shards)
    if count == 1:
        return [HubShard(dataset, column)]
    return [HubShard(dataset.shard(num_shards=count, index=index), column, part=index) for index in range(count)]


def _hub_shards(name: str, split: str, column: str) -> list[Shard]:
    """Parquet files of a data set are read by ranges, so that resuming is quick; other kinds are streamed by `datasets`."""
    import datasets

    path, _, revision = name.partition("@")
    try:
        builder = datasets.load_dataset_builder(path, revision=revision or None)
        splits = list(builder.config.data_files or {}) or list(builder.info.splits or {})
        chosen = _split_of(name, split, splits)
        files = [str(file) for file in (builder.config.data_files or {}).get(chosen, [])]
        if files and all(file.endswith(".parquet") for file in files):
            return [ParquetShard(file, column) for file in files]
        return _dataset_shards(builder.as_streaming_dataset(split=chosen), column)
    except (OSError, ValueError) as error:
        raise CodeparrotError(f"stream.{split}: cannot open {name} on the Hub: {' '.join(str(error).split())[:300]}") from error


def _split_of(name: str, split: str, splits: list[str]) -> str:
    wanted = {"train": ("train",), "valid": ("valid", "validation", "test")}[split]
    for candidate in wanted:
        if candidate in splits:
            return candidate
    raise CodeparrotError(f"stream.{split}: {name} has no split {' or '.join(wanted)}, only {', '.join(splits) or 'none'}")
