"""Fill-in-the-middle of windows that were tokenised before: made with it, or changed in the lanes."""

import json
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as parquet
import pytest

from codeparrot.config import Config, StreamConfig
from codeparrot.corpus.tokenize import tokenize
from codeparrot.errors import CodeparrotError
from codeparrot.loading import load_tokenizer
from codeparrot.objectives import load_objective
from codeparrot.objectives.objective import transforms_of
from codeparrot.stream import ConstantLengthDataset, make_encoder, merge_states
from codeparrot.stream.estimate import epoch_tokens
from codeparrot.stream.sentinels import SENTINELS
from codeparrot.tokenizer.train import train

LENGTH = 64
HALF = {"fim_rate": 0.5, "fim_spm_rate": 0.5, "fim_level": "character"}


@pytest.fixture(scope="module")
def tokenizer(corpus, tmp_path_factory) -> str:
    """A tokenizer with sentinels: <fim_prefix> is 1, <fim_middle> 2, <fim_suffix> 3, the end 0."""
    folder = str(tmp_path_factory.mktemp("tokenizer") / "t")
    train(str(corpus), folder, vocab_size=400, sample_bytes=300_000)
    return folder


@pytest.fixture(scope="module")
def plain(corpus, tokenizer, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("plain") / "w"
    tokenize(str(corpus), tokenizer, str(folder), seq_length=LENGTH)
    return folder


@pytest.fixture(scope="module")
def made(corpus, tokenizer, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "w"
    tokenize(str(corpus), tokenizer, str(folder), seq_length=LENGTH, fim_rate=0.5, seed=3)
    return folder


def stored(folder: Path, split: str) -> np.ndarray:
    entry = json.loads((folder / "windows.json").read_text(encoding="utf-8"))["splits"][split]
    files = [np.load(folder / file["name"]).ravel() for file in entry["files"]]
    return np.concatenate([*files, entry["tail"]])[: entry["tokens"]].astype(np.int64)


def texts(tokenizer: str, tokens: np.ndarray) -> list[str]:
    """Return the text of each piece, its parts in the order of the document."""
    decode = load_tokenizer(tokenizer).decode
    found: list[list[int]] = []
    for ended in np.split(tokens, np.flatnonzero(tokens == 0) + 1)[:-1]:
        piece = ended[:-1].tolist()
        if piece and piece[0] == 1:
            suffix, middle = piece.index(3), piece.index(2)
            found.append(piece[1:suffix] + piece[middle + 1 :] + piece[suffix + 1 : middle])
        else:
            found.append(piece)
        assert not {1, 2, 3} & set(found[-1])
    return [decode(piece) for piece in found]


def transform(tokenizer: str, data: Path | list[str], seed: int = 0, **objective: Any) -> Any:
    names: list[Any] = list(data) if isinstance(data, list) else [str(data)]
    config = Config(stream=StreamConfig(train=names, seq_length=LENGTH), objective={"name": "causal", **objective})
    config.run.seed = seed
    (found,) = transforms_of(load_objective(config.objective), config, load_tokenizer(tokenizer))
    return found


def test_windows_are_made_with_the_middles_of_the_training_split_alone(corpus, tokenizer, plain, made) -> None:
    documents = [text for file in sorted(corpus.glob("train-*")) for text in parquet.read_table(file)["content"].to_pylist()]
    tokens = stored(made, "train")
    assert "".join(texts(tokenizer, tokens)) == "".join(documents)
    assert (
        len([1 for text in documents if text]) > 0.3 and (tokens == 1).sum() == (tokens == 2).sum() == (tokens == 3).sum() > 900
    )
    np.testing.assert_array_equal(stored(made, "valid"), stored(plain, "valid"))
    manifest = json.loads((made / "windows.json").read_text(encoding="utf-8"))
    assert manifest["objective"] == HALF and manifest["seed"] == 3
    assert not {"objective", "seed"} & json.loads((plain / "windows.json").read_text(encoding="utf-8")).keys()


def test_windows_made_so_are_taken_as_they_are_by_the_same_settings_and_no_others(tokenizer, plain, made, tmp_path) -> None:
    assert transform(tokenizer, made, **HALF) is None
    wanted = r"holds windows with fill-in-the-middle: set --objective\.fim_rate 0\.5 .*fim_level character, or tokenize"
    others: list[dict[str, Any]] = [{}, {"fim_rate": 0.4}, {**HALF, "fim_level": "line"}]
    for other in others:
        with pytest.raises(CodeparrotError, match=wanted):
            transform(tokenizer, made, **other)
    with pytest.raises(CodeparrotError, match="holds windows without fill-in-the-middle, and other data have it"):
        transform(tokenizer, [str(made), str(plain)], **HALF)
    assert transform(tokenizer, plain) is None
    assert transform(tokenizer, plain, **HALF).settings == HALF


def test_a_tokenizer_without_sentinels_is_refused_with_the_remedy(corpus, tokenizer_folder, tmp_path) -> None:
    needs = r"0\.5 needs a tokenizer with <fim_prefix>, <fim_middle> and <fim_suffix>; `codeparrot tokenizer train` makes one"
    with pytest.raises(CodeparrotError, match=rf"objective\.fim_rate {needs}"):
        transform(str(tokenizer_folder), corpus, fim_rate=0.5)
    with pytest.raises(CodeparrotError, match=rf"^--fim_rate {needs}"):
        tokenize(str(corpus), str(tokenizer_folder), str(tmp_path / "w"), fim_rate=0.5)
    with pytest.raises(CodeparrotError, match="--fim_rate is 2; it must be from 0 to 1"):
        tokenize(str(corpus), str(tokenizer_folder), str(tmp_path / "w"), fim_rate=2)


def test_windows_made_without_lose_no_token_in_the_lanes(tokenizer, plain) -> None:
    own = transform(tokenizer, plain, fim_rate=1.0)
    stream = StreamConfig(train=str(plain), seq_length=LENGTH, lanes=1)
    dataset = ConstantLengthDataset(stream, encoder(tokenizer), transform=own)
    # With every document changed, the tokens that are no marks are those of the windows, in the windows' own order.
    tokens = np.concatenate([window.numpy() for window in islice(dataset, 500)])
    sources = [window.numpy() for window in islice(ConstantLengthDataset(stream, encoder(tokenizer)), 500)]
    pieces = texts(tokenizer, tokens)
    decode = load_tokenizer(tokenizer).decode
    expected = [decode(part) for window in sources for part in split(window.tolist())]
    # Pieces end within windows.
    assert "".join(pieces) == "".join(expected)[: len("".join(pieces))] and len(pieces) > 400
    for number, window in enumerate(sources):
        assert own.of_tokens(window.astype(np.uint32), 0), number


def split(tokens: list[int]) -> list[list[int]]:
    """Return the parts between end tokens."""
    array = np.array(tokens)
    parts = [part[part != 0] for part in np.split(array, np.flatnonzero(array == 0) + 1)]
    return [part.tolist() for part in parts if len(part)]


def encoder(tokenizer: str) -> Any:
    return make_encoder(load_tokenizer(tokenizer).backend_tokenizer.to_str(), 0, "tokenizers")


def run(data: Path, tokenizer: str, world_size: int, steps: int, state: Any = None) -> tuple[np.ndarray, Any]:
    """Return the global batches of 8 windows, and the merged state."""
    stream = StreamConfig(train=str(data), seq_length=LENGTH, lanes=4)
    own, shares = transform(tokenizer, data, fim_rate=0.5), []
    for rank in range(world_size):
        ranks: Any = {"rank": rank, "world_size": world_size}
        shares.append(ConstantLengthDataset(stream, encoder(tokenizer), seed=3, transform=own, **ranks))
        if state is not None:
            shares[-1].load_state_dict(json.loads(json.dumps(state)))
    out = np.empty((steps, 8, LENGTH), np.int64)
    for rank, dataset in enumerate(shares):
        with dataset.batches(2) as batches:
            for step in range(steps):
                out[step, rank::world_size] = np.concatenate([next(batches) for _ in range(4 // world_size)])
    return out, merge_states([dataset.state_dict() for dataset in shares])


def test_their_batches_are_equal_after_a_resume_and_on_any_world_size(tokenizer, plain) -> None:
    whole, end = run(plain, tokenizer, 1, 60)
    first, state = run(plain, tokenizer, 4, 17)
    second, state = run(plain, tokenizer, 2, 9, state)
    third, last = run(plain, tokenizer, 1, 34, state)
    np.testing.assert_array_equal(np.concatenate([first, second, third]), whole)
    assert last == end and (whole == 1).any()


def test_they_are_traced_to_the_windows_they_come_from(tokenizer, plain) -> None:
    stream = StreamConfig(train=str(plain), seq_length=LENGTH, lanes=4)
    dataset = ConstantLengthDataset(stream, encoder(tokenizer), seed=3, transform=transform(tokenizer, plain, fim_rate=0.5))
    list(islice(dataset, 21))
    before = dataset.states
    rows = list(islice(dataset, 400))
    traced = dataset.traced(before, 400)
    np.testing.assert_array_equal([window.tokens for window in traced], rows)
    documents = [document for window in traced for document in window.documents]
    assert all({"file", "window", "tokens"} <= document.keys() for document in documents)
    assert {part["name"] for document in documents for part in document.get("parts", [])} == {
        "unchanged",
        "prefix",
        "suffix",
        "middle",
    }


def test_the_length_of_an_epoch_counts_the_sentinels(tokenizer, plain) -> None:
    stream = StreamConfig(train=str(plain), seq_length=LENGTH, lanes=4)
    without = epoch_tokens(ConstantLengthDataset(stream, encoder(tokenizer)))
    every = epoch_tokens(ConstantLengthDataset(stream, encoder(tokenizer), transform=transform(tokenizer, plain, fim_rate=1.0)))
    assert without and every and without[1] and not every[1]
    windows = list(islice(ConstantLengthDataset(stream, encoder(tokenizer)), 2000))
    pieces = sum(len(split(window.tolist())) for window in windows) / len(windows)
    # Each has three sentinels and an end.
    assert every[0] == pytest.approx(without[0] * (1 + 4 * pieces / LENGTH), rel=0.03)


def test_the_sentinels_are_the_tokenizers(tokenizer) -> None:
    assert load_tokenizer(tokenizer).convert_tokens_to_ids(list(SENTINELS[:3])) == [1, 2, 3]
