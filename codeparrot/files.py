"""Files and folders that exist whole or not at all, and locks.

New content is written under a hidden name beside its place, flushed to the disk, and renamed last. A reader sees the old
content or the new one, never a part of either, even after a kill or a power cut. What a killed process leaves behind has a
name that begins with UNFINISHED. Everything has the rights that the umask says, whatever library wrote it.
Cost: one fsync a file.
"""

import errno
import fcntl
import functools
import json
import logging
import math
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

UNFINISHED = ".unfinished-"
_UNSUPPORTED = {errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOLCK, errno.EINVAL}
"""What a file system answers that cannot lock (Lustre mounted without flock, NFS without its lock server) or flush a folder."""

logger = logging.getLogger("codeparrot")


@contextmanager
def new_file(place: Path, durable: bool = True) -> Iterator[Path]:
    """Yield a path to write to. If the block ends without an error, the file takes its place; else nothing has changed.

    Args:
        place: where the file goes; its folder is made if it does not exist.
        durable: whether the content is flushed to the disk before the file takes its place. A file that only matters while
            this process runs does not need it.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    fresh = place.with_name(f"{UNFINISHED}{os.getpid()}-{place.name}")
    try:
        yield fresh
        if durable:
            flush(fresh)
        fresh.replace(place)
    finally:
        fresh.unlink(missing_ok=True)


def write_text(place: Path, text: str, durable: bool = True) -> None:
    """Write a text file in UTF-8; see `new_file`."""
    with new_file(place, durable) as fresh:
        fresh.write_text(text, encoding="utf-8")


def write_json(place: Path, value: Any, indent: int | None = None) -> None:
    """Write a JSON file; see `new_file` and `to_json`."""
    write_text(place, to_json(value, indent))


def to_json(value: Any, indent: int | None = None) -> str:
    """Return a value as JSON, which has no NaN and no infinity: such numbers become null."""
    try:
        return json.dumps(value, indent=indent, allow_nan=False)
    except ValueError:
        return json.dumps(_without_nan(value), indent=indent, allow_nan=False)


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


class Readable(Protocol):
    """A Path, or what stands for one on another machine."""

    def read_text(self, encoding: str) -> str: ...


def read_object(path: Readable) -> dict[str, Any]:
    """Return the object in a JSON file.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is damaged, or holds something else.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


@contextmanager
def new_folder(place: Path) -> Iterator[Path]:
    """Yield an empty folder that takes its place when the block ends without an error. A folder that already exists stays."""
    place.parent.mkdir(parents=True, exist_ok=True)
    folder = place.with_name(f"{UNFINISHED}{secrets.token_hex(8)}")
    folder.mkdir()
    try:
        yield folder
        give_usual_modes(folder.rglob("*"), folder)
        flush_folder(folder)
        try:
            folder.rename(place)
        except OSError:
            if not place.is_dir():
                raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def replaced_folder(place: Path) -> Iterator[Path]:
    """Yield an empty folder that replaces the one in its place if the block ends without an error; else the old one stays."""
    fresh = place.with_name(f"{UNFINISHED}{os.getpid()}-{place.name}")
    with new_folder(fresh) as folder:
        yield folder
    try:
        put_folder(fresh, place)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def put_folder(folder: Path, place: Path) -> None:
    """Move a folder into the place of another, which is removed. A kill in between leaves neither in that place."""
    aside = place.with_name(f"{UNFINISHED}{os.getpid()}-before-{place.name}")
    if place.exists():
        place.rename(aside)
    folder.rename(place)
    shutil.rmtree(aside, ignore_errors=True)


def append(path: Path, lines: bytes) -> None:
    """Append whole lines to a file, or leave it as it was.

    Raises:
        OSError: they do not fit on the disk, or the file cannot be written.
    """
    with path.open("ab", buffering=0) as file:
        end = file.seek(0, os.SEEK_END)
        try:
            if file.write(lines) != len(lines):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        except OSError:
            file.truncate(end)
            raise


def cut_unfinished_line(path: Path) -> None:
    """Remove an unfinished last line that a killed process left."""
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        os.truncate(path, whole)


def give_usual_modes(paths: Iterable[Path], folder: Path) -> None:
    """Give files the rights that a new file in `folder` gets. safetensors writes its files for the owner alone."""
    probe = folder / f"{UNFINISHED}{os.getpid()}-mode"
    # Not os.umask: asking for the umask sets it, for all threads.
    probe.touch()
    usual = probe.stat().st_mode & 0o777
    probe.unlink()
    for path in paths:
        mode = path.stat().st_mode & 0o777
        if path.is_file() and mode & usual != usual:
            with suppress(PermissionError):  # a file system without rights
                path.chmod(mode | usual)


@contextmanager
def locked(path: Path, wait: bool = False) -> Iterator[bool]:
    """Lock a file, which is made for it; yield whether the lock is ours. It ends with the process, however that ends.

    Where the file system has no locks, a warning says so once, and the lock counts as ours.

    Args:
        path: the file.
        wait: wait for the process that has the lock, instead of yielding False.
    """
    with path.open("w", encoding="utf-8") as file:
        yield _lock(file.fileno(), fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB), path.parent)


def is_free(path: Path) -> bool:
    """Whether a file that `locked` locks is locked by no process; False where nothing can say so.

    It is locked for an instant, shared, so that several may ask at once.
    """
    try:
        with path.open("rb") as file:
            fcntl.flock(file.fileno(), fcntl.LOCK_SH | fcntl.LOCK_NB)
            return True
    except FileNotFoundError:
        return True
    except OSError:  # it is locked, or the file system has no such locks
        return False


def _lock(handle: int, how: int, folder: Path) -> bool:
    for kind in (fcntl.flock, fcntl.lockf):
        try:
            kind(handle, how)
            return True
        except (BlockingIOError, PermissionError):
            return False
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
    _warn_of_no_locks(folder)
    return True


@functools.cache
def _warn_of_no_locks(folder: Path) -> None:
    logger.warning("%s is on a file system without locks: see to it that no other process writes there", folder)


def flush(path: Path) -> None:
    """Flush the content of a file, or the names in a folder, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        # Some network file systems cannot flush a folder; a file that they cannot flush is an error.
        if error.errno not in _UNSUPPORTED or path.is_file():
            raise
    finally:
        os.close(handle)


def flush_folder(folder: Path) -> None:
    """Flush a folder and everything in it to the disk."""
    for path in (*folder.rglob("*"), folder):
        flush(path)
