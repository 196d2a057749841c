import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from codeparrot.corpus.duplicates.union_find import UnionFind

COUNT = 30
PAIRS = st.lists(st.tuples(st.integers(0, COUNT - 1), st.integers(0, COUNT - 1)), max_size=60)


def smallest_reachable(pairs: list[tuple[int, int]]) -> list[int]:
    labels = list(range(COUNT))
    for _ in range(COUNT):
        for left, right in pairs:
            labels[left] = labels[right] = min(labels[left], labels[right])
    return labels


@given(st.lists(PAIRS, max_size=4))
def test_the_root_of_a_component_is_its_smallest_member(batches: list[list[tuple[int, int]]]) -> None:
    sets = UnionFind(COUNT)
    for pairs in batches:
        sets.join(np.array(pairs, np.int64).reshape(-1, 2))
    assert sets.roots().tolist() == smallest_reachable([pair for pairs in batches for pair in pairs])


def test_long_chains_end() -> None:
    count = 100_000
    sets = UnionFind(count)
    order = np.random.default_rng(0).permutation(count - 1)
    sets.join(np.stack([order, order + 1], axis=1))
    assert set(sets.roots().tolist()) == {0}
