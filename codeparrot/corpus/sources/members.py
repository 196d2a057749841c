"""Reads the members of an archive one after the other, without writing a file. Refused members come as `Removed`.

Tar archives (plain, gz, bz2, xz, zst) are read forwards; zip archives and wheels through their directory. Archives inside
archives are not opened. Memory: one member, and about 600 bytes per member for a zip archive's directory.
"""

import io
import re
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from codeparrot.corpus.documents import Removed
from codeparrot.corpus.filters.size import SIZE_FILTER
from codeparrot.corpus.sources.safety import BOMB, UNREADABLE, UNSAFE_PATH, is_safe_path
from codeparrot.corpus.sources.unpacking import DAMAGES, FREE, MAX_UNPACKED, RATIO, Bomb, Forward

TAR = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tzst")
ZIP = (".zip", ".whl")
MAX_MEMBERS = 1_000_000
MAX_HEADER_BYTES = 16_384
"""Limit on what precedes a tar member: a long name, extended attributes."""
MANY_DIGITS = re.compile(rb"\d{200}")
"""A tar header with this is refused: `tarfile` before Python 3.11.10 and 3.12.6 takes quadratic time for it (CVE-2024-6232)."""
MAX_DIRECTORY_BYTES = 64_000_000
"""Limit on a zip archive's directory: room for more than half a million members."""
READABLE = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""`zipfile` cannot unpack other compression methods in bounded memory, and source archives do not use them."""
ENCRYPTED = 1
NO_TAR = (tarfile.TarError, ValueError, RecursionError)
"""What `tarfile` raises for a damaged archive; the last two for malformed numbers and nested headers."""
NO_ZIP = (zipfile.BadZipFile, UnicodeDecodeError, NotImplementedError, OverflowError)
"""What `zipfile` raises for a damaged archive; the last three for malformed names, for unknown versions and flags, and for a
member's place beyond 2^63."""


class Member(NamedTuple):
    number: int
    path: str
    content: bytes


def members(file: Path, wanted: Callable[[str], bool], max_size: int) -> Iterator[Member | Removed]:
    """Yield the files with a wanted path and what is refused, as far as the archive can be read.

    If the archive is damaged or turns out to be a bomb, it ends there, with one more `Removed` for the rest.
    """
    read = _zip_members if file.name.endswith(ZIP) else _tar_members
    try:
        yield from read(file, wanted, max_size)
    except Bomb:
        yield Removed(BOMB)
    except (*DAMAGES, *NO_TAR, *NO_ZIP):
        yield Removed(UNREADABLE)


class _TarStream(Forward):
    def read(self, size: int = -1, /) -> bytes:
        content = super().read(size)
        if self.max_read == MAX_HEADER_BYTES and size > tarfile.BLOCKSIZE and MANY_DIGITS.search(content):
            raise Bomb
        return content


def _tar_members(file: Path, wanted: Callable[[str], bool], max_size: int) -> Iterator[Member | Removed]:
    paths: set[str] = set()
    with _TarStream(file, MAX_HEADER_BYTES) as stream, tarfile.open(fileobj=stream, mode="r:") as archive:  # type: ignore[arg-type]
        number = 0
        while (member := archive.next()) is not None:
            archive.members = []  # type: ignore[attr-defined]  (otherwise it grows with every member)
            number += 1
            if number > MAX_MEMBERS:
                raise Bomb
            if member.isdir():
                continue
            path = member.name.removeprefix("./")
            if not member.isreg() or member.issparse() or not is_safe_path(path) or path in paths:
                yield Removed(UNSAFE_PATH, path=path)
            elif not wanted(path):
                continue
            elif member.size > max_size:
                yield Removed(SIZE_FILTER, min(member.size, MAX_UNPACKED), path=path)
            else:
                paths.add(path)
                yield Member(number, path, _tar_content(stream, member))
        if any(stream.last_read) or not stream.last_read:  # an archive ends with blocks of zeros
            yield Removed(UNREADABLE)


def _tar_content(stream: Forward, member: tarfile.TarInfo) -> bytes:
    stream.max_read = max(MAX_HEADER_BYTES + 1, member.size)
    stream.seek(member.offset_data)
    content = stream.read(member.size)
    stream.max_read = MAX_HEADER_BYTES
    if len(content) < member.size:
        raise EOFError
    return content


def _zip_members(file: Path, wanted: Callable[[str], bool], max_size: int) -> Iterator[Member | Removed]:
    with _Bounded(file) as stream, zipfile.ZipFile(stream) as archive:
        listed = archive.infolist()
        chosen = [each for each in listed if not _is_folder(each) and wanted(each.filename) and each.file_size <= max_size]
        unpacked = sum(each.file_size for each in chosen)
        if len(listed) > MAX_MEMBERS or unpacked > min(MAX_UNPACKED, FREE + RATIO * file.stat().st_size):
            raise Bomb
        paths: set[str] = set()
        for number, each in enumerate(listed, 1):
            if _is_folder(each):
                continue
            kind = stat.S_IFMT(each.external_attr >> 16)
            if kind not in (0, stat.S_IFREG) or not is_safe_path(each.orig_filename) or each.filename in paths:
                yield Removed(UNSAFE_PATH, path=each.filename)
            elif not wanted(each.filename):
                continue
            elif each.file_size > max_size:
                yield Removed(SIZE_FILTER, min(each.file_size, MAX_UNPACKED), path=each.filename)
            else:
                paths.add(each.filename)
                content = _zip_content(archive, each)
                if content is None:
                    yield Removed(UNREADABLE, each.file_size, path=each.filename)
                else:
                    yield Member(number, each.filename, content)


def _is_folder(member: zipfile.ZipInfo) -> bool:
    # Not is_dir(): in Python 3.11 it looks for the last character of an empty name.
    return member.filename.endswith("/")


class _Bounded(io.FileIO):
    """A file for `zipfile` to read. It bounds the directory, which `zipfile` reads at once."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > MAX_DIRECTORY_BYTES:
            raise Bomb
        return super().read(-1 if size is None else size)


def _zip_content(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes | None:
    """Return the content; None if it is encrypted, damaged, or not as long as the directory says."""
    if member.flag_bits & ENCRYPTED or member.compress_type not in READABLE:
        return None
    try:
        with archive.open(member) as stream:
            content = stream.read(member.file_size)  # no more than that, whatever the data holds
            stream.read(1)  # compares the checksum
    except (*DAMAGES, *NO_ZIP):
        return None
    return content if len(content) == member.file_size else None
