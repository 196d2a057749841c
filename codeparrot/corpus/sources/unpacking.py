"""Reads untrusted compressed streams forwards, in bounded memory, up to a bound on what comes out.

A reader raises `Bomb` when more comes out than MAX_UNPACKED bytes, or than RATIO times what went in (the first FREE bytes do
not count), or when a single read, whose size an archive's header decides, is larger than it was told to allow.
"""

import bz2
import io
import lzma
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import zstandard

MAX_UNPACKED = 20_000_000_000
RATIO = 200
"""Source code shrinks to between a third and a tenth."""
FREE = 16_000_000
MAX_DECODER_BYTES = 256_000_000
"""Most memory that a stream may tell its decoder to take."""
CHUNK = 1 << 16
GZIP_WINDOW = 31
"""Tells zlib to expect a gzip header and checksum."""
DAMAGES = (OSError, EOFError, zlib.error, lzma.LZMAError, zstandard.ZstdError)
"""Exceptions that reading a damaged stream raises."""


class Bomb(Exception):
    """More comes out than an honest file would hold."""


class Forward(io.RawIOBase):
    """A file that is unpacked while it is read. It seeks forwards only, by reading what lies between."""

    def __init__(self, file: Path, max_read: int) -> None:
        self.max_read = max_read
        """Bytes."""
        self.last_read = b""
        self._packed = file.open("rb")
        self._stream: Any = _decoder(file.name, self._packed)
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def read(self, size: int = -1, /) -> bytes:
        if not 0 <= size <= self.max_read:
            raise Bomb
        self.last_read = b"".join(self._chunks(size))
        return self.last_read

    def _chunks(self, size: int) -> Iterator[bytes]:
        while size and (chunk := self._stream.read(min(size, CHUNK))):
            size -= len(chunk)
            self._position += len(chunk)
            if self._position > min(MAX_UNPACKED, FREE + RATIO * self._packed.tell()):
                raise Bomb
            yield chunk

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        if whence != io.SEEK_SET or offset < self._position:
            raise OSError("this stream is read forwards only")
        for _ in self._chunks(offset - self._position):
            pass
        return self._position

    def close(self) -> None:
        self._packed.close()
        super().close()


def _decoder(name: str, packed: IO[bytes]) -> Any:
    if name.endswith((".gz", ".tgz")):
        return _Gzip(packed)
    if name.endswith((".bz2", ".tbz2")):
        return bz2.BZ2File(packed)
    if name.endswith((".xz", ".txz")):
        return _Xz(packed)
    if name.endswith((".zst", ".tzst")):
        return zstandard.ZstdDecompressor(max_window_size=MAX_DECODER_BYTES).stream_reader(packed, read_across_frames=True)
    return packed


class _Gzip:
    """Like gzip.GzipFile, three times as fast."""

    def __init__(self, packed: IO[bytes]) -> None:
        self._packed = packed
        self._decoder = zlib.decompressobj(wbits=GZIP_WINDOW)
        self._waiting = b""

    def read(self, size: int) -> bytes:
        while True:
            if self._decoder.eof:
                self._waiting = (self._decoder.unused_data or self._packed.read(CHUNK)).lstrip(b"\0")
                if not self._waiting:
                    return b""
                self._decoder = zlib.decompressobj(wbits=GZIP_WINDOW)
            elif not self._waiting:
                self._waiting = self._packed.read(CHUNK)
                if not self._waiting:
                    raise EOFError("the stream is cut short")
            output = self._decoder.decompress(self._waiting, size)
            self._waiting = self._decoder.unconsumed_tail
            if output:
                return output


class _Xz:
    """Like lzma.LZMAFile, with a bound on the memory that a file may ask for."""

    def __init__(self, packed: IO[bytes]) -> None:
        self._packed = packed
        self._decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MAX_DECODER_BYTES)

    def read(self, size: int) -> bytes:
        while True:
            if self._decoder.eof:
                following = (self._decoder.unused_data or self._packed.read(CHUNK)).lstrip(b"\0")
                if not following:
                    return b""
                self._decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MAX_DECODER_BYTES)
                output = self._decoder.decompress(following, size)
            else:
                packed = self._packed.read(CHUNK) if self._decoder.needs_input else b""
                if self._decoder.needs_input and not packed:
                    raise EOFError("the stream is cut short")
                output = self._decoder.decompress(packed, size)
            if output:
                return output
