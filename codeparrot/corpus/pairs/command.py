"""`codeparrot corpus pairs`: the functions of a corpus with their docstrings, as a data set.

The pairs depend on the corpus and the settings alone, not on the number of workers. They come in the order of the corpus and
keep its splits. Memory: 16 bytes a pair, and the row groups of a corpus that are under way. The data set appears when it is
complete; after an interruption the same command begins anew.
"""

import json
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from codeparrot.corpus.documents import CONTENT, LICENSE, PATH, REPO_NAME, SPLITS
from codeparrot.corpus.pairs.choosing import DUPLICATE, SYNTAX, Limits, chosen
from codeparrot.errors import CodeparrotError
from codeparrot.location import is_address, last_part
from codeparrot.result import Result, progress_bar

if TYPE_CHECKING:
    from codeparrot.corpus.report.reading import Folder


class Part(NamedTuple):
    """A row group of a corpus: the work of a worker."""

    file: "Folder"
    group: int
    num_rows: int


class Found(NamedTuple):
    """What a row group holds."""

    num_functions: int
    removed: Counter[str]
    pairs: list[dict[str, Any]]


def pairs(
    corpus: str,
    output: str,
    min_words: int = 3,
    min_statements: int = 2,
    max_characters: int = 10_000,
    shard_bytes: int = 100_000_000,
    workers: int = 0,
    overwrite: bool = False,
) -> Result:
    """Collect the documented functions of a corpus: code without docstring, docstring, first sentence, signature, origin.

    The splits are those of the corpus, and no code is in both. Python's parser finds the functions; files that it does not
    parse are left out and counted.

    Args:
        corpus: Folder that `codeparrot corpus build` wrote, here or at an address (s3://, gs://, az://), or
            owner/name[@revision] on the Hub.
        output: Folder to write, here or at an address; it appears when it is complete.
        min_words: Fewest words of a docstring's first sentence.
        min_statements: Fewest statements of a function's body, the docstring left out, nested ones counted.
        max_characters: Longest code, in characters.
        shard_bytes: Approximate bytes of code in a shard.
        workers: Processes that parse (0: one per core).
        overwrite: Replace the data set in `output`, once the new one is complete.
    """
    for name, value, least in (
        ("min_words", min_words, 1),
        ("min_statements", min_statements, 1),
        ("max_characters", max_characters, 1),
        ("shard_bytes", shard_bytes, 1),
        ("workers", workers, 0),
    ):
        if value < least:
            raise CodeparrotError(f"--{name} {value} is out of range: at least {least}")
    from codeparrot.corpus.output import STATISTICS, new_corpus
    from codeparrot.corpus.pairs.card import card
    from codeparrot.corpus.remote_output import new_corpus_at
    from codeparrot.corpus.report.reading import check_shards, corpus_folder, read_statistics
    from codeparrot.corpus.workers import Workers
    from codeparrot.stream.cores import available_cores

    folder, limits = corpus_folder(corpus), Limits(min_words, min_statements, max_characters)
    source = read_statistics(folder, ("documents", "bytes", "splits", "licenses"))
    if "pairs" in source:
        raise CodeparrotError(f"{corpus} holds pairs already; name the corpus that they were made of")
    check_shards(folder, source)
    settings = {**limits._asdict(), "shard_bytes": shard_bytes}
    elsewhere = is_address(output)
    made = new_corpus_at(output, overwrite) if elsewhere else new_corpus(Path(output), overwrite)
    with Workers(workers or available_cores()) as pool, made as building:
        found = _write(building.folder, folder, source, limits, shard_bytes, pool)
        statistics = _statistics(found, corpus, source, settings, limits)
        (building.folder / "README.md").write_text(card(statistics, last_part(output)), "utf-8", errors="replace")
        (building.folder / STATISTICS).write_text(json.dumps(statistics, indent=1) + "\n", encoding="utf-8")
    return Result(_text(output, statistics), {"output": output, **statistics})


class _Written(NamedTuple):
    splits: dict[str, dict[str, Any]]
    num_functions: int
    removed: Counter[str]
    licenses: dict[str, Counter[str]]


