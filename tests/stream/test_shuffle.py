"""Windows are handed out in blocks, each in an order of its own: nothing is lost, and any state goes on exactly."""

import gc
import gzip
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codeparrot.config import StreamConfig
from codeparrot.stream import ConstantLengthDataset
from codeparrot.stream.lane import Cursor, Order, Reading, windows
from codeparrot.stream.shuffle import BLOCK_BYTES, LaneState, default_block_windows, shuffled
from codeparrot.stream.tokenized import Windows
from tests.stream.bytes_encoder import END, BytesEncoder, documents_of
from tests.stream.small import check_going_on, sizes
from tests.stream.test_lane import TEXTS, shards_of


@pytest.fixture(autouse=True, scope="module")
def small_pieces() -> Iterator[None]:
    with sizes(first=20, chunk=80, piece=16):
        yield


def packed(texts: list[list[str]], order: Order, seq_length: int, start: Cursor = Cursor()) -> Iterator[tuple[Any, Cursor]]:  # noqa: B008
    return windows(shards_of(*texts), order, Reading(2, 3), BytesEncoder(), seq_length, start)


def handed_out(texts: list[list[str]], order: Order, seq_length: int, size: int, start: LaneState) -> Iterator[Any]:
    return shuffled(packed(texts, order, seq_length, start.cursor), order, size, start)


@settings(deadline=None)
@given(TEXTS, st.integers(2, 30), st.integers(1, 40), st.integers(0, 3))
def test_every_window_that_is_packed_is_handed_out_once(texts, seq_length, size, seed) -> None:
    order = Order(seed, lane=1, epochs=4)
    expected = [window.tolist() for window, _ in packed(texts, order, seq_length)]
    found = list(handed_out(texts, order, seq_length, size, LaneState()))
    assert sorted(window.tolist() for window, _ in found) == sorted(expected)
    assert [state.num_windows for _, state in found] == list(range(1, len(expected) + 1))


@settings(deadline=None)
@given(TEXTS, st.integers(2, 30), st.integers(1, 40), st.integers(0, 60), st.integers(0, 60))
def test_going_on_after_any_window_and_again_is_exact(texts, seq_length, size, first, second) -> None:
    order = Order(seed=7, lane=2)
    check_going_on(lambda start: handed_out(texts, order, seq_length, size, start), first, second)


