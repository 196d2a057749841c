"""The corpus stage on real Python files of installed packages, duplicates included: speed, recall and memory.

- Filters and exact duplicates: files a second on two cores, from the sources to the decision which files are kept; also with
  the characters-a-token filter and the syntax check.
- Near duplicates, from texts to the decision which files are kept, shingling included, against datasketch's MinHash and LSH:
  the same files, one core each, the same shingles, permutations and bands. Recall and precision against the exact Jaccard
  similarity of the sets of shingles.
- Memory: the largest sum over the processes of a whole build, at two sizes.

It reads at least FILES files: those of this environment and, if they are not enough, of the environments in
CODEPARROT_BENCHMARK_SOURCES (folders, separated by colons).
"""

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from benchmarks.common import Ratio, report, tokenizer
from codeparrot.corpus import pipeline
from codeparrot.corpus.build import COLUMNS, FILTERS, LICENSES
from codeparrot.corpus.documents import Candidate, Reading, Record
from codeparrot.corpus.duplicates.choice import KEPT, band_parts, choose
from codeparrot.corpus.duplicates.pairs import Documents, find_pairs
from codeparrot.corpus.duplicates.union_find import UnionFind
from codeparrot.corpus.judge import Rules, judge
from codeparrot.corpus.minhash.bands import NearDuplicates, bands_of
from codeparrot.corpus.minhash.shingles import TOKEN, shingles
from codeparrot.corpus.notebooks import NotebookSettings
from codeparrot.corpus.segments import Segment, SegmentWriter
from codeparrot.corpus.settings import Settings, all_stages
from codeparrot.corpus.sources.opening import open_source, take_turns
from codeparrot.corpus.workers import Workers

FILES, NEAR_FILES, WORKERS, ROUNDS = 20_000, 6000, 2, 2
NEAR = NearDuplicates()
SIMILAR = 0.85
RECALL = "recall of them"


