"""Corpora of 30,000 to 3,000,000 small documents through the whole build: time, memory and disk by their number.

The documents are planted (scale_documents.py), so it is known which of them, or one copy of which, has to be in the corpus,
and what removes the others. Each build runs in one process, with all its stages: filters, exact and near duplicates,
decontamination, secrets, split, shards. Printed are, by stage, seconds and the exponent of their growth (the slope between
two sizes on logarithmic scales), the most memory of the whole tree of processes, and the most disk.

    python -m benchmarks.scale_corpus 30000 300000 3000000      documents of a piece of a file, about 500 bytes
    python -m benchmarks.scale_corpus 30000x10                  documents of ten pieces: what a byte costs
    python -m benchmarks.scale_corpus extrapolate               to The Stack v2, from the kept figures (scale_extrapolation.py)

Figures stay in data/benchmarks/scale.json, and what is there is not measured again; the corpora are deleted. Linux only.
"""

import json
import math
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow.parquet as pq

from benchmarks import scale_documents
from benchmarks.common import DATA, Ratio, report
from benchmarks.measured import Measured
from benchmarks.scale_documents import BAD, CONTAMINATED, EXACT, NEAR, REASONS, Plan
from benchmarks.scale_stages import disk, memory

SIZES = ("30000", "300000", "3000000")
KEPT_FIGURES = DATA / "scale.json"
CPU = "cpu_seconds"
"""Of processor time: what other work on the machine does not change."""
SAMPLED_SECONDS = 0.1
TEXTS_COMPARED = 2000
MOST_GB, MOST_EXPONENT = 2.0, 1.1
FILTERS = ("--filters.min_size", "150", "--filters.min_equals_signs", "1")
"""For documents this small."""


def measure(size: str, place: Path) -> dict[str, Any]:
    """Build a corpus of a size, such as 30000 or 30000x10; return its figures, and delete it."""
    documents, _, pieces = size.partition("x")
    planned = scale_documents.plan(int(documents), int(pieces or 1))
    folder = place / f"scale-{size}"
    source, built = folder / "source", folder / "built"
    start = time.perf_counter()
    scale_documents.write(source, planned)
    generating = time.perf_counter() - start
    shutil.rmtree(built, ignore_errors=True)  # an interrupted build would go on, and its times would be wrong
    built.mkdir()
    figures = {
        "documents": len(planned.kind),
        "source_bytes": disk(source),
        "generating_seconds": generating,
        **_measured_build(source, built, folder / "stages.json"),
        **check(planned, built / "corpus"),
        "corpus_bytes": disk(built / "corpus"),
    }
    statistics = json.loads((built / "corpus" / "statistics.json").read_text(encoding="utf-8"))
    figures |= {
        "text_bytes": statistics["read"]["bytes"],
        "secrets": statistics["secrets"]["files"],
        "removed_as_planted": _removed(statistics) == planned_removals(planned),
    }
    shutil.rmtree(folder)
    return figures


