from hypothesis import given
from hypothesis import strategies as st

from codeparrot.corpus.shards import ROW_GROUP_BYTES, ROW_GROUP_DOCUMENTS, plan, row_groups

BUCKET_BYTES = st.lists(st.integers(0, 10**6), min_size=1, max_size=300)


@given(BUCKET_BYTES, st.integers(1, 10**7))
def test_pieces_cover_every_full_bucket_once_and_give_the_right_number_of_shards(sizes: list[int], shard_bytes: int) -> None:
    pieces = plan(sizes, shard_bytes)
    assert [bucket for piece in pieces for bucket in piece.buckets] == [index for index, size in enumerate(sizes) if size]
    assert not pieces or sum(piece.num_shards for piece in pieces) == max(1, round(sum(sizes) / shard_bytes))
    assert all(piece.num_shards > 0 and piece.buckets for piece in pieces)


@given(st.integers(10**4, 10**6), st.integers(10**4, 10**8))
def test_shards_hold_about_the_bytes_that_were_asked_for(bucket: int, shard_bytes: int) -> None:
    sizes = [bucket] * 256
    for piece in plan(sizes, shard_bytes):
        average = sum(sizes[index] for index in piece.buckets) / piece.num_shards
        assert 0.6 * shard_bytes < average < 1.6 * shard_bytes or sum(sizes) < shard_bytes


@given(st.lists(st.integers(0, 10**6), max_size=2000))
def test_row_groups_cover_every_row_once_and_are_small(sizes: list[int]) -> None:
    groups = list(row_groups(sizes))
    assert [row for start, stop in groups for row in range(start, stop)] == list(range(len(sizes)))
    for start, stop in groups:
        assert 1 <= stop - start <= ROW_GROUP_DOCUMENTS
        assert stop - start == 1 or sum(sizes[start:stop]) <= ROW_GROUP_BYTES


def test_many_small_documents_are_cut_by_number_and_large_ones_by_bytes() -> None:
    assert list(row_groups([10] * 600)) == [(0, 256), (256, 512), (512, 600)]
    assert list(row_groups([1_500_000, 600_000, 600_000])) == [(0, 1), (1, 3)]
