"""What a corpus holds: reads the statistics that the build wrote, and checks that every shard is there with all its rows."""

import json
from pathlib import Path
from typing import Any

from codeparrot.corpus.output import STATISTICS
from codeparrot.errors import CodeparrotError
from codeparrot.location import corpus_here
from codeparrot.result import Result

NAMES_SHOWN = 5
LICENSES_SHOWN = 12


def report(corpus: str) -> Result:
    """Show what a corpus holds, where it comes from and what its filters removed, and check that it is complete.

    Args:
        corpus: Folder that `codeparrot corpus build` wrote, or owner/name[@revision] on the Hub.
    """
    folder = Path(corpus_here(corpus)).expanduser()
    statistics = read_statistics(folder)
    check_shards(folder, statistics)
    return Result("\n".join([*summary(corpus, statistics), *_licenses(statistics)]), {"corpus": corpus, **statistics})


def read_statistics(folder: Path) -> dict[str, Any]:
    """Return the statistics of a corpus, or raise CodeparrotError when the folder is none."""
    try:
        return json.loads((folder / STATISTICS).read_text(encoding="utf-8"))
    except OSError as error:
        remedy = "codeparrot corpus build --output writes one"
        raise CodeparrotError(f"{folder} is no corpus: {STATISTICS} cannot be read ({error.strerror}); {remedy}") from error
    except ValueError as error:
        raise CodeparrotError(f"{folder / STATISTICS} is damaged ({error}); build the corpus again") from error


def check_shards(folder: Path, statistics: dict[str, Any]) -> None:
    """Raise CodeparrotError when a shard is missing, damaged, too many, or has another number of rows than was written."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    expected = {shard["file"]: shard["documents"] for split in statistics["splits"].values() for shard in split["shards"]}
    for extra in sorted(file.name for file in folder.glob("*.parquet") if file.name not in expected):
        raise CodeparrotError(f"{folder / extra} does not belong to the corpus; remove it, or build the corpus again")
    for name, documents in expected.items():
        try:
            rows = pq.read_metadata(folder / name).num_rows
        except (OSError, pa.ArrowException) as error:
            reason = "is missing" if isinstance(error, FileNotFoundError) else f"cannot be read ({error})"
            raise CodeparrotError(f"shard {folder / name} {reason}; build the corpus again") from error
        if rows != documents:
            raise CodeparrotError(f"shard {folder / name} has {rows:,} rows instead of {documents:,}; build the corpus again")


def summary(corpus: str, statistics: dict[str, Any]) -> list[str]:
    """Return the lines that a build and a report have in common."""
    read, removed = statistics["read"], {name: each for name, each in statistics["removed"].items() if each["files"]}
    lines = [f"{corpus}: {statistics['documents']:,} documents, {_size(statistics['bytes'])} of text"]
    for split, facts in statistics["splits"].items():
        names = facts.get("repository_names", [])
        shown = f": {', '.join(names[:NAMES_SHOWN])}{', ...' if len(names) > NAMES_SHOWN else ''}" if names else ""
        shards, repositories = _count(len(facts["shards"]), "shard"), _count(facts["repositories"], "repositor", "ies", "y")
        lines.append(_row(split, facts["documents"], "documents", facts["bytes"], f"{shards}, {repositories}{shown}"))
    lines.append(
        f"removed of {_count(read['files'], 'file')}, {_size(read['bytes'])}, that were read:{'' if removed else ' none'}"
    )
    return lines + [_row(name, each["files"], "files", each["bytes"], each["rule"]) for name, each in removed.items()]


def _licenses(statistics: dict[str, Any]) -> list[str]:
    licenses = list(statistics["licenses"].items())
    lines = [
        "licences:",
        *(_row("", each["documents"], "documents", each["bytes"], name) for name, each in licenses[:LICENSES_SHOWN]),
    ]
    if len(licenses) > LICENSES_SHOWN:
        lines.append(f"  and {len(licenses) - LICENSES_SHOWN} more (README.md lists them)")
    return [*lines, "sources:", *(f"  {source_line(source)}" for source in statistics["sources"])]


def source_line(source: dict[str, Any]) -> str:
    """Return a source and its facts in one line; of long facts, how many there are."""
    facts = {name: value if isinstance(value, int | str) else len(value) for name, value in source.items() if value}
    spec = facts.pop("source")
    return f"{spec} ({', '.join(f'{name}: {value}' for name, value in facts.items())})"


def _row(name: str, number: int, things: str, size: int, remark: str) -> str:
    return f"  {name:<13}{number:>11,} {things:<9} {_size(size):>9}  {remark}"


def _count(number: int, stem: str, plural: str = "s", singular: str = "") -> str:
    return f"{number:,} {stem}{singular if number == 1 else plural}"


def _size(size: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.{0 if unit == 'bytes' else 1}f} {unit}"
        size /= 1000
    return f"{size:,.1f} GB"
