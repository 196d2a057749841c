"""Which files of an index are no longer what was read.

Cost: a look at the size and time of every file; one of the same size and another time is read. A new
file is not noticed: build again.
"""

import stat
from pathlib import Path
from typing import Literal, NamedTuple

import pyarrow as pa

from codeparrot.search.tree import digest_of

State = Literal["fresh", "changed", "gone"]


class Stale(NamedTuple):
    """Paths of files, sorted."""

    changed: list[str]
    gone: list[str]

    def state(self, path: str) -> State:
        return "changed" if path in self.changed else "gone" if path in self.gone else "fresh"


def stale_files(root: Path, read: pa.Table) -> Stale:
    """Return what of the files of an index has changed or is gone.

    Args:
        root: the folder of the tree.
        read: the files as they were: path, digest, size, modified_ns.
    """
    found = Stale([], [])
    for path, digest, size, modified_ns in zip(*(read[name].to_pylist() for name in read.column_names), strict=True):
        file = root / path
        try:
            status = file.stat()
            touched = status.st_mtime_ns != modified_ns
            # A pipe in the place of an empty file would be read for ever.
            other = status.st_size != size or not stat.S_ISREG(status.st_mode)
            if other or (touched and digest_of(file.read_bytes()) != digest):
                found.changed.append(path)
        except OSError:
            found.gone.append(path)
    return found
