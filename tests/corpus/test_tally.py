"""Counting takes the stated memory, and looks each name up once however many there are."""

import pyarrow as pa
import pytest

from codeparrot.corpus.split import are_in, valid_repositories
from codeparrot.corpus.tally import REPOSITORY_BYTES, Tally
from tests.corpus.duplicates.test_growth import bytes_a_document


@pytest.mark.slow
def test_a_repository_takes_the_stated_bytes() -> None:
    def work(count: int) -> tuple[object, ...]:
        tally = Tally()
        for start in range(0, count, 1000):
            names = [f"owner{number % 997}/repository{number:07d}" for number in range(start, start + 1000)]
            columns = {name: pa.array(["some"] * 1000, pa.large_string()) for name in ("license", "language", "reason")}
            numbers = {name: pa.array(range(1000, 2000)) for name in ("size", "characters")}
            table = pa.table({"repo_name": pa.array(names, pa.large_string()), **columns, **numbers})
            tally.add_kept(table)
            tally.add_removed(table)
        sizes = {name: count.bytes for name, count in tally.repositories.items()}
        valid = valid_repositories(sizes, 0, 0.01)
        return tally, valid, tally.repositories.keys() - valid

    assert bytes_a_document(work, 2000, 32_000) < REPOSITORY_BYTES


def test_names_are_found_in_columns_of_any_form() -> None:
    names = frozenset({"a", "c"})
    for column in (pa.array(["a", "b", "c", "a"]), pa.chunked_array([["a"], [], ["b", "c"], ["a"]], pa.large_string())):
        assert are_in(column, names).tolist() == [True, False, True, True]
    assert are_in(pa.array([], pa.string()), names).tolist() == []
