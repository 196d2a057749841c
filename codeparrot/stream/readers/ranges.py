"""Files at addresses, opened for reading by ranges.

`ahead` fetches in the background what is needed soon: a lane that reads its next places finds them here. At most AHEAD_BYTES
are held in a process; what does not fit is fetched when it is needed. The ends of Parquet files, which are read at every
opening, are kept within TAILS_BYTES.
"""

import asyncio
import io
import os
import threading
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from codeparrot.stream.readers.patience import of_this_thread
from codeparrot.stream.readers.remote import CALL_SECONDS, file_system, get, info, read

AHEAD_BYTES = 1 << 28
TAIL_BYTES = 1 << 16
"""What Arrow reads of a Parquet file first. It holds the footers of most."""
TAILS_BYTES = 1 << 26
TOGETHER = 32
"""Files whose ends are fetched at the same time."""


class _Process:
    """What belongs to one process and does not survive a fork."""

    def __init__(self) -> None:
        self.forks = 0
        self.begin()

    def begin(self) -> None:
        self.forks += 1
        self.lock = threading.RLock()  # an Ahead may be collected while it is held
        self.ahead_bytes = 0
        self.tails: OrderedDict[str, bytes] = OrderedDict()


_process = _Process()
forget = _process.begin
"""Forgets what was fetched."""
os.register_at_fork(after_in_child=forget)


class Ahead:
    """Bytes of a file that are fetched in the background. If that fails, whoever needs them fetches them again."""

    def __init__(self, address: str, start: int, stop: int, future: "Future[bytes]") -> None:
        self.address, self.start, self.stop, self._future, self._forks = address, start, stop, future, _process.forks

    def bytes(self, start: int, stop: int) -> bytes | None:
        """Return those from `start` to `stop`; None if they are others, or did not come."""
        if self._forks != _process.forks or not self.start <= start <= stop <= self.stop:
            return None
        try:
            data = self._future.result(CALL_SECONDS)
        except Exception:  # noqa: BLE001 - reading it again says what is wrong
            return None
        return data[start - self.start : stop - self.start] if len(data) == self.stop - self.start else None

    def __del__(self) -> None:
        if self._forks == _process.forks:
            self._future.cancel()
            with _process.lock:
                _process.ahead_bytes -= self.stop - self.start


def ahead(address: str, start: int, stop: int) -> Ahead | None:
    """Begin to fetch bytes of a file; None if there are none, too much is under way, or its file system waits for each read."""
    system = file_system(address)
    if not system.async_impl:
        return None
    known = info(address)
    start, stop = max(0, start), min(stop, known.size)
    with _process.lock:
        if start >= stop or _process.ahead_bytes + stop - start > AHEAD_BYTES:
            return None
        _process.ahead_bytes += stop - start
    future = asyncio.run_coroutine_threadsafe(get(system, address, start, stop, known), system.loop)
    return Ahead(address, start, stop, future)


class File(io.RawIOBase):
    """A file that is read by ranges: a request for each `readinto`, unless what it asks for was fetched ahead.

    `follows`: whether it is read from one end to the other, so that the next bytes are fetched ahead.
    """

    def __init__(self, address: str, follows: bool = False) -> None:
        super().__init__()
        self.address, self.size, self.follows = address, info(address).size, follows
        self._position, self._last = 0, -1
        self._given: list[Ahead] = []

    def give(self, ahead: Ahead | None) -> None:
        """Take bytes that were fetched ahead; they are let go as soon as they are read to their end."""
        if ahead is not None:
            self._given.append(ahead)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Any) -> int:
        start = self._position
        stop = min(start + len(buffer), self.size)
        if start >= stop:
            return 0
        data = self._bytes(start, stop)
        buffer[: len(data)] = data
        self._position = stop
        if self.follows and start == self._last:
            self.give(ahead(self.address, stop, stop + len(buffer)))
        self._last = stop
        return len(data)

    def _bytes(self, start: int, stop: int) -> bytes:
        for given in self._given:
            data = given.bytes(start, stop)
            if data is not None:
                self._given = [each for each in self._given if each is not given or stop < given.stop]
                return data
        return read(self.address, start, stop)

    def close(self) -> None:
        self._given.clear()
        super().close()


def opened(address: str, buffer_bytes: int, follows: bool = False) -> io.BufferedReader:
    """Open a file for reading, `buffer_bytes` a request."""
    return io.BufferedReader(File(address, follows), buffer_bytes)


def fetch_ends(addresses: list[str]) -> None:
    """Fetch the ends of Parquet files side by side: they are opened one after the other, and each would wait for its own."""
    with ThreadPoolExecutor(min(TOGETHER, max(1, len(addresses))), **of_this_thread()) as threads:
        for _ in threads.map(end_of, addresses):
            pass


def end_of(address: str) -> bytes:
    """Return the end of a Parquet file: its footer, or of other files some bytes."""
    kept = _process.tails.get(address)
    if kept is not None:
        return kept
    size = info(address).size
    kept = read(address, max(0, size - TAIL_BYTES))
    # The last 8 bytes: how long the footer is, and the format's name.
    footer = int.from_bytes(kept[-8:-4], "little") + 8
    if kept[-4:] == b"PAR1" and footer <= size:
        kept = kept[-footer:] if footer <= len(kept) else read(address, size - footer, size - len(kept)) + kept
    with _process.lock:
        _process.tails[address] = kept
        while sum(map(len, _process.tails.values())) > TAILS_BYTES:
            _process.tails.popitem(last=False)
    return kept
