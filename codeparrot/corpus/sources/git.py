"""The source `git:PATH[@REVISION]`: the tracked files of a git repository on disk, or of every repository below a folder.

It reads objects, never a working tree, so a repository can make nothing run: no hook, filter, text conversion or alias, and no
fetch of what a partial clone lacks. Links and submodules are left out. Repositories come in a hash order, each as a whole, its
files in a hash order too. Cost: two processes to open a repository, and one for every 64 files to read them.
"""

import os
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from codeparrot.corpus.documents import Reading, Record, Removed, Source, Unit
from codeparrot.corpus.filters.size import SIZE_FILTER
from codeparrot.corpus.hashes import position
from codeparrot.corpus.sources.files import BATCH_FILES, printable
from codeparrot.corpus.sources.git_objects import Blob, Repository, contents_of, entries_of, run_git
from codeparrot.corpus.sources.license_files import MAX_LICENSE_BYTES, MAX_LICENSE_FILES, is_license_file, license_of_files
from codeparrot.corpus.sources.listing import digest, digest_of_all
from codeparrot.corpus.sources.safety import UNREADABLE, UNSAFE_PATH, Refused, is_safe_path
from codeparrot.errors import CodeparrotError
from codeparrot.languages.chosen import has_ending
from codeparrot.location import path_of

PREFIX = "git:"
BATCH_BYTES = 8_000_000
REMOTE_NAME = re.compile(r"[\w-][\w.~-]*(/[\w-][\w.~-]*)*")


class BlobBatch(NamedTuple):
    """Files of one commit that one worker reads."""

    repository: Repository
    license: str
    blobs: tuple[Blob, ...]

    @property
    def key(self) -> str:
        return digest(*self.repository, self.license, *(each for blob in self.blobs for each in blob))

    def records(self) -> Iterator[Record | Removed]:
        contents = contents_of(self.repository.folder, [blob.object for blob in self.blobs])
        for blob, content in zip(self.blobs, contents, strict=True):
            if content is None:
                yield Removed(UNREADABLE, blob.size, self.repository.name, blob.path)
            else:
                yield Record(self.repository.name, blob.path, self.license, content)


def open_git(spec: str, reading: Reading) -> Source:
    """Open every tracked file with one of the suffixes.

    A repository is named after its remote `origin` (owner/name), else after its folder. The licence files at its top give its
    licence.
    """
    if not shutil.which("git"):
        raise CodeparrotError(f"source {spec} needs the command git, which is not installed")
    root, revision = _parse(spec)
    folders = _git_folders(root)
    if not folders:
        raise CodeparrotError(f"source {spec}: there is no git repository at or below {root}")
    opened = {folder: _open(folder, revision) for folder in folders}
    repositories = sorted(filter(None, opened.values()), key=lambda each: (position(reading.seed, each.name), each))
    if not repositories:
        what = f'revision "{revision}"' if revision != "HEAD" else "commit"
        raise CodeparrotError(f"source {spec}: {'none of its repositories has a' if len(folders) > 1 else 'it has no'} {what}")
    facts = {
        "kind": "git",
        "revision": revision,
        "repositories": [{"name": each.name, "commit": each.commit} for each in repositories],
        "without_revision": [printable(str(folder)) for folder, repository in opened.items() if repository is None],
    }
    units = _units(repositories, reading.suffixes, reading.seed, reading.max_size)
    return Source(facts, units, None, digest_of_all(digest(*each) for each in repositories))


def _parse(spec: str) -> tuple[Path, str]:
    rest = spec.removeprefix(PREFIX)
    whole, (path, _, revision) = path_of(rest), rest.rpartition("@")
    if whole.exists() or not path:
        root, revision = whole, "HEAD"
    else:
        root = path_of(path)
    if not rest or not root.is_dir():
        raise CodeparrotError(f'source "{spec}": there is no folder "{root}"; write {PREFIX}FOLDER[@REVISION]')
    if not revision or not revision.isprintable():
        raise CodeparrotError(f'source "{spec}" names no revision after its @')
    return root, revision


