"""Source archives: sdists, wheels, zip and tar archives of projects, read without being unpacked to a disk.

An archive is a repository, named after the distribution it holds (PEP 503, without its version), else after its file. Its
licence is what its own metadata declares (PKG-INFO, METADATA), else that of its own licence files: those at its top, and in a
wheel those in the .dist-info folder of the same name. What is bundled further down says nothing about the whole.

A unit is an archive. A large archive is n units, each of which reads it and takes every n-th file; so no worker holds more than
the source files of about PART_BYTES of archive. Every unit reads its archive once more for the licence. One at an address is
fetched first (spool.py).
"""

import email.parser
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)

from codeparrot.corpus.documents import UNKNOWN_LICENSE, Reading, Record, Removed, Source
from codeparrot.corpus.hashes import position
from codeparrot.corpus.licenses.rules import all_of
from codeparrot.corpus.sources.elsewhere import archives_at
from codeparrot.corpus.sources.files import printable, walk_sources
from codeparrot.corpus.sources.installed import license_of
from codeparrot.corpus.sources.license_files import MAX_LICENSE_BYTES, MAX_LICENSE_FILES, is_license_file, license_of_files
from codeparrot.corpus.sources.listing import State, digest, digest_of_all, state_of
from codeparrot.corpus.sources.members import TAR, ZIP, Member, members
from codeparrot.corpus.sources.spool import fetched
from codeparrot.errors import CodeparrotError
from codeparrot.languages.chosen import has_ending
from codeparrot.location import is_address, path_of
from codeparrot.stream.readers.globs import expand
from codeparrot.stream.readers.remote import Place

PREFIX = "archives:"
SUFFIXES = TAR + ZIP
METADATA = ("PKG-INFO", "METADATA")
DIST_INFO = ".dist-info"
PART_BYTES = 32_000_000


def is_archive(file: Path | Place) -> bool:
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
    spool: str = ""
    """Folder for archives that are fetched."""

    @property
    def key(self) -> str:
        return digest(self.file, *self.state, self.part, self.num_parts)

    def records(self) -> Iterator[Record | Removed]:
        if not is_address(self.file):
            yield from self._records(Path(self.file))
            return
        with fetched(self.file, self.state, suffix_of(self.file), self.spool, self.num_parts > 1) as file:
            yield from self._records(file)

    def _records(self, file: Path) -> Iterator[Record | Removed]:
        name = Path(self.file).name
        license_name = license_of_archive(file, name)
        for number, each in enumerate(members(file, lambda path: has_ending(path, self.suffixes), self.max_size)):
            if number % self.num_parts != self.part:
                continue
            if isinstance(each, Member):
                yield Record(self.repo_name, printable(inside(name, each.path)), license_name, each.content)
            else:
                yield each._replace(repo_name=self.repo_name, path=printable(each.path))


def open_archives(
    files: Sequence[Path | Place], suffixes: tuple[str, ...], seed: int, max_size: int, spool: str = "", whole: bool = False
) -> Source:
    """Open every file in the archives, here or at addresses, with one of the suffixes.

    Archives come in a hash order of their names.

    Args:
        files: the archives.
        suffixes: endings of the names of files to read.
        seed: determines the order.
        max_size: bytes; larger files are not read.
        spool: folder for archives that are fetched.
        whole: all parts are read, so those of an archive that is fetched follow one another, and it can go sooner.
    """
    parts: list[ArchivePart] = []
    for file in files:
        state = state_of(file)
        num_parts = max(1, round(state.size / PART_BYTES))
        repo_name = repository_of(file.name)
        facts = suffixes, max_size, spool
        parts += [ArchivePart(str(file), state, repo_name, part, num_parts, *facts) for part in range(num_parts)]
    parts.sort(key=lambda each: (position(seed, Path(each.file).name, str(0 if each.spool and whole else each.part)), each))
    facts = {"kind": "archives", "files": len(files), "bytes": sum(part.state.size for part in parts if part.part == 0)}
    return Source(facts, iter(parts), None, digest_of_all(part.key for part in parts))


def open_named(spec: str, reading: Reading) -> Source:
    """Open `archives:` and a file, a folder or a glob."""
    rest = spec.removeprefix(PREFIX)
    if is_address(rest):
        return open_archives_at(archives_at(rest), reading)
    return open_archives(find_archives(spec), reading.suffixes, reading.seed, reading.max_size)


def open_archives_at(files: Sequence[Place], reading: Reading) -> Source:
    return open_archives(files, reading.suffixes, reading.seed, reading.max_size, reading.spool, whole=not reading.max_bytes)


