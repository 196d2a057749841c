"""Pairs of code and description: which way they are put, what is predicted of them, and what a source of them refuses."""

import gzip
import json
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken

from codeparrot.config import Config, StreamConfig
from codeparrot.errors import CodeparrotError
from codeparrot.model import IGNORED
from codeparrot.objectives import load_objective
from codeparrot.objectives.objective import Examples, card_of, transforms_of
from codeparrot.objectives.pairs import Pairs
from codeparrot.stream import ConstantLengthDataset, load_validation_set, merge_states
from codeparrot.stream.described import SEPARATOR
from codeparrot.stream.given import MARK, are_given, unmarked
from codeparrot.stream.sentinels import SENTINELS
from codeparrot.stream.validation import _predicted
from codeparrot.training.packing import Uneven
from tests.stream.bytes_encoder import END, BytesEncoder

LENGTH = 64
ROWS: list[dict[str, Any]] = [
    {
        "content": f"def f{number}(x):\n    return x + {'1' * (number % 30 + 1)}",
        "docstring": f"Add {number}.{' More.' * (number % 7)}",
    }
    for number in range(60)
]
ROWS[7]["docstring"] = 'Say """hello""" to all.'
PLAIN = [3, 11, 40]
"""Rows without a description."""
for place, empty in zip(PLAIN, (None, "", " \n"), strict=True):
    ROWS[place] = {"content": f"plain = {place}", "docstring": empty}


class FakeTokenizer:
    eos_token_id = END


def written(folder: Path, kind: str, rows: Any = ROWS) -> Path:
    """Write the pairs as train and valid files of a format."""
    for split, part in (("train", rows[:48]), ("valid", rows[48:])):
        if kind == "parquet":
            parquet.write_table(pa.Table.from_pylist(part), folder / f"{split}-0.parquet", row_group_size=7)
            continue
        lines = "".join(json.dumps(row) + "\n" for row in part).encode()
        (folder / f"{split}-0.jsonl{'.gz' if kind == 'gz' else ''}").write_bytes(
            gzip.compress(lines) if kind == "gz" else lines
        )
    return folder


@pytest.fixture(params=["parquet", "jsonl", "gz"])
def folder(tmp_path, request) -> Path:
    return written(tmp_path, request.param)


def config_of(folder: Path, objective: Any = None, **stream: Any) -> Config:
    train: Any = [{"path": str(folder), "name": "pairs", "description": "docstring"}]
    given_stream = StreamConfig(
        **({"train": train, "valid": [], "seq_length": LENGTH, "lanes": 4, "block_windows": 6} | stream)
    )
    return Config(stream=given_stream, objective={"name": "causal", **(objective or {})})


def dataset(config: Config, **how: Any) -> ConstantLengthDataset:
    transforms = transforms_of(load_objective(config.objective), config, FakeTokenizer())
    return ConstantLengthDataset(config.stream, BytesEncoder(), transform=transforms, **how)


def documents(tokens: np.ndarray) -> list[tuple[str, str]]:
    """Return what is given and what is predicted of each document that ends in the tokens."""
    found = []
    for part in np.split(tokens, np.flatnonzero(tokens == END) + 1)[:-1]:
        marked = are_given(part)
        assert not np.diff(marked.astype(int)).clip(0).any()  # what is given comes first
        found.append(tuple(bytes(unmarked(each).tolist()).decode() for each in (part[marked], part[~marked][:-1])))
    return found


def both_ways(row: dict[str, Any]) -> list[tuple[str, str]]:
    code, description = row["content"], (row["docstring"] or "").strip().replace('"""', "'''")
    if not description:
        return [("", code)]
    return [(f'{code}\n\n"""', f'{description}"""'), (f'"""{description}"""\n', code)]


def test_each_pair_is_put_one_way_or_the_other_and_only_one_half_is_predicted(folder) -> None:
    config = config_of(folder, lanes=1)
    config.stream.order = "documents"
    tokens = np.concatenate([window.numpy() for window in islice(dataset(config), 800)])
    expected = [each for row in ROWS[:48] for each in both_ways(row)]
    found = documents(tokens)
    assert set(found) <= set(expected)
    assert {each for row in ROWS[:48] if row["docstring"] and row["docstring"].strip() for each in both_ways(row)} <= set(found)
    epoch = found[:48]
    assert len({code for _, code in epoch} | {given for given, _ in epoch}) >= 48  # each document once
    assert 12 <= sum(given.endswith('\n\n"""') for given, _ in epoch) <= 34


