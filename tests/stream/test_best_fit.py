"""Best-fit packing: each token is in one window, documents stay whole where they fit, and any state goes on exactly."""

import json
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codeparrot.config import StreamConfig
from codeparrot.errors import CodeparrotError
from codeparrot.stream import ConstantLengthDataset, dataset, merge_states
from codeparrot.stream.best_fit import PADDING, TOKENS, Packed, parts, place
from codeparrot.stream.lane import Cursor, Order, Reading, blocks, encoded, items
from codeparrot.stream.shuffle import LaneState, best_fit
from tests.stream.bytes_encoder import END, BytesEncoder, documents_of
from tests.stream.small import check_going_on, sizes
from tests.stream.test_lane import TEXTS, shards_of


@pytest.fixture(autouse=True, scope="module")
def small_pieces() -> Iterator[None]:
    with sizes(first=20, chunk=80, piece=16):
        yield


def handed_out(
    texts: list[list[str]], order: Order, seq_length: int, size: int, start: LaneState, packed: Packed | None = None
) -> Iterator[tuple[np.ndarray, LaneState]]:
    chunks = encoded(
        items(blocks(shards_of(*texts), order, Reading(2, 3), start.cursor), start.cursor.row),
        *(False, BytesEncoder(), start.cursor, None),
    )
    stream = StreamConfig(seq_length=seq_length, block_windows=size)
    return best_fit(parts(chunks, seq_length, END), TOKENS, order, stream, END, start, packed or Packed())


def pieces_of(texts: list[list[str]], seq_length: int) -> Counter[bytes]:
    """Count what documents are cut into, end tokens included."""
    found: Counter[bytes] = Counter()
    for text in (text for shard in texts for text in shard):
        tokens = np.append(np.frombuffer(text.encode(), np.uint8), END).astype(np.uint32)
        found.update(tokens[start : start + seq_length].tobytes() for start in range(0, len(tokens), seq_length))
    return found


def pieces_in(window: np.ndarray, seq_length: int) -> list[bytes]:
    ends = np.flatnonzero(window == END) + 1
    return [piece.tobytes() for piece in np.split(window, ends) if len(piece)]


@given(st.integers(1, 60).flatmap(lambda most: st.tuples(st.just(most), st.lists(st.integers(1, most), max_size=80))))
def test_places_are_those_of_best_fit_decreasing(sizes) -> None:
    seq_length, of = sizes
    found = place(of, seq_length)
    assert sorted(index for window in found for index in window) == list(range(len(of)))
    rooms: list[int] = []
    for size in sorted(of, reverse=True):
        best = min((room for room in rooms if room >= size), default=None)
        rooms.remove(best) if best is not None else None
        rooms.append((seq_length if best is None else best) - size)
    assert sorted(seq_length - sum(of[index] for index in window) for window in found) == sorted(rooms)


@pytest.mark.slow
@settings(deadline=None, max_examples=60)
@given(TEXTS, st.integers(2, 30), st.integers(1, 40), st.integers(0, 3))
def test_no_token_is_lost_or_doubled_and_only_what_is_longer_than_a_window_is_cut(texts, seq_length, size, seed) -> None:
    packed = Packed()
    found = list(handed_out(texts, Order(seed, lane=1, epochs=3), seq_length, size, LaneState(), packed))
    assert all(0 < len(window) <= seq_length for window, _ in found)
    assert [state.num_windows for _, state in found] == list(range(1, len(found) + 1))
    assert [state.tokens for _, state in found] == np.cumsum([len(window) for window, _ in found]).tolist()
    once = pieces_of(texts, seq_length)
    assert Counter(piece for window, _ in found for piece in pieces_in(window, seq_length)) == Counter(
        {piece: 3 * count for piece, count in once.items()}
    )
    num_documents = sum(map(len, texts))
    long = sum(len(text.encode()) + 1 > seq_length for shard in texts for text in shard)
    assert packed.counts.tolist() == [len(found), found[-1][1].tokens, 3 * num_documents, 3 * long]


@pytest.mark.slow
@settings(deadline=None, max_examples=60)
@given(TEXTS, st.integers(2, 30), st.integers(1, 40), st.integers(0, 60), st.integers(0, 60))
def test_going_on_after_any_window_and_again_is_exact(texts, seq_length, size, first, second) -> None:
    order = Order(seed=7, lane=2)
    check_going_on(lambda start: handed_out(texts, order, seq_length, size, start), first, second)


@pytest.mark.slow
@settings(deadline=None, max_examples=60)
@given(TEXTS, st.integers(2, 30), st.integers(1, 40))
def test_no_document_comes_again_before_the_others_were_seen(texts, seq_length, size) -> None:
    found = list(handed_out(texts, Order(seed=0, lane=0, epochs=2), seq_length, size, LaneState()))
    half = [window for window, state in found if state.cursor.epoch == 0 or (state.cursor.epoch == 1 and state.taken == 0)]
    once = pieces_of(texts, seq_length)
    seen = Counter(piece for window in found[: len(half)] for piece in pieces_in(window[0], seq_length))
    assert all(seen[piece] <= 2 * count for piece, count in once.items())
    # The blocks of the first epoch hold each of its pieces once.
    first = 0
    total: Counter[bytes] = Counter()
    while total.total() < once.total():
        total.update(pieces_in(found[first][0], seq_length))
        first += 1
    assert total == once