def _write(folder: Path, corpus: "Folder", source: dict[str, Any], limits: Limits, shard_bytes: int, pool: Any) -> _Written:
    """Write the shards, those of valid first: what they hold is left out of train."""
    from codeparrot.corpus.pairs.writing import Writer

    splits: dict[str, dict[str, Any]] = {}
    removed, num_functions = Counter[str](), 0
    licenses: dict[str, Counter[str]] = {}
    seen: set[bytes] = set()
    for split in [each for each in reversed(SPLITS) if each in source["splits"]]:
        writer, parts = Writer(folder, split, shard_bytes), _parts(corpus, source["splits"][split])
        with progress_bar(total=sum(part.num_rows for part in parts), desc=f"pairs of {split}", unit="file") as bar:
            for part, found in zip(parts, pool.map(partial(find, limits=limits), parts), strict=True):
                fresh = list(_distinct(found.pairs, seen))
                removed += found.removed + Counter({DUPLICATE: len(found.pairs) - len(fresh)})
                num_functions += found.num_functions
                for pair in fresh:
                    count = licenses.setdefault(pair[LICENSE], Counter())
                    count.update(documents=1, bytes=pair["size"])
                writer.add(fresh)
                bar.update(part.num_rows)
        described = writer.close()
        if described["documents"]:
            splits[split] = described
    if not splits:
        reasons = ", ".join(f"{name} {count:,}" for name, count in removed.items())
        raise CodeparrotError(f"{corpus}: none of its {num_functions:,} functions becomes a pair; what removed them: {reasons}")
    return _Written({split: splits[split] for split in SPLITS if split in splits}, num_functions, removed, licenses)


def _distinct(pairs: list[dict[str, Any]], seen: set[bytes]) -> Iterator[dict[str, Any]]:
    from codeparrot.corpus.hashes import fingerprint

    for pair in pairs:
        key = fingerprint(pair[CONTENT])
        if key not in seen:
            seen.add(key)
            yield pair


def _parts(corpus: "Folder", split: dict[str, Any]) -> list[Part]:
    import pyarrow.parquet as pq

    from codeparrot.corpus.report.reading import openable

    files = [corpus / shard["file"] for shard in split["shards"]]
    read = [(file, pq.read_metadata(openable(file))) for file in files]
    return [Part(file, group, data.row_group(group).num_rows) for file, data in read for group in range(data.num_row_groups)]


def find(part: Part, limits: Limits) -> Found:
    """Return the pairs of a row group."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from codeparrot.corpus.report.reading import openable

    try:
        with pq.ParquetFile(openable(part.file), page_checksum_verification=True) as file:
            rows = file.read_row_group(part.group, columns=[REPO_NAME, PATH, CONTENT, LICENSE]).to_pylist()
    except (OSError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())
        raise CodeparrotError(
            f"{part.file}, row group {part.group}, cannot be read ({reason}); build the corpus again"
        ) from error
    outcomes = [each for row in rows for each in chosen(row, limits)]
    removed = Counter(reason for reason, _ in outcomes if reason)
    return Found(len(outcomes) - removed[SYNTAX], removed, [pair for reason, pair in outcomes if not reason])


def _statistics(
    found: _Written, corpus: str, source: dict[str, Any], settings: dict[str, Any], limits: Limits
) -> dict[str, Any]:
    """Return the statistics with the entries of a corpus; `documents` are pairs, `removed` counts functions."""
    splits = found.splits.values()
    names = {name for split in splits for name in split["repository_names"]}
    licenses = sorted(found.licenses.items(), key=lambda item: (-item[1]["bytes"], item[0]))
    # As in a corpus: what is for training may come from too many repositories to name.
    described = {
        split: {k: v for k, v in facts.items() if split == "valid" or k != "repository_names"}
        for split, facts in found.splits.items()
    }
    return {
        **{name: sum(split[name] for split in splits) for name in ("documents", "bytes", "characters")},
        "repositories": len(names),
        "pairs": {
            "corpus": corpus,
            "files": source["documents"],
            "functions": found.num_functions,
            "removed": {name: {"count": found.removed[name], "rule": rule} for name, rule in limits.rules().items()},
        },
        "splits": described,
        "licenses": {name: dict(count) for name, count in licenses},
        "settings": settings,
        "codeparrot_version": _version(),
    }


def _version() -> str:
    from codeparrot import __version__

    return __version__


def _text(output: str, statistics: dict[str, Any]) -> str:
    from codeparrot.markdown_tables import clean

    of, rows = statistics["pairs"], statistics["pairs"]["removed"]
    counts = ", ".join(f"{split} {facts['documents']:,}" for split, facts in statistics["splits"].items())
    lines = [
        f"{output}: {statistics['documents']:,} pairs ({counts}) of {of['functions']:,} functions in {of['files']:,} files"
    ]
    if "valid" not in statistics["splits"]:
        lines.append("  there is no valid split: nothing is set aside to evaluate on")
    lines.append("left out:")
    lines += [f"  {name:<18} {each['count']:>9,}  {each['rule']}" for name, each in rows.items() if each["count"]]
    return clean("\n".join(lines))
