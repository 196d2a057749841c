import numpy as np
import pyarrow.parquet as parquet
import pytest

from codeparrot.config import StreamConfig
from codeparrot.stream import load_validation_set
from tests.stream.bytes_encoder import BytesEncoder, documents_of


@pytest.mark.parametrize("lanes", [1, 2, 8, 64])
def test_the_validation_set_is_complete_and_the_same_for_every_world_size(corpus, lanes) -> None:
    stream = StreamConfig(valid=str(corpus), seq_length=100, lanes=lanes)
    one = load_validation_set(stream, BytesEncoder())
    (file,) = corpus.glob("valid-*")
    documents = parquet.read_table(file)["content"].to_pylist()
    assert sum(map(len, one.windows)) == sum(len(text.encode()) + 1 for text in documents)
    assert sum(len(window) < 100 for window in one.windows) <= lanes
    if lanes == 1:
        assert documents_of(np.concatenate(one.windows)) == documents
    two = [load_validation_set(stream, BytesEncoder(), rank=rank, world_size=2) for rank in range(2 if lanes > 1 else 1)]
    assert (
        sorted(window.tobytes() for window in one.windows)
        == sorted(window.tobytes() for part in two for window in part.windows)
        or lanes == 1
    )


def test_a_sample_is_the_same_for_every_world_size_and_comes_from_the_whole_set(corpus) -> None:
    stream = StreamConfig(valid=str(corpus), seq_length=32, lanes=4)
    one = load_validation_set(stream, BytesEncoder())
    sample = one.sample(20)
    assert len(sample.windows) == 80 and sample.lanes == dict.fromkeys(range(4), 20)
    assert sample.num_tokens <= 80 * 32 < one.num_tokens
    parts = [load_validation_set(stream, BytesEncoder(), rank=rank, world_size=2).sample(20) for rank in range(2)]
    assert sorted(window.tobytes() for window in sample.windows) == sorted(
        window.tobytes() for part in parts for window in part.windows
    )
    places = [next(i for i, each in enumerate(one.windows) if each is window) for window in sample.windows]
    assert places == sorted(set(places))
    first = [place for place in places if place < one.lanes[0]]
    assert len(first) == 20 and min(first) < one.lanes[0] / 4 and max(first) > 3 * one.lanes[0] / 4
    everything = one.sample(10**9)
    assert everything.lanes == one.lanes and everything.num_tokens == one.num_tokens


def test_batches_hold_every_window_once_and_predict_nothing_beyond_the_end(corpus) -> None:
    valid = load_validation_set(StreamConfig(valid=str(corpus), seq_length=64, lanes=4), BytesEncoder())
    count = valid.num_batches(7)
    seen = 0
    for index in range(count + 3):
        input_ids, labels = valid.batch(index, 7)
        assert input_ids.shape == labels.shape == (7, 64)
        np.testing.assert_array_equal(input_ids[labels >= 0], labels[labels >= 0])
        seen += int((labels >= 0).sum())
        assert index < count or (labels == -100).all()
    assert seen == sum(map(len, valid.windows))
