"""Windows that were tokenised and packed before (`codeparrot corpus tokenize`), memory-mapped.

They take the place of documents: blocks of windows are shuffled, lanes and state are the same, and nothing is encoded. A
folder holds `<split>-00000.npy` of shape [windows, seq_length] and a manifest, which is written last. The last tokens of a
split are too few for a window. In the training split the last window goes on with the split's first tokens, as the next epoch
would; in the validation split these tokens stay a short window, kept in the manifest.
"""

import json
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codeparrot.errors import CodeparrotError
from codeparrot.stream.shards import Block, Shard, file_identity, num_parts

MANIFEST = "windows.json"


class WindowShard(Shard):
    """Windows `start` to `stop` of a file. Position: windows from `start`."""

    packed = True

    def __init__(
        self, path: Path, num_windows: int, seq_length: int, start: int = 0, stop: int | None = None, whole: bool = False
    ) -> None:
        self.path, self.num_windows, self.seq_length = path, num_windows, seq_length
        self.start, self.stop, self.whole = start, num_windows if stop is None else stop, whole
        self._windows: NDArray[Any] | None = None

    def read(self, position: int, num_items: int) -> Block:
        windows = self._windows
        if windows is None:
            windows = self._windows = np.load(self.path, mmap_mode="r", allow_pickle=False)
        first = self.start + position
        last = min(first + num_items, self.stop)
        # Small parts are copied: a block comes from many, and each would keep its file mapped.
        taken = np.array(windows[first:last]) if self.whole else windows[first:last]
        return Block(list(taken), None if last >= self.stop else position + num_items)

    def describe(self, position: int, indexes: Sequence[int]) -> list[dict[str, Any]]:
        return [{"file": str(self.path), "window": self.start + position + index} for index in indexes]

    def fresh(self) -> Shard:
        return WindowShard(self.path, self.num_windows, self.seq_length, self.start, self.stop, self.whole)

    @property
    def identity(self) -> str:
        return file_identity(self.path)

    @property
    def num_items(self) -> int:
        return self.stop - self.start

    def cut(self, parts: int) -> list[Shard]:
        return self._ranges(parts, whole=False)

    def spread(self, num_tokens: int) -> list[Shard]:
        return self._ranges(num_parts(self.num_items * self.seq_length, num_tokens), whole=True)

    def _ranges(self, parts: int, whole: bool) -> list[Shard]:
        bounds = [self.start + self.num_items * part // parts for part in range(parts + 1)]
        return [
            WindowShard(self.path, self.num_windows, self.seq_length, start, stop, whole) for start, stop in pairwise(bounds)
        ]

    def close(self) -> None:
        self._windows = None


class TailShard(Shard):
    """The last tokens of the validation set, too few for a window. The manifest holds them."""

    packed = True

    def __init__(self, path: Path, tokens: list[int]) -> None:
        self.path, self.tokens = path, tokens

    def read(self, position: int, num_items: int) -> Block:
        return Block([np.array(self.tokens, np.uint32)] if self.tokens else [], None)

    def describe(self, position: int, indexes: Sequence[int]) -> list[dict[str, Any]]:
        return [{"file": str(self.path), "window": index} for index in indexes]

    def fresh(self) -> Shard:
        return self

    @property
    def identity(self) -> str:
        return f"tail:{len(self.tokens)}"

    def cut(self, parts: int) -> list[Shard]:
        return [self, *(TailShard(self.path, []) for _ in range(parts - 1))]


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of a folder of windows."""
    return json.loads((folder / MANIFEST).read_text(encoding="utf-8"))


def check_tokenizer(names: Iterable[Any], end_of_document: int, digest: str) -> None:
    """Check that windows were made with the tokenizer of the model that reads them. Documents are passed over.

    Args:
        names: as in `stream.train`.
        end_of_document: id of the token that the tokenizer ends documents with.
        digest: SHA-256 of the tokenizer (loading.py); windows of older versions do not have it.

    Raises:
        CodeparrotError: they were made with another.
    """
    for name in names:
        folder = Path(str(name)).expanduser()
        if (folder / MANIFEST).is_file():
            manifest = read_manifest(folder)
            if manifest["end_of_document"] != end_of_document or manifest.get("tokenizer_sha256", digest) != digest:
                raise CodeparrotError(f"{name} holds windows of another tokenizer; name that one, or tokenize the corpus again")


def window_shards(folder: Path, split: str, seq_length: int) -> list[Shard]:
    """Return the shards of one split of a folder of windows.

    Raises:
        CodeparrotError: the windows have another length, the split is missing, or files or ids are incomplete.
    """
    manifest = read_manifest(folder)
    if manifest["seq_length"] != seq_length:
        raise CodeparrotError(
            f"{folder} holds windows of {manifest['seq_length']} tokens; set stream.seq_length to that, "
            f"or tokenize the corpus again with --seq_length {seq_length}"
        )
    if manifest["end_of_document"] > 0xFFFF >= manifest["vocab_size"] - 1:
        raise CodeparrotError(f"{folder} holds ids that were cut to 16 bits by an older version; tokenize the corpus again")
    entry = manifest["splits"].get(split)
    if entry is None:
        raise CodeparrotError(f"{folder} has no windows of the {split} split, only of {', '.join(manifest['splits'])}")
    for file in entry["files"]:
        path = folder / file["name"]
        if not path.is_file() or path.stat().st_size != file["bytes"]:
            raise CodeparrotError(f"{path} is missing or incomplete; tokenize the corpus again")
    tail: list[Shard] = [TailShard(folder / MANIFEST, entry["tail"])] if entry["tail"] else []
    return [WindowShard(folder / file["name"], file["windows"], seq_length) for file in entry["files"]] + tail
