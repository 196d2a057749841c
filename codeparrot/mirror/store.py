"""Where a mirror lies: an address that fsspec can write to, or a folder on another disk. Both hold files by their names.

A file is there whole or not at all. What is written can be read at once, by everybody. Nothing here knows of checkpoints.
"""

import errno
import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from codeparrot import files
from codeparrot.errors import CodeparrotError, how_to_install
from codeparrot.location import check_address, is_address, path_of, without_credentials
from codeparrot.stream.readers import listing, remote
from codeparrot.stream.readers.patience import FULL, WEB, Missing, Unanswered

Counted = Callable[[int], object]
"""Called with the bytes that were moved."""
_PIECE_BYTES = 1 << 23
_LASTING = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR)
"""What a disk answers that does not mend itself."""


class Store(Protocol):
    """Every method raises a CodeparrotError where the store does not do it: Unanswered if it may do so later."""

    shown: str
    """As it may be shown."""

    def sizes(self) -> dict[str, int]:
        """Return the bytes of each file by its name."""
        ...

    def read(self, name: str) -> bytes: ...

    def put(self, name: str, local: Path, counted: Counted = ...) -> None: ...

    def fetch(self, name: str, local: Path, counted: Counted = ...) -> None: ...

    def sha256(self, name: str) -> str: ...

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        ...


def check_place(name: str) -> None:
    """Check what can be told of a mirror's name without asking anybody.

    Raises:
        CodeparrotError: nothing can be written there, or a package is missing.
    """
    if not is_address(name):
        path_of(name)
        return
    try:
        check_address(name)
    except CodeparrotError as error:
        raise CodeparrotError(f"checkpoint.mirror: {error}") from error
    if name.startswith(WEB):
        remedy = "name a folder, or s3://, gs:// or az://"
        raise CodeparrotError(f"checkpoint.mirror {without_credentials(name)}: nothing is written to web servers; {remedy}")
    package = remote.PACKAGES[name.partition("://")[0]]
    if find_spec(package) is None:
        remedy = how_to_install(package) or f"pip install {package}"
        raise CodeparrotError(f"checkpoint.mirror {without_credentials(name)} needs {package}: {remedy}")


def open_store(name: str) -> Store:
    """Return the store that a mirror's name means; nobody is asked yet."""
    check_place(name)
    return AddressStore(name) if is_address(name) else FolderStore(path_of(name))


def nothing(num_bytes: int) -> None:
    """Count nothing."""


class AddressStore:
    """A folder of an object store."""

    def __init__(self, address: str) -> None:
        self._root = address.rstrip("/")
        self.shown = without_credentials(self._root)

    def sizes(self) -> dict[str, int]:
        remote.forget_below(self._root)
        try:
            return {name: info.size for name, info in listing.files_below(self._root).items() if name}
        except Missing as error:
            raise CodeparrotError(f"{error}; a mirror needs a bucket that exists") from error

    def read(self, name: str) -> bytes:
        remote.forget_below(self._root)
        return remote.read(remote.below(self._root, name))

    def put(self, name: str, local: Path, counted: Counted = nothing) -> None:
        remote.put(remote.below(self._root, name), local, _progress(counted))

    def fetch(self, name: str, local: Path, counted: Counted = nothing) -> None:
        remote.fetch(remote.below(self._root, name), local, _progress(counted))

    def sha256(self, name: str) -> str:
        remote.forget_below(self._root)
        return remote.sha256_of(remote.below(self._root, name))

    def remove(self, name: str) -> None:
        remote.remove(remote.below(self._root, name))


def _progress(counted: Counted) -> Any:
    """Return what fsspec tells of the bytes that it has moved."""
    from fsspec.callbacks import Callback

    class Progress(Callback):
        def relative_update(self, inc: int = 1) -> None:
            counted(inc)

        def absolute_update(self, value: int) -> None:  # as Google's and Azure's clients tell it
            counted(value - self.value)
            self.value = value

    return Progress()


class FolderStore:
    """A folder of this machine, on a disk that may be full or gone."""

    def __init__(self, folder: Path) -> None:
        self._root = folder.absolute()
        self.shown = str(folder)

    def sizes(self) -> dict[str, int]:
        # Path.rglob would pass over folders that cannot be read, as if they held nothing.
        def now() -> dict[str, int]:
            found = {}
            for folder, _, names in os.walk(self._root, onerror=_unless_gone):
                for file in (Path(folder, name) for name in names):
                    with suppress(FileNotFoundError):  # another process removes or renames it just now
                        found[str(file.relative_to(self._root))] = file.stat().st_size
            return found

        return self._try("read", now)

    def read(self, name: str) -> bytes:
        return self._try("read", (self._root / name).read_bytes)

    def put(self, name: str, local: Path, counted: Counted = nothing) -> None:
        def now() -> None:
            place = self._root / name
            place.parent.mkdir(parents=True, exist_ok=True)
            with files.new_file(place) as fresh:
                _copy(local, fresh, counted)

        self._try("write", now)

    def fetch(self, name: str, local: Path, counted: Counted = nothing) -> None:
        self._try("read", lambda: _copy(self._root / name, local, counted))

    def sha256(self, name: str) -> str:
        def now() -> str:
            with (self._root / name).open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()

        return self._try("read", now)

    def remove(self, name: str) -> None:
        def now() -> None:
            place = self._root / name
            place.unlink(missing_ok=True)
            with suppress(OSError):  # other files are in it
                for folder in place.relative_to(self._root).parents[:-1]:
                    (self._root / folder).rmdir()

        self._try("remove", now)

    def _try(self, verb: str, action: Callable[[], Any]) -> Any:
        try:
            return action()
        except OSError as error:
            said = f"cannot {verb} {error.filename or self.shown}: {error.strerror or error}"
            if verb == "read" and error.errno in FULL:
                raise CodeparrotError(f"{said}: the disk that it is fetched to is full; make room there") from error
            lasts = error.errno in _LASTING
            raise (CodeparrotError(f"{said}; name a folder that you may write to") if lasts else Unanswered(said)) from error


def _unless_gone(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def _copy(source: Path, target: Path, counted: Counted) -> None:
    with source.open("rb") as read, target.open("wb") as written:
        while piece := read.read(_PIECE_BYTES):
            written.write(piece)
            counted(len(piece))
