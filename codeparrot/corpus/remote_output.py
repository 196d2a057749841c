"""A corpus, or windows, at an address: made in a work folder here, then uploaded, every file compared with what arrived.

Object stores rename nothing, so a corpus there does not become whole in one moment. While it is uploaded, UNFINISHED lies in
it, and every reader of this package refuses it; statistics.json comes last, then UNFINISHED goes. The same command goes on with
an upload that was interrupted: what is done of the build is kept, and files that are there already are not sent again. A corpus
that is replaced is refused from the beginning of the upload on. Cost: each file is read back once.
"""

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import xxhash

from codeparrot import __version__
from codeparrot.corpus.output import STATISTICS, Building, new_corpus
from codeparrot.errors import CodeparrotError, writing
from codeparrot.files import replaced_folder
from codeparrot.result import progress_bar, say
from codeparrot.stream.readers import listing, remote
from codeparrot.stream.readers.folder import UNFINISHED
from codeparrot.stream.tokenized import MANIFEST

WORK = Path(".codeparrot-upload")
"""Folder here, in the one in which the command runs, with what is not uploaded yet."""
_LAST = ("README.md", STATISTICS)


@contextmanager
def new_corpus_at(output: str, overwrite: bool) -> Iterator[Building]:
    """Yield the folders to write into; leaving the block without an error uploads the corpus to `output`.

    Raises:
        CodeparrotError: nothing can be written there, or something else is there.
    """
    _check_place(output, overwrite, STATISTICS, "is not a corpus")
    local = work_folder(output).absolute()
    say(f"{output}: made in {local}, uploaded when it is complete")
    with new_corpus(local, True) as building:
        yield building
        upload(building.folder, output)
    _discard(local)


@contextmanager
def new_windows_at(output: str, overwrite: bool) -> Iterator[Path]:
    """Yield a folder for windows; leaving the block without an error uploads it to `output`.

    An interrupted command begins anew, and sends no file again that arrived.

    Raises:
        CodeparrotError: nothing can be written there, or something else is there.
    """
    _check_place(output, overwrite, MANIFEST, "holds no windows")
    local = work_folder(output).absolute()
    say(f"{output}: made in {local}, uploaded when it is complete")
    with writing(local, "--output"), replaced_folder(local) as fresh:
        yield fresh
        upload(fresh, output, (MANIFEST,))
    _discard(local)


def _discard(local: Path) -> None:
    shutil.rmtree(local)
    with suppress(OSError):  # another command works in it
        local.parent.rmdir()


def work_folder(output: str) -> Path:
    """Return the folder here in which a corpus for an address is made."""
    name = output.rstrip("/").rpartition("/")[2]
    return WORK / f"{name}-{xxhash.xxh3_64_hexdigest(output.rstrip('/').encode())[:8]}"


def upload(folder: Path, output: str, last: Sequence[str] = _LAST) -> None:
    """Put all files of a corpus at an address, and remove those of the corpus that it replaces.

    Args:
        folder: the corpus here.
        output: the address.
        last: names of the files that come last. The very last makes it a corpus.

    Raises:
        CodeparrotError: they cannot be written, or did not arrive as they are.
    """
    names = [str(file.relative_to(folder)) for file in sorted(folder.rglob("*")) if file.is_file()]
    ordered = [*(name for name in names if name not in last), *(name for name in last if name in names)]
    marker = folder / UNFINISHED
    marker.write_text(json.dumps({"codeparrot": __version__, "files": len(ordered)}), encoding="utf-8")
    there = listing.files_below(output)
    remote.write(remote.below(output, UNFINISHED), marker)
    marker.unlink()
    remote.remove(remote.below(output, last[-1]))
    with progress_bar(total=len(ordered), desc="uploading", unit="file") as progress:
        for name in ordered:
            if name == last[0]:
                _remove(output, {*there} - {*names, UNFINISHED})
            address = remote.below(output, name)
            if name not in there or name == last[-1] or not remote.holds(address, folder / name):
                remote.write(address, folder / name)
            progress.update()
    remote.remove(remote.below(output, UNFINISHED))


def _remove(output: str, names: set[str]) -> None:
    for name in sorted(names):
        remote.remove(remote.below(output, name))


def _check_place(output: str, overwrite: bool, mark: str, what: str) -> None:
    if output.startswith(remote.WEB):
        raise CodeparrotError(f"{output}: nothing is written to web servers; give --output a folder, or s3://, gs:// or az://")
    found = listing.files_below(output)
    if "" in found:
        raise CodeparrotError(f"{output} is a file; give --output a folder")
    if not found or UNFINISHED in found:
        return
    if mark not in found:
        raise CodeparrotError(f"{output} exists and {what}; give --output another folder")
    if not overwrite:
        raise CodeparrotError(f"{output} exists; give --output another folder, or --overwrite true to replace it")
