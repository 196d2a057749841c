"""What a build of The Stack v2 would take, from the figures that scale_corpus.py has kept; the arithmetic is printed.

The seconds of a stage are those of a document of about its mean size (the size with ten pieces), times the documents, times
what the exponent adds that the stage had between the two largest sizes with one piece (none where it was below 1). Work in
tasks is shared by all cores; everything else is done by the one process that plans, whatever the executor. The disk must
keep up: small corpora are read from the memory that holds their files, so hours are least hours.
"""

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np

from benchmarks.common import machine
from benchmarks.scale_documents import REPOSITORY, plan
from codeparrot.corpus.cluster.executor import ARRAY
from codeparrot.corpus.duplicates.choice import MEMBER_BYTES
from codeparrot.corpus.duplicates.pairs import PART_DOCUMENTS, Documents
from codeparrot.corpus.minhash.bands import NearDuplicates, bands_of
from codeparrot.corpus.segments import Segment
from codeparrot.corpus.tally import REPOSITORY_BYTES

DOCUMENTS, BYTES = 600_000_000, 3_000_000_000_000
"""Of The Stack v2 (Lozhkov et al. 2024), as it is spoken of: 3 TB in 600 million files."""
NODE_CORES, NODES = 64, 64
TASKS = {"read": "read", "find_duplicates": "exact copies", "near_pairs": "near copies", "clean": "clean", "write": "shards"}
ALONE = ("choose", "tally_of", "divided", "write_removed")
INSIDE = {"find_duplicates": ("near_pairs", "choose")}
"""Stages that lie inside of another."""


class Line(NamedTuple):
    name: str
    seconds: float
    """Of a core."""
    arithmetic: str


def growing(name: str, each: float, exponent: float, measured_at: int) -> Line:
    """Return the seconds of a stage that took so many for each of `measured_at` documents."""
    growth = (DOCUMENTS / measured_at) ** max(0.0, exponent - 1)
    arithmetic = f"{DOCUMENTS:.3g} x {each * 1e6:.3g} us"
    if growth > 1:
        arithmetic += f" x ({DOCUMENTS:.3g} / {measured_at:.3g})^{exponent - 1:.3f}"
    return Line(name, DOCUMENTS * each * growth, arithmetic)


def in_tasks(figures: Mapping[str, Any], stage: str) -> float:
    return figures["stages"].get(f"tasks of {stage}", {}).get("cpu_seconds", 0.0)


def planning(figures: Mapping[str, Any], stage: str) -> float:
    """Return the processor seconds of a stage outside of its tasks and of the stages inside of it."""
    stages = figures["stages"]
    inside = sum(stages[name]["cpu_seconds"] for name in INSIDE.get(stage, ()))
    return max(0.0, stages[stage]["cpu_seconds"] - in_tasks(figures, stage) - inside)


def slope(small: Mapping[str, Any], large: Mapping[str, Any], of: Any, stage: str) -> float:
    values = of(small, stage), of(large, stage)
    return math.log(values[1] / values[0]) / math.log(large["documents"] / small["documents"]) if min(values) > 0 else 1.0


def lines(small: Mapping[str, Any], large: Mapping[str, Any], sized: Mapping[str, Any]) -> tuple[list[Line], list[Line]]:
    """Return what all cores share, and what one process does."""
    count = sized["documents"]
    shared = [
        growing(name, in_tasks(sized, stage) / count, slope(small, large, in_tasks, stage), count)
        for stage, name in TASKS.items()
    ]
    alone = [
        growing(f"{name}, planning", planning(sized, stage) / count, slope(small, large, planning, stage), count)
        for stage, name in TASKS.items()
    ]
    alone += [growing(name, planning(sized, name) / count, slope(small, large, planning, name), count) for name in ALONE]
    rest = [_rest(each) for each in (small, large)]
    each = max(0.0, rest[1] - rest[0]) / (large["documents"] - small["documents"])
    return [*shared, _passes(), _openings()], [
        *alone,
        Line("statistics, card", DOCUMENTS * each, f"{DOCUMENTS:.3g} x {each * 1e6:.3g} us"),
    ]


def _rest(figures: Mapping[str, Any]) -> float:
    named = ("read", "find_duplicates", "clean", "tally_of", "write", "write_removed")
    return figures["cpu_seconds"] - sum(figures["stages"][name]["cpu_seconds"] for name in named)


