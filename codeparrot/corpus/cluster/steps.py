"""datatrove steps that a cluster's nodes run. This file needs the extra `codeparrot[cluster]`.

Near duplicates go through datatrove's bucketed stages. `WriteBuckets` writes our signatures where `MinhashDedupBuckets` looks
for its own. That step merges them and writes the neighbours that agree in a bucket. `VerifyBucket` joins the neighbours into
groups again and compares these as a build on one machine does. So the pairs connect the same documents.
Memory of `WriteBuckets`: the records of one bucket, three times: 120 bytes for each document of a rank.
"""

import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
from datatrove.executor import SlurmPipelineExecutor
from datatrove.pipeline.base import PipelineStep
from datatrove.pipeline.dedup import MinhashDedupBuckets
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.utils.hashing import HashConfig

from codeparrot.corpus.duplicates.pairs import Documents, near_pairs, save_pairs
from codeparrot.corpus.minhash.bands import NearDuplicates, bands_of
from codeparrot.corpus.minhash.signatures import NO_SHINGLES
from codeparrot.corpus.segments import Segment


class Slurm(SlurmPipelineExecutor):
    def launch_merge_stats(self) -> None:
        """Start no job for datatrove's statistics: they are not used, and it would wait forever if a task fails."""


class RunTask(PipelineStep):
    """Rank r runs the function that a folder holds on task r of that folder."""

    type = "corpus"
    name = "task"

    def __init__(self, folder: str) -> None:
        super().__init__()
        self.folder = folder

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        # Written by the build itself, beside its other files.
        function, task = (
            pickle.loads((Path(self.folder) / f"{number:06d}.pickle").read_bytes())  # noqa: S301
            for number in (0, rank + 1)
        )
        function(task)


class WriteBuckets(PipelineStep):
    """Rank r writes the bands of every world_size-th segment as datatrove's signatures, sorted."""

    type = "corpus"
    name = "bands"

    def __init__(self, segments: list[Segment], settings: NearDuplicates, folder: str) -> None:
        super().__init__()
        self.segments, self.settings, self.folder = segments, settings, folder

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        bands, permutations = bands_of(self.settings), self.settings.permutations
        starts = Documents(self.segments).starts
        places = [Path(self.folder) / f"bucket_{band:03d}" / f"{rank:05d}.minhash.sig" for band in range(bands.number)]
        unsorted = [place.with_suffix(".unsorted") for place in places]
        for place, fresh in zip(places, unsorted, strict=True):
            place.parent.mkdir(parents=True, exist_ok=True)
            fresh.write_bytes(b"")
        record = np.dtype(("<u4", bands.rows + 1))
        for index in range(rank, len(self.segments), world_size):
            signatures = self.segments[index].signatures(np.arange(len(self.segments[index])), permutations)
            some = ~np.all(signatures == NO_SHINGLES, axis=1)
            numbers = np.arange(starts[index], starts[index + 1])[some]
            for band, fresh in enumerate(unsorted):
                columns = signatures[some, band * bands.rows : (band + 1) * bands.rows]
                with fresh.open("ab") as file:
                    np.column_stack([columns, numbers]).astype("<u4").tofile(file)
        for place, fresh in zip(places, unsorted, strict=True):
            records = np.fromfile(fresh, record)
            records[np.lexsort(records.T[::-1])].tofile(place)
            fresh.unlink()


def merge_buckets(signatures: Path, output: Path, settings: NearDuplicates) -> MinhashDedupBuckets:
    """Return datatrove's own step, with our bands; it runs one rank per band."""
    bands = bands_of(settings)
    config = MinhashConfig(
        n_grams=settings.ngram,
        num_buckets=bands.number,
        hashes_per_bucket=bands.rows,
        hash_config=HashConfig(precision=32),
    )
    return MinhashDedupBuckets(str(signatures), str(output), config=config, lines_to_buffer=1000)


class VerifyBucket(PipelineStep):
    """Rank r compares the whole signatures of documents that agree in bucket r."""

    type = "corpus"
    name = "verified pairs"

    def __init__(self, segments: list[Segment], settings: NearDuplicates, merged: str, outputs: list[str]) -> None:
        super().__init__()
        self.segments, self.settings, self.merged, self.outputs = segments, settings, merged, outputs

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        written = (Path(self.merged) / f"{rank:05d}_00.dups").read_bytes()
        pairs = np.frombuffer(written, "<u4").reshape(-1, struct.calcsize("<4I") // 4)[:, [1, 3]].astype(np.int64)
        numbers, groups = chained(pairs)
        found = near_pairs(Documents(self.segments), numbers, groups, self.settings)
        save_pairs(Path(self.outputs[rank]), found)


def chained(pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Turn pairs of neighbours into groups: return the members of all groups, and where each group begins and ends.

    A group of n comes as n - 1 pairs; each pair begins with the member that the one before ended with.
    """
    if not len(pairs):
        return np.empty(0, np.int64), np.empty((0, 2), np.int64)
    begins = np.concatenate([[True], pairs[1:, 0] != pairs[:-1, 1]])
    firsts = np.flatnonzero(begins)
    lengths = np.diff(np.append(firsts, len(pairs))) + 1
    ends = np.cumsum(lengths)
    numbers = np.empty(ends[-1], np.int64)
    is_first = np.zeros(len(numbers), np.bool_)
    is_first[ends - lengths] = True
    numbers[is_first], numbers[~is_first] = pairs[begins, 0], pairs[:, 1]
    return numbers, np.stack([ends - lengths, ends], axis=1)
