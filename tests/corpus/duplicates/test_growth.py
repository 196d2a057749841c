"""What grows with the number of documents: reading in proportion to it, memory by the bytes that are stated."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from codeparrot.corpus.documents import Candidate, Document
from codeparrot.corpus.duplicates import choice, pairs
from codeparrot.corpus.duplicates.choice import choose, write_clusters
from codeparrot.corpus.duplicates.pairs import Documents, near_pairs, save_pairs
from codeparrot.corpus.duplicates.union_find import UnionFind
from codeparrot.corpus.hashes import fingerprint, position
from codeparrot.corpus.minhash.bands import NearDuplicates
from codeparrot.corpus.segments import Segment, SegmentWriter

FEW = NearDuplicates(permutations=16)


def segments_of(folder: Path, texts: list[str], number: int) -> list[Segment]:
    """Write the texts to so many segments, one by one in turn."""
    segments = []
    for index in range(number):
        place = folder / f"{index}"
        place.mkdir(parents=True)
        writer = SegmentWriter(place, FEW, 0, 0)
        for row in range(index, len(texts), number):
            document = Document("r", f"{row}", len(texts[row]), texts[row], "MIT")
            writer.add(Candidate(document, fingerprint(texts[row]), position(0, f"{row}"), position(1, f"{row}")))
        writer.close()
        segments.append(Segment(place))
    return segments


def groups_of(count: int, size: int) -> NDArray[np.int64]:
    starts = np.arange(0, count - size + 1, size)
    return np.stack([starts, starts + size], axis=1)


def test_each_segment_is_opened_once_for_many_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    documents = Documents(segments_of(tmp_path, ["some words of a text"] * 600, 4))
    opened = []
    read = Segment.signatures
    monkeypatch.setattr(Segment, "signatures", lambda *arguments: opened.append(1) or read(*arguments))
    monkeypatch.setattr(Segment, "columns", lambda *_: pytest.fail("a whole column was read"))
    assert len(near_pairs(documents, np.arange(600), groups_of(600, 3), FEW)) == 400
    assert len(opened) == 4


def test_groups_too_large_for_the_memory_are_joined_as_others_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    texts = [" ".join(f"w{word}" for word in random.integers(0, 3, 6)) for _ in range(400)]
    documents = Documents(segments_of(tmp_path, texts, 3))

    def components() -> list[int]:
        sets = UnionFind(len(documents))
        sets.join(near_pairs(documents, np.arange(400), np.array([[0, 150], [150, 160], [160, 400]]), FEW))
        return sets.roots().tolist()

    expected = components()
    assert 20 < len(set(expected)) < 380
    monkeypatch.setattr(pairs, "LEADERS", 399)
    monkeypatch.setattr(pairs, "TOGETHER", 7)
    assert components() == expected
    # One group by itself, by its fingerprints' order, in memory and not.
    monkeypatch.setattr(pairs, "LEADERS", 20)
    monkeypatch.setattr(pairs, "TOGETHER", 10_000)
    some = components()
    monkeypatch.setattr(pairs, "TOGETHER", 50)
    assert components() == some


def most_bytes(work: Callable[[], Any]) -> int:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def bytes_a_document(work: Callable[[int], Any], small: int, large: int) -> float:
    """Return how much more memory is taken at most for one document more."""
    return (most_bytes(lambda: work(large)) - most_bytes(lambda: work(small))) / (large - small)


class Unread(Documents):
    """Documents of which nobody asks more than their number."""

    def __init__(self, count: int) -> None:
        self.segments = []
        self.starts = np.array([0, count])


def test_the_choice_takes_five_bytes_a_document_that_has_no_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("codeparrot.corpus.duplicates.union_find.TOGETHER", 10_000)
    save_pairs(tmp_path / "none.npy", np.empty((0, 2), np.int64))
    assert bytes_a_document(lambda count: choose(Unread(count), [tmp_path / "none.npy"]), 100_000, 1_100_000) < 5.1


@pytest.mark.slow
def test_the_choice_takes_the_stated_bytes_a_member_of_a_cluster(tmp_path: Path) -> None:
    def work(count: int) -> None:
        choose(documents[count], [tmp_path / f"{count}.npy"])

    documents = {}
    for count in (1000, 6000):
        documents[count] = Documents(segments_of(tmp_path / f"{count}", ["x"] * count, 2))
        save_pairs(tmp_path / f"{count}.npy", np.arange(count).reshape(-1, 2))
    work(1000)  # what is made once
    assert bytes_a_document(work, 1000, 6000) < 5 + choice.MEMBER_BYTES


@pytest.mark.slow
def test_each_segment_is_read_once_for_the_table_of_clusters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    documents = Documents(segments_of(tmp_path / "segments", ["x"] * 90, 5))
    save_pairs(tmp_path / "pairs.npy", np.arange(90).reshape(-1, 2))
    _, members = choose(documents, [tmp_path / "pairs.npy"])
    write_clusters(documents, members, tmp_path / "whole.parquet")
    read = Segment.columns
    opened: list[int] = []
    monkeypatch.setattr(Segment, "columns", lambda *arguments: opened.append(1) or read(*arguments))
    monkeypatch.setattr(choice, "ROWS_TOGETHER", 10)
    monkeypatch.setattr("codeparrot.corpus.partitions.MOST_BYTES", 100)
    write_clusters(documents, members, tmp_path / "parts.parquet")
    assert len(opened) == 5
    assert pq.read_table(tmp_path / "parts.parquet").equals(pq.read_table(tmp_path / "whole.parquet"))
    assert {each.name for each in tmp_path.iterdir()} == {"segments", "pairs.npy", "whole.parquet", "parts.parquet"}