def _passes() -> Line:
    """Return the seconds in which every part of a band looks through all keys of the band, which small corpora do once."""
    parts = -(-DOCUMENTS // PART_DOCUMENTS)
    keys = np.random.default_rng(0).integers(0, 2**63, 2_000_000, np.uint64)
    start = time.process_time()
    found = np.flatnonzero((keys % np.uint64(parts) == 1) & (keys != 0))
    each = (time.process_time() - start) / len(keys) * (len(found) > 0)
    bands = bands_of(NearDuplicates()).number + 1
    arithmetic = f"{bands} bands x {parts} parts x {DOCUMENTS:.3g} keys x {each * 1e9:.2g} ns"
    return Line("near copies, keys of other parts", bands * parts * DOCUMENTS * each, arithmetic)


def _openings() -> Line:
    """Return the seconds of opening a segment for each signature that is compared, where there are too many to share one.

    Small corpora have few segments, so that one opening serves many signatures.
    """
    number, permutations = 400, NearDuplicates().permutations
    with TemporaryDirectory() as place:
        segments = [Segment(Path(place) / str(index)) for index in range(number)]
        for segment in segments:
            segment.folder.mkdir()
            (segment.folder / "counts.json").write_text('{"records": 1, "candidates": 1}', encoding="utf-8")
            np.zeros(permutations, np.uint32).tofile(segment.folder / "signatures")
        documents = Documents(segments)
        start = time.process_time()
        documents.signatures(np.arange(number), permutations)
        each = (time.process_time() - start) / number
    bands, members = bands_of(NearDuplicates()).number, DOCUMENTS * _clustered()
    arithmetic = f"{members:.3g} in clusters x {bands} bands x {each * 1e6:.3g} us"
    return Line("near copies, opening segments", members * bands * each, arithmetic)


def _clustered() -> float:
    """Return which share of the planted documents is in a cluster of copies."""
    planned = plan(100_000)
    copies = np.flatnonzero(planned.origin != np.arange(100_000))
    return (len(copies) + len(np.unique(planned.origin[copies]))) / 100_000


def extrapolate(kept: Mapping[str, Mapping[str, Any]]) -> None:
    """Print hours, memory and disk for one node and for a cluster."""
    plain = sorted((each for name, each in kept.items() if "x" not in name), key=lambda each: each["documents"])
    sized = next((each for name, each in kept.items() if name.endswith("x10")), None)
    if len(plain) < 2 or sized is None:
        raise SystemExit(
            "measure two sizes and 30000x10 first: python -m benchmarks.scale_corpus 30000 300000 3000000 30000x10"
        )
    small, large = plain[-2:]
    shared, alone = lines(small, large, sized)
    texts = sized["text_bytes"] / sized["documents"]
    print(f"{machine()}\n{DOCUMENTS:,} documents of {BYTES / DOCUMENTS:,.0f} bytes; measured at {texts:,.0f} bytes a document,")
    print(f"exponents from {small['documents']:,} to {large['documents']:,} documents\n\nshared by all cores:")
    _print(shared)
    print("\none process, whatever the executor:")
    _print(alone)
    cores = min(ARRAY, NODES * NODE_CORES)
    for name, number in ((f"one node of {NODE_CORES} cores", NODE_CORES), (f"{NODES} nodes, {cores} tasks at once", cores)):
        hours = [sum(each.seconds for each in some) / 3600 for some in (shared, alone)]
        total = hours[0] / number + hours[1]
        share = f"{hours[1] / total:.0%} in one process"
        print(f"\n{name}: {hours[0]:,.0f} h / {number} + {hours[1]:,.1f} h = {total:,.1f} h, {share}")
    _print_sizes(small, large, sized)


def _print(some: Sequence[Line]) -> None:
    for each in some:
        print(f"  {each.name:<34} {each.seconds / 3600:>10,.2f} core hours = {each.arithmetic}")


def _print_sizes(small: Mapping[str, Any], large: Mapping[str, Any], sized: Mapping[str, Any]) -> None:
    texts = sized["text_bytes"]
    for name, of in (("disk while it is built", "peak_disk_bytes"), ("the corpus", "corpus_bytes")):
        found = sized[of] * BYTES / texts / 1e12
        print(f"\n{name}: {sized[of] / 1e9:.3g} GB x {BYTES:.3g} / {texts:.3g} bytes = {found:,.2f} TB")
    grown = large["peak_memory_bytes"] - small["peak_memory_bytes"]
    each = grown / (large["documents"] - small["documents"])
    print(f"\nmemory, by the measured slope: {DOCUMENTS:.3g} x {each:.3g} bytes = {DOCUMENTS * each / 1e9:,.0f} GB")
    share = _clustered()
    choice = DOCUMENTS * (5 + share * MEMBER_BYTES) / 1e9
    print(f"the choice of copies, by its module: {DOCUMENTS:.3g} x (5 + {share:.2f} x {MEMBER_BYTES}) bytes = {choice:,.0f} GB")
    repositories = DOCUMENTS / REPOSITORY
    counts = repositories * REPOSITORY_BYTES / 1e9
    print(f"counts by repository, by their module: {repositories:.3g} x {REPOSITORY_BYTES} bytes = {counts:,.0f} GB")
