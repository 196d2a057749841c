"""Folders of source files, and archives, at addresses: what they hold is what the same folder here would.

Names tell it all: object stores have no links. The main process holds 0.8 kB for each file that is to be read, and a worker
fetches TOGETHER files at a time. A file that was replaced or removed after the folder was listed ends the build with its
name.
"""

import glob
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate, chain
from typing import NamedTuple

from codeparrot.corpus.documents import UNKNOWN_LICENSE, Reading, Record, Removed, Source
from codeparrot.corpus.filters.size import SIZE_FILTER
from codeparrot.corpus.sources.files import NO_SOURCES, PROJECT, VIRTUAL_ENVIRONMENT, batches, in_words, place_of
from codeparrot.corpus.sources.license_files import MAX_LICENSE_BYTES, is_license_file, license_of_files
from codeparrot.corpus.sources.listing import digest, digest_of_all
from codeparrot.corpus.sources.members import TAR, ZIP
from codeparrot.corpus.sources.safety import UNREADABLE, UNSAFE_PATH, Refused, is_safe_path
from codeparrot.errors import CodeparrotError
from codeparrot.languages.chosen import endings, has_ending
from codeparrot.languages.names import LANGUAGES
from codeparrot.location import is_address
from codeparrot.result import say
from codeparrot.stream.readers import listing, remote
from codeparrot.stream.readers.folder import is_data, matches_at
from codeparrot.stream.readers.patience import WEB, of_this_thread
from codeparrot.stream.readers.remote import Info, Place

TOGETHER = 16
ARCHIVES = TAR + ZIP
OTHERWISE = ("::", "?versionId=")
"""What means something else to fsspec than to a store."""


class FileAt(NamedTuple):
    file: str
    """Its address."""
    repo_name: str
    path: str
    """Path inside the repository, with slashes."""
    license: str
    known: Info

    @property
    def key(self) -> str:
        return digest(*self[:-1], *self.known)


class BatchAt(NamedTuple):
    """A unit of work: files that one worker reads."""

    files: tuple[FileAt, ...]
    max_size: int
    """Files with more bytes than this are removed without being read."""

    @property
    def key(self) -> str:
        return digest(*(file.key for file in self.files))

    def records(self) -> Iterator[Record | Removed]:
        with ThreadPoolExecutor(TOGETHER, **of_this_thread()) as threads:
            for start in range(0, len(self.files), TOGETHER):
                yield from threads.map(self._read, self.files[start : start + TOGETHER])

    def _read(self, each: FileAt) -> Record | Removed:
        if each.known.size > self.max_size:
            return Removed(SIZE_FILTER, each.known.size, each.repo_name, each.path)
        return Record(each.repo_name, each.path, each.license, remote.read_listed(each.file, each.known))


class Below(NamedTuple):
    """The files below a folder, except version control and the contents of virtual environments."""

    files: dict[str, Info]
    """Those that count, by their paths."""
    is_project: bool
    """Whether the folder is itself a repository."""
    has_programs: bool
    """Whether any file is a program, as far as names tell."""


def files_below(address: str, counts: Callable[[str], bool]) -> Below:
    """List a folder.

    Raises:
        CodeparrotError: it cannot be listed, or there is nothing.
    """
    found: dict[str, Info] = {}
    environments: set[str] = set()
    is_project, is_empty, has_programs = False, True, False
    programs = endings([each.name for each in LANGUAGES.values() if each.kind == "programming"])
    for relative, known in listing.walk(address):
        if not relative:
            raise CodeparrotError(
                f"source {address} is no table and no archive; name its folder, or a glob of tables or archives"
            )
        is_empty = False
        folder, _, name = relative.rpartition("/")
        is_project = is_project or relative.partition("/")[0] in PROJECT
        has_programs = has_programs or has_ending(name, programs)
        if folder and name == VIRTUAL_ENVIRONMENT:
            environments.add(folder)
        if counts(relative) and NO_SOURCES.isdisjoint(relative.split("/")):
            found[relative] = known
    if is_empty:
        raise remote.missing(address)
    kept = {relative: known for relative, known in found.items() if environments.isdisjoint(_folders(relative))}
    return Below(kept, is_project, has_programs)


def _folders(relative: str) -> Iterable[str]:
    return accumulate(relative.split("/")[:-1], lambda above, name: f"{above}/{name}")


