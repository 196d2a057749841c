"""A folder that appears complete or not at all.

The work is done in a hidden sibling, flushed to the disk and renamed last. What an interrupted run leaves there, the next
run removes; two runs at once are refused. An existing corpus is replaced only after the new one is complete, and nothing
but a corpus (or an empty folder) is ever replaced.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from codeparrot.errors import CodeparrotError

STATISTICS = "statistics.json"
"""Written last; a folder that has it is a corpus."""


@contextmanager
def new_corpus(output: Path, overwrite: bool) -> Iterator[Path]:
    """Yield the empty folder to write into; leaving the block without an error puts it in the place of `output`."""
    final = Path(os.path.realpath(output.expanduser()))
    if not final.name:
        raise CodeparrotError(f"{output} cannot be a corpus; give --output a folder in it")
    partial, replaced = final.with_name(f".{final.name}.partial"), final.with_name(f".{final.name}.replaced")
    with _errors_of(output):
        partial.mkdir(parents=True, exist_ok=True)
        with _locked(partial, output):
            try:
                _tidy(partial, final, replaced)
                _check_place(output, final, overwrite)
                yield partial
                _flush(partial)
                _put(partial, final, replaced)
            except BaseException:
                shutil.rmtree(partial, ignore_errors=True)
                raise


def _check_place(output: Path, final: Path, overwrite: bool) -> None:
    if final.exists() and not final.is_dir():
        raise CodeparrotError(f"{output} is a file; give --output a folder")
    if not final.exists() or not any(final.iterdir()):
        return
    if not (final / STATISTICS).is_file():
        raise CodeparrotError(f"{output} exists and is no corpus; give --output another folder")
    if not overwrite:
        raise CodeparrotError(f"{output} exists; give --output another folder, or --overwrite true to replace it")


@contextmanager
def _locked(folder: Path, output: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise CodeparrotError(f"another build is writing {output}; wait for it or stop it") from None
    try:
        yield
    finally:
        os.close(descriptor)


def _tidy(partial: Path, final: Path, replaced: Path) -> None:
    """Remove what a killed run left, and put back what it had moved away."""
    for entry in partial.iterdir():
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    if replaced.exists() and not final.exists():
        replaced.rename(final)
    shutil.rmtree(replaced, ignore_errors=True)


def _flush(folder: Path) -> None:
    for path in [*folder.iterdir(), folder]:
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)


def _put(partial: Path, final: Path, replaced: Path) -> None:
    if final.exists() and any(final.iterdir()):
        final.rename(replaced)
    partial.rename(final)
    shutil.rmtree(replaced, ignore_errors=True)


@contextmanager
def _errors_of(output: Path) -> Iterator[None]:
    # Sources report their own errors, so what arrives here is about the output: a full disk, a read-only folder, ...
    try:
        yield
    except OSError as error:
        reason = error.strerror or " ".join(str(error).split())
        remedy = "nothing was left there; free space or choose another --output"
        raise CodeparrotError(f"cannot write {output}: {reason} ({remedy})") from error
