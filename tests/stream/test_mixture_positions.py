"""Positions in mixtures of earlier versions: their places were of another size."""

from itertools import islice

import numpy as np

from codeparrot.stream import ConstantLengthDataset
from tests.stream.test_mixture import dataset, files, mixed, small_chunks

__all__ = ["files", "small_chunks"]


def take(windows: ConstantLengthDataset, count: int) -> np.ndarray:
    return np.stack([window.numpy() for window in islice(windows, count)])


def test_a_position_of_an_earlier_version_is_one_in_places_of_its_size(files) -> None:
    """Places of sources with small weights were smaller, and a position counts them."""
    config = mixed(files, (0.45, 0.45, 0.1), block_windows=240)
    before = dataset(config)
    ours = [source.place_tokens for source in before.sources]
    for source in before.sources:
        source.keep_blocks(source.stream.block_windows, None)
    earlier = [source.place_tokens for source in before.sources]
    assert earlier != ours
    take(before, 30)
    state = before.state_dict()
    assert [each.pop("place_tokens") for each in state["sources"]] == earlier
    after = dataset(config, state)
    after.goes_on_at(min(lane.num_windows for lane in after.states.values()))
    np.testing.assert_array_equal(take(before, 40), take(after, 40))
