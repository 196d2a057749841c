"""The build: sources -> workers -> duplicates out -> spool -> split -> shards, statistics and card.

The result is a function of the settings and the files that are read, byte for byte: it does not depend on the number of
workers, on how folders are listed or on the time of day. Memory: about 100 bytes a document, the spool's buffer, and what
the workers hold (a few MB each while reading, a shard each while writing); the text itself is never held as a whole.
"""

import json
import shutil
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from codeparrot import __version__
from codeparrot.corpus.card import card
from codeparrot.corpus.documents import TRAIN, VALID, Candidate, ColumnNames, Removed, Source
from codeparrot.corpus.filters import Thresholds
from codeparrot.corpus.judge import judge
from codeparrot.corpus.output import STATISTICS, new_corpus
from codeparrot.corpus.shards import Shard, number_shards, plan, write_piece
from codeparrot.corpus.sources import Reading, open_source, take_turns
from codeparrot.corpus.split import valid_repositories
from codeparrot.corpus.spool import Spool
from codeparrot.corpus.tally import DUPLICATE, Duplicates, Tally, removed_table
from codeparrot.corpus.workers import Workers
from codeparrot.errors import CodeparrotError


@dataclass(frozen=True)
class Settings:
    """Everything that the corpus depends on; written into its statistics."""

    source: list[str]
    max_bytes: int
    valid_fraction: float
    shard_bytes: int
    seed: int
    suffixes: tuple[str, ...]
    columns: ColumnNames
    filters: Thresholds


def make(settings: Settings, output: Path, workers: int, overwrite: bool) -> dict[str, Any]:
    """Write the corpus to `output` and return its statistics."""
    with new_corpus(output, overwrite) as folder, Workers(workers) as pool:
        reading = Reading(settings.seed, settings.filters.max_size, settings.suffixes, settings.columns)
        sources = [open_source(spec, reading) for spec in settings.source]
        spool = Spool(folder / "spool")
        tally = _gather(sources, settings, pool, spool)
        if not tally.kept.files:
            raise _nothing_kept(tally)
        splits = _write(spool, tally, settings, pool)
        shutil.rmtree(spool.folder)
        statistics = _statistics(settings, sources, tally, splits)
        # A path on the command line may hold bytes that are no text: escaped in JSON, question marks in the card.
        text = card(statistics, output.resolve().name)
        (folder / "README.md").write_text(text, encoding="utf-8", errors="replace")
        (folder / STATISTICS).write_text(json.dumps(statistics, indent=1) + "\n", encoding="utf-8")
    return statistics


def _gather(sources: list[Source], settings: Settings, pool: Workers, spool: Spool) -> Tally:
    """Read, filter and spool until the sources end or `max_bytes` are reached."""
    tally, duplicates = Tally(), Duplicates()
    known = [source.num_records for source in sources if source.num_records is not None]
    total = sum(known) if len(known) == len(sources) and not settings.max_bytes else None
    units = take_turns(source.units for source in sources)
    judged = pool.map(partial(judge, limits=settings.filters, seed=settings.seed), units)
    with tqdm(total=total, desc="reading", unit=" files", disable=None) as progress:
        for outcomes in judged:
            for outcome in outcomes:
                _count(outcome, tally, duplicates, spool)
                if settings.max_bytes and tally.kept.bytes >= settings.max_bytes:
                    judged.close()
                    break
            progress.update(tally.read.files - progress.n)
    spool.flush()
    return tally


def _count(outcome: Candidate | Removed, tally: Tally, duplicates: Duplicates, spool: Spool) -> None:
    if isinstance(outcome, Removed):
        tally.remove(outcome.reason, outcome.size)
    elif not duplicates.is_new(outcome):
        tally.remove(DUPLICATE, outcome.document.size)
    else:
        tally.keep(outcome.document)
        spool.add(outcome)


def _nothing_kept(tally: Tally) -> CodeparrotError:
    removed = ", ".join(f"{reason} {count.files:,}" for reason, count in tally.removed.items())
    why = f"; what removed them: {removed} (--filters.* and --columns.text may help)" if removed else ""
    return CodeparrotError(f"no document is left of {tally.read.files:,} that were read{why}")


def _write(spool: Spool, tally: Tally, settings: Settings, pool: Workers) -> dict[str, dict[str, Any]]:
    """Write the shards and return what each split holds."""
    valid = valid_repositories(tally.repositories, settings.seed, settings.valid_fraction)
    splits = {TRAIN: set(tally.repositories) - valid, VALID: valid}
    described = {}
    with tqdm(total=tally.kept.files, desc="writing", unit=" documents", disable=None) as progress:
        for split, repositories in splits.items():
            if not repositories:
                continue
            write = partial(write_piece, split=split, spool=spool.folder, valid=frozenset(valid))
            shards: list[Shard] = []
            for written in pool.map(write, enumerate(plan(spool.bucket_weights(repositories), settings.shard_bytes))):
                shards += written
                progress.update(sum(shard.documents for shard in written))
            described[split] = _describe(tally, repositories, number_shards(spool.folder.parent, split, shards))
    if valid:
        described[VALID]["repository_names"] = sorted(valid)
    return described


def _describe(tally: Tally, repositories: set[str], shards: list[Shard]) -> dict[str, Any]:
    count = tally.of(repositories)
    return {
        "documents": count.files,
        "bytes": count.bytes,
        "characters": count.characters,
        "repositories": len(repositories),
        "shards": [shard._asdict() for shard in shards],
    }


def _statistics(settings: Settings, sources: list[Source], tally: Tally, splits: dict[str, dict[str, Any]]) -> dict[str, Any]:
    licenses = sorted(tally.licenses.items(), key=lambda item: (-item[1].bytes, item[0]))
    return {
        "documents": tally.kept.files,
        "bytes": tally.kept.bytes,
        "characters": tally.kept.characters,
        "repositories": len(tally.repositories),
        "splits": splits,
        "read": {"files": tally.read.files, "bytes": tally.read.bytes},
        "removed": removed_table(tally, settings.filters),
        "licenses": {name: {"documents": count.files, "bytes": count.bytes} for name, count in licenses},
        "sources": [_source(spec, source, tally) for spec, source in zip(settings.source, sources, strict=True)],
        "settings": json.loads(json.dumps(asdict(settings))),
        "codeparrot_version": __version__,
    }


def _source(spec: str, source: Source, tally: Tally) -> dict[str, Any]:
    facts = {"source": spec, **source.facts}
    if "distributions" in facts:
        facts["distributions"] = {
            name: {**each, "documents": tally.repositories[name].files if name in tally.repositories else 0}
            for name, each in facts["distributions"].items()
        }
    return facts
