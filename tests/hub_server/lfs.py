"""A repository's LFS objects, stored where git-lfs would put them, and the pointers that stand for them in git."""

import hashlib
import os
import re
import tempfile
from collections.abc import Iterable
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

from tests.hub_server.errors import HubError

MAX_POINTER_BYTES = 200
POINTER = re.compile(rb"version https://git-lfs\.github\.com/spec/v1\noid sha256:([0-9a-f]{64})\nsize (\d+)\n")
OID = re.compile("[0-9a-f]{64}")
MAX_REGULAR_BYTES = 10_000_000
EXTENSIONS = (
    "7z arrow bin bz2 ckpt gz h5 model msgpack npy npz onnx parquet pickle pkl pt pth safetensors tar tgz wasm xz zip zst"
)
ATTRIBUTES = "filter=lfs diff=lfs merge=lfs -text"
GITATTRIBUTES = "".join(f"*.{extension} {ATTRIBUTES}\n" for extension in EXTENSIONS.split()).encode()
"""The first commit of every repository on the Hub has such a file."""


class Pointer(NamedTuple):
    oid: str
    """SHA-256 of the content."""
    size: int

    def encode(self) -> bytes:
        return f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.oid}\nsize {self.size}\n".encode()


def parse_pointer(content: bytes) -> Pointer | None:
    found = POINTER.fullmatch(content)
    return Pointer(found[1].decode(), int(found[2])) if found else None


class Objects:
    """`folder`/ab/cd/abcd...: an object is there whole or not at all."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, oid: str) -> Path:
        return self.folder / oid[:2] / oid[2:4] / oid

    def size(self, oid: str) -> int | None:
        path = self.path(oid)
        return path.stat().st_size if path.is_file() else None

    def write(self, oid: str, chunks: Iterable[bytes]) -> None:
        """Raises HubError if the content does not match `oid`. Then, or if `chunks` breaks off, nothing is kept."""
        path = self.path(oid)
        path.parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256()
        descriptor, part = tempfile.mkstemp(dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                for chunk in chunks:
                    digest.update(chunk)
                    file.write(chunk)
            if digest.hexdigest() != oid:
                raise HubError(400, f"the content is not that of object {oid}")
            Path(part).rename(path)
        finally:
            Path(part).unlink(missing_ok=True)


def is_attributed(path: str, gitattributes: bytes) -> bool:
    """Whether git-lfs would handle `path`. Knows only the patterns that the Hub itself writes."""
    for line in gitattributes.decode().splitlines():
        pattern, *attributes = line.split()[:2] or [""]
        pattern = pattern.replace("[[:space:]]", " ")
        if attributes == ["filter=lfs"] and fnmatch(path if "/" in pattern else path.rpartition("/")[2], pattern):
            return True
    return False


def attribute(path: str) -> bytes:
    """The line with which the Hub puts one more path under git-lfs."""
    return f"{path.replace(' ', '[[:space:]]')} {ATTRIBUTES}\n".encode()


def must_be_lfs(path: str, size: int, sample: bytes, gitattributes: bytes) -> bool:
    """`sample` is the beginning of the content; like git, a zero byte there means binary."""
    return size > MAX_REGULAR_BYTES or b"\0" in sample or is_attributed(path, gitattributes)
