"""Files and folders that exist whole or not at all.

New content is written under a hidden name beside its place, flushed to the disk, and renamed last. A reader sees the old
content or the new one, never a part of either, even after a kill or a power cut. What a killed process leaves behind has a
name that begins with UNFINISHED.
Cost: one fsync a file.
"""

import errno
import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

UNFINISHED = ".unfinished-"


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


@contextmanager
def new_folder(place: Path) -> Iterator[Path]:
    """Yield an empty folder that takes its place when the block ends without an error. A folder that already exists stays."""
    place.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=place.parent))
    try:
        yield folder
        folder.chmod(0o755)
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


def flush(path: Path) -> None:
    """Flush the content of a file, or the names in a folder, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def flush_folder(folder: Path) -> None:
    """Flush a folder and everything in it to the disk."""
    for path in (*folder.rglob("*"), folder):
        flush(path)
