"""The build, in four phases of tasks that read files and write files: read, duplicates, clean, write.

The settings and the files that are read determine every byte of the result. It does not depend on the number of workers, on the
order of the sources (unless `max_bytes` takes their beginning), on the time of day, or on how often the build was killed and
started again. Memory: the main process holds 5 bytes per document, 130 per member of a cluster of duplicates (choice.py) and
550 per repository (tally.py), a worker about 200 MB; the text is never held as a whole. With `max_bytes` it also holds 85
bytes for each distinct text of the sample. Disk: the text twice, packed with LZ4, and about 1.3 kB per document. Figures:
docs/scale.md.
"""

import json
import shutil
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Set
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from codeparrot import __version__
from codeparrot.corpus import caps
from codeparrot.corpus.clean import Cleaner, clean, clean_tasks
from codeparrot.corpus.cluster.executor import HasOutput
from codeparrot.corpus.documents import PATH, REPO_NAME, SIZE, TRAIN, UNKNOWN_LANGUAGE, VALID, Reading, Source
from codeparrot.corpus.duplicates.choice import Members, band_parts, choose, write_clusters
from codeparrot.corpus.duplicates.pairs import EXACT, Documents, find_pairs
from codeparrot.corpus.judge import PYTHON, Rules
from codeparrot.corpus.licenses.rules import opted_out
from codeparrot.corpus.minhash.bands import NearDuplicates
from codeparrot.corpus.output import STATISTICS, new_corpus
from codeparrot.corpus.reading import Reader, read, read_tasks
from codeparrot.corpus.remote_output import new_corpus_at
from codeparrot.corpus.removed import ORDINAL, REASON, REMOVED, read_table, sampled
from codeparrot.corpus.report.card import card, pictures
from codeparrot.corpus.segments import FINGERPRINT, Segment
from codeparrot.corpus.settings import Settings
from codeparrot.corpus.shards import PieceWriter, Shard, piece_tasks, place_shards, plan, write_piece
from codeparrot.corpus.sources.opening import open_source, take_turns
from codeparrot.corpus.sources.spool import tidy
from codeparrot.corpus.split import lies_in, valid_parts, valid_repositories
from codeparrot.corpus.statistics import CLUSTERS_FILE, SAMPLES_FILE, statistics_of, unmatched
from codeparrot.corpus.tally import Count, Tally, bucket_weights, counts_by_path, repositories_of, tally_of
from codeparrot.corpus.work import Work, read_facts
from codeparrot.corpus.workers import Workers
from codeparrot.errors import CodeparrotError
from codeparrot.files import write_json
from codeparrot.location import last_part
from codeparrot.result import progress_bar

Task = TypeVar("Task", bound=HasOutput)

NAMES_SHOWN = 20
"""In a warning."""


class Executor(Protocol):
    """Where the tasks run."""

    def map(self, function: Callable[[Task], None], work: Iterable[Task]) -> Generator[None, None, None]:
        """Run the function on every task; yield once per task, in order, when it and all before it are done.

        Closing the generator cancels the tasks that have not begun.
        """
        ...

    def near_pairs(self, segments: list[Segment], settings: NearDuplicates, folder: Path) -> list[Path]:
        """Write the pairs of near duplicates into `folder`, except those already there, and return their files."""
        ...


def make(settings: Settings, output: Path | str, executor: Executor, overwrite: bool) -> dict[str, Any]:
    """Write the corpus to `output`, a folder or an address, and return its statistics."""
    with new_corpus_at(output, overwrite) if isinstance(output, str) else new_corpus(output, overwrite) as building:
        facts = settings.endings, settings.columns, settings.on_error, settings.installed_endings
        spool = building.work / "spool"
        if isinstance(executor, Workers):  # the jobs of an earlier start may still run on a cluster
            tidy(spool)
        reading = Reading(settings.seed, settings.max_read_size, *facts, settings.max_bytes, str(spool.absolute()))
        sources = [open_source(spec, reading) for spec in settings.source]
        work = Work(building.work, _identity(settings, sources))
        segments = _read(sources, settings, executor, work.folder / "read")
        shutil.rmtree(spool, ignore_errors=True)
        documents = Documents(segments)
        verdicts, members = _find_duplicates(documents, settings, executor, work.folder / "duplicates")
        cleaned = _clean(documents, verdicts, settings, executor, work.folder)
        tally = tally_of(documents, verdicts, cleaned)
        _report_unmatched(settings, tally)
        _report_unreadable(tally)
        caps.report_strangers(documents, settings.caps)
        if not tally.kept.files:
            raise _nothing_kept(tally, settings.source)
        splits = _write(cleaned, tally, settings, executor, work.folder, building.folder)
        _write_removed(documents, members, cleaned, settings, building.folder)
        statistics = statistics_of(settings, sources, tally, splits, members)
        # A path on the command line may hold bytes that are not text: escaped in JSON, question marks on the card.
        name = last_part(output) if isinstance(output, str) else output.resolve().name
        text = card(statistics, name, pictures(building.folder, statistics))
        (building.folder / "README.md").write_text(text, encoding="utf-8", errors="replace")
        (building.folder / STATISTICS).write_text(json.dumps(statistics, indent=1) + "\n", encoding="utf-8")
    return statistics


