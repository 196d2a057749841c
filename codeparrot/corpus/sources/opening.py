"""Opens what `--source` may name, and reads several sources in turns."""

import glob
from collections.abc import Iterable, Iterator
from pathlib import Path

from codeparrot.corpus import registry
from codeparrot.corpus.documents import Reading, Source, Unit
from codeparrot.corpus.sources import archives
from codeparrot.corpus.sources.elsewhere import open_folder_at
from codeparrot.corpus.sources.files import folder_source, open_folder
from codeparrot.corpus.sources.installed import open_installed
from codeparrot.corpus.sources.tables import open_tables, tables_at
from codeparrot.errors import CodeparrotError, nearest
from codeparrot.location import is_address, near, path_of
from codeparrot.registry import load
from codeparrot.stream.readers.folder import DATA, is_data, matches, matches_at
from codeparrot.stream.readers.patience import WEB
from codeparrot.stream.readers.remote import Place

PYTHON = "python"


def open_source(spec: str, reading: Reading) -> Source:
    """Open what a `--source` names; raise CodeparrotError if it names nothing that can be read."""
    if spec == PYTHON:
        return open_installed(reading.seed, reading.max_size, reading.installed_suffixes)
    if is_address(spec):
        return _open_at(spec, reading)
    scheme, colon, _ = spec.partition(":")
    if colon and scheme in registry.SOURCES:
        return load(registry.SOURCES[scheme].target)(spec, reading)
    path = path_of(spec)
    if path.is_dir():
        return open_folder(path, reading.suffixes, reading.seed, reading.max_size)
    files = _files(spec, path)
    if all(map(archives.is_archive, files)):
        return archives.open_archives(files, reading.suffixes, reading.seed, reading.max_size)
    return open_tables(files, reading.columns, reading.seed, reading.on_error)


def _open_at(address: str, reading: Reading) -> Source:
    """Open archives, tables or a folder of source files at an address."""
    named = [each.strip() for each in address.split(",")]
    if not all(map(is_address, named)):  # the comma belongs to a name
        named = [address]
    if len(named) == 1 and glob.has_magic(address) and not address.startswith(WEB):
        named = matches_at(address)
    if all(each.endswith(archives.SUFFIXES) for each in named):
        return archives.open_archives_at([Place(each) for each in named], reading)
    if not any(map(is_data, named)):
        if address.startswith(WEB):
            kinds = ", ".join((*archives.SUFFIXES, *DATA))
            raise CodeparrotError(f"source {address} is no table and no archive; of web servers, name single files: {kinds}")
        source = open_folder_at(address, reading) if len(named) == 1 else None
        if source is not None:
            return source
    return open_tables(tables_at(address), reading.columns, reading.seed, reading.on_error)


def _kinds() -> str:
    *others, last = (f"{scheme}:{source.names}" for scheme, source in registry.SOURCES.items())
    endings, archived = ", ".join(DATA), ", ".join(archives.SUFFIXES)
    return f"python, a folder, a table ({endings}) or an archive ({archived}) or a glob of them, {', '.join(others)}, or {last}"


def _files(spec: str, path: Path) -> list[Path]:
    files = [path] if path.exists() else [Path(each) for each in matches(str(path))]
    if not files:
        hint = nearest(spec, [PYTHON]) or ("" if ":" in spec else near(spec)) or f"; a source is {_kinds()}"
        raise CodeparrotError(f'source "{spec}" does not exist{hint}')
    all_archives = all(map(archives.is_archive, files))
    for file in files:
        if not file.is_file() or not (all_archives or is_data(file)):
            whole = f'name its folder, "{folder_source(file)}"; ' if file.is_file() else ""
            raise CodeparrotError(f"source {file} is no table and no archive; {whole}a source is {_kinds()}")
    return files


def take_turns(sources: Iterable[Iterator[Unit]]) -> Iterator[Unit]:
    """Yield one unit of each source in turn until all are exhausted, so the first units are a sample of every source."""
    waiting = list(sources)
    while waiting:
        for source in list(waiting):
            unit = next(source, None)
            if unit is None:
                waiting.remove(source)
            else:
                yield unit
