"""The source `python`: the standard library of the running interpreter and every distribution installed in it.

A distribution is a repository; its files are those that its RECORD lists inside its site-packages folder. A distribution that
lists none (an editable install, a system package without RECORD) contributes nothing; a working tree is never read.
"""

import csv
import importlib.metadata
import os
import platform
import re
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from codeparrot.corpus.documents import UNKNOWN_LICENSE, Source
from codeparrot.corpus.licenses.rules import spdx
from codeparrot.corpus.sources.files import SourceFile, open_files, printable, read_license, walk_sources
from codeparrot.corpus.sources.license_files import is_license_file, license_of_files
from codeparrot.corpus.sources.listing import state_of
from codeparrot.errors import CodeparrotError
from codeparrot.languages.chosen import has_ending

SUFFIXES = (".py",)
STANDARD_LIBRARY = "cpython"
STANDARD_LIBRARY_LICENSE = "PSF-2.0"
NOT_STANDARD_LIBRARY = frozenset({"site-packages", "dist-packages", "__pycache__"})
EDITABLE_FINDER = "__editable__"
UNCLEAR = frozenset({UNKNOWN_LICENSE, "Apache", "BSD", "GPL", "LGPL"})
"""Names that metadata declares without saying which version is meant."""


class Installed(NamedTuple):
    name: str
    version: str
    license: str
    folder: str
    """Its site-packages folder, to which the paths in the record are relative."""
    record: str | None
    """The text of RECORD."""


def open_installed(seed: int, max_size: int, suffixes: tuple[str, ...] = SUFFIXES) -> Source:
    """Open every file with one of the suffixes of the interpreter and its distributions, each file once."""
    files = {file.file: file for file in _standard_library(suffixes)}
    distributions = {STANDARD_LIBRARY: {"version": platform.python_version(), "license": STANDARD_LIBRARY_LICENSE}}
    installed = _installed()
    for each in installed:
        num_before = len(files)
        for file in _files_of(each, suffixes):
            files.setdefault(file.file, file)
        if len(files) > num_before:
            distributions[each.name] = {"version": each.version, "license": each.license}
    facts = {
        "kind": "python",
        "files": len(files),
        "distributions": distributions,
        "without_record": [each.name for each in installed if each.record is None],
    }
    return open_files(facts, files.values(), seed, max_size)


def _standard_library(suffixes: tuple[str, ...]) -> Iterator[SourceFile]:
    folder = Path(sysconfig.get_path("stdlib"))
    if not folder.is_dir():
        raise CodeparrotError(f"the standard library {folder} is not a folder; give folders of source files instead of python")
    for path in walk_sources(folder, NOT_STANDARD_LIBRARY):
        if has_ending(path, suffixes):
            file = str(folder / path)
            yield SourceFile(file, STANDARD_LIBRARY, printable(path), STANDARD_LIBRARY_LICENSE, state_of(file))


def _installed() -> list[Installed]:
    """Return the distributions that `import` would find, sorted by name: of two with the same name, the first on the path."""
    found: dict[str, Installed] = {}
    for distribution in importlib.metadata.distributions():
        metadata: Any = distribution.metadata  # parsed again at every access, also by `distribution.name`
        name = metadata.get("Name") if metadata else None
        if name:  # the remains of a broken installation have none
            folder, record = str(distribution.locate_file("")), distribution.read_text("RECORD")
            each = Installed(name, metadata.get("Version") or "unknown", license_of(metadata), folder, record)
            found.setdefault(re.sub(r"[-_.]+", "-", name).lower(), each._replace(license=_made_clear(each)))
    return [found[name] for name in sorted(found)]


def _files_of(distribution: Installed, suffixes: tuple[str, ...]) -> Iterator[SourceFile]:
    for path, *_ in _record(distribution):
        if has_ending(path, suffixes) and _is_inside(path) and not path.startswith(EDITABLE_FINDER):
            file = os.path.join(distribution.folder, path)  # noqa: PTH118
            if os.path.isfile(file):  # noqa: PTH113
                yield SourceFile(file, distribution.name, printable(path), distribution.license, state_of(file))


def _record(distribution: Installed) -> Iterator[list[str]]:
    return filter(None, csv.reader((distribution.record or "").splitlines()))


def _is_inside(path: str) -> bool:
    return not os.path.isabs(path) and ".." not in path.split("/")  # noqa: PTH117


def _made_clear(distribution: Installed) -> str:
    """Return the declared licence. If there is none, return the licence whose text the licence files hold. If it is a family,
    return the members that they hold (they also hold licences of bundled code, which are not the distribution's)."""
    if distribution.license not in UNCLEAR:
        return distribution.license
    paths = [path for path, *_ in _record(distribution) if ".dist-info/" in path and is_license_file(path.rpartition("/")[2])]
    texts = (read_license(os.path.join(distribution.folder, path)) for path in paths if _is_inside(path))  # noqa: PTH118
    found = license_of_files(text for text in texts if text is not None)
    if distribution.license == UNKNOWN_LICENSE:
        return found
    return (
        " AND ".join(each for each in found.split(" AND ") if each.startswith(f"{distribution.license}-"))
        or distribution.license
    )


def license_of(metadata: Any) -> str:
    """Return the licence that a distribution's metadata declares, as an SPDX identifier if it is clear.

    License-Expression, else a one-line License, else the trove classifiers, else the title of a licence's whole text.
    """
    text = (metadata.get("License") or "").strip()
    title = text.partition("\n")[0].strip()
    classifiers = [each.rpartition(" :: ")[2] for each in metadata.get_all("Classifier") or () if each.startswith("License ::")]
    candidates = (
        metadata.get("License-Expression"),
        text if "\n" not in text and text.upper() != "UNKNOWN" and len(text) <= 80 else None,
        " AND ".join(sorted(spdx(each) for each in classifiers if each != "OSI Approved")),
        title if "licen" in title.lower() and len(title) <= 40 else None,
    )
    return spdx(next((each.strip() for each in candidates if each), UNKNOWN_LICENSE))
