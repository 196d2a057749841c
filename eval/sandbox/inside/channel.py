"""Frames of plain data over a stream socket: how a test and the program under test talk.

A frame is a four-byte length and one encoded tuple whose first item names it:

    test to program   ("call", args, kwargs)
    program to test   ("ready",)
                      ("return", value, changed)       changed: the arguments after the call if it changed them, else None
                      ("raise", names, args, text)     names of the exception's classes, nearest first; text says where
"""

import os
import struct
from typing import Any

from .codec import Malformed, decode, encode

_LENGTH = struct.Struct("<I")
_READ_BYTES = 1 << 16


class Closed(Exception):
    """The other side is gone."""


def encode_frame(frame: tuple[Any, ...], max_bytes: int, iterators: bool = False) -> bytes:
    """Return the bytes of a frame. Raises NotPlain."""
    data = encode(frame, max_bytes, iterators)
    return _LENGTH.pack(len(data)) + data


class Channel:
    """One end. It neither sends nor accepts frames of more than `max_bytes`."""

    def __init__(self, descriptor: int, max_bytes: int) -> None:
        # Read and written directly: a socket object costs a freshly forked process more pages than everything else here.
        self._descriptor = descriptor
        self.max_bytes = max_bytes

    def fileno(self) -> int:
        return self._descriptor

    def send(self, *frame: Any, iterators: bool = False) -> None:
        """Raises NotPlain before anything is sent, Closed if nobody is there to read."""
        data = encode_frame(frame, self.max_bytes, iterators)
        try:
            written = os.write(self._descriptor, data)
            while written < len(data):
                written += os.write(self._descriptor, memoryview(data)[written:])
        except OSError:
            raise Closed from None

    def receive(self) -> tuple[Any, ...]:
        """Raises Closed, or Malformed if the data is not a frame."""
        data = self._read(_READ_BYTES)
        while len(data) < 4:
            data += self._read(4 - len(data))
        length = _LENGTH.unpack_from(data)[0] + 4
        if length > self.max_bytes + 64:
            raise Malformed(f"a frame of {length} bytes")
        if len(data) < length:
            parts = [data]
            missing = length - len(data)
            while missing:
                parts.append(self._read(min(missing, _READ_BYTES)))
                missing -= len(parts[-1])
            data = b"".join(parts)
        # Each side waits for the other's frame, so nothing follows this one.
        frame = decode(data[4:])
        if type(frame) is not tuple or not frame or type(frame[0]) is not str:
            raise Malformed("not a frame")
        return frame

    def _read(self, length: int) -> bytes:
        try:
            data = os.read(self._descriptor, length)
        except OSError:
            raise Closed from None
        if not data:
            raise Closed
        return data

    def close(self) -> None:
        os.close(self._descriptor)
