"""Decoded row groups that languages share: within a number of bytes, and without a change to any window or state."""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from codeparrot.stream import languages_of
from codeparrot.stream.decoded import Decoded
from codeparrot.stream.readers.parquet import Table
from tests.stream.test_by_language import config_of, corpus
from tests.stream.test_mixture import dataset, global_batches

GROUP_BYTES = 400
"""More than a row group of the corpus holds."""


def column(size: int) -> Any:
    return pa.chunked_array([np.zeros(size, np.uint8)])


def test_no_more_bytes_are_kept_than_allowed_and_those_used_last() -> None:
    kept = Decoded(100)
    for number in range(4):
        kept.keep(("file", "content", number), column(30))
        assert kept.get(("file", "content", 0)) is not None
    assert [("file", "content", number) in kept for number in range(4)] == [True, False, True, True]
    assert kept.num_bytes == 90
    kept.keep(("file", "content", 0), column(30))  # by another thread at the same time
    kept.keep(("file", "content", 9), column(101))
    assert kept.num_bytes == 90 and ("file", "content", 9) not in kept


def test_threads_that_keep_and_take_at_once_stay_within_the_bytes() -> None:
    kept = Decoded(100)

    def use(seed: int) -> None:
        for number in np.random.default_rng(seed).integers(0, 9, 2000).tolist():
            found = kept.get(("file", "content", number))
            assert found is None or len(found) == 10 + number
            kept.keep(("file", "content", number), column(10 + number))

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(use, range(4)))
    held = [number for number in range(9) if ("file", "content", number) in kept]
    assert kept.num_bytes == sum(10 + number for number in held) <= 100


def test_each_row_group_of_a_small_corpus_is_decoded_once_for_all_languages_lanes_and_epochs(tmp_path, monkeypatch) -> None:
    decoded: Counter[tuple[str, int]] = Counter()
    original = Table.read

    def noting(self: Table, group: int, columns: Sequence[str]) -> Any:
        decoded.update([(self.file, group)] * (list(columns) == ["content"]))
        return original(self, group, columns)

    monkeypatch.setattr(Table, "read", noting)
    # By one thread, since two may decode a row group that neither has found.
    monkeypatch.setattr("codeparrot.stream.dataset.available_cores", lambda: 1)
    list(islice(dataset(config_of(corpus(tmp_path / "c"))), 600))
    assert len(decoded) == 32 and set(decoded.values()) == {1}


@pytest.mark.slow
@pytest.mark.parametrize("how", [{"order": "documents"}, {"order": "windows"}, {"packing": "best_fit"}], ids=str)
def test_windows_and_states_are_the_same_whatever_is_kept_on_any_world_size_and_across_resumes(
    tmp_path, monkeypatch, how
) -> None:
    config = config_of(corpus(tmp_path / "c"), **how)
    found = []
    for most_bytes in (0, 2 * GROUP_BYTES, 1 << 27):
        monkeypatch.setattr(languages_of, "DECODED_BYTES", most_bytes)
        whole, final = global_batches(config, 1, 1, 0, 24)
        parts, state = global_batches(config, 2, 2, 0, 7)
        more, state = global_batches(config, 4, 1, 7, 17, state)
        np.testing.assert_array_equal(parts + more, whole)
        found.append((np.stack(whole), final, state))
    for windows, final, state in found:
        np.testing.assert_array_equal(windows, found[0][0])
        assert final == state == found[0][1]
