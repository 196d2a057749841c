"""Make archives in memory and read their contents."""

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import zstandard

from codeparrot.corpus.documents import Record, Removed
from codeparrot.corpus.sources.archives import open_archives, repository_of

MAX_SIZE = 100_000
Files = dict[str, bytes]


def outcomes(*files: Path, max_size: int = MAX_SIZE) -> list[Record | Removed]:
    found = [each for unit in open_archives(list(files), (".py",), 0, max_size).units for each in unit.records()]
    assert all(each.repo_name == repository_of(files[0].name) for each in found if len(files) == 1)
    return [Removed(each.reason, each.size) if isinstance(each, Removed) else each for each in found]


def contents(*files: Path) -> Files:
    return {each.path: bytes(each.content) for each in outcomes(*files) if isinstance(each, Record)}  # type: ignore[arg-type]


def reasons(*files: Path) -> list[str]:
    return [each.reason for each in outcomes(*files) if isinstance(each, Removed)]


def tar_bytes(files: Iterable[tuple[str | tarfile.TarInfo, bytes]], format: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as archive:
        for name, content in files:
            member = tarfile.TarInfo(name) if isinstance(name, str) else name
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def zip_bytes(files: Iterable[tuple[str | zipfile.ZipInfo, bytes]], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in files:
            archive.writestr(name, content)
    return buffer.getvalue()


def write(file: Path, content: bytes) -> Path:
    file.write_bytes(content)
    return file


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    ".tar": bytes,
    ".tar.gz": gzip.compress,
    ".tgz": gzip.compress,
    ".tar.bz2": bz2.compress,
    ".tar.xz": lzma.compress,
    ".tar.zst": zstandard.compress,
}
FILES: Files = {"pkg/a.py": b"a = 1\n", "pkg/deep/b.py": b"b = 2\n" * 3000, "long/" * 40 + "c.py": b"", "d.txt": b"no source"}
EXPECTED = {path: content for path, content in FILES.items() if path.endswith(".py")}
