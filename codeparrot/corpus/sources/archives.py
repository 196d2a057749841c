"""Source archives: sdists, wheels, zip and tar archives of projects, read without being unpacked to a disk.

An archive is a repository, called after the distribution it holds (PEP 503, without its version), else after its file. Its
licence is what its metadata declares (PKG-INFO, METADATA), else that of the licence files at its top.

A unit is an archive, or of a large one every n-th file, for which the archive is read n times; so no worker holds more than the
source files of about PART_BYTES of archive. Every unit reads its archive once more for the licence.
"""

import email.parser
import glob
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)

from codeparrot.corpus.documents import UNKNOWN_LICENSE, Record, Removed, Source
from codeparrot.corpus.hashes import position
from codeparrot.corpus.sources.files import VERSION_CONTROL, Walk, printable
from codeparrot.corpus.sources.installed import license_of
from codeparrot.corpus.sources.license_files import MAX_LICENSE_BYTES, is_license_file, license_of_files
from codeparrot.corpus.sources.listing import State, digest, digest_of_all, state_of
from codeparrot.corpus.sources.members import TAR, ZIP, Member, members
from codeparrot.errors import CodeparrotError

PREFIX = "archives:"
SUFFIXES = TAR + ZIP
METADATA = ("PKG-INFO", "METADATA")
PART_BYTES = 32_000_000


def is_archive(file: Path) -> bool:
    return file.name.endswith(SUFFIXES)


class ArchivePart(NamedTuple):
    """Every `num_parts`-th member of an archive."""

    file: str
    state: State
    repo_name: str
    part: int
    num_parts: int
    suffixes: tuple[str, ...]
    max_size: int

    @property
    def key(self) -> str:
        return digest(self.file, *self.state, self.part, self.num_parts)

    def records(self) -> Iterator[Record | Removed]:
        license_name = license_of_archive(Path(self.file))
        for number, each in enumerate(members(Path(self.file), lambda path: path.endswith(self.suffixes), self.max_size)):
            if number % self.num_parts != self.part:
                continue
            if isinstance(each, Member):
                yield Record(self.repo_name, printable(inside(Path(self.file), each.path)), license_name, each.content)
            else:
                yield each._replace(repo_name=self.repo_name, path=printable(each.path))


def open_archives(files: list[Path], suffixes: tuple[str, ...], seed: int, max_size: int) -> Source:
    """Every file of the archives with one of the suffixes. Archives come in a hash order of their names."""
    parts = []
    for file in files:
        state = state_of(file)
        num_parts = max(1, round(state.size / PART_BYTES))
        repo_name = repository_of(file.name)
        parts += [ArchivePart(str(file), state, repo_name, part, num_parts, suffixes, max_size) for part in range(num_parts)]
    parts.sort(key=lambda each: (position(seed, Path(each.file).name, str(each.part)), each))
    facts = {"kind": "archives", "files": len(files), "bytes": sum(part.state.size for part in parts if part.part == 0)}
    return Source(facts, iter(parts), None, digest_of_all(part.key for part in parts))


def find_archives(spec: str) -> list[Path]:
    """The archives that `archives:` names: a file, those below a folder, or those of a glob."""
    rest = spec.removeprefix(PREFIX)
    path = Path(rest).expanduser()
    if path.is_dir():
        found = [path / each for each in Walk(path, VERSION_CONTROL) if each.endswith(SUFFIXES)]
    else:
        found = [path] if path.is_file() else [Path(each) for each in glob.glob(str(path), recursive=True)]
    if not rest or not found:
        raise CodeparrotError(
            f'source "{spec}" names no archive ({", ".join(SUFFIXES)}); write {PREFIX}FILE, a folder, or a glob'
        )
    for file in found:
        if not file.is_file() or not is_archive(file):
            raise CodeparrotError(f"source {file} is no archive that can be read; those are {', '.join(SUFFIXES)}")
    return found


def repository_of(name: str) -> str:
    """Return the distribution that an archive's name says it holds, else the name without its suffix."""
    stem = _without_suffix(name)
    try:
        if name.endswith(".whl"):
            return parse_wheel_filename(name)[0]
        return canonicalize_name(parse_sdist_filename(stem + ".tar.gz")[0])
    except (InvalidWheelFilename, InvalidSdistFilename):
        return printable(stem) or "archive"


def _without_suffix(name: str) -> str:
    return next(
        (name.removesuffix(suffix) for suffix in sorted(SUFFIXES, key=len, reverse=True) if name.endswith(suffix)), name
    )


def inside(file: Path, path: str) -> str:
    """Return a member's path without the folder at the top that is called as the archive is."""
    top, _, rest = path.partition("/")
    return rest if rest and canonicalize_name(top) == canonicalize_name(_without_suffix(file.name)) else path


def license_of_archive(file: Path) -> str:
    """Return what the metadata in an archive declares, else the licence of its licence files, else "unknown"."""
    texts: list[bytes] = []
    for each in members(file, lambda path: _tells_license(file, path), MAX_LICENSE_BYTES):
        if not isinstance(each, Member):
            continue
        if each.path.rpartition("/")[2] not in METADATA:
            texts.append(each.content)
            continue
        metadata = email.parser.Parser().parsestr(each.content.decode("utf-8", "replace"), headersonly=True)
        declared = license_of(metadata)
        if declared != UNKNOWN_LICENSE:
            return declared
    return license_of_files(texts)


def _tells_license(file: Path, path: str) -> bool:
    folder, _, name = inside(file, path).rpartition("/")
    at_top = not folder or (inside(file, path) == path and "/" not in folder)
    in_wheel = folder.endswith((".dist-info", ".dist-info/licenses"))
    return (at_top or in_wheel) and (name in METADATA or is_license_file(name))
