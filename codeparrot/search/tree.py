"""The text files of a source tree.

In a git working tree these are the files that git does not ignore, tracked or new, and those of submodules and working trees
below. Elsewhere, and in a folder that git ignores as a whole and the user named all the same, they are all files but those of
version control, caches and virtual environments. Hidden files and links in a git working tree are left out. So is what
LEFT_OUT names, which is counted.

Guarantees: no file outside of the tree is read, wherever links and the names in an index of git lead. Nothing of a repository
runs: git only lists names, without the repository's hooks.
"""

import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import xxhash

from codeparrot.corpus.decode import decode
from codeparrot.corpus.sources.files import walk_sources
from codeparrot.corpus.sources.git_objects import ENVIRONMENT, SECONDS
from codeparrot.errors import CodeparrotError

PYTHON = (".py", ".pyi", ".pyw")
LEFT_OUT = {
    "too_large": "larger than --max_size",
    "no_text": "no text",
    "unreadable": "unreadable",
    "outside": "links that lead out of the folder",
    "name": "with a name that is not UTF-8",
}
"""Why files are left out, in words."""
_LIST = ("git", "-c", "core.fsmonitor=false", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
_IGNORES = ("git", "-c", "core.fsmonitor=false", "check-ignore", "-q", ".")


class TextFile(NamedTuple):
    """A file as it was read."""

    path: str
    """Below the tree's folder, with slashes."""
    digest: str
    """Of its bytes: 32 hexadecimal digits of XXH3."""
    size: int
    """Bytes."""
    modified_ns: int
    """Nanoseconds since 1970."""
    text: str
    """Lines end with a newline alone."""


def text_files(root: Path, max_size: int, skipped: Counter[str], without: Path | None = None) -> Iterator[TextFile]:
    """Yield the text files of a tree, in the order of their paths.

    Args:
        root: the tree's folder.
        max_size: bytes; larger files are left out.
        skipped: counts what is left out, by the keys of LEFT_OUT.
        without: a folder that is left out, if it is below the root.

    Raises:
        CodeparrotError: the root is no folder, or is a git working tree and git is not installed.
    """
    if not root.is_dir():
        raise CodeparrotError(f'"{root}" is no folder: name the folder of a source tree')
    whole, aside = _real(root), _real(without) if without else None
    for path in sorted(set(_paths(root))):
        if _is_hidden(path):
            continue
        file = _real(root / path)
        if not file.is_relative_to(whole):
            skipped["outside"] += 1
            continue
        if _is_hidden(file.relative_to(whole).as_posix()) or (aside and file.is_relative_to(aside)):
            continue
        found = _read(file, path, max_size)
        if isinstance(found, TextFile):
            yield found
        else:
            skipped[found] += 1


def words_of(skipped: Mapping[str, int]) -> str:
    """Return what was left out in words; empty for nothing."""
    return ", ".join(f"{count:,} {LEFT_OUT[why]}" for why, count in sorted(skipped.items()))


def digest_of(content: bytes) -> str:
    """Return what TextFile.digest is of a file's bytes."""
    return xxhash.xxh3_128_hexdigest(content)


def _read(file: Path, path: str, max_size: int) -> TextFile | str:
    """Return a file, or why it is left out."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return "name"  # it could be neither printed nor kept
    try:
        status = file.stat()
        if status.st_size > max_size:
            return "too_large"
        content = file.read_bytes()
    except OSError:
        return "unreadable"
    text = decode(content) if b"\0" not in content else None
    if text is None:
        return "no_text"
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    return TextFile(path, digest_of(content), status.st_size, status.st_mtime_ns, text)


def _real(path: Path) -> Path:
    """Return the path without links; one that leads to itself stays."""
    return Path(os.path.realpath(path))


def _is_hidden(path: str) -> bool:
    return any(part.startswith(".") for part in path.split("/"))


def _paths(root: Path) -> Iterator[str]:
    """Yield the paths of regular files, those of hidden ones perhaps included."""
    repository = next((each for each in (root, *root.resolve().parents) if (each / ".git").exists()), None)
    if repository is None:
        yield from walk_sources(root)
        return
    if not shutil.which("git"):
        raise CodeparrotError(f'"{root}" is in the git working tree {repository}: install git, which says what it ignores')
    listed = _listed_by_git(root)
    # .git may be something else, or damaged.
    if listed is None or (not listed and _run_git(root, _IGNORES).returncode == 0):
        yield from walk_sources(root)
        return
    for path in listed:
        file = root / path
        if file.is_symlink():
            continue
        if file.is_dir() and _real(root) in _real(file).parents:  # a submodule or another working tree
            if not _is_hidden(path):
                yield from (f"{path.rstrip('/')}/{each}" for each in _paths(file))
        elif file.is_file() or file.is_dir():
            yield path


def _listed_by_git(root: Path) -> list[str] | None:
    """Return what git lists below a folder; None if it cannot."""
    done = _run_git(root, _LIST)
    return [os.fsdecode(path) for path in done.stdout.split(b"\0") if path] if done.returncode == 0 else None


def _run_git(root: Path, command: tuple[str, ...]) -> "subprocess.CompletedProcess[bytes]":
    environment = {**ENVIRONMENT, "PATH": os.environ.get("PATH", os.defpath)}
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, timeout=SECONDS, check=False)
