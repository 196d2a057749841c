"""Malicious and damaged sources: what is refused, the name it is counted under, whether a path stays inside its folder."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from codeparrot.corpus.documents import Removed
from codeparrot.stream.readers.rows import Damaged

UNREADABLE = "unreadable"
UNSAFE_PATH = "unsafe_path"
BOMB = "bomb"
REFUSALS = {
    UNREADABLE: "cannot be read: no permission, damaged, encrypted, cut short, or not on this disk",
    UNSAFE_PATH: "in an archive or a repository: a link, a device, a second file of one name, or a path that leads out of it",
    BOMB: "the rest of an archive or a repository that unfolds to far more than it weighs, or has too many members",
}
"""What the sources themselves remove, in words."""
MAX_PATH = 4096


class Refused(NamedTuple):
    """A unit without files: it reports what was refused before anything was read."""

    key: str
    removed: tuple[Removed, ...]

    def records(self) -> Iterator[Removed]:
        yield from self.removed


def lost_with(damaged: Damaged) -> list[Removed]:
    """Return what is counted for damage in a table: each document that is lost with it, or one if nobody knows how many."""
    place, problem = str(damaged.where), str(damaged)
    return [Removed(UNREADABLE, 0, place, f"document {number}", problem) for number in range(damaged.documents or 1)]


def is_safe_path(path: str) -> bool:
    """Whether a path, with slashes or backslashes, stays inside the folder that it is relative to."""
    parts = re.split(r"[/\\]", path)
    is_absolute = not parts[0] or re.fullmatch(r"[A-Za-z]:.*", parts[0]) is not None
    return 0 < len(path) <= MAX_PATH and not is_absolute and ".." not in parts and "\0" not in path