def _git_folders(root: Path) -> list[Path]:
    """Return the git directories at or below a folder. Below it, neither links on the disk nor git's own are followed."""
    here = root / ".git"
    if here.is_file():  # a second working tree, or a submodule
        name = here.read_text(encoding="utf-8", errors="surrogateescape").removeprefix("gitdir:").strip()
        return [root / name]
    if here.is_dir() or _is_bare(root):
        return [here if here.is_dir() else root]
    found = []
    for folder, names, _ in os.walk(root):
        path = Path(folder)
        if ".git" in names or _is_bare(path):
            inside = path / ".git"
            found += [path] if _is_bare(path) else [inside] if not inside.is_symlink() else []
            names.clear()
    return sorted(found)


def _is_bare(folder: Path) -> bool:
    return (folder / "HEAD").is_file() and (folder / "objects").is_dir() and (folder / "refs").is_dir()


def _open(folder: Path, revision: str) -> Repository | None:
    found = run_git(folder, "cat-file", "--batch-check", text=f"{revision}^{{commit}}\n").split()
    if len(found) != 3:  # not "object commit size"
        return None
    origin = run_git(folder, "config", "--get", "remote.origin.url").decode("utf-8", "replace").strip()
    name = name_of_remote(origin) or printable((folder.parent if folder.name == ".git" else folder).resolve().name)
    return Repository(str(folder), name.removesuffix(".git") or "root", found[0].decode())


def name_of_remote(url: str) -> str | None:
    """Return owner/name of a URL on another machine, None for anything else. Passwords in a URL are left out."""
    scheme, separator, rest = url.partition("://")
    if separator:
        rest = rest.partition("/")[2] if scheme != "file" else ""
    else:
        host, _, rest = url.partition(":")
        rest = rest if host and "/" not in host else ""
    name = rest.strip("/").removesuffix(".git")
    return name if len(name) <= 200 and REMOTE_NAME.fullmatch(name) else None


def _units(repositories: list[Repository], suffixes: tuple[str, ...], seed: int, max_size: int) -> Iterator[Unit]:
    for repository in repositories:
        refused: list[Removed] = []
        blobs: list[Blob] = []
        licenses: list[Blob] = []
        for kind, blob in entries_of(repository, refused):
            if kind == "blob" and is_license_file(blob.path) and blob.size <= MAX_LICENSE_BYTES:
                licenses.append(blob)
            if kind != "blob" or not has_ending(blob.path, suffixes):
                continue
            if not is_safe_path(blob.path):
                refused.append(Removed(UNSAFE_PATH, blob.size, repository.name, blob.path))
            elif blob.size > max_size:
                refused.append(Removed(SIZE_FILTER, blob.size, repository.name, blob.path))
            else:
                blobs.append(blob)
        # If there are more, those with the least added to their names.
        licenses = sorted(licenses, key=lambda blob: (len(blob.path), blob.path))[:MAX_LICENSE_FILES]
        texts = contents_of(repository.folder, [blob.object for blob in licenses])
        license_name = license_of_files(text for text in texts if text is not None)
        if refused:
            yield Refused(digest(*repository, "refused"), tuple(refused))
        blobs.sort(key=lambda blob: (position(seed, repository.name, blob.path), blob))
        for batch in _batches(blobs):
            yield BlobBatch(repository, license_name, batch)


def _batches(blobs: Iterable[Blob]) -> Iterator[tuple[Blob, ...]]:
    batch: list[Blob] = []
    for blob in blobs:
        if batch and (len(batch) == BATCH_FILES or sum(each.size for each in batch) + blob.size > BATCH_BYTES):
            yield tuple(batch)
            batch = []
        batch.append(blob)
    if batch:
        yield tuple(batch)
