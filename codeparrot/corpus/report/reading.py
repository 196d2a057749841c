"""Reads the statistics of a corpus, also one that an older version built, and checks that its shards are whole.

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

_TYPES = {
    **{"documents": int, "bytes": int, "licenses": dict, "languages": dict, "splits": dict, "sources": list, "waterfall": list},
    **{"files": dict, "settings": dict},
}


def read_statistics(folder: Path, needed: Sequence[str] = ("documents", "bytes", "splits")) -> dict[str, Any]:
    """Return the statistics of a corpus.

    Raises:
        CodeparrotError: the folder is not a corpus, one of `needed` is missing, or what is there has another type.
    """
    try:
        statistics = files.read_object(folder / STATISTICS)
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


def check_shards(folder: Path, statistics: dict[str, Any]) -> None:
    """Raise CodeparrotError if a shard is missing, damaged, foreign, or has other rows or columns than were written."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    expected = {shard["file"]: shard["documents"] for split in statistics["splits"].values() for shard in split["shards"]}
    others = {str(name) for name in statistics.get("files", {}).values()}
    for extra in sorted(file.name for file in folder.glob("*.parquet") if file.name not in expected.keys() | others):
        raise CodeparrotError(f"{folder / extra} does not belong to the corpus; remove it, or build the corpus again")
    for name, documents in expected.items():
        try:
            metadata = pq.read_metadata(folder / name)
        except (OSError, pa.ArrowException) as error:
            reason = "is missing" if isinstance(error, FileNotFoundError) else f"cannot be read ({error})"
            raise CodeparrotError(f"shard {folder / name} {reason}; build the corpus again") from error
        missing = [each for each in COLUMNS if each not in {*metadata.schema.names, *NEW_COLUMNS}]
        rows = metadata.num_rows
        if rows != documents or missing:
            fault = f"no column {', '.join(missing)}" if missing else f"{rows:,} rows instead of {documents:,}"
            raise CodeparrotError(f"shard {folder / name} has {fault}; build the corpus again")


def findings_of(statistics: dict[str, Any]) -> dict[str, dict[str, Any] | None]:
    """Return what every stage of cleaning found; None if it was off, or if that is not recorded."""
    return {name: stage.findings(name, statistics) for name, stage in registry.stages().items()}


def source_line(source: dict[str, Any]) -> str:
    """Return a source and its facts on one line; long facts are only counted."""
    facts = {name: value if isinstance(value, int | str) else len(value) for name, value in source.items() if value}
    spec = facts.pop("source")
    return f"{spec} ({', '.join(f'{name}: {value}' for name, value in facts.items())})"
