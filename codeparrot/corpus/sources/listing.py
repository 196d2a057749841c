"""Names for what is read, which tell a resumed build what is done and whether its sources have changed.

A unit's `key` and a source's `listing` are made of names, sizes, modification times and revisions: of what is known before the
content is read, and never of the order in which something was found. Two machines that share a disk agree on them.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import xxhash

from codeparrot.location import is_address
from codeparrot.stream.readers import remote
from codeparrot.stream.readers.patience import Missing, changed, gone


def digest(*names: object) -> str:
    """Return 32 hexadecimal digits that stand for these names in this order; different lists give different digits."""
    state = xxhash.xxh3_128()
    for name in names:
        encoded = str(name).encode("utf-8", "surrogatepass")
        state.update(b"%d:" % len(encoded) + encoded)
    return state.hexdigest()


def digest_of_all(names: Iterable[str]) -> str:
    """Return the `digest` of the names in sorted order."""
    return digest(*sorted(names))


class State(NamedTuple):
    """What changes about a file when its content does, as far as can be seen without reading it."""

    size: int
    """Bytes."""
    modified_ns: int
    """Nanoseconds since 1970; -1 for a file that cannot be examined. Of one at an address, what stands for its version."""


UNREACHABLE = State(0, -1)


def require_unchanged(file: str, state: State) -> None:
    """Have this process read a file at an address in the version that another process has seen.

    Raises:
        CodeparrotError: it was replaced or removed since.
    """
    if not is_address(file):
        return
    try:
        found = state_of(remote.Place(file))
    except Missing as error:
        raise gone(file) from error
    if found != state:
        raise changed(file)


def state_of(file: str | Path | remote.Place) -> State:
    if isinstance(file, remote.Place):
        known = remote.info(file.address)
        return State(known.size, xxhash.xxh3_64_intdigest(known.version.encode()))
    try:
        status = Path(file).stat()
    except OSError:
        return UNREACHABLE
    return State(status.st_size, status.st_mtime_ns)
