"""Reads the statistics of a corpus, here or at an address, also of one that an older version built, and checks its shards.

Imports nothing heavy: publishing a corpus imports it too.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from codeparrot import files
from codeparrot.corpus import registry
from codeparrot.corpus.documents import COLUMNS, NEW_COLUMNS
from codeparrot.corpus.output import STATISTICS
from codeparrot.errors import CodeparrotError
from codeparrot.loading import corpus_here
from codeparrot.location import is_address, path_of
from codeparrot.stream.readers import listing, remote
from codeparrot.stream.readers.folder import UNFINISHED, not_whole

Folder = Path | remote.Place

_TYPES = {
    **{"documents": int, "bytes": int, "licenses": dict, "languages": dict, "splits": dict, "sources": list, "waterfall": list},
    **{"files": dict, "settings": dict},
}


def corpus_folder(name: str) -> Folder:
    """Return the folder of a corpus: here, downloaded from the Hub, or at an address.

    Raises:
        CodeparrotError: the Hub does not have it, it is not uploaded to its end, or nothing can be listed there.
    """
    if not is_address(name):
        return path_of(corpus_here(name))
    if name.startswith(remote.WEB):
        raise CodeparrotError(f"{name} is on a web server, which cannot be listed: fetch the corpus, and name its folder")
    folder = remote.Place(name.rstrip("/"))
    if (folder / UNFINISHED).is_file():
        raise not_whole(str(folder))
    return folder


def name_of(folder: Folder) -> str:
    """Return the last part of a folder's name."""
    return folder.name if isinstance(folder, remote.Place) else folder.resolve().name


def openable(file: Folder) -> Any:
    """Return what Arrow opens a Parquet file by."""
    from codeparrot.stream.readers import ranges

    return file if isinstance(file, Path) else ranges.opened(str(file), ranges.TAIL_BYTES)


def read_statistics(folder: Folder, needed: Sequence[str] = ("documents", "bytes", "splits")) -> dict[str, Any]:
    """Return the statistics of a corpus.

    Raises:
        CodeparrotError: the folder is not a corpus, one of `needed` is missing, or what is there has another type.
    """
    try:
        statistics = files.read_object(folder / STATISTICS)
    except remote.Missing as error:
        remedy = "codeparrot corpus build --output writes one"
        raise CodeparrotError(f"{folder} is not a corpus: it has no {STATISTICS}; {remedy}") from error
    except OSError as error:
        raise CodeparrotError(
            f"{folder} is not a corpus: {STATISTICS} cannot be read ({error.strerror}); "
            "codeparrot corpus build --output writes one"
        ) from error
    except ValueError as error:
        raise CodeparrotError(f"{folder / STATISTICS} is damaged ({error}); build the corpus again") from error
    wrong = [name for name in _TYPES if name in {*needed, *statistics} and not isinstance(statistics.get(name), _TYPES[name])]
    wrong += [name for name in registry.stages() if not isinstance(statistics.get(name), dict | None)]
    if wrong:
        raise CodeparrotError(f"{folder / STATISTICS} is damaged (its {', '.join(wrong)}); build the corpus again")
    return statistics


def check_shards(folder: Folder, statistics: dict[str, Any]) -> None:
    """Raise CodeparrotError if a shard is missing, damaged, foreign, or has other rows or columns than were written."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    expected = {shard["file"]: shard["documents"] for split in statistics["splits"].values() for shard in split["shards"]}
    others = {str(name) for name in statistics.get("files", {}).values()}
    for extra in sorted(_tables(folder) - expected.keys() - others):
        raise CodeparrotError(f"{folder / extra} does not belong to the corpus; remove it, or build the corpus again")
    for name, documents in expected.items():
        try:
            metadata = pq.read_metadata(openable(folder / name))
        except (OSError, pa.ArrowException, remote.Missing) as error:
            reason = "is missing" if isinstance(error, FileNotFoundError | remote.Missing) else f"cannot be read ({error})"
            raise CodeparrotError(f"shard {folder / name} {reason}; build the corpus again") from error
        missing = [each for each in COLUMNS if each not in {*metadata.schema.names, *NEW_COLUMNS}]
        rows = metadata.num_rows
        if rows != documents or missing:
            fault = f"no column {', '.join(missing)}" if missing else f"{rows:,} rows instead of {documents:,}"
            raise CodeparrotError(f"shard {folder / name} has {fault}; build the corpus again")


def _tables(folder: Folder) -> set[str]:
    if isinstance(folder, Path):
        return {file.name for file in folder.glob("*.parquet")}
    return {name for name in listing.files_below(str(folder)) if name.endswith(".parquet") and "/" not in name}


def findings_of(statistics: dict[str, Any]) -> dict[str, dict[str, Any] | None]:
    """Return what every stage of cleaning found; None if it was off, or if that is not recorded."""
    return {name: stage.findings(name, statistics) for name, stage in registry.stages().items()}


def source_line(source: dict[str, Any]) -> str:
    """Return a source and its facts on one line; long facts are only counted."""
    facts = {name: value if isinstance(value, int | str) else len(value) for name, value in source.items() if value}
    spec = facts.pop("source")
    return f"{spec} ({', '.join(f'{name}: {value}' for name, value in facts.items())})"