def folders() -> list[str]:
    others = [each for each in os.environ.get("CODEPARROT_BENCHMARK_SOURCES", "").split(":") if each]
    return [sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"), *others]


def seconds(function: Callable[[], Any]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def filtering(filters: Any) -> tuple[int, float]:
    """Return how many files were read, filtered and compared, and how many a second, best of ROUNDS."""
    settings = Settings(
        source=folders(),
        max_bytes=0,
        valid_fraction=0.01,
        shard_bytes=10**8,
        seed=0,
        languages=(),
        suffixes=(".py",),
        columns=COLUMNS,
        filters=filters,
        licenses=LICENSES,
        notebooks=NotebookSettings(),
        near_duplicates=NearDuplicates(threshold=0),
        caps={},
        stages=all_stages({}),
        keep_removed=0,
    )
    best, files = 0.0, 0
    for _ in range(ROUNDS):
        reading = Reading(0, filters.max_size, settings.suffixes, COLUMNS)
        sources = [open_source(each, reading) for each in settings.source]
        with tempfile.TemporaryDirectory() as place, Workers(WORKERS) as pool:
            list(pool.map(abs, range(WORKERS)))  # starts the processes
            start = time.perf_counter()
            segments = pipeline._read(sources, settings, pool, Path(place) / "read")
            (Path(place) / "duplicates").mkdir()
            pipeline._find_duplicates(Documents(segments), settings, pool, Path(place) / "duplicates")
            files = sum(segment.counts["records"] for segment in segments)
            best = max(best, files / (time.perf_counter() - start))
    return files, best


def candidates(count: int) -> list[Candidate]:
    """Return documents that pass the filters, no two with the same text: a sample of every folder, in hash order."""
    found: dict[bytes, Candidate] = {}
    rules, reading = Rules(0, FILTERS, LICENSES), Reading(0, FILTERS.max_size, (".py",), COLUMNS)
    for unit in take_turns(open_source(folder, reading).units for folder in folders()):
        for record in unit.records():
            judged = judge(record, rules) if isinstance(record, Record) else None
            if isinstance(judged, Candidate):
                found.setdefault(judged.fingerprint, judged)
        if len(found) >= count:
            break
    return sorted(found.values(), key=lambda each: each.whole)[:count]


def ours(documents: list[Candidate], place: Path) -> tuple[NDArray[np.bool_], list[Path]]:
    """Return which documents are kept, and the files of the pairs."""
    segments = []
    for start in range(0, len(documents), 256):
        folder = place / str(start)
        folder.mkdir()
        writer = SegmentWriter(folder, NEAR, 0, 0)
        for each in documents[start : start + 256]:
            writer.add(each)
        writer.close()
        segments.append(Segment(folder))
    found = Documents(segments)
    tasks = band_parts(len(found), place / "pairs", NEAR)
    for task in tasks:
        find_pairs(task, segments, NEAR)
    pairs = [task.output for task in tasks]
    return choose(found, pairs)[0] == KEPT, pairs


def theirs(texts: list[bytes]) -> int:
    """Return how many documents datasketch keeps when every document that has a similar one before it is removed."""
    from datasketch import MinHash, MinHashLSH

    bands = bands_of(NEAR)
    index = MinHashLSH(num_perm=NEAR.permutations, params=(bands.number, bands.rows))
    kept = 0
    for number, text in enumerate(texts):
        tokens = re.findall(TOKEN, text)
        joined = {b" ".join(tokens[start : start + NEAR.ngram]) for start in range(max(1, len(tokens) - NEAR.ngram + 1))}
        signature = MinHash(num_perm=NEAR.permutations)
        signature.update_batch(joined)
        kept += not index.query(signature)
        index.insert(number, signature)
    return kept


def similar_pairs(sets: list[frozenset[int]], least: float) -> list[tuple[int, int]]:
    """Return all pairs of sets whose exact Jaccard similarity is `least` or more, by prefix filtering."""
    frequency = Counter(element for each in sets for element in each)
    holders: dict[int, list[int]] = defaultdict(list)
    for number, each in enumerate(sets):
        rarest = sorted(each, key=lambda element: (frequency[element], element))
        # Two sets this similar share at least one of the rarest elements of each.
        for element in rarest[: len(each) - int(np.ceil(least * len(each))) + 1]:
            holders[element].append(number)
    pairs = {pair for numbers in holders.values() for pair in combinations(numbers, 2)}
    return [pair for pair in pairs if jaccard(sets, *pair) >= least]


def jaccard(sets: list[frozenset[int]], one: int, other: int) -> float:
    shared = len(sets[one] & sets[other])
    return shared / (len(sets[one]) + len(sets[other]) - shared or 1)


def quality(documents: list[Candidate], pairs: list[Path]) -> dict[str, float]:
    """Return recall and precision against the exact similarities."""
    sets = [frozenset(shingles(each.document.content.encode(), NEAR.ngram).tolist()) for each in documents]
    exact = similar_pairs(sets, SIMILAR)
    unions = UnionFind(len(documents))
    found = np.concatenate([np.load(file) for file in pairs])
    unions.join(found)
    roots = unions.roots()
    recall = np.mean([roots[one] == roots[other] for one, other in exact])
    near = np.mean(
        [jaccard(sets, one, other) >= NEAR.threshold - 0.05 for one, other in {tuple(pair) for pair in found.tolist()}]
    )
    return {
        f"pairs of exact similarity >= {SIMILAR}": len(exact),
        RECALL: float(recall),
        f"share of the found pairs that are >= {NEAR.threshold - 0.05:.2f} similar": float(near),
    }


def peak_memory(max_bytes: int) -> tuple[int, float, float]:
    """Return the documents of a build, the largest sum of its processes' memory in GB, and its seconds."""
    place = Path(tempfile.mkdtemp())
    command = [sys.executable, "-c", "from codeparrot.cli import entry; entry()", "corpus", "build", "--source", *folders()]
    command += ["--output", str(place / "corpus"), "--workers", str(WORKERS), "--max_bytes", str(max_bytes), "--json"]
    start, peak = time.perf_counter(), 0
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(process.stdout.read() if process.stdout else ""))
    reader.start()
    while process.poll() is None:
        peak = max(peak, _memory(process.pid))
        time.sleep(0.02)
    reader.join()
    shutil.rmtree(place)
    return json.loads(read[0])["documents"], peak / 1e9, time.perf_counter() - start


def _memory(pid: int) -> int:
    total = 0
    try:
        root = psutil.Process(pid)
        for process in [root, *root.children(recursive=True)]:
            try:
                total += process.memory_info().rss
            except psutil.NoSuchProcess:
                continue
    except psutil.NoSuchProcess:
        return 0
    return total


def main() -> None:
    os.environ["RAYON_NUM_THREADS"] = "1"
    files, plain = filtering(FILTERS)
    assert files >= FILES, f"only {files} files; CODEPARROT_BENCHMARK_SOURCES names more folders"
    strict = dataclasses.replace(FILTERS, tokenizer=str(tokenizer().resolve()), check_syntax=True)
    _, with_tokens = filtering(strict)
    documents = candidates(NEAR_FILES)
    texts = [each.document.content.encode() for each in documents]
    times: list[float] = []
    kept, facts = 0, dict[str, float]()
    for round_number in range(ROUNDS):
        with tempfile.TemporaryDirectory() as place:
            start = time.perf_counter()
            flags, pairs = ours(documents, Path(place))
            times.append(time.perf_counter() - start)
            if not round_number:
                kept, facts = int(flags.sum()), quality(documents, pairs)
    their_seconds = seconds(lambda: facts.update({"documents that datasketch keeps": theirs(texts)}))
    rate = len(documents) / min(times)
    small, large = peak_memory(50_000_000), peak_memory(0)
    report(
        "Corpus",
        [
            Ratio("filters and exact duplicates, 2 cores", plain, 3000, "files/s", 1.0),
            Ratio("near duplicates, ours / datasketch, a core", rate, len(documents) / their_seconds, "files/s", 4.0),
            Ratio("near duplicates, ours / the original's, a core", rate, 47, "files/s", 20.0),
            Ratio("recall of pairs >= 0.85", facts[RECALL], 0.99, "", 1.0),
            Ratio("memory of a build", large[1], 2.0, "GB", 1.0, higher_is_better=False),
        ],
        {
            "files": files,
            "with characters a token and the syntax check": f"{with_tokens:,.0f} files/s on 2 cores",
            "documents for near duplicates": f"{len(documents)} ({sum(map(len, texts)) / len(texts):,.0f} bytes on average)",
            "documents that we keep": kept,
            **facts,
            "memory of a build of 50 MB": f"{small[0]:,} documents, {small[1]:.2f} GB, {small[2]:.0f} s",
            "memory of a build of everything": f"{large[0]:,} documents, {large[1]:.2f} GB, {large[2]:.0f} s",
        },
    )


if __name__ == "__main__":
    main()