def test_the_next_block_is_gathered_at_an_even_pace() -> None:
    taken: list[int] = []
    stream = ((taken.append(1) or np.array([1, END], np.uint32), Cursor()) for _ in range(100_000))
    before, most = 0, 0
    windows = best_fit(stream, TOKENS, Order(0, 0), StreamConfig(seq_length=8, block_windows=64), END, LaneState(), Packed())
    for count, _ in enumerate(islice(windows, 1000)):
        most = max(most, len(taken) - before) if count else 0
        before = len(taken)
    assert most == 4


SIZES = {"a": 40, "b": 25, "c": 60}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sources")
    rng = np.random.default_rng(0)
    for name, size in SIZES.items():
        lines = [json.dumps({"content": f"{name}{row} " + name * int(rng.integers(0, 60))}) for row in range(size)]
        (folder / name).mkdir()
        (folder / name / "train-0.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def stream_of(folder: Path, mixed: bool, **changes: Any) -> StreamConfig:
    weights = {"a": 0.6, "b": 0.3, "c": 0.1}
    train: Any = [{"path": str(folder / name), "weight": weight} for name, weight in weights.items()] if mixed else str(folder)
    return StreamConfig(**{"train": train, "seq_length": 24, "lanes": 4, "block_windows": 12, "packing": "best_fit", **changes})


def global_batches(stream: StreamConfig, world_size: int, micro: int, steps: int, state: Any = None) -> tuple[list[Any], Any]:
    """Return each step's 8 windows in the order of the run, and the merged state, from simulated processes."""
    ranks = [
        ConstantLengthDataset(stream, BytesEncoder(), seed=3, rank=rank, world_size=world_size) for rank in range(world_size)
    ]
    out = [np.empty((8, stream.seq_length), np.int64) for _ in range(steps)]
    for rank, each in enumerate(ranks):
        if state is not None:
            each.load_state_dict(json.loads(json.dumps(state)))
        with each.batches(micro) as batches:
            for step in range(steps):
                out[step][rank::world_size] = np.concatenate([next(batches) for _ in range(8 // world_size // micro)])
    return out, merge_states([each.state_dict() for each in ranks])


@pytest.mark.slow
@settings(deadline=None, max_examples=25)
@given(
    st.booleans(),
    st.sampled_from([(1, 8), (1, 2), (2, 4), (4, 2)]),
    st.sampled_from([(1, 4), (2, 1), (4, 1)]),
    st.integers(0, 12),
)
def test_world_sizes_micro_batches_threads_and_resumes_see_the_same_batches(files, mixed, first, second, steps) -> None:
    stream = stream_of(files, mixed)
    expected, _ = global_batches(stream, 1, 8, steps + 6)
    before, state = global_batches(stream, first[0], first[1], steps)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dataset, "available_cores", lambda: 1)
        behind, _ = global_batches(stream, second[0], second[1], 6, state)
    np.testing.assert_array_equal(expected, [*before, *behind])
    assert len(json.dumps(state)) < 2048


def test_what_a_window_holds_is_traced_with_its_padding(files) -> None:
    for mixed in (False, True):
        made = ConstantLengthDataset(stream_of(files, mixed), BytesEncoder(), seed=3)
        list(islice(made, 21))
        before = made.states
        traced = made.traced(before, 60)
        cut: dict[str, int] = {}
        for window, expected in zip(traced, islice(made, 60), strict=True):
            tokens = expected.numpy()
            np.testing.assert_array_equal(window.tokens, tokens[tokens != PADDING])
            assert window.facts().get("padding", 0) == 24 - len(window.tokens) == (tokens == PADDING).sum()
            spans = [tuple(document["tokens"]) for document in window.documents]
            assert spans[0][0] == 0 and spans[-1][1] == len(window.tokens)
            assert [start for start, _ in spans[1:]] == [stop for _, stop in spans[:-1]]
            for document, (start, stop) in zip(window.documents, spans, strict=True):
                line = Path(document["file"]).read_bytes()[document["byte"] :].partition(b"\n")[0]
                text = json.loads(line)["content"]
                assert documents_of(np.append(window.tokens[start:stop], END))[0] in text
                assert document.get("cut", False) == (len(text) + 1 > 24)
                cut[text] = cut.get(text, 0) + 1
        assert max(cut.values()) > 1
        assert sum(each.tokens for each in made.read) == sum(
            state.tokens for states in made.states.values() for state in states.sources
        )


def test_a_place_is_one_of_its_packing(files) -> None:
    best, concatenated = stream_of(files, mixed=False), stream_of(files, mixed=False, packing="concatenate")
    for one, other in ((best, concatenated), (concatenated, best)):
        state = ConstantLengthDataset(one, BytesEncoder()).state_dict()
        with pytest.raises(CodeparrotError, match=rf"of stream\.packing {one.packing}, not {other.packing}; set that back"):
            ConstantLengthDataset(other, BytesEncoder()).load_state_dict(state)


def test_windows_that_were_packed_before_are_refused(tmp_path) -> None:
    np.save(tmp_path / "train-00000.npy", np.zeros((4, 24), np.uint16))
    size = (tmp_path / "train-00000.npy").stat().st_size
    files = [{"name": "train-00000.npy", "windows": 4, "bytes": size}]
    manifest = {"seq_length": 24, "vocab_size": 300, "end_of_document": END, "splits": {"train": {"files": files, "tail": []}}}
    (tmp_path / "windows.json").write_text(json.dumps(manifest))
    stream = StreamConfig(train=str(tmp_path), seq_length=24, packing="best_fit")
    with pytest.raises(
        CodeparrotError, match=r"best_fit packs documents, and stream\.train holds windows that were packed before"
    ):
        ConstantLengthDataset(stream, BytesEncoder())
