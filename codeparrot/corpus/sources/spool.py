"""Archives at addresses: each is fetched into a folder of the build, and read there as any archive here.

It is read more than once, for its licence and for each of its parts, by several workers. Who needs it first fetches it, the
others wait. Disk: SPOOL_BYTES, and what the workers are reading at the moment: at most one archive each. An archive of one part
goes as soon as it is read. Network: once for each archive, as long as those whose parts are being read fit into SPOOL_BYTES.
"""

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from codeparrot.corpus.sources.listing import State, digest, require_unchanged
from codeparrot.errors import CodeparrotError
from codeparrot.files import UNFINISHED, locked, new_file
from codeparrot.stream.readers import ranges

SPOOL_BYTES = 20_000_000_000
FETCHED_BYTES = 1 << 23
"""In one request."""


@contextmanager
def fetched(address: str, state: State, suffix: str, folder: str, again: bool) -> Iterator[Path]:
    """Yield a file here with the content of one at an address; it goes when the block ends.

    Args:
        address: of an archive.
        state: of the archive when it was listed.
        suffix: what the file's name ends in.
        folder: where archives lie; empty: nobody else reads this one.
        again: whether it will be read again, so that it is kept.

    Raises:
        CodeparrotError: it cannot be read or written, or is no longer what was listed.
    """
    if not folder:
        with tempfile.TemporaryDirectory(prefix="codeparrot-") as own, fetched(address, state, suffix, own, False) as file:
            yield file
        return
    place = Path(folder) / f"{digest(address, *state)}{suffix}"
    own_file = place.with_name(f"{UNFINISHED}{secrets.token_hex(8)}{suffix}")
    try:
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            while not _taken(place, own_file, address, state, again):
                pass
        except OSError as error:
            raise CodeparrotError(f"cannot keep {address} in {folder} while it is read: {error.strerror or error}") from error
        yield own_file
    finally:
        own_file.unlink(missing_ok=True)


def _taken(place: Path, own_file: Path, address: str, state: State, again: bool) -> bool:
    """Fetch an archive, unless it is there, and give it a name of this reader; False if it was removed in between."""
    with locked(place.with_name(f"{place.name}.lock"), wait=True):
        if not place.exists():
            require_unchanged(address, state)
            _make_room(place.parent, state.size)
            source = ranges.opened(address, FETCHED_BYTES, follows=True)
            with new_file(place, durable=False) as fresh, fresh.open("wb") as file, source:
                shutil.copyfileobj(source, file, FETCHED_BYTES)
        try:
            if again:
                os.utime(place)
                os.link(place, own_file)  # so that it stays readable when another worker makes room
            else:
                place.rename(own_file)
        except FileNotFoundError:
            return False
    return True


def tidy(folder: Path) -> None:
    """Remove what killed workers were reading. Nobody may be reading now."""
    for left in folder.glob(f"{UNFINISHED}*"):
        left.unlink(missing_ok=True)


def _make_room(folder: Path, num_bytes: int) -> None:
    """Remove the archives that were not needed for longest, until so many bytes more fit."""
    kept: list[tuple[float, int, Path]] = []
    for file in folder.iterdir():
        with suppress(FileNotFoundError):
            if not file.name.startswith(UNFINISHED):
                status = file.stat()
                kept.append((status.st_mtime, status.st_size, file))
    total = sum(size for _, size, _ in kept) + num_bytes
    for _, size, file in sorted(kept):
        if total <= SPOOL_BYTES:
            break
        if size:  # a lock has none
            file.unlink(missing_ok=True)
            total -= size
