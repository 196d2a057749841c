"""A run must not be validated on what it learns: the files of `stream.train` and `stream.valid` are compared.

Found are the same file under whatever name, a copy, and windows whose beginnings are equal, as older versions wrote them for
documents without splits. Cost: a look at every file's size; files of equal size are read until they differ.
"""

import filecmp
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from codeparrot.config import StreamConfig, as_list
from codeparrot.errors import CodeparrotError
from codeparrot.location import is_address
from codeparrot.stream.entries import paths_of
from codeparrot.stream.opened import setting_of
from codeparrot.stream.readers import hub, remote
from codeparrot.stream.readers.folder import NoSplit
from codeparrot.stream.readers.sizes import size_of
from codeparrot.stream.shards import Shard
from codeparrot.stream.sources import open_shards
from codeparrot.stream.tokenized import WindowShard

File = Path | remote.Place
COMPARED_BYTES = 1 << 20
FEWEST, MOST = 4, 64
"""So many windows are compared; fewer may be equal by accident."""


def check_disjoint(stream: StreamConfig, setting: str = "stream.valid") -> None:
    """Compare the files of the two splits. Data sets of the Hub are left out: they say themselves which files a split has.

    Args:
        stream: names them.
        setting: that `stream.valid` comes from, for errors.

    Raises:
        CodeparrotError: they share files, there is no validation split, or some of the data cannot be opened.
    """
    named = [(source.path, setting_of(source, stream.train)) for source in paths_of(stream.train)]
    train = [shard for names, of in named for shard in _open(names, "train", stream, of)]
    without = "leave stream.valid empty to train without one" if setting == "stream.valid" else "leave it out"
    try:
        valid = _open(as_list(stream.valid), "valid", stream, setting)
    except NoSplit as error:
        raise NoSplit(f"{error}, or {without}", error.present) from error
    shared = dict(_shared(train, valid))
    if not shared:
        return
    sizes = {file: size_of(file) for file in _files(valid)}
    part = sum(sizes[file] for file in shared) / sum(sizes.values())
    raise CodeparrotError(
        f"{setting} reads {len(shared)} of its {len(sizes)} files ({part:.0%} of their bytes) in common with stream.train: "
        f"{next(iter(shared.values()))}; the run would be validated on what it learns: name other documents, set some aside "
        f"(`codeparrot corpus tokenize --valid_fraction 0.01`), or {without.removesuffix(' to train without one')}"
    )


def _open(names: Sequence[str], split: str, stream: StreamConfig, setting: str) -> list[Shard]:
    here = [name for name in names if not hub.is_on_hub(name) or hub.parse(name).is_local]
    return open_shards(here, split=split, column=stream.text_column, seq_length=stream.seq_length, setting=setting)


def _shared(train: Sequence[Shard], valid: Sequence[Shard]) -> Iterator[tuple[File, str]]:
    """Yield each validation file that is also trained on, and what it is, in words."""
    same_size: dict[int, list[File]] = defaultdict(list)
    for other in _files(train):
        same_size[size_of(other)].append(other)
    learned = [shard for shard in train if isinstance(shard, WindowShard)]
    windows = {shard.path: shard for shard in valid if isinstance(shard, WindowShard)}
    for file in _files(valid):
        others = same_size[size] if (size := size_of(file)) else []
        if same := next((other for other in others if _is_same(file, other)), None):
            yield file, str(file) if file == same else f"{file} is {same}"
        elif copy := next((other for other in others if _are_equal(file, other)), None):
            yield file, f"{file} is a copy of {copy}"
        elif file in windows and (like := next((each for each in learned if _begin_alike(windows[file], each)), None)):
            yield file, f"{file} holds the windows of {like.path}"


def _files(shards: Sequence[Shard]) -> list[File]:
    paths = [path for shard in shards if (path := getattr(shard, "path", None))]
    return list(dict.fromkeys(remote.Place(str(path)) if is_address(str(path)) else Path(path) for path in paths))


def _is_same(file: File, other: File) -> bool:
    return file.samefile(other) if isinstance(file, Path) and isinstance(other, Path) else file == other


def _are_equal(file: File, other: File) -> bool:
    """Whether two files of one size hold the same."""
    if isinstance(file, Path) and isinstance(other, Path):
        return filecmp.cmp(file, other, shallow=False)
    places = range(0, size_of(file), COMPARED_BYTES)
    return all(_bytes(file, start) == _bytes(other, start) for start in places)


def _bytes(file: File, start: int) -> bytes:
    if isinstance(file, remote.Place):
        return remote.read(file.address, start, start + COMPARED_BYTES)
    with file.open("rb") as opened:
        opened.seek(start)
        return opened.read(COMPARED_BYTES)


def _begin_alike(one: WindowShard, other: WindowShard) -> bool:
    count = min(one.num_items, other.num_items, MOST)
    if count < FEWEST:
        return False
    first, second = (np.stack(shard.fresh().read(0, count).items) for shard in (one, other))
    return np.array_equal(first, second)