def find_archives(spec: str) -> list[Path]:
    """Return the archives that `archives:` names: a file, all below a folder, or all that a glob matches."""
    rest = spec.removeprefix(PREFIX)
    path = path_of(rest)
    if path.is_dir():
        found = [path / each for each in walk_sources(path) if each.endswith(SUFFIXES)]
    else:
        found = [path] if path.is_file() else [Path(each) for each in expand(str(path))]
    if not rest or not found:
        raise CodeparrotError(
            f'source "{spec}" names no archive ({", ".join(SUFFIXES)}); write {PREFIX}FILE, a folder, or a glob'
        )
    for file in found:
        if not file.is_file() or not is_archive(file):
            raise CodeparrotError(f"source {file} is not an archive that can be read: {', '.join(SUFFIXES)}")
    return found


def repository_of(name: str) -> str:
    """Return the distribution that an archive's name says it holds, or else the name without its suffix."""
    stem = name.removesuffix(suffix_of(name))
    try:
        if name.endswith(".whl"):
            return parse_wheel_filename(name)[0]
        return canonicalize_name(parse_sdist_filename(stem + ".tar.gz")[0])
    except (InvalidWheelFilename, InvalidSdistFilename):
        return printable(stem) or "archive"


def suffix_of(name: str) -> str:
    """Return what an archive's name ends in; empty for other files."""
    return next((suffix for suffix in sorted(SUFFIXES, key=len, reverse=True) if name.endswith(suffix)), "")


def inside(name: str, path: str) -> str:
    """Return the path of a member of the archive of this name, without a top folder that is named like the archive."""
    top, _, rest = path.partition("/")
    return rest if rest and canonicalize_name(top) == canonicalize_name(name.removesuffix(suffix_of(name))) else path


def license_of_archive(file: Path, name: str) -> str:
    """Return what the metadata of an archive of this name declares, else the licence of its licence files, else "unknown"."""
    own = _Own(name)
    declared: list[tuple[str, str]] = []
    texts: list[tuple[str, bytes]] = []
    for each in members(file, own.may_tell, MAX_LICENSE_BYTES):
        if not isinstance(each, Member):
            continue
        top, inner = own.place(each.path)
        if inner not in METADATA:
            if sum(map(own.holds, (top for top, _ in texts))) < MAX_LICENSE_FILES:
                texts = [each for each in texts if own.holds(each[0])] + [(top, each.content)]
            continue
        metadata = email.parser.Parser().parsestr(each.content.decode("utf-8", "replace"), headersonly=True)
        license_name = license_of(metadata)
        if license_name == UNKNOWN_LICENSE:
            continue
        if own.is_sure(top):
            return license_name
        declared.append((top, license_name))
    names = [each for top, each in declared if own.holds(top)]
    return all_of(names) if names else license_of_files([text for top, text in texts if own.holds(top)])


class _Own:
    """Which first-level folders of an archive speak for the whole, as far as its members are known.

    The one that is named like the archive, if there is one. Otherwise every .dist-info in a wheel, and in another archive the
    folder that holds everything. Files outside any folder speak for the whole too; a wheel has no metadata there.
    """

    def __init__(self, name: str) -> None:
        self.is_wheel = name.endswith(".whl")
        self.name = repository_of(name) if self.is_wheel else canonicalize_name(name.removesuffix(suffix_of(name)))
        self.tops: set[str] = set()
        self.named: set[str] = set()

    def may_tell(self, path: str) -> bool:
        """Whether a member may tell the licence. Call it for every member."""
        top, name = self.place(path)
        if top not in self.tops and (not self.is_wheel or top.endswith(DIST_INFO)):
            self.tops.add(top)
            if self._is_named(top):
                self.named.add(top)
        if "/" in name or not self.holds(top):
            return False
        return is_license_file(name) or (name in METADATA and (not self.is_wheel or path == f"{top}/{name}"))

    def place(self, path: str) -> tuple[str, str]:
        """Return the first-level folder of a member's path ("" if none) and the rest."""
        top, slash, rest = path.partition("/")
        if not slash:
            return "", path
        return top, rest.removeprefix("licenses/") if self.is_wheel else rest

    def is_sure(self, top: str) -> bool:
        """Whether the folder speaks for the whole whatever other members follow."""
        return not top or top in self.named

    def holds(self, top: str) -> bool:
        if self.is_sure(top):
            return True
        return not self.named and top in self.tops and (self.is_wheel or len(self.tops) == 1)

    def _is_named(self, top: str) -> bool:
        return canonicalize_name(top.removesuffix(DIST_INFO).rpartition("-")[0] if self.is_wheel else top) == self.name
