"""Windows that were tokenised and packed before (`codeparrot corpus tokenize`), memory-mapped.

They take the place of documents: blocks of windows are shuffled, lanes and state are the same, and nothing is encoded. A
folder holds `<split>-00000.npy` of shape [windows, seq_length] and a manifest, which is written last. The last tokens of a
split are too few for a window. In the training split the last window goes on with the split's first tokens, as the next epoch
would; in the validation split these tokens stay a short window, kept in the manifest.
"""

import glob
import json
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from codeparrot.errors import CodeparrotError
from codeparrot.location import is_address, path_of
from codeparrot.stream.readers import ranges, remote
from codeparrot.stream.readers.folder import NoSplit, is_data, standing_for
from codeparrot.stream.readers.rows import Damaged, Place, WholeFile, is_remote, reason, unreadable
from codeparrot.stream.readers.sizes import size_of
from codeparrot.stream.remote_shards import RemoteWindows, begins_with
from codeparrot.stream.shards import Block, Shard, file_identity, num_parts
from codeparrot.stream.transform import Transform

MANIFEST = "windows.json"
_HEADER = threading.Lock()
"""numpy parses the header of a file as Python, which not every Python can in two threads at once: SystemError, "AST constructor
recursion depth mismatch" (python/cpython#106905)."""
AGAIN = "tokenize the corpus again with `codeparrot corpus tokenize`"


Folder = Path | remote.Place
"""Of windows, here or at an address."""


class Windows(NamedTuple):
    """What the manifest says of a file of windows."""

    path: Folder
    num_windows: int
    seq_length: int
    num_ids: int
    """No token's id is as large, as far as the manifest says."""

    def open(self) -> "NDArray[Any] | RemoteWindows":
        """Map the file into memory, or read its header where it lies at an address.

        Raises:
            Damaged: it does not hold these windows.
            CodeparrotError: it cannot be read.
        """
        where = WholeFile(str(self.path))
        try:
            header = begins_with(str(self.path)) if isinstance(self.path, remote.Place) else None
            with _HEADER:
                windows = RemoteWindows.of(str(self.path), header) if header else _mapped(self.path)
        except (OSError, ValueError, EOFError) as error:
            raise unreadable(where, error, self.num_windows) from error
        shape, asked = getattr(windows, "shape", ()), (self.num_windows, self.seq_length)
        if shape != asked or windows.dtype not in (np.uint16, np.uint32):
            found = f"{getattr(windows, 'dtype', 'other data')} {list(shape)}"
            raise Damaged(where, f"{{}} holds {found}, not {list(asked)} tokens as uint16 or uint32; {AGAIN}", self.num_windows)
        return windows


def _mapped(path: Any) -> Any:
    return np.load(path, mmap_mode="r", allow_pickle=False)


