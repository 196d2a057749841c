"""What one task has read, on disk: its candidates with their signatures, and the files it removed. Written once.

A segment is a folder: `documents.arrow` (LZ4; columns are read one by one), `signatures` and `bands` (plain arrays), and
`removed.arrow`. Memory while it is written: the text of one batch and 250 bytes per document.
"""

import json
import os
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from codeparrot.corpus.documents import CONTENT, LANGUAGE, LICENSE, PATH, REPO_NAME, SIZE, Candidate, Removed
from codeparrot.corpus.minhash.bands import NearDuplicates, bands_of
from codeparrot.corpus.minhash.shingles import shingles
from codeparrot.corpus.minhash.signatures import band_keys, signatures
from codeparrot.corpus.removed import LZ4, ORDINAL, POSITION, REMOVED, Samples, read_table, write_table
from codeparrot.corpus.work import read_facts
from codeparrot.files import replaced_folder

STARS = "stars"
WHOLE = "whole"
FINGERPRINT = "fingerprint"
CHARACTERS = "characters"

BATCH_BYTES = 16_000_000

DOCUMENTS = pa.schema(
    {
        REPO_NAME: pa.large_string(),
        PATH: pa.large_string(),
        SIZE: pa.int64(),
        CONTENT: pa.large_string(),
        LICENSE: pa.large_string(),
        LANGUAGE: pa.large_string(),
        CHARACTERS: pa.int64(),
        FINGERPRINT: pa.binary(16),
        POSITION: pa.uint64(),
        WHOLE: pa.uint64(),
        STARS: pa.int64(),
        ORDINAL: pa.int64(),
    }
)
"""Large strings: a bucket of documents may hold more than 2 GB of text."""


class SegmentWriter:
    """Writes the outcomes of a task into `folder`."""

    def __init__(self, folder: Path, near: NearDuplicates, seed: int, keep_removed: int) -> None:
        self._folder, self._near, self._seed, self._keep_removed = folder, near, seed, keep_removed
        self._sink = pa.OSFile(str(folder / "documents.arrow"), "wb")
        self._writer = pa.ipc.new_file(self._sink, DOCUMENTS, options=LZ4)
        self._waiting: list[tuple[Any, ...]] = []
        self._waiting_bytes = 0
        self._keys: list[NDArray[np.uint64]] = []
        self._removed = Samples(keep_removed, seed)
        self._records = self._candidates = 0

    def add(self, outcome: Candidate | Removed) -> None:
        if isinstance(outcome, Removed):
            self._removed.add(outcome, self._records)
        else:
            document = outcome.document
            facts = (len(document.content), outcome.fingerprint, outcome.position, outcome.whole, outcome.stars, self._records)
            self._waiting.append((*document, *facts))
            self._waiting_bytes += document.size
            self._candidates += 1
            if self._waiting_bytes >= BATCH_BYTES:
                self._flush()
        self._records += 1

    def close(self) -> None:
        self._flush()
        self._writer.close()
        self._sink.close()
        if self._near.threshold:
            number = bands_of(self._near).number
            keys = np.concatenate(self._keys, axis=1) if self._keys else np.empty((number, 0), np.uint64)
            keys.tofile(self._folder / "bands")
        self._removed.write(self._folder / "removed.arrow")
        counts = {"records": self._records, "candidates": self._candidates}
        (self._folder / "counts.json").write_text(json.dumps(counts), encoding="utf-8")

    def _flush(self) -> None:
        if not self._waiting:
            return
        columns = [
            pa.array(column, field.type) for column, field in zip(zip(*self._waiting, strict=True), DOCUMENTS, strict=True)
        ]
        self._writer.write_batch(pa.record_batch(columns, schema=DOCUMENTS))
        if self._near.threshold:
            content = DOCUMENTS.get_field_index(CONTENT)
            hashed = [shingles(row[content].encode(), self._near.ngram) for row in self._waiting]
            rows = signatures(hashed, self._near.permutations)
            self._keys.append(band_keys(rows, bands_of(self._near)))
            with (self._folder / "signatures").open("ab") as file:
                rows.tofile(file)
        self._waiting, self._waiting_bytes = [], 0


class Segment:
    """A complete segment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def counts(self) -> dict[str, int]:
        return read_facts(self.folder / "counts.json")

    def __len__(self) -> int:
        """Return the number of candidates."""
        return self.counts["candidates"]

    def columns(self, *names: str) -> pa.Table:
        """Return some columns of the candidates."""
        return read_table(self.folder / "documents.arrow", names)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield the candidates with all their columns; one batch is in memory at a time."""
        with pa.memory_map(str(self.folder / "documents.arrow")) as source:
            reader = pa.ipc.open_file(source)
            for index in range(reader.num_record_batches):
                yield reader.get_batch(index)

    def removed(self) -> pa.Table:
        return read_table(self.folder / "removed.arrow", REMOVED.names)

    def keys(self, band: int) -> NDArray[np.uint64]:
        """Return the keys of a band."""
        return np.fromfile(self.folder / "bands", np.uint64, len(self), offset=band * len(self) * 8)

    def signatures(self, rows: NDArray[np.int64], permutations: int) -> NDArray[np.uint32]:
        """Return the signatures of some rows."""
        found = np.empty((len(rows), permutations), np.uint32)
        if not len(rows):
            return found  # a segment without candidates has no file
        descriptor = os.open(self.folder / "signatures", os.O_RDONLY)
        try:
            for index, row in enumerate(rows.tolist()):
                os.preadv(descriptor, [found[index].data], row * permutations * 4)
        finally:
            os.close(descriptor)
        return found

    def cut(self, records: int, near: NearDuplicates) -> None:
        """Keep only what the first `records` records became."""
        documents, removed = list(self.batches()), self.removed()
        kept = int((self.columns(ORDINAL).column(ORDINAL).to_numpy() < records).sum())
        # If the build is killed during the replacement, the segment is missing and is read again.
        with replaced_folder(self.folder) as folder:
            whole = pa.Table.from_batches(documents, DOCUMENTS).slice(0, kept)
            write_table(folder / "documents.arrow", whole.to_batches(), DOCUMENTS)
            write_table(folder / "removed.arrow", removed.filter(pc.field(ORDINAL) < records).to_batches(), REMOVED)
            if near.threshold:
                number = bands_of(near).number
                np.stack([self.keys(band)[:kept] for band in range(number)]).tofile(folder / "bands")
                self.signatures(np.arange(kept), near.permutations).tofile(folder / "signatures")
            (folder / "counts.json").write_text(json.dumps({"records": records, "candidates": kept}), encoding="utf-8")
        self.__dict__.pop("counts", None)