def _measured_build(source: Path, built: Path, stages: Path) -> dict[str, Any]:
    """Build in a process of its own; return its stages, and the most memory and disk while it ran."""
    command = [sys.executable, "-m", "benchmarks.scale_stages", str(stages), "--source", f"{source}/*.parquet"]
    command += ["--output", str(built / "corpus"), "--workers", "1", *FILTERS]
    command += ["--contamination.benchmarks", json.dumps([str(source / "problems.jsonl")])]
    environment = {**os.environ, "RAYON_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    done = threading.Event()
    most = {"memory": 0, "disk": 0}
    with (stages.with_suffix(".log")).open("w", encoding="utf-8") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        watch = threading.Thread(target=_watch, args=(process.pid, built, most, done))
        watch.start()
        process.wait()
        done.set()
        watch.join()
    if process.returncode:
        raise SystemExit(stages.with_suffix(".log").read_text(encoding="utf-8")[-2000:])
    found = json.loads(stages.read_text(encoding="utf-8"))
    peaks = [each["peak"] for each in found.values() if "peak" in each]
    at_ends = [each["disk"] for each in found.values() if "disk" in each]
    return {
        "stages": found,
        "seconds": found["whole"]["seconds"],
        "cpu_seconds": found["whole"]["cpu_seconds"],
        "peak_memory_bytes": max(most["memory"], *peaks),
        "peak_disk_bytes": max(most["disk"], *at_ends),
    }


def _watch(pid: int, folder: Path, most: dict[str, int], done: threading.Event) -> None:
    """Note the most memory of a process with its children together, ten times a second, and the most disk."""
    rounds = 0
    while not done.wait(SAMPLED_SECONDS):
        with suppress(psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
            tree = [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
            most["memory"] = max(most["memory"], sum(memory(each).get("rss", 0) for each in tree))
        if rounds % 100 == 0:
            most["disk"] = max(most["disk"], disk(folder))
        rounds += 1


def check(planned: Plan, corpus: Path) -> dict[str, Any]:
    """Compare a corpus with what was planted."""
    files = sorted(corpus.glob("*.parquet"))
    tables = [pq.read_table(file, columns=["path"]) for file in files]
    kept = np.concatenate([scale_documents.numbers_of(table.column("path")) for table in tables])
    copies = np.bincount(planned.origin[kept], minlength=len(planned.kind))
    expected = planned.expected()
    of_kind = np.bincount(planned.kind[kept], minlength=BAD + 1)
    # A cluster of which two are kept has lost none, and one pair of its copies was not found.
    planted = int(np.isin(planned.kind, [EXACT, NEAR]).sum())
    missed = int(np.maximum(copies[expected] - 1, 0).sum())
    return {
        "kept": len(kept),
        "expected": len(expected),
        "lost": int((copies[expected] == 0).sum()),
        "twice": len(kept) - len(np.unique(kept)),
        "bad_kept": int(of_kind[BAD] + of_kind[CONTAMINATED]),
        "copies": planted,
        "recall": 1 - missed / planted,
        "texts_differ": _texts_that_differ(planned, files),
        "in_both_splits": _in_both(files),
    }


def _texts_that_differ(planned: Plan, files: Sequence[Path]) -> int:
    """Return how many of a few texts of each file are not what was planted."""
    solved, differ = scale_documents.solutions(), 0
    for file in files:
        rows = pq.ParquetFile(file).read_row_group(0, columns=["path", "content"])
        numbers = scale_documents.numbers_of(rows.column("path"))[:TEXTS_COMPARED]
        texts = (scale_documents.content(number, planned, solved) or b"" for number in numbers.tolist())
        differ += sum(text.decode() != found for text, found in zip(texts, rows.column("content").to_pylist(), strict=False))
    return differ


def _in_both(files: Sequence[Path]) -> int:
    names: dict[str, set[str]] = {"train": set(), "valid": set()}
    for file in files:
        names[file.name.partition("-")[0]].update(pq.read_table(file, columns=["repo_name"]).column(0).unique().to_pylist())
    return len(names["train"] & names["valid"])


def planned_removals(planned: Plan) -> dict[str, int]:
    """Return how many documents have to be counted under each reason; copies are compared by the corpus itself."""
    return {**planned.removed(), "contaminated": int((planned.kind == CONTAMINATED).sum())}


def _removed(statistics: Mapping[str, Any]) -> dict[str, int]:
    return {reason: statistics["removed"].get(reason, {"files": 0})["files"] for reason in (*REASONS, "contaminated")}


def exponent(small: Mapping[str, Any], large: Mapping[str, Any], of: Sequence[str]) -> float:
    """Return the slope of a figure between two sizes, on logarithmic scales."""
    values = [_at(each, of) for each in (small, large)]
    if min(values) <= 0:
        return float("nan")
    return math.log(values[1] / values[0]) / math.log(large["documents"] / small["documents"])


def _at(figures: Mapping[str, Any], of: Sequence[str]) -> float:
    found: Any = figures
    for name in of:
        found = found.get(name, {}) if isinstance(found, Mapping) else found
    return float(found or 0)


def fitted(figures: Sequence[Mapping[str, Any]], of: Sequence[str]) -> float:
    """Return the slope of a figure over all sizes by least squares, on logarithmic scales."""
    documents, values = [each["documents"] for each in figures], [_at(each, of) for each in figures]
    return float(np.polyfit(np.log(documents), np.log(values), 1)[0])


def table(figures: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a line for each stage: its seconds at each size, the slope of the last two, memory and disk at the largest."""
    largest, lines = figures[-1], []
    for name, found in largest["stages"].items():
        seconds = "  ".join(f"{_at(each, ('stages', name, CPU)):>10,.2f}" for each in figures)
        slope = exponent(figures[-2], largest, ("stages", name, CPU)) if len(figures) > 1 else float("nan")
        peak = f"{found['peak'] / 1e6:>8,.0f}" if "peak" in found else ""
        own = f"{found['own_at_end'] / 1e6:>8,.0f}" if "own_at_end" in found else ""
        lines.append(f"  {name:<26} {seconds}  {slope:6.2f}  {peak} {own}")
    return lines


def ratios(figures: Sequence[Mapping[str, Any]]) -> list[Ratio]:
    largest = figures[-1]
    found = [
        Ratio("most memory of all processes", largest["peak_memory_bytes"] / 1e9, MOST_GB, "GB", 1.0, higher_is_better=False),
        Ratio("recall of planted copies", largest["recall"], 1.0, "", 0.999),
        Ratio("documents kept / planted to be kept", largest["kept"], largest["expected"], "documents", 1.0),
        Ratio("planted documents that are lost", largest["lost"], 1, "documents", 0.0, higher_is_better=False),
        Ratio("documents kept twice", largest["twice"], 1, "documents", 0.0, higher_is_better=False),
        Ratio("bad or contaminated documents kept", largest["bad_kept"], 1, "documents", 0.0, higher_is_better=False),
    ]
    if len(figures) > 1:
        fit = fitted(figures, (CPU,))
        last = exponent(figures[-2], largest, (CPU,))
        found.insert(0, Ratio("exponent of time, all sizes", fit, MOST_EXPONENT, "", 1.0, higher_is_better=False))
        found.insert(1, Ratio("exponent of time, the largest two", last, MOST_EXPONENT, "", 1.0, higher_is_better=False))
    return found


def _in_words(figures: Mapping[str, Any]) -> str:
    memory, disk, texts, corpus = (
        f"{figures[name] / 1e6:,.0f} MB" for name in ("peak_memory_bytes", "peak_disk_bytes", "text_bytes", "corpus_bytes")
    )
    seconds = f"{figures[CPU]:,.0f} s of a core ({figures['seconds']:,.0f} s by the clock)"
    return f"{seconds}, {memory} of memory, {disk} of disk (texts {texts}, the corpus {corpus})"


def main(*sizes: str, place: Path = DATA) -> list[dict[str, Any]]:
    place.mkdir(parents=True, exist_ok=True)
    kept = Measured(place / KEPT_FIGURES.name)
    figures = [kept.of(size, measure, size, place) for size in sizes or SIZES]
    print("\n  stage                      processor seconds at each size; exponent of the last two; most MB; MB at its end")
    print("\n".join(table(figures)))
    facts: dict[str, object] = {f"{each['documents']:,} documents": _in_words(each) for each in figures}
    facts |= {
        "counts of every reason as planted": str(all(each["removed_as_planted"] for each in figures)),
        "texts compared that are not what was planted": sum(each["texts_differ"] for each in figures),
        "repositories in both splits": sum(each["in_both_splits"] for each in figures),
    }
    if all("secrets" in each for each in figures):
        facts["texts in which drawn names look like a secret"] = sum(each["secrets"] for each in figures)
    report("Corpora by the number of documents", ratios(figures), facts)
    return figures


if __name__ == "__main__":
    if sys.argv[1:] == ["extrapolate"]:
        from benchmarks.scale_extrapolation import extrapolate

        extrapolate(json.loads(KEPT_FIGURES.read_text(encoding="utf-8")))
    else:
        main(*sys.argv[1:])
