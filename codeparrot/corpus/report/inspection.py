"""What `codeparrot corpus report` finds in a corpus besides its statistics: it reads the shards and what the build kept of the
files that it removed. Findings that a corpus of an older version does not record are None.

Memory: the column that names each member's cluster, and one row group of a shard.
"""

from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import PurePosixPath
from typing import Any

from codeparrot.corpus import registry
from codeparrot.corpus.documents import CONTENT, PATH, SIZE
from codeparrot.corpus.report.reading import Folder, openable
from codeparrot.errors import CodeparrotError
from codeparrot.result import progress_bar
from codeparrot.stream.readers.parquet import Table

MEMBERS_SHOWN = 20
TEXTS_AT_ONCE = 256


def inspect(folder: Folder, statistics: dict[str, Any], samples: int, clusters: int, tokenizer: str) -> dict[str, Any]:
    """Return the findings as JSON.

    Args:
        folder: the corpus.
        statistics: those of the corpus.
        samples: removed files to show for each reason.
        clusters: largest clusters of duplicates to show.
        tokenizer: folder or Hub name; empty: do not count tokens.
    """
    return {
        "languages": languages(folder, statistics),
        "clusters": _optional(statistics, folder, "duplicates", lambda file: largest_clusters(file, clusters)),
        "samples": _optional(statistics, folder, "removed", lambda file: removed_samples(file, samples)),
        "tokens": tokens(folder, statistics, tokenizer) if tokenizer else None,
    }


def _optional(statistics: dict[str, Any], folder: Folder, name: str, read: Any) -> Any:
    import pyarrow as pa

    file = statistics.get("files", {}).get(name)
    # A corpus that was pushed to the Hub has no samples of removed files.
    if not file or not (folder / file).is_file():
        return None
    try:
        return read(folder / file)
    except (OSError, pa.ArrowException) as error:
        raise CodeparrotError(f"{folder / file} cannot be read ({_line(error)}); build the corpus again") from error


def languages(folder: Folder, statistics: dict[str, Any]) -> dict[str, dict[str, int]]:
    """Return the documents and bytes for each ending of a file name, the most bytes first. (The name is that of older versions,
    which knew no languages.)"""
    documents, sizes = Counter[str](), Counter[str]()
    for file in _shards(folder, statistics):
        with Table(str(file)) as table:
            for group in range(table.num_groups):
                rows = table.read(group, [PATH, SIZE])
                for path, size in zip(rows.column(PATH).to_pylist(), rows.column(SIZE).to_pylist(), strict=True):
                    suffix = PurePosixPath(path).suffix.lower() or "none"
                    documents[suffix] += 1
                    sizes[suffix] += size
    ordered = sorted(sizes, key=lambda suffix: (-sizes[suffix], suffix))
    return {suffix: {"documents": documents[suffix], "bytes": sizes[suffix]} for suffix in ordered}


def largest_clusters(file: Folder, number: int) -> list[dict[str, Any]]:
    """Return the clusters with the most members, each with the member that was kept and the first of the others."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    counted: Any = pq.read_table(openable(file), columns=["cluster"]).group_by("cluster").aggregate([([], "count_all")])
    largest = counted.sort_by([("count_all", "descending"), ("cluster", "ascending")]).slice(0, number)
    names, counts = largest.column("cluster").to_pylist(), largest.column("count_all").to_pylist()
    wanted = pa.array(names, counted.schema.field("cluster").type)
    rows: dict[Any, list[dict[str, Any]]] = {name: [] for name in names}
    sizes = Counter[Any]()
    for batch in pq.ParquetFile(openable(file)).iter_batches():
        chosen = batch.filter(pc.field("cluster").isin(wanted))
        for row in chosen.to_pylist():
            sizes[row["cluster"]] += row["size"]
            if row["kept"] or sum(not each["kept"] for each in rows[row["cluster"]]) < MEMBERS_SHOWN - 1:
                rows[row["cluster"]].append({name: row.get(name) for name in ("repo_name", "path", "size", "kept", "kind")})
    return [
        {
            "cluster": str(name),
            "files": count,
            "bytes": sizes[name],
            "members": sorted(rows[name], key=lambda row: (not row["kept"], row["repo_name"], row["path"])),
        }
        for name, count in zip(names, counts, strict=True)
    ]


def removed_samples(file: Folder, number: int) -> dict[str, list[dict[str, Any]]]:
    """Return, for each reason, the first files of its sample. The build chose them by a hash, so they are as good as random."""
    import pyarrow.parquet as pq

    hidden = {stage.reason for stage in registry.stages().values() if stage.hides_samples}
    samples: dict[str, list[dict[str, Any]]] = {}
    for batch in pq.ParquetFile(openable(file)).iter_batches(batch_size=64):
        for row in batch.to_pylist():
            shown = samples.setdefault(row["reason"], [])
            if len(shown) < number:
                content = "" if row["reason"] in hidden else row.get("content") or ""
                facts = {name: row.get(name) for name in ("repo_name", "path", "size", "detail")}
                shown.append({**facts, "content": content})
    return samples


def tokens(folder: Folder, statistics: dict[str, Any], name: str) -> dict[str, Any]:
    """Return how many tokens the corpus has with a tokenizer, the ends of documents included.

    Raises:
        CodeparrotError: the tokenizer cannot be loaded, or a shard is damaged.
    """

    from codeparrot.loading import load_tokenizer
    from codeparrot.stream import make_encoder

    tokenizer = load_tokenizer(name)
    encoder = make_encoder(tokenizer.backend_tokenizer.to_str(), tokenizer.eos_token_id)
    splits = {}
    with progress_bar(total=statistics["documents"], desc="counting tokens", unit="document") as progress:
        for split, facts in statistics["splits"].items():
            count = 0
            for file in (folder / shard["file"] for shard in facts["shards"]):
                for texts in _texts(file):
                    count += len(encoder.encode(texts)[0]) + len(texts)
                    progress.update(len(texts))
            splits[split] = count
    total = sum(splits.values())
    return {
        "tokenizer": name,
        "vocab_size": len(tokenizer),
        "total": total,
        "splits": splits,
        "bytes_per_token": statistics["bytes"] / max(1, total),
    }


def _texts(file: Folder) -> Iterator[list[str]]:
    with Table(str(file)) as table:
        for group in range(table.num_groups):
            texts = table.texts(group, CONTENT)
            while some := list(islice(texts, TEXTS_AT_ONCE)):
                yield some


def _shards(folder: Folder, statistics: dict[str, Any]) -> Iterator[Folder]:
    for split in statistics["splits"].values():
        for shard in split["shards"]:
            yield folder / shard["file"]


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
