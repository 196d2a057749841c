"""Frames of plain data over a stream socket: how a test and the program under test talk.

A frame is a length of four bytes and one encoded tuple whose first item names it:

    test to program   ("call", args, kwargs)
    program to test   ("ready",)
                      ("return", value, changed)       changed: the arguments after the call if it changed them, else None
                      ("raise", names, args, text)     names of the exception's classes, nearest first; text says where
"""

import socket
import struct
from typing import Any

from .codec import Malformed, decode, encode

_LENGTH = struct.Struct("<I")


class Closed(Exception):
    """The other side is gone."""


class Channel:
    """One end. Frames of more than `max_bytes` are neither sent nor taken."""

    def __init__(self, descriptor: int, max_bytes: int) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, fileno=descriptor)
        self.max_bytes = max_bytes

    def send(self, *frame: Any, iterators: bool = False) -> None:
        """Raises NotPlain before anything is sent, Closed when nobody is there to read it."""
        data = encode(frame, self.max_bytes, iterators)
        try:
            self._socket.sendall(_LENGTH.pack(len(data)) + data)
        except OSError:
            raise Closed from None

    def receive(self) -> tuple[Any, ...]:
        """Raises Closed, or Malformed when what came is no frame."""
        (length,) = _LENGTH.unpack(self._exactly(4))
        if length > self.max_bytes + 64:
            raise Malformed(f"a frame of {length} bytes")
        frame = decode(self._exactly(length))
        if type(frame) is not tuple or not frame or type(frame[0]) is not str:
            raise Malformed("not a frame")
        return frame

    def _exactly(self, length: int) -> bytes:
        parts: list[bytes] = []
        while length:
            try:
                part = self._socket.recv(min(length, 1 << 16))
            except OSError:
                raise Closed from None
            if not part:
                raise Closed
            length -= len(part)
            parts.append(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)