class WindowShard(Shard):
    """Windows `start` to `stop` of a file. Position: windows from `start`."""

    packed = True

    def __init__(self, file: Windows, start: int = 0, stop: int | None = None, whole: bool = False) -> None:
        self.file, self.start, self.stop, self.whole = file, start, file.num_windows if stop is None else stop, whole
        self.path = file.path
        self._windows: NDArray[Any] | RemoteWindows | None = None
        self._ahead: ranges.Ahead | None = None

    def ahead(self, position: int, num_items: int) -> None:
        if is_remote(self.path) and self._ahead is None:
            with suppress(Damaged):
                windows = self._windows = self.file.open() if self._windows is None else self._windows
                first = self.start + position
                if isinstance(windows, RemoteWindows):
                    self._ahead = windows.ahead(first, min(first + num_items, self.stop))

    def check(self) -> None:
        self.file.open()

    def read_marked(self, position: int, num_items: int) -> Block:
        first = self.start + position
        last = min(first + num_items, self.stop)
        following = None if last >= self.stop else position + num_items
        try:
            windows = self._windows = self.file.open() if self._windows is None else self._windows
        except Damaged as damaged:
            return Block([damaged.bare()] * (last - first), following)
        # Small parts are copied: a block comes from many, and each would keep its file mapped.
        if isinstance(windows, RemoteWindows):
            taken, self._ahead = windows.rows(first, last, self._ahead), None
        else:
            taken = np.array(windows[first:last]) if self.whole else windows[first:last]
        largest = taken.max(axis=1, initial=0)
        items: list[Any] = list(taken)
        for row in np.flatnonzero(largest >= self.file.num_ids).tolist():
            items[row] = self._beyond(first + row, int(largest[row]))
        return Block(items, following)

    def _beyond(self, number: int, token: int) -> Damaged:
        problem = f"{{}} holds token {token}, beyond the {self.file.num_ids} ids of the tokenizer; {AGAIN}"
        return Damaged(Place("window", number, str(self.file.path)), problem)

    def describe(self, position: int, indexes: Sequence[int]) -> list[dict[str, Any]]:
        return [{"file": str(self.file.path), "window": self.start + position + index} for index in indexes]

    def fresh(self) -> Shard:
        return WindowShard(self.file, self.start, self.stop, self.whole)

    @property
    def identity(self) -> str:
        return file_identity(self.file.path)

    @property
    def num_items(self) -> int:
        return self.stop - self.start

    def cut(self, parts: int) -> list[Shard]:
        return self._ranges(parts, whole=False)

    def spread(self, num_tokens: int) -> list[Shard]:
        return self._ranges(num_parts(self.num_items * self.file.seq_length, num_tokens), whole=True)

    def _ranges(self, parts: int, whole: bool) -> list[Shard]:
        bounds = [self.start + self.num_items * part // parts for part in range(parts + 1)]
        return [WindowShard(self.file, start, stop, whole) for start, stop in pairwise(bounds)]

    def close(self) -> None:
        self._windows = self._ahead = None


class TailShard(Shard):
    """The last tokens of the validation set, too few for a window. The manifest holds them."""

    packed = True

    def __init__(self, path: Folder, tokens: list[int]) -> None:
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


def windows_at(name: Any) -> Folder | None:
    """Return the folder of windows that a name stands for; None if it stands for other data."""
    folder = remote.Place(name) if is_address(name) else path_of(str(name))
    if isinstance(folder, remote.Place) and (
        is_data(name) or "," in name or glob.has_magic(name) or name.startswith(remote.WEB)
    ):
        return None
    return folder if (folder / MANIFEST).is_file() else None


def read_manifest(folder: Folder) -> dict[str, Any]:
    """Return the manifest of a folder of windows.

    Raises:
        CodeparrotError: it is damaged or cannot be read.
    """
    file = folder / MANIFEST
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
        int(manifest["seq_length"])
        for split in manifest["splits"].values():
            [(each["name"], int(each["windows"]), int(each["bytes"])) for each in split["files"]]
            list(map(int, split["tail"]))
    except OSError as error:
        raise CodeparrotError(f"cannot read {file}: {reason(error)}; check its permissions") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CodeparrotError(f"{file} is damaged ({reason(error)}); {AGAIN}") from error
    return manifest


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
        if (folder := windows_at(name)) is not None:
            manifest = read_manifest(folder)
            if (
                manifest.get("end_of_document", end_of_document) != end_of_document
                or manifest.get("tokenizer_sha256", digest) != digest
            ):
                raise CodeparrotError(f"{name} holds windows of another tokenizer; name that one, or tokenize the corpus again")


def still_to_change(names: Iterable[Any], transform: Transform | None) -> Transform | None:
    """Return what is still to change documents as they are read: None if they are windows that were made with it.

    Args:
        names: as in `stream.train`.
        transform: what the objective asks for.

    Raises:
        CodeparrotError: they are windows that were made with something else, or some of them with it and some without.
    """
    asked = dict(transform.settings) if transform else {}
    folders = [(name, folder) for name in names if (folder := windows_at(name)) is not None]
    made = {name: read_manifest(folder).get("objective", {}) for name, folder in folders}
    for name, settings in made.items():
        if settings and settings != asked:
            wanted = " ".join(f"--objective.{key} {value}" for key, value in settings.items())
            raise CodeparrotError(f"{name} holds windows with fill-in-the-middle: set {wanted}, or {AGAIN}")
    if any(made.values()) and not all(made.values()):
        without = next(name for name, settings in made.items() if not settings)
        raise CodeparrotError(f"{without} holds windows without fill-in-the-middle, and other data have it; {AGAIN}")
    return None if any(made.values()) else transform


def window_shards(folder: Folder, split: str, seq_length: int) -> list[Shard]:
    """Return the shards of one split of a folder of windows.

    Raises:
        NoSplit: there are no windows of this split.
        CodeparrotError: the windows have another length, or files or ids are missing or incomplete.
    """
    manifest = read_manifest(folder)
    if manifest["seq_length"] != seq_length:
        raise CodeparrotError(
            f"{folder} holds windows of {manifest['seq_length']} tokens; set stream.seq_length, or --seq_length, to that, "
            f"or tokenize the corpus again with --seq_length {seq_length}"
        )
    if manifest.get("end_of_document", 0) > 0xFFFF >= manifest["vocab_size"] - 1:
        raise CodeparrotError(f"{folder} holds ids that were cut to 16 bits by an older version; tokenize the corpus again")
    present = list(manifest["splits"])
    chosen = standing_for(split, present)
    if chosen is None:
        raise NoSplit(f"{folder} has no windows of the {split} split, only of {', '.join(present)}; name other data", present)
    entry = manifest["splits"][chosen]
    for file in entry["files"]:
        path = folder / file["name"]
        if not path.is_file() or size_of(path) != file["bytes"]:
            raise CodeparrotError(f"{path} is missing or incomplete; {AGAIN}")
    tail: list[Shard] = [TailShard(folder / MANIFEST, entry["tail"])] if entry["tail"] else []
    ids = [manifest[name] + more for name, more in (("vocab_size", 0), ("end_of_document", 1)) if name in manifest]
    sizes = seq_length, max(ids, default=1 << 32)
    return [WindowShard(Windows(folder / file["name"], file["windows"], *sizes)) for file in entry["files"]] + tail
