"""The regular files below a folder, once for each of their names, through links, whatever loops they form.

Do not rely on the order of the paths: sort them.
"""

import os
from collections import deque
from collections.abc import Callable, Container, Iterator
from pathlib import Path, PurePath

from codeparrot.errors import CodeparrotError

STATISTICS = "statistics.json"
"""Lies in every corpus that codeparrot built."""
REMOVED = "removed"
"""Folder of such a corpus with samples of what was left out of it."""


class Walk:
    """Iterates over the regular files below a folder, as paths relative to it.

    Linked folders are entered after all real ones, so a file that can be reached both ways has its real path.

    Args:
        root: the folder.
        skipped: says whether to leave out a file or folder of this name.
        barred_by: leave out folders below the root that hold a file of this name.
    """

    def __init__(self, root: Path, skipped: Callable[[str], bool], barred_by: str | None = None) -> None:
        self.root = root
        self.skipped = skipped
        self.barred_by = barred_by
        self.unreadable: list[str] = []
        """Folders that could not be listed."""
        self.dangling: list[str] = []
        """Links that lead nowhere."""

    def __iter__(self) -> Iterator[str]:
        entered: set[tuple[int, int]] = set()
        real, linked = deque([""]), deque[str]()
        while real or linked:
            relative = real.pop() if real else linked.popleft()
            for entry in self._list(relative, entered):
                path = f"{relative}/{entry.name}" if relative else entry.name
                kind = _kind(entry)
                if kind == "folder":
                    (linked if entry.is_symlink() else real).append(path)
                elif kind == "file":
                    yield path
                elif kind == "nothing":
                    self.dangling.append(path)

    def _list(self, relative: str, entered: set[tuple[int, int]]) -> list[os.DirEntry[str]]:
        folder = self.root / relative
        try:
            status = folder.stat()
            if (status.st_dev, status.st_ino) in entered:
                return []
            entered.add((status.st_dev, status.st_ino))
            with os.scandir(folder) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError:
            self.unreadable.append(relative)
            return []
        if relative and any(entry.name == self.barred_by for entry in entries):
            return []
        return [entry for entry in entries if not self.skipped(entry.name)]


def _kind(entry: os.DirEntry[str]) -> str:
    try:
        if entry.is_dir():
            return "folder"
        if entry.is_file():
            return "file"
        return "nothing" if entry.is_symlink() and not Path(entry.path).exists() else "other"
    except OSError:
        return "nothing"  # a link to itself


def is_hidden(name: str) -> bool:
    """Whether a name says: hidden, unfinished, or not data."""
    return name.startswith((".", "_"))


def is_set_aside(root: Path, relative: str | PurePath) -> bool:
    """Whether a path below `root` lies in the `removed` folder of a corpus at or below `root`."""
    return any(root.joinpath(each).is_file() for each in _statistics_beside(relative))


def is_set_aside_in(files: Container[str], relative: str) -> bool:
    """Whether a path lies in the `removed` folder of a corpus, of which `files` holds the paths."""
    return any(each in files for each in _statistics_beside(relative))


def _statistics_beside(relative: str | PurePath) -> Iterator[str]:
    parts = PurePath(relative).parts
    return ("/".join((*parts[:index], STATISTICS)) for index, part in enumerate(parts[:-1]) if part == REMOVED)


def files_below(root: Path, skipped: Callable[[str], bool], counts: Callable[[str], bool]) -> list[str]:
    """Return the relative paths of the files that count, by what their paths say.

    Raises:
        CodeparrotError: some of them may be out of reach.
    """
    walk = Walk(root, skipped)
    found = [each for each in walk if counts(each)]
    lost = sorted([*walk.unreadable, *filter(counts, walk.dangling)])
    if lost:
        what = "cannot be listed; check its permissions" if lost[0] in walk.unreadable else "is a link that leads nowhere"
        raise CodeparrotError(f"{root / lost[0]} {what}: mend or remove it, since data would be missing")
    return found
