from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codeparrot.errors import CodeparrotError
from codeparrot.stream import lane as lane_module
from codeparrot.stream.lane import Cursor, Order, Reading, windows
from codeparrot.stream.order import permutation
from codeparrot.stream.shards import Block, Shard
from tests.stream.bytes_encoder import END, BytesEncoder, documents_of

BEGIN = Cursor()


class ListShard(Shard):
    def __init__(self, texts: list[str]) -> None:
        self.texts = texts

    def read(self, position: int, num_items: int) -> Block:
        stop = position + num_items
        return Block(self.texts[position:stop], stop if stop < len(self.texts) else None)

    @property
    def identity(self) -> str:
        return "list"

    def describe(self, position: int, indexes: Sequence[int]) -> list[dict]:
        return [{"file": "list", "row": position + index} for index in indexes]

    def fresh(self) -> Shard:
        return ListShard(self.texts)

    def cut(self, parts: int) -> list[Shard]:
        raise AssertionError("not cut here")


def shards_of(*shards: list[str]) -> list[Shard]:
    return [ListShard(texts) for texts in shards]


def run(
    shards: list[Shard], order: Order, seq_length: int, start: Cursor = BEGIN, block: int = 3, together: int = 1
) -> Iterator:
    return windows(shards, order, Reading(together, block), BytesEncoder(), seq_length, start)


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane_module, "PIECE_CHARACTERS", 16)
    monkeypatch.setattr(lane_module, "FIRST_CHUNK_CHARACTERS", 20)
    monkeypatch.setattr(lane_module, "CHUNK_CHARACTERS", 80)


TEXTS = st.lists(st.lists(st.text("ab\né漢 ", max_size=50), max_size=8), min_size=1, max_size=4).filter(
    lambda shards: any(len(shard) for shard in shards)
)


@settings(deadline=None)
@given(TEXTS, st.integers(2, 30), st.integers(1, 5), st.integers(1, 5), st.integers(0, 3))
def test_joined_windows_are_the_joined_documents_of_every_epoch(texts, seq_length, block, together, seed) -> None:
    shards, epochs = shards_of(*texts), 3
    order = Order(seed, lane=1, epochs=epochs)
    out = list(run(shards, order, seq_length, block=block, together=together))
    assert all(len(window) == seq_length for window, _ in out[:-1])
    documents = documents_of(np.concatenate([window for window, _ in out]))
    each = sorted(text for shard in texts for text in shard)
    assert len(documents) == epochs * len(each)
    for epoch in range(epochs):
        assert sorted(documents[epoch * len(each) : (epoch + 1) * len(each)]) == each


@settings(deadline=None)
@given(TEXTS, st.integers(2, 30), st.integers(1, 5), st.integers(1, 5), st.integers(0, 25), st.integers(0, 25))
def test_resume_after_any_window_and_again_is_exact(texts, seq_length, block, together, first, second) -> None:
    shards, order = shards_of(*texts), Order(seed=7, lane=2)
    whole = list(islice(run(shards, order, seq_length, block=block, together=together), first + second + 10))
    start = whole[first - 1][1] if first else Cursor()
    resumed = list(islice(run(shards, order, seq_length, start, block, together), second + 10))
    again_from = resumed[second - 1][1] if second else start
    again = list(islice(run(shards, order, seq_length, again_from, block, together), 10))
    for (expected, cursor), (window, same) in zip(whole[first + second :], again, strict=True):
        np.testing.assert_array_equal(expected, window)
        assert cursor == same


def test_the_order_differs_by_seed_lane_epoch_and_block() -> None:
    texts = [str(number) for number in range(100)]

    def order_of(order: Order, epoch: int = 0) -> list[str]:
        out = run(shards_of(texts), order._replace(epochs=epoch + 1), 7, block=10)
        return documents_of(np.concatenate([window for window, _ in out]))[epoch * 100 :]

    base = order_of(Order(0, 0))
    assert base == order_of(Order(0, 0))
    assert base != texts and sorted(base, key=int) == texts
    assert len({tuple(order) for order in (base, order_of(Order(1, 0)), order_of(Order(0, 1)), order_of(Order(0, 0), 1))}) == 4
    blocks = [[int(text) % 10 for text in base[start : start + 10]] for start in range(0, 100, 10)]
    assert len({tuple(block) for block in blocks}) > 5


def test_a_document_of_many_pieces_is_whole_and_can_be_resumed_within() -> None:
    text = "".join(f"line {number}\n" for number in range(50)) + "x" * 500
    out = list(run(shards_of([text, "", "end"]), Order(0, 0, shuffle=False, epochs=1), 8))
    assert documents_of(np.concatenate([window for window, _ in out])) == [text, "", "end"]
    middle = next(index for index, (_, cursor) in enumerate(out) if cursor.piece > 3)
    resumed = list(run(shards_of([text, "", "end"]), Order(0, 0, shuffle=False, epochs=1), 8, out[middle][1]))
    np.testing.assert_array_equal(
        np.concatenate([window for window, _ in resumed]), np.concatenate([window for window, _ in out[middle + 1 :]])
    )


def test_empty_documents_are_ends_and_nothing_else() -> None:
    out = list(run(shards_of(["", "", ""]), Order(0, 0, epochs=1), 2))
    assert [window.tolist() for window, _ in out] == [[END, END], [END]]


def test_a_lane_without_documents_is_an_error_and_not_an_endless_loop() -> None:
    with pytest.raises(CodeparrotError, match=r"lane 3 .* lower stream\.lanes"):
        next(run(shards_of([], []), Order(0, 3), 4))


def test_shards_that_are_read_together_are_mixed_in_each_block() -> None:
    shards = shards_of(*([f"{shard}.{row}" for row in range(8)] for shard in range(6)))
    out = documents_of(np.concatenate([window for window, _ in run(shards, Order(0, 0, epochs=1), 4, block=4, together=3)]))
    blocks = [{text.partition(".")[0] for text in out[start : start + 12]} for start in range(0, 48, 12)]
    assert [len(block) for block in blocks] == [3, 3, 3, 3]
    assert blocks[0] == blocks[1] and blocks[2] == blocks[3] and not blocks[0] & blocks[2]


def test_permutations_never_change() -> None:
    assert permutation(8, 0, "rows", 1).tolist() == [2, 5, 7, 0, 6, 4, 3, 1]
    assert sorted(permutation(1000, "x").tolist()) == list(range(1000))