@settings(deadline=None)
@given(st.integers(1, 100), st.integers(1, 50))
def test_blocks_have_their_size_and_end_with_the_epoch(size, num_epochs) -> None:
    stream = ((number, Cursor(epoch=number // 77)) for number in range(77 * num_epochs))
    found = list(shuffled(stream, Order(0, 0), size, LaneState()))
    blocks = np.split([number for number, _ in found], [state.num_windows for _, state in found if state.taken == 0])[:-1]
    first = 0
    for block in blocks:
        assert sorted(block.tolist()) == list(range(first, first + len(block)))
        epoch_ends = (first + len(block)) % 77 == 1 or first + len(block) == 77 * num_epochs
        assert len(block) == size or epoch_ends
        assert first // 77 == (first + len(block) - 2) // 77 or len(block) == 1
        first += len(block)
    assert first == 77 * num_epochs


def test_the_next_block_is_prepared_at_an_even_pace() -> None:
    pulled: list[int] = []
    stream = ((pulled.append(number) or number, Cursor()) for number in range(10_000))
    before = 0
    for count, _ in enumerate(islice(shuffled(stream, Order(0, 0), 256, LaneState()), 4096), 1):
        # The first block at once, then a window for each that is handed out.
        assert len(pulled) - before == (256 + 1 if count == 1 else 1)
        before = len(pulled)
        assert len(pulled) <= count + 256


def test_neighbours_of_a_document_are_apart_and_each_block_has_an_order_of_its_own() -> None:
    stream = ((number, Cursor()) for number in range(4096))
    found = [number for number, _ in shuffled(stream, Order(0, 0), 512, LaneState())]
    assert np.mean(np.abs(np.diff(found)) < 8) < 0.1
    blocks = {tuple(np.array(found[start : start + 512]) - start) for start in range(512, 4096, 512)}
    assert len(blocks) == 7
    other = [number for number, _ in shuffled(((n, Cursor()) for n in range(4096)), Order(0, 1), 512, LaneState())]
    assert other != found


def write(folder: Path, kind: str) -> None:
    """Write 2,000 documents sorted by repository: 40 repositories of 50 files, in two data files."""
    rows = [{"repo": number // 50, "content": f"{number // 50}/{number % 50} " + "x" * 80} for number in range(2000)]
    for part in range(2):
        own = rows[1000 * part : 1000 * (part + 1)]
        lines = "".join(json.dumps(row) + "\n" for row in own).encode()
        if kind == "parquet":
            parquet.write_table(pa.Table.from_pylist(own), folder / f"{part}.parquet", row_group_size=100)
        elif kind == "parquet of one row group":
            parquet.write_table(pa.Table.from_pylist(own), folder / f"{part}.parquet")
        else:
            (folder / f"{part}.{kind}").write_bytes(gzip.compress(lines) if kind.endswith("gz") else lines)


@pytest.mark.parametrize(
    ("kind", "repositories"), [("parquet", 8), ("parquet of one row group", 20), ("jsonl", 6), ("jsonl.gz", 5)]
)
def test_a_block_of_a_folder_sorted_by_repository_mixes_repositories(tmp_path, kind, repositories) -> None:
    write(tmp_path, kind)
    stream = StreamConfig(train=str(tmp_path), seq_length=64, lanes=2, block_windows=128)
    dataset = ConstantLengthDataset(stream, BytesEncoder())
    before = dataset.states
    assert {own.taken for state in before.values() for own in state.sources} == {0}
    traced = [window for window in dataset.traced(before, 2 * 128) if window.lane == 0]
    found = {document["repo"] for window in traced for document in window.documents}
    assert len(found) >= repositories
    # The older order reads them one after the other.
    old = ConstantLengthDataset(
        StreamConfig(train=str(tmp_path), seq_length=64, lanes=2, order="documents", block_documents=64), BytesEncoder()
    )
    in_turn = [window for window in old.traced(old.states, 2 * 128) if window.lane == 0]
    assert len({document["repo"] for window in in_turn for document in window.documents}) < 8


def test_an_epoch_names_every_document_before_any_comes_again(tmp_path) -> None:
    write(tmp_path, "jsonl")
    stream = StreamConfig(train=str(tmp_path), seq_length=64, lanes=1, block_windows=200)
    tokens = np.concatenate(list(islice(ConstantLengthDataset(stream, BytesEncoder()), 2 * 2800)))
    ends = int((tokens == END).sum())
    first = np.flatnonzero(tokens == END)[1999]
    assert ends >= 2000
    counts = Counter(text.partition(" ")[0] for text in documents_of(tokens[: first + 1]))
    whole = [name for name in counts if name.count("/") == 1 and name.replace("/", "").isdigit()]
    assert len(whole) > 1500 and max(counts[name] for name in whole) <= 2


def test_blocks_of_all_lanes_together_stay_within_memory() -> None:
    for lanes, seq_length, expected in ((8, 256, 2048), (64, 1024, 256), (192, 1024, 85), (256, 1024, 64)):
        stream = StreamConfig(lanes=lanes, seq_length=seq_length)
        assert default_block_windows(stream) == expected
        assert 4 * lanes * seq_length * default_block_windows(stream) <= BLOCK_BYTES
    assert default_block_windows(StreamConfig(lanes=4096, seq_length=131072)) == 1


def tokenized(folder: Path, sizes: tuple[int, ...] = (70, 5, 130)) -> Path:
    """Write windows that hold their own number, as `corpus tokenize` does."""
    folder.mkdir(exist_ok=True)
    first, files = 0, []
    for part, size in enumerate(sizes):
        path = folder / f"train-{part:05d}.npy"
        np.save(path, np.tile(np.arange(first, first + size, dtype=np.uint16)[:, None], 8))
        files.append({"name": path.name, "windows": size, "bytes": path.stat().st_size})
        first += size
    manifest = {"seq_length": 8, "splits": {"train": {"files": files, "tail": [], "tokens": 8 * first}}}
    (folder / "windows.json").write_text(json.dumps(manifest), encoding="utf-8")
    return folder


@pytest.mark.slow
@settings(deadline=None, max_examples=25)
@given(st.sampled_from([1, 2, 4, 8]), st.integers(1, 100), st.integers(0, 100), st.integers(0, 100), st.booleans())
def test_windows_that_were_tokenised_before_come_once_an_epoch_and_resume_exactly(
    tmp_path_factory, lanes, size, first, second, halves
) -> None:
    folder = tokenized(tmp_path_factory.getbasetemp() / "tokenized")
    stream = StreamConfig(train=str(folder), seq_length=8, lanes=lanes, block_windows=size)

    def dataset(**ranks: int) -> ConstantLengthDataset:
        return ConstantLengthDataset(stream, BytesEncoder(), seed=1, **ranks)  # type: ignore[arg-type]

    whole = [int(window[0]) for window in islice(dataset(), 410 + first + second)]
    by_lane = [whole[lane:410:lanes] for lane in range(lanes)]
    for own in by_lane:
        counts = Counter(own)
        assert max(counts.values()) - min(counts.values()) <= 1
    assert len(set(whole[:410])) == 205
    once = dataset()
    list(islice(once, first))
    again = dataset()
    again.load_state_dict(once.state_dict())
    list(islice(again, second))
    state = again.state_dict()
    ranks = [dataset(rank=rank, world_size=2) for rank in range(2)] if halves and lanes > 1 else [dataset()]
    for rank in ranks:
        rank.load_state_dict(state)
    if len(ranks) == 1 or (first + second) % lanes == 0:
        rows = zip(*(islice(rank, 20 // len(ranks)) for rank in ranks), strict=True)
        assert [int(window[0]) for row in rows for window in row] == whole[first + second :][:20]


def test_windows_that_were_tokenised_before_are_opened_by_many_threads_at_once(tmp_path) -> None:
    """Python 3.11 says "AST constructor recursion depth mismatch" where two threads parse and the collector runs meanwhile."""
    file = Windows(tokenized(tmp_path / "w", (4,)) / "train-00000.npy", 4, 8, 2**16)
    before, interval = gc.get_threshold(), sys.getswitchinterval()
    gc.callbacks.append(lambda phase, info: time.sleep(0))  # another thread's turn
    gc.set_threshold(5)
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as threads:
            assert all(found.shape == (4, 8) for found in threads.map(lambda _: file.open(), range(400)))
    finally:
        gc.set_threshold(*before)
        gc.callbacks.pop()
        sys.setswitchinterval(interval)


def test_a_block_of_windows_that_were_tokenised_before_comes_from_the_whole_share(tmp_path) -> None:
    folder = tokenized(tmp_path / "w", (4096,))
    stream = StreamConfig(train=str(folder), seq_length=8, lanes=1, block_windows=256)
    block = [int(window[0]) for window in islice(ConstantLengthDataset(stream, BytesEncoder()), 256)]
    assert len({number // 128 for number in block}) > 16
    assert np.mean(np.abs(np.diff(block)) < 8) < 0.1


def test_a_place_behind_the_end_of_its_block_goes_on_with_a_block_of_its_own() -> None:
    """A run with another seed goes on from a checkpoint: its block may be shorter, where an epoch ends. Numbers go on."""
    stream = ((number, Cursor()) for number in range(5))
    found = list(shuffled(stream, Order(1, 0), 64, LaneState(num_windows=20, taken=10)))
    assert sorted(number for number, _ in found) == list(range(5))
    assert [state.num_windows for _, state in found] == [21, 22, 23, 24, 25]
