"""Files on a disk: finds those in a folder and reads them in batches.

Batches come in a hash order, so the order does not depend on how the operating system lists a folder, and the first batches are
a fair sample of all. Links are followed as stream/readers/walk.py says.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

from codeparrot.corpus.documents import UNKNOWN_LICENSE, Record, Removed, Source
from codeparrot.corpus.filters.size import SIZE_FILTER
from codeparrot.corpus.hashes import position
from codeparrot.corpus.sources.license_files import MAX_LICENSE_BYTES, is_license_file, license_of_files
from codeparrot.corpus.sources.listing import State, digest, digest_of_all, state_of
from codeparrot.corpus.sources.members import TAR, ZIP
from codeparrot.corpus.sources.safety import UNREADABLE
from codeparrot.errors import CodeparrotError
from codeparrot.languages.chosen import has_ending
from codeparrot.stream.readers.folder import DATA, split_of
from codeparrot.stream.readers.walk import Walk, is_hidden

BATCH_FILES = 64
ENDINGS_SHOWN = 8
"""In an error."""
NO_SOURCES = frozenset({".git", ".hg", ".svn", "__pycache__", ".ipynb_checkpoints"})
PROJECT = (".git", ".hg", "pyproject.toml", "setup.py", "setup.cfg")
"""Files that lie at the top of a project."""
ARROW = ".arrow"
"""Of the files that `save_to_disk` of `datasets` writes."""
VIRTUAL_ENVIRONMENT = "pyvenv.cfg"


class SourceFile(NamedTuple):
    file: str
    """Where the file lies."""
    repo_name: str
    path: str
    """Path inside the repository, with slashes."""
    license: str
    state: State

    @property
    def key(self) -> str:
        return digest(self.file, self.repo_name, self.path, self.license, *self.state)


class FileBatch(NamedTuple):
    """A unit of work: files that one worker reads."""

    files: tuple[SourceFile, ...]
    max_size: int
    """Files with more bytes than this are removed without being read."""

    @property
    def key(self) -> str:
        return digest(*(file.key for file in self.files))

    def records(self) -> Iterator[Record | Removed]:
        for each in self.files:
            try:
                yield self._read(each)
            except OSError:
                yield Removed(UNREADABLE, 0, each.repo_name, each.path)

    def _read(self, each: SourceFile) -> Record | Removed:
        file = Path(each.file)
        size = file.stat().st_size
        if size > self.max_size:
            return Removed(SIZE_FILTER, size, each.repo_name, each.path)
        return Record(each.repo_name, each.path, each.license, file.read_bytes())


class Named(Protocol):
    """What a file is ordered by."""

    @property
    def file(self) -> str: ...
    @property
    def repo_name(self) -> str: ...
    @property
    def path(self) -> str: ...


File = TypeVar("File", bound=Named)


def batches(files: Iterable[File], seed: int) -> Iterator[tuple[File, ...]]:
    """Yield all files in the hash order of their repositories and paths."""
    ordered = sorted(files, key=lambda each: (position(seed, each.repo_name, each.path), each.file))
    for start in range(0, len(ordered), BATCH_FILES):
        yield tuple(ordered[start : start + BATCH_FILES])


def open_files(facts: dict[str, Any], files: Iterable[SourceFile], seed: int, max_size: int) -> Source:
    """Return the source that consists of these files."""
    known = list(files)
    units = (FileBatch(batch, max_size) for batch in batches(known, seed))
    return Source(facts, units, len(known), digest_of_all(file.key for file in known))


def open_folder(folder: Path, suffixes: tuple[str, ...], seed: int, max_size: int) -> Source:
    """Open every file below the folder with one of the suffixes (has_ending).

    Version control, virtual environments and what notebooks keep of earlier versions are left out.

    Each first-level folder is a repository, unless the folder is itself a project: then it is one repository. The licence
    files at a repository's top give its licence.
    """
    name = folder.resolve().name or "root"
    is_repository = any((folder / mark).exists() for mark in PROJECT)
    walk = walk_sources(folder)
    files: list[SourceFile] = []
    license_files: dict[str, list[str]] = {}
    for relative in walk:
        repo_name, path = place_of(relative, name, is_repository)
        file = str(folder / relative)
        if has_ending(relative, suffixes):
            files.append(SourceFile(file, repo_name, path, UNKNOWN_LICENSE, state_of(file)))
        elif is_license_file(path):
            license_files.setdefault(repo_name, []).append(file)
    if not files:
        raise _nothing_found(folder, suffixes, walk)
    licenses = {
        repo_name: license_of_files(filter(None, map(read_license, found))) for repo_name, found in license_files.items()
    }
    files = [file._replace(license=licenses.get(file.repo_name, UNKNOWN_LICENSE)) for file in files]
    facts = {"kind": "folder", "files": len(files), "unreadable_folders": len(walk.unreadable)}
    return open_files(facts, files, seed, max_size)


def place_of(relative: str, name: str, is_project: bool) -> tuple[str, str]:
    """Return the repository of a file and its path in it.

    Args:
        relative: path in the folder that is a source.
        name: of that folder.
        is_project: whether it is a repository itself.
    """
    first, slash, rest = relative.partition("/")
    repo_name, path = (first, rest) if slash and not is_project else (name, relative)
    return printable(repo_name), printable(path)


def folder_source(file: Path) -> str:
    """Return the source that reads the folder of a file which is no source by itself."""
    return f"hub:{file.parent}" if file.suffix == ARROW else str(file.parent)


def walk_sources(folder: Path, skipped: frozenset[str] = NO_SOURCES) -> Walk:
    """Return the files below a folder, except names in `skipped` and the contents of virtual environments."""
    return Walk(folder, skipped.__contains__, VIRTUAL_ENVIRONMENT)


def read_license(file: str) -> bytes | None:
    """Return the beginning of a licence file; None if it cannot be read."""
    try:
        with Path(file).open("rb") as stream:
            return stream.read(MAX_LICENSE_BYTES)
    except OSError:
        return None


def printable(name: str) -> str:
    """Return a file name as text: bytes that are not UTF-8 become question marks."""
    return os.fsencode(name).decode("utf-8", "replace")


def _nothing_found(folder: Path, suffixes: tuple[str, ...], walk: Walk) -> CodeparrotError:
    if walk.unreadable == [""]:
        return CodeparrotError(f"source {folder} cannot be listed; check its permissions")
    found = sorted(each for each in walk if not is_hidden(Path(each).name))
    tables = [each for each in found if each.endswith((*DATA, ARROW)) and not each.endswith(".json")]
    if any(each.endswith(TAR + ZIP) for each in found):
        remedy = f'give its archives instead: "archives:{folder}"'
    elif not tables:
        remedy = "--suffixes names others"
    elif tables[0].endswith(ARROW) or any(map(split_of, tables)):
        remedy = f'give its tables instead: "hub:{folder}"'
    else:
        ending = next(each for each in sorted(DATA, key=len, reverse=True) if tables[0].endswith(each))
        remedy = f'give its tables instead: "{folder}/{"**/" if "/" in tables[0] else ""}*{ending}"'
    return CodeparrotError(f"source {folder} holds no {in_words(suffixes)} file; {remedy}")


def in_words(suffixes: tuple[str, ...]) -> str:
    """Return the first endings of the files to read, as an error names them."""
    named = [suffix.removeprefix("/") for suffix in suffixes]
    if len(named) > ENDINGS_SHOWN:
        named = [*named[:ENDINGS_SHOWN], f"{len(named) - ENDINGS_SHOWN} others"]
    return " or ".join(named)
