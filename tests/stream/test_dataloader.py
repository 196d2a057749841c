"""torch's DataLoader takes a `ConstantLengthDataset`, also one made of a data set, as the book's chapter does."""

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset
from transformers import AutoTokenizer

from codeparrot.config import StreamConfig
from codeparrot.errors import CodeparrotError
from codeparrot.stream import ConstantLengthDataset
from tests.stream.bytes_encoder import BytesEncoder

ROWS = [{"content": f"def f{number}(x):\n    return x + {number}\n" * (1 + number % 5), "path": "a.py"} for number in range(60)]


@pytest.fixture(scope="module")
def tokenizer(tokenizer_folder: Path) -> Any:
    return AutoTokenizer.from_pretrained(tokenizer_folder)


@pytest.fixture(scope="module")
def expected(tokenizer: Any) -> list[int]:
    """The ids of all rows, in their order, each with its end."""
    return [index for row in ROWS for index in [*tokenizer(row["content"])["input_ids"], tokenizer.eos_token_id]]


def streaming(num_shards: int = 1) -> datasets.IterableDataset:
    return datasets.Dataset.from_list(ROWS).to_iterable_dataset(num_shards=num_shards)


def rows(batches: Any) -> list[bytes]:
    """The windows of batches, as bytes that can be sorted."""
    return [window.numpy().tobytes() for batch in batches for window in batch]


SOURCES = {
    "streaming": streaming,
    "several shards": lambda: streaming(4),
    "in memory": lambda: datasets.Dataset.from_list(ROWS),
}


@pytest.mark.parametrize("source", [*SOURCES, "list"])
def test_the_windows_of_a_data_set_are_its_tokens_in_their_order(tokenizer, expected, caplog, source) -> None:
    dataset = ROWS if source == "list" else SOURCES[source]()
    windows = ConstantLengthDataset.from_dataset(tokenizer, dataset, seq_length=64, num_of_sequences=10)
    assert isinstance(windows, IterableDataset) and isinstance(windows, ConstantLengthDataset)
    seen = list(windows)
    assert {window.dtype for window in seen} == {torch.int64} and {len(window) for window in seen} == {64}
    assert torch.cat(seen).tolist() == expected[: 64 * len(seen)] and len(expected) - 64 * len(seen) < 64
    (message,) = caplog.messages
    assert message == f"the last {len(expected) % 64} tokens fill no window: they are left out"
    again = list(windows)
    assert torch.equal(torch.stack(again), torch.stack(seen)), "every iteration begins anew"
    next(iter(windows))
    assert torch.equal(next(iter(windows)), seen[0])


def test_it_begins_again_without_end(tokenizer, expected, caplog) -> None:
    windows = ConstantLengthDataset.from_dataset(tokenizer, streaming(), True, 64)
    count = 3 * len(expected) // 64
    assert torch.cat(list(islice(windows, count))).tolist() == (3 * expected)[: 64 * count]
    assert caplog.messages == []
    with windows.batches(2) as batches:
        assert next(batches).shape == (2, 64)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1, 2, 3])
@pytest.mark.parametrize("source", list(SOURCES))
def test_workers_divide_the_windows_of_a_data_set(tokenizer, expected, source, workers) -> None:
    windows = ConstantLengthDataset.from_dataset(tokenizer, SOURCES[source](), seq_length=32)
    loader = DataLoader(windows, batch_size=2, num_workers=workers, persistent_workers=workers > 0)
    ids = np.array(expected[: len(expected) // 32 * 32]).reshape(-1, 32)
    for _ in range(2):
        assert sorted(rows(loader)) == sorted(row.tobytes() for row in ids)
    batch = next(iter(loader))
    assert batch.dtype == torch.int64 and batch.shape == (2, 32)


def files(folder: Path) -> StreamConfig:
    datasets.Dataset.from_list(ROWS).to_json(folder / "train.jsonl")
    return StreamConfig(train=str(folder), seq_length=32, lanes=4)


def test_a_loader_without_workers_gives_the_batches_of_training(tmp_path: Path) -> None:
    stream = files(tmp_path)
    windows = ConstantLengthDataset(stream, BytesEncoder(), seed=3)
    loaded = list(islice(DataLoader(windows, batch_size=4), 6))
    assert {batch.dtype for batch in loaded} == {torch.int64}
    state = windows.state_dict()
    other = ConstantLengthDataset(stream, BytesEncoder(), seed=3)
    with other.batches(4) as batches:
        np.testing.assert_array_equal(np.concatenate(loaded), np.concatenate([next(batches) for _ in range(6)]))
        assert state == other.state_dict()


@pytest.mark.slow
@pytest.mark.parametrize("workers", [2, 3, 4])
@pytest.mark.parametrize("source", ["files", "data set"])
def test_workers_divide_the_windows_of_training(tmp_path: Path, source: str, workers: int) -> None:
    """Two and four divide the lanes, three read all of them."""
    stream = files(tmp_path)
    made = lambda: ConstantLengthDataset(  # noqa: E731
        stream, BytesEncoder(), seed=3, source=None if source == "files" else streaming(4)
    )
    count = 120
    expected = sorted(window.numpy().tobytes() for window in islice(made(), count))
    loader = iter(DataLoader(made(), batch_size=2, num_workers=workers))
    assert sorted(rows(islice(loader, count // 2))) == expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dataset": iter(ROWS)}, "can be read only once"),
        ({"dataset": "corpus"}, "dataset is a str"),
        ({"dataset": {"train": ROWS}}, "dataset is a dict: give one split"),
        ({"dataset": 3}, "dataset is a int"),
        ({"infinite": 1024}, "infinite is 1024, not true or false: give seq_length by its name"),
        ({"seq_length": 1}, "seq_length must be 2 or more"),
        ({"chars_per_token": 0}, "chars_per_token more than 0"),
        ({"tokenizer": object()}, "object is no fast tokenizer"),
    ],
)
def test_what_cannot_be_used_is_named(tokenizer, changes, message) -> None:
    arguments = {"tokenizer": tokenizer, "dataset": ROWS, **changes}
    with pytest.raises(CodeparrotError, match=message):
        ConstantLengthDataset.from_dataset(**arguments)


def test_a_row_without_text_is_named(tokenizer) -> None:
    damaged: Sequence[Any] = [*ROWS[:3], {"code": "x"}]
    with pytest.raises(CodeparrotError, match="content"):
        list(ConstantLengthDataset.from_dataset(tokenizer, damaged, seq_length=8))


def test_one_pass_has_no_endless_batches(tokenizer) -> None:
    with pytest.raises(CodeparrotError, match="infinite=True"):
        ConstantLengthDataset.from_dataset(tokenizer, ROWS).batches(2)


def test_a_data_set_without_documents_has_no_windows(tokenizer) -> None:
    assert list(ConstantLengthDataset.from_dataset(tokenizer, [], seq_length=8)) == []
    with pytest.raises(CodeparrotError, match="no documents"):
        next(iter(ConstantLengthDataset.from_dataset(tokenizer, [], infinite=True, seq_length=8)))