def _identity(settings: Settings, sources: list[Source]) -> dict[str, Any]:
    """Return what the first three phases depend on: the settings, the content of the files they name, and the sources."""
    others = ("valid_fraction", "shard_bytes", "on_error")
    named = {name: value for name, value in settings.recorded().items() if name not in others}
    return {**named, "files": settings.files(), "listing": [source.listing for source in sources], "version": __version__}


def _read(sources: list[Source], settings: Settings, executor: Executor, folder: Path) -> list[Segment]:
    """Read and judge until the sources end or `max_bytes` are reached."""
    complete = folder / "complete.json"
    with suppress(CodeparrotError):  # a list that is missing or damaged is made from the tasks that are done
        listed = [Segment(folder / name) for name in read_facts(complete)]
        if all(segment.folder.exists() for segment in listed):
            return listed
    folder.mkdir(exist_ok=True)
    known = [source.num_records for source in sources if source.num_records is not None]
    total = sum(known) if len(known) == len(sources) and not settings.max_bytes else None
    rules = Rules(settings.seed, settings.filters, settings.licenses, settings.languages, settings.notebooks)
    reader = Reader(rules, settings.near_duplicates, settings.keep_removed, settings.on_error)
    outputs: list[Path] = []
    segments: list[Segment] = []
    limit = Limit(settings.max_bytes)

    def tasks() -> Iterator[Any]:
        for task in read_tasks(take_turns(source.units for source in sources), folder):
            outputs.append(task.output)
            yield task

    done = executor.map(partial(read, reader=reader), tasks())
    with progress_bar(total=total, desc="reading", unit="file") as progress:
        for number, _ in enumerate(done):
            segments.append(Segment(outputs[number]))
            last = limit.reached_in(segments[-1])
            if last is not None:
                segments[-1].cut(last + 1, settings.near_duplicates)
            progress.update(segments[-1].counts["records"])
            if last is not None:
                break
    done.close()
    write_json(complete, [segment.folder.name for segment in segments])
    return segments


class Limit:
    """Counts the bytes of distinct texts in the order of the units."""

    def __init__(self, max_bytes: int) -> None:
        self._left = max_bytes
        self._active = max_bytes > 0
        self._seen: set[bytes] = set()

    def reached_in(self, segment: Segment) -> int | None:
        """Return the number of the record in the segment that reaches the limit; None if none does."""
        if not self._active:
            return None
        columns = segment.columns(FINGERPRINT, SIZE, ORDINAL).to_pydict()
        for fingerprint, size, ordinal in zip(columns[FINGERPRINT], columns[SIZE], columns[ORDINAL], strict=True):
            if fingerprint not in self._seen:
                self._seen.add(fingerprint)
                self._left -= size
                if self._left <= 0:
                    return ordinal
        return None


def _find_duplicates(
    documents: Documents, settings: Settings, executor: Executor, folder: Path
) -> tuple[NDArray[np.uint8], Members]:
    near = settings.near_duplicates
    tasks = [task for task in band_parts(len(documents), folder, near) if task.band == EXACT]
    _run(partial(find_pairs, segments=documents.segments, settings=near), tasks, executor, "comparing texts", "part")
    pairs = [task.output for task in tasks]
    if near.threshold:
        pairs += executor.near_pairs(documents.segments, near, folder)
    verdicts, members = choose(documents, pairs)
    caps.apply(documents, verdicts, settings.caps)
    verdicts.tofile(folder / "verdicts")
    return verdicts, members


def _clean(
    documents: Documents, verdicts: NDArray[np.uint8], settings: Settings, executor: Executor, folder: Path
) -> list[Path]:
    sizes = [
        int(segment.columns(SIZE).column(SIZE).to_numpy()[verdicts[start : start + len(segment)] == 0].sum())
        for segment, start in zip(documents.segments, documents.starts.tolist(), strict=False)
    ]
    tasks = clean_tasks(documents, sizes, folder / "clean")
    verdicts_file = folder / "duplicates" / "verdicts"
    stages = {name: stage for name, stage in settings.stages.items() if stage.is_on}
    unknown = UNKNOWN_LANGUAGE if settings.languages else PYTHON
    cleaner = Cleaner(verdicts_file, stages, settings.seed, settings.keep_removed, unknown)
    _run(partial(clean, cleaner=cleaner), tasks, executor, "cleaning", "task")
    return [task.output for task in tasks]


def _run(function: Callable[[Task], None], tasks: list[Task], executor: Executor, name: str, unit: str) -> None:
    with progress_bar(total=len(tasks), desc=name, unit=unit) as progress:
        for _ in executor.map(function, tasks):
            progress.update()


def _report_unmatched(settings: Settings, tally: Tally) -> None:
    """Say which lines of the opt-out list no repository matched: somebody's wish may be misspelt there."""
    lines = unmatched(settings, tally)
    if lines:
        which = f"{len(lines):,} of {len(opted_out(settings.licenses)):,} lines of {settings.licenses.opt_out}"
        print(f"codeparrot: warning: no repository that was read matches {which}: {_first(lines)}", file=sys.stderr)


