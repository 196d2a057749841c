"""A folder that appears complete or not at all.

The work is done in a hidden sibling folder. The corpus is put together in another one, flushed to the disk and renamed last.
What an interrupted build has done stays for the next one (work.py); two builds at once are refused. An existing corpus is
replaced only after the new one is complete, and nothing but a corpus (or an empty folder) is ever replaced.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from codeparrot.errors import CodeparrotError
from codeparrot.files import flush_folder, locked
from codeparrot.location import path_of

STATISTICS = "statistics.json"
"""Written last; a folder that has it is a corpus."""
PLACED = "placed"
"""Lies beside the work of a build whose corpus is in its place, or about to be."""


class Building(NamedTuple):
    """The folders of a build."""

    work: Path
    """For its tasks; it stays if the build fails, unless no task is done and no log says why."""
    folder: Path
    """Empty at first, the corpus in the end."""


@contextmanager
def new_corpus(output: Path, overwrite: bool) -> Iterator[Building]:
    """Yield the folders to write into; leaving the block without an error puts the corpus in the place of `output`."""
    final = Path(os.path.realpath(path_of(output)))
    if not final.name:
        raise CodeparrotError(f"{output} cannot be a corpus; give --output a folder in it")
    partial = final.with_name(f".{final.name}.partial")
    building = Building(partial / "work", partial / "corpus")
    with _errors_of(output, partial):
        partial.mkdir(parents=True, exist_ok=True)
        with locked(partial / ".lock") as free:
            if not free:
                raise CodeparrotError(f"another build is writing {output}; wait for it or stop it")
            try:
                _tidy(partial, final)
                _check_place(output, final, overwrite)
                building.folder.mkdir()
                yield building
                flush_folder(building.folder)
                (partial / PLACED).touch()
                _put(building.folder, final)
                _discard(partial)
            except BaseException:
                shutil.rmtree(building.folder, ignore_errors=True)
                if not (_has_tasks(building.work) or _has_logs(building.work)):
                    _discard(partial)
                raise


def _has_tasks(work: Path) -> bool:
    read = work / "read"
    return read.is_dir() and any(not entry.name.startswith(".") for entry in read.iterdir())


def _has_logs(work: Path) -> bool:
    """Whether tasks on a cluster have left logs, which the error that ends the build names."""
    return any(log.is_file() for log in work.glob("cluster/**/logs/**/*"))


def _discard(partial: Path) -> None:
    # Renamed first, so that the rest of a half-removed folder is not taken for work.
    shutil.rmtree(_done(partial), ignore_errors=True)
    partial.rename(_done(partial))
    shutil.rmtree(_done(partial), ignore_errors=True)


def _done(partial: Path) -> Path:
    return partial.with_name(f"{partial.name}.done")


def _check_place(output: Path, final: Path, overwrite: bool) -> None:
    if final.exists() and not final.is_dir():
        raise CodeparrotError(f"{output} is a file; give --output a folder")
    if not final.exists() or not any(final.iterdir()):
        return
    if not (final / STATISTICS).is_file():
        raise CodeparrotError(f"{output} exists and is not a corpus; give --output another folder")
    if not overwrite:
        raise CodeparrotError(f"{output} exists; give --output another folder, or --overwrite true to replace it")


def _tidy(partial: Path, final: Path) -> None:
    """Remove what a killed build left of a corpus, and put back the corpus that it had moved away."""
    replaced = _replaced(final)
    if (partial / PLACED).exists() and not (partial / "corpus").exists():
        shutil.rmtree(partial / "work", ignore_errors=True)
    (partial / PLACED).unlink(missing_ok=True)
    shutil.rmtree(partial / "corpus", ignore_errors=True)
    shutil.rmtree(_done(partial), ignore_errors=True)
    if replaced.exists() and not final.exists():
        replaced.rename(final)
    shutil.rmtree(replaced, ignore_errors=True)


def _replaced(final: Path) -> Path:
    return final.with_name(f".{final.name}.replaced")


def _put(folder: Path, final: Path) -> None:
    replaced = _replaced(final)
    if final.exists() and any(final.iterdir()):
        final.rename(replaced)
    folder.rename(final)
    shutil.rmtree(replaced, ignore_errors=True)


@contextmanager
def _errors_of(output: Path, partial: Path) -> Iterator[None]:
    # Sources report their own errors, so an error that arrives here is about the output: a full disk, a read-only folder, ...
    try:
        yield
    except OSError as error:
        reason = error.strerror or " ".join(str(error).split())
        remedy = "free space or choose another --output"
        if partial.exists():
            remedy = f"free space and run the same command again: what is done is kept in {partial}"
        raise CodeparrotError(f"cannot write {output}: {reason} ({remedy})") from error
