"""Names of what is read, by which an interrupted build knows what is done and whether its sources have changed.

A unit's `key` and a source's `listing` follow from names, sizes, times of change and revisions: from what is there before the
content is read, and never from the order in which something was found. Two machines that share a disk agree on them.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import xxhash


def digest(*names: object) -> str:
    """Return 32 hexadecimal digits that stand for these names in this order; no two lists of names run into each other."""
    state = xxhash.xxh3_128()
    for name in names:
        encoded = str(name).encode("utf-8", "surrogatepass")
        state.update(b"%d:" % len(encoded) + encoded)
    return state.hexdigest()


def digest_of_all(names: Iterable[str]) -> str:
    """Return what `digest` returns of the names in sorted order."""
    return digest(*sorted(names))


class State(NamedTuple):
    """Of a file: what changes when its content does, as far as that can be seen without reading it."""

    size: int
    """Bytes."""
    modified_ns: int
    """Nanoseconds since 1970; -1 for a file that cannot be looked at."""


UNREACHABLE = State(0, -1)


def state_of(file: str | Path) -> State:
    try:
        status = Path(file).stat()
    except OSError:
        return UNREACHABLE
    return State(status.st_size, status.st_mtime_ns)