@pytest.mark.parametrize("packing", ["concatenate", "best_fit"])
def test_processes_and_resumes_give_the_windows_of_one(folder, packing) -> None:
    config = config_of(folder, packing=packing)
    whole = list(islice(dataset(config), 40))
    begun = [dataset(config, rank=rank, world_size=2) for rank in range(2)]
    halves = [list(islice(each, 10)) for each in begun]
    state = merge_states([each.state_dict() for each in begun])
    rest = dataset(config)
    rest.load_state_dict(state)
    joined = [window for pair in zip(*halves, strict=True) for window in pair] + list(islice(rest, 20))
    for one, two in zip(whole, joined, strict=True):
        np.testing.assert_array_equal(one, two)
    other = config_of(folder, {"describe_rate": 0.25}, packing=packing)
    with pytest.raises(
        CodeparrotError, match=r"describe_rate 0.5, not description docstring describe_rate 0.25; set that back"
    ):
        dataset(other).load_state_dict(state)


@settings(deadline=None, max_examples=40)
@given(st.text(min_size=1), st.text(), st.floats(0, 1), st.integers(0, 3), st.integers(0, 9))
def test_a_pair_is_a_function_of_its_texts_the_seed_and_the_epoch(description, code, rate, seed, epoch) -> None:
    pairs = Pairs("docstring", rate, seed, LENGTH, END)
    found, again = (next(pairs.of_text(f"{description}{SEPARATOR}{code}", epoch) or iter(())) for _ in range(2))
    assert found.texts == again.texts
    assert found.texts in both_ways({"content": code.rstrip(), "docstring": description}) or found.texts[1] == code
    tokens = [np.array([1, 2], np.uint32), np.array([3], np.uint32)]
    parts = found.arrange(tokens)
    assert [part.tokens.tolist() for part in parts] == [[1 | MARK, 2 | MARK], [3, END]]
    assert pairs.of_text(code, epoch) is None


def test_the_rate_is_the_share_of_descriptions() -> None:
    pairs = Pairs("docstring", 0.2, 0, LENGTH, END)
    drawn = [next(pairs.of_text(f"d{number}{SEPARATOR}c", 0) or iter(())).arrange for number in range(2000)]
    names = [each([np.zeros(1, np.uint32)] * 2)[1].name for each in drawn]
    assert 0.17 < names.count("description") / 2000 < 0.23


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_the_half_that_is_longer_than_a_window_is_not_given(rate) -> None:
    pairs, long = Pairs("docstring", rate, 0, LENGTH, END), "x " * 3 * LENGTH
    for code, description, written in (("c", long, long.strip() + '"""'), (long, "d", long)):
        found = next(pairs.of_text(f"{description}{SEPARATOR}{code}", 0) or iter(()))
        assert found.texts[1] == written


def test_rows_without_a_description_give_up_their_middles() -> None:
    class Tokenizer(FakeTokenizer):
        added_tokens_decoder: ClassVar = {300 + index: AddedToken(name, special=True) for index, name in enumerate(SENTINELS)}

    config = config_of(Path("none"), {"fim_rate": 1.0})
    (pairs,) = transforms_of(load_objective(config.objective), config, Tokenizer())
    assert pairs is not None and pairs.of_text("plain = 1", 0) is not None
    assert pairs.settings["fim_rate"] == 1.0
    assert "in sources with descriptions pairs instead, predicted are 50% of the descriptions" in card_of(
        load_objective(config.objective), config.stream.train
    )


def test_tokens_of_window_files_have_no_mark() -> None:
    tokens = np.array([1, 65535], np.uint16)
    assert not are_given(tokens).any() and unmarked(tokens).tolist() == [1, 65535]
    windows = np.array([[5, IGNORED]])
    assert unmarked(windows).tolist() == [[5, IGNORED]]