def _report_unreadable(tally: Tally) -> None:
    """Say what could not be read: the corpus would hold it if somebody mended it."""
    if tally.unreadable:
        places = [f"{name} ({count:,})" for name, count in sorted(tally.unreadable.items())]
        print(f"codeparrot: warning: files that cannot be read are left out: {_first(places)}", file=sys.stderr)


def _first(names: list[str]) -> str:
    return ", ".join(names[:NAMES_SHOWN]) + (f" and {len(names) - NAMES_SHOWN:,} more" if len(names) > NAMES_SHOWN else "")


def _nothing_kept(tally: Tally, sources: list[str]) -> CodeparrotError:
    if not tally.read.files:
        named = f"source {sources[0]} holds" if len(sources) == 1 else f"the sources {', '.join(sources)} hold"
        return CodeparrotError(f"{named} no document; name others")
    removed = ", ".join(f"{reason} {count.files:,}" for reason, count in tally.removed.items() if count.files)
    why = f"; what removed them: {removed} (--filters.* and --columns.text may help)" if removed else ""
    return CodeparrotError(f"no document is left of the {tally.read.files:,} that were read{why}")


class Divided(NamedTuple):
    """How the documents are divided into splits."""

    column: str
    """Its names are never divided: the repository, or the path where repositories are divided themselves."""
    counts: Mapping[str, Count]
    """What there is of each name."""
    valid: set[str]
    """The names for validation."""
    paths: list[str]
    """The folders and files that these are, where repositories are divided themselves."""


def _divided(cleaned: list[Path], tally: Tally, settings: Settings) -> Divided:
    seed, fraction = settings.seed, settings.valid_fraction
    sizes = {name: count.bytes for name, count in tally.repositories.items()}
    valid = valid_repositories(sizes, seed, fraction)
    counts = {} if valid or not fraction else counts_by_path(cleaned)
    if len(counts) == 1 < len(sizes):  # nothing to divide but the repositories
        valid = {min(sizes, key=lambda name: (sizes[name], name))}
    if valid or not fraction:
        return Divided(REPO_NAME, tally.repositories, valid, [])
    paths = valid_parts({path: count.bytes for path, count in counts.items()}, seed, fraction)
    return Divided(PATH, counts, {path for path in counts if lies_in(path, {*paths})}, paths)


def _write(
    cleaned: list[Path], tally: Tally, settings: Settings, executor: Executor, work: Path, folder: Path
) -> dict[str, dict[str, Any]]:
    """Write the shards and return what each split holds."""
    by = _divided(cleaned, tally, settings)
    splits = {TRAIN: by.counts.keys() - by.valid, VALID: by.valid}
    place = work / f"write-{settings.valid_fraction!r}-{settings.shard_bytes}"
    weights = bucket_weights(cleaned, by.column, by.valid)
    tasks = {
        split: piece_tasks(plan(weights[split], settings.shard_bytes), split, place) for split, names in splits.items() if names
    }
    function = partial(write_piece, writer=PieceWriter(cleaned, by.column, frozenset(by.valid)))
    _run(function, [task for each in tasks.values() for task in each], executor, "writing", "piece")
    described = {split: _describe(by, splits[split], place_shards(folder, split, each)) for split, each in tasks.items()}
    for split in described if by.paths else ():
        described[split]["repositories"] = len(repositories_of(cleaned, splits[split]))
    if by.valid:
        described[VALID]["repository_names"] = sorted(repositories_of(cleaned, by.valid) if by.paths else by.valid)
    if by.paths:
        described[VALID]["paths"] = by.paths
    return described


def _describe(by: Divided, names: Set[str], shards: list[Shard]) -> dict[str, Any]:
    counts = [by.counts[name] for name in names]
    return {
        "documents": sum(count.files for count in counts),
        "bytes": sum(count.bytes for count in counts),
        "characters": sum(count.characters for count in counts),
        "repositories": len(names),
        "shards": [shard._asdict() for shard in shards],
    }


def _write_removed(documents: Documents, members: Members, cleaned: list[Path], settings: Settings, folder: Path) -> None:
    """Write samples of what was removed, and the clusters of duplicates."""
    (folder / SAMPLES_FILE).parent.mkdir()
    files = [segment.folder / "removed.arrow" for segment in documents.segments]
    files += [path / "removed.arrow" for path in cleaned]
    samples = REMOVED.empty_table()
    for file in files:
        table = read_table(file, REMOVED.names)
        samples = pa.concat_tables([samples, table.filter(table.column("content").is_valid())])
        samples = samples.filter(pa.array(sampled(samples, settings.keep_removed)))
    ordered = samples.sort_by([(name, "ascending") for name in (REASON, "position", "repo_name", "path", "size")])
    pq.write_table(ordered.drop_columns(["position", "ordinal"]), folder / SAMPLES_FILE, compression="zstd")
    write_clusters(documents, members, folder / CLUSTERS_FILE)