def open_folder_at(address: str, reading: Reading) -> Source | None:
    """Open the source files below a folder at an address, as `files.open_folder` does; None if it holds tables instead.

    Raises:
        CodeparrotError: it cannot be listed, or holds neither.
    """
    root = address.rstrip("/")
    name = root.rpartition("/")[2]
    below = files_below(
        root, lambda each: has_ending(each, reading.suffixes) or is_data(each) or each.endswith(ARCHIVES) or _may_license(each)
    )
    chosen = {relative: known for relative, known in below.files.items() if has_ending(relative, reading.suffixes)}
    tables = [each for each in below.files if each not in chosen and is_data(each)]
    if not chosen:
        return _other_than_sources(root, reading.suffixes, below, tables)
    if left := [each for each in tables if not each.endswith(".json")]:
        say(f"{address}: its {in_words(reading.suffixes)} files are read, {len(left):,} tables left out: a glob names tables")
    license_texts: dict[str, list[bytes]] = {}
    others = {relative: known for relative, known in below.files.items() if relative not in chosen}
    places = {each: place_of(each, name, below.is_project) for each in others if _reason_against(each) is None}
    texts = [each for each, (_, path) in places.items() if is_license_file(path)]
    with ThreadPoolExecutor(TOGETHER, **of_this_thread()) as threads:
        for relative, content in zip(texts, threads.map(lambda each: _beginning(root, each, others[each]), texts), strict=True):
            license_texts.setdefault(places[relative][0], []).append(content)
    licenses = {repo_name: license_of_files(each) for repo_name, each in license_texts.items()}
    files: list[FileAt] = []
    refused: list[Removed] = []
    for relative, known in chosen.items():
        repo_name, path = place_of(relative, name, below.is_project)
        if (reason := _reason_against(relative, path)) is not None:
            refused.append(Removed(reason, known.size, name, relative))
            continue
        license_name = licenses.get(repo_name, UNKNOWN_LICENSE)
        files.append(FileAt(remote.below(root, relative), repo_name, path, license_name, known))
    facts = {"kind": "folder", "files": len(files), "unreadable_folders": 0}
    lost = [Refused(digest(*chain(*sorted(refused))), tuple(sorted(refused)))] if refused else []
    units = (BatchAt(batch, reading.max_size) for batch in batches(files, reading.seed))
    listing = digest_of_all([*(file.key for file in files), *(each.key for each in lost)])
    return Source(facts, chain(units, lost), len(files) + len(refused), listing)


def _reason_against(*paths: str) -> str | None:
    """Return what a file is counted under that is not read because of its paths; None if it is."""
    if any(each in path for each in OTHERWISE for path in paths):
        return UNREADABLE
    return None if all(map(is_safe_path, paths)) else UNSAFE_PATH


def _may_license(relative: str) -> bool:
    return relative.count("/") < 2 and is_license_file(relative.rpartition("/")[2])


def _beginning(root: str, relative: str, known: Info) -> bytes:
    return remote.read_listed(remote.below(root, relative), known, MAX_LICENSE_BYTES)


def _other_than_sources(root: str, suffixes: tuple[str, ...], below: Below, tables: list[str]) -> None:
    # Programs have .json files beside them that are no tables.
    if any(not each.endswith(".json") for each in tables) or (tables and not below.has_programs):
        return
    packed = any(each.endswith(ARCHIVES) for each in below.files)
    remedy = f'give its archives instead: "archives:{root}"' if packed else "--suffixes names others"
    raise CodeparrotError(f"source {root} holds no {in_words(suffixes)} file; {remedy}")


def archives_at(address: str) -> list[Place]:
    """Return the archives that an address names: a file, all below a folder, all that a glob matches, or several with commas.

    Raises:
        CodeparrotError: there are none, or something else is named.
    """
    several = [each.strip() for each in address.split(",")]
    if len(several) > 1 and all(map(is_address, several)):
        found = several
    elif glob.has_magic(address) and not address.startswith(WEB):
        found = matches_at(address)
    elif address.endswith(ARCHIVES) or address.startswith(WEB):
        found = [address]
    else:
        below = files_below(address, lambda each: each.endswith(ARCHIVES)).files
        found = sorted(remote.below(address, each) for each in below)
    for each in found:
        if not each.endswith(ARCHIVES):
            raise CodeparrotError(f"source {each} is not an archive that can be read: {', '.join(ARCHIVES)}")
    if not found:
        raise CodeparrotError(f'source "{address}" names no archive ({", ".join(ARCHIVES)}); write a file, a folder, or a glob')
    return [Place(each) for each in found]