def test_a_step_that_predicts_nothing_says_so(caplog) -> None:
    class Agreement:
        def sums(self, *numbers: int) -> list[int]:
            return [*numbers]

    windows = np.array([[5 | MARK, 6 | MARK]])
    uneven = Uneven(Agreement(), 1, END, document_mask=False)  # pyright: ignore[reportArgumentType]
    whole = uneven.whole(windows)
    assert uneven.shares([uneven.labelled(Examples(whole, whole), windows)], 2) == [0.0]
    assert "a step predicts nothing" in caplog.text and uneven.predicted == 0


def test_what_is_given_and_padding_are_not_predicted() -> None:
    windows = np.array([[5 | MARK, 6 | MARK, 7, END, 8 | MARK, 9, IGNORED, IGNORED]])
    uneven = Uneven(None, 1, END, document_mask=False)  # pyright: ignore[reportArgumentType] - it agrees on nothing here
    whole = uneven.whole(windows)
    assert whole.tolist() == [[5, 6, 7, END, 8, 9, END, END]]
    labels = uneven.labelled(Examples(whole, whole), windows).labels
    assert labels.tolist() == [[IGNORED, IGNORED, 7, END, IGNORED, 9, IGNORED, IGNORED]]


def test_a_validation_set_of_pairs_measures_what_is_predicted(folder) -> None:
    config = config_of(folder, valid=[str(folder)])
    (pairs,) = transforms_of(load_objective(config.objective), config, FakeTokenizer())
    assert isinstance(pairs, Pairs)
    other = replace(pairs, seed=5, describe_rate=1.0)
    assert other.of_validation() == pairs.of_validation()
    pairs = pairs.of_validation()
    valid = load_validation_set(config.stream, BytesEncoder(), description="docstring", transform=pairs)
    found = [valid.batch(index, 2) for index in range(valid.num_batches(2))]
    labels = np.concatenate([labels for _, labels in found])
    inputs = np.concatenate([inputs for inputs, _ in found])
    assert inputs.max() <= END and (labels[labels != IGNORED] == inputs[labels != IGNORED]).all()
    predicted = (labels[:, 1:] != IGNORED).sum()
    assert predicted == valid.num_predicted < sum(len(window) - 1 for window in valid.windows)
    sample = valid.sample(1)
    assert len(sample.windows) == 4 and all(map(_predicted, sample.windows))


def test_a_column_that_is_not_there_is_named(folder) -> None:
    config = config_of(folder)
    config.stream.train = [{"path": str(folder), "description": "docstrings"}]
    with pytest.raises(
        CodeparrotError, match=r'has no column "docstrings".*docstring.*"description" of the source names the column'
    ):
        dataset(config)


def test_what_learns_no_pairs_refuses_them(folder) -> None:
    config = config_of(folder, {"name": "masked"})
    with pytest.raises(
        CodeparrotError, match=r'only objective.name causal learns pairs; set it, or remove description "docstring"'
    ):
        transforms_of(load_objective(config.objective), config, FakeTokenizer())
    config.stream.train = [{"path": str(folder), "description": 3}]
    with pytest.raises(CodeparrotError, match="description is 3; it must be the name of a column"):
        dataset(config)


def test_damage_of_either_column_is_damage_of_the_pair(tmp_path) -> None:
    rows = [*ROWS[:30], {"content": "x = 1", "docstring": 5}, *ROWS[30:]]
    config = config_of(written(tmp_path, "jsonl", rows))
    with pytest.raises(
        CodeparrotError, match='column "docstring" holds int, not text; "description" of the source names another'
    ):
        list(islice(dataset(config), 40))
    config.stream.on_error = "skip"
    skipping = dataset(config)
    list(islice(skipping, 40))
    assert len(skipping.damaged) == 1


def test_windows_that_were_tokenised_before_are_refused(tmp_path) -> None:
    from codeparrot.stream.described import DescribedShard
    from codeparrot.stream.tokenized import TailShard

    with pytest.raises(CodeparrotError, match="holds windows, which have no descriptions; name the documents, or remove"):
        DescribedShard(TailShard(tmp_path, []), "docstring")


def test_inspection_names_the_halves(folder) -> None:
    stream = dataset(config_of(folder))
    found = [
        part for window in stream.documents(stream.states, 8) for each in window["documents"] for part in each.get("parts", [])
    ]
    assert {part["name"] for part in found} >= {"code, given", "description", "description, given", "code"}
