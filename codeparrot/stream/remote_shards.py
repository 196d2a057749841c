"""Shards of files at addresses that are read otherwise than those here; what they hold and its order are the same."""

import io
from functools import lru_cache
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from codeparrot.stream.jsonl import JsonlShard
from codeparrot.stream.readers import jsonl, ranges, remote

LAST_LINE_BYTES = 1 << 14
"""Fetched behind a part of a file: its last line ends in the next part."""
MOST_FETCHED_BYTES = 1 << 23
"""Of a part in one request."""


class RemoteJsonlShard(JsonlShard):
    """JSON lines, of which a part that is read whole comes in one request."""

    def __init__(self, *place: Any) -> None:
        super().__init__(*place)
        self._ahead: ranges.Ahead | None = None

    def ahead(self, position: int, num_items: int) -> None:
        if self.whole and self._file is None and self._ahead is None:
            self._ahead = ranges.ahead(self.path, *self._fetched)

    def close(self) -> None:
        super().close()
        self._ahead = None

    def _opened(self) -> IO[bytes]:
        if not self.whole:
            return ranges.opened(self.path, jsonl.BLOCK_BYTES, follows=True)
        start, stop = self._fetched
        raw = ranges.File(self.path)
        raw.give(self._ahead)
        self._ahead = None
        return io.BufferedReader(raw, max(1, stop - start))

    @property
    def _fetched(self) -> tuple[int, int]:
        start = max(0, self.start - 1)
        return start, min(self._stop + LAST_LINE_BYTES, start + MOST_FETCHED_BYTES)


HEADER_BYTES = 1 << 12


@lru_cache(1 << 12)
def begins_with(address: str) -> bytes:
    """Return the beginning of a file of windows, which many parts of it ask for."""
    return remote.read(address, 0, HEADER_BYTES)


class RemoteWindows(NamedTuple):
    """An array of windows in an npy file at an address."""

    address: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    first_byte: int

    @classmethod
    def of(cls, address: str, header: bytes) -> "RemoteWindows":
        """Read the header of the file.

        Raises:
            ValueError: it is none, or the file has another length than it says.
        """
        file = io.BytesIO(header)
        read_header = npy.read_array_header_1_0 if npy.read_magic(file) == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = read_header(file)
        found = cls(address, shape, dtype, file.tell())
        if found.first_byte + int(np.prod(shape)) * dtype.itemsize != remote.info(address).size:
            raise ValueError(f"the file is {remote.info(address).size} bytes long")
        return found

    def ahead(self, first: int, last: int) -> ranges.Ahead | None:
        """Begin to fetch windows."""
        return ranges.ahead(self.address, *self._bytes(first, last))

    def rows(self, first: int, last: int, fetched: ranges.Ahead | None) -> NDArray[Any]:
        """Return windows, out of what was fetched if they are there."""
        start, stop = self._bytes(first, last)
        data = fetched.bytes(start, stop) if fetched else None
        return np.frombuffer(remote.read(self.address, start, stop) if data is None else data, self.dtype).reshape(
            -1, self.shape[1]
        )

    def _bytes(self, first: int, last: int) -> tuple[int, int]:
        width = self.shape[1] * self.dtype.itemsize
        return self.first_byte + first * width, self.first_byte + last * width
