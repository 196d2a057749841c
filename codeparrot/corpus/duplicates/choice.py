"""Keeps one of the documents that are duplicates of each other, directly or through others.

Which one: the one from the repository with the most stars if they are known, then the longest, then the one with the smallest
hash of all its columns. So neither the order of reading nor the number of workers matters. Memory: 5 bytes per document and
MEMBER_BYTES per member of a cluster.
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from codeparrot.corpus.documents import PATH, REPO_NAME, SIZE
from codeparrot.corpus.duplicates.pairs import EXACT, PART_DOCUMENTS, BandPart, Documents, fingerprints
from codeparrot.corpus.duplicates.union_find import UnionFind
from codeparrot.corpus.minhash.bands import NearDuplicates, bands_of
from codeparrot.corpus.partitions import Partitions
from codeparrot.corpus.segments import STARS, WHOLE
from codeparrot.files import new_file

KEPT, EXACT_COPY, NEAR_COPY = 0, 1, 2
KINDS = ("kept", "exact", "near")
CLUSTER = "cluster"
PLACE = "place"
ROWS_TOGETHER = 500_000
MEMBER_BYTES = 130

CLUSTERS = pa.schema(
    {
        CLUSTER: pa.string(),
        REPO_NAME: pa.string(),
        PATH: pa.string(),
        SIZE: pa.int64(),
        "kept": pa.bool_(),
        "kind": pa.string(),
    }
)
"""One row for each member of a cluster of two or more. `kind`: kept, exact (the text of a better member, apart from white
space) or near. `cluster` is the hash of the member that is kept."""


def band_parts(documents: int, folder: Path, settings: NearDuplicates) -> list[BandPart]:
    """Return the tasks that find all pairs."""
    parts = max(1, -(-documents // PART_DOCUMENTS))
    bands = [EXACT, *range(bands_of(settings).number if settings.threshold else 0)]
    names = {band: "exact" if band == EXACT else f"band-{band:04d}" for band in bands}
    return [BandPart(band, part, parts, folder / f"{names[band]}-{part:04d}.npy") for band in bands for part in range(parts)]


class Members(NamedTuple):
    """The documents of all clusters of two or more, cluster by cluster; the one that is kept comes first."""

    number: NDArray[np.int64]
    cluster: NDArray[np.uint64]
    verdict: NDArray[np.uint8]


def choose(documents: Documents, pairs: list[Path]) -> tuple[NDArray[np.uint8], Members]:
    """Return KEPT, EXACT_COPY or NEAR_COPY for every document, and the clusters."""
    sets = UnionFind(len(documents))
    for file in pairs:
        found = np.load(file, mmap_mode="r")
        for start in range(0, len(found), ROWS_TOGETHER):
            sets.join(found[start : start + ROWS_TOGETHER])
    numbers, roots = sets.joined()
    del sets
    members = _ranked(documents, numbers, roots)
    verdicts = np.zeros(len(documents), np.uint8)
    verdicts[members.number] = members.verdict
    return verdicts, members


def _ranked(documents: Documents, numbers: NDArray[np.int64], roots: NDArray[np.integer]) -> Members:
    rule, halves = np.empty((len(numbers), 3), np.uint64), np.empty((len(numbers), 2), np.uint64)
    for places, segment, rows in documents.located(numbers):
        columns = segment.columns(STARS, SIZE, WHOLE)
        # Unsigned and inverted: the smallest comes first.
        for index, (name, descends) in enumerate(((STARS, True), (SIZE, True), (WHOLE, False))):
            values = columns.column(name).to_numpy()[rows]
            rule[places, index] = np.uint64(1 << 62) - (values + 1).astype(np.uint64) if descends else values
        halves[places] = fingerprints(segment)[rows]
    # By cluster, then by text, then the best of equal texts first: all others with that text are copies.
    by_text = np.lexsort((numbers, rule[:, 2], rule[:, 1], rule[:, 0], halves[:, 1], halves[:, 0], roots))
    same_text = np.all(halves[by_text][1:] == halves[by_text][:-1], axis=1) & (np.diff(roots[by_text]) == 0)
    verdict = np.full(len(numbers), NEAR_COPY, np.uint8)
    verdict[by_text[1:][same_text]] = EXACT_COPY
    best = np.lexsort((numbers, rule[:, 2], rule[:, 1], rule[:, 0], roots))
    first = np.diff(roots[best], prepend=-1) != 0
    verdict[best[first]] = KEPT
    cluster = rule[best[first], 2][np.cumsum(first) - 1]
    order = np.lexsort((np.arange(len(best)), cluster))
    return Members(numbers[best[order]], cluster[order], verdict[best[order]])


def write_clusters(documents: Documents, members: Members, file: Path) -> None:
    """Write the table of the clusters."""
    with (
        new_file(file, durable=False) as fresh,
        pq.ParquetWriter(fresh, CLUSTERS, compression="zstd") as writer,
        TemporaryDirectory(dir=fresh.parent) as folder,
    ):
        named = Partitions(Path(folder))
        # Each segment is read once, whatever the number of clusters.
        for places, segment, rows in documents.located(members.number):
            table = segment.columns(REPO_NAME, PATH, SIZE).take(rows).append_column(PLACE, pa.array(places))
            named.add(table, places // ROWS_TOGETHER)
        for start in range(0, len(members.number), ROWS_TOGETHER):
            some = slice(start, start + ROWS_TOGETHER)
            part = Members(members.number[some], members.cluster[some], members.verdict[some])
            names = named.take(start // ROWS_TOGETHER, start // ROWS_TOGETHER + 1)
            writer.write_table(_named(part, names.take(np.argsort(names.column(PLACE).to_numpy()))))


def _named(members: Members, names: pa.Table) -> pa.Table:
    columns: dict[str, Any] = {
        CLUSTER: [f"{each:016x}" for each in members.cluster.tolist()],
        **{name: names.column(name) for name in (REPO_NAME, PATH, SIZE)},
        "kept": members.verdict == KEPT,
        "kind": [KINDS[each] for each in members.verdict.tolist()],
    }
    return pa.table(columns).cast(CLUSTERS)
