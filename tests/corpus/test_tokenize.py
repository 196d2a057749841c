import json
import shutil
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import pytest

from codeparrot.config import StreamConfig
from codeparrot.corpus.tokenize import tokenize
from codeparrot.errors import CodeparrotError
from codeparrot.loading import load_tokenizer, tokenizer_digest
from codeparrot.stream import ConstantLengthDataset, load_validation_set, make_encoder
from codeparrot.stream.tokenized import check_tokenizer
from tests.conftest import with_end_at


@pytest.fixture(scope="module")
def windows(tmp_path_factory, corpus, tokenizer_folder) -> Path:
    folder = tmp_path_factory.mktemp("windows") / "w"
    tokenize(str(corpus), str(tokenizer_folder), str(folder), seq_length=64, file_windows=1000)
    return folder


@pytest.fixture(scope="module")
def tokens(corpus, tokenizer_json) -> dict[str, np.ndarray]:
    """The documents of each split, joined and encoded by the reference."""
    encoder = make_encoder(tokenizer_json, 0, "tokenizers")
    joined = {}
    for split in ("train", "valid"):
        texts = [text for file in sorted(corpus.glob(f"{split}-*")) for text in parquet.read_table(file)["content"].to_pylist()]
        joined[split] = np.concatenate([[*encoder.encode([text])[0], 0] for text in texts])
    return joined


def test_joined_windows_are_the_joined_documents_and_the_last_goes_on_with_the_first(windows, tokens) -> None:
    manifest = json.loads((windows / "windows.json").read_text(encoding="utf-8"))
    files = [np.load(windows / file["name"]) for file in manifest["splits"]["train"]["files"]]
    assert len(files) > 2 and {file.dtype for file in files} == {np.dtype(np.uint16)}
    stored, expected = np.concatenate(files).ravel(), tokens["train"]
    np.testing.assert_array_equal(stored[: len(expected)], expected)
    np.testing.assert_array_equal(stored[len(expected) :], expected[: len(stored) - len(expected)])
    assert len(stored) - len(expected) < 64


@pytest.mark.parametrize("lanes", [1, 4])
def test_an_epoch_of_the_lanes_holds_every_window_once(windows, tokens, lanes) -> None:
    count = -(-len(tokens["train"]) // 64)
    dataset = ConstantLengthDataset(StreamConfig(train=str(windows), seq_length=64, lanes=lanes), make_encoder_stub(), seed=1)
    rounds = count // lanes
    seen = [window.tobytes() for window in islice(dataset, rounds * lanes)]
    stored = [row.tobytes() for file in sorted(windows.glob("train-*.npy")) for row in np.load(file)]
    if count % lanes == 0:
        assert sorted(seen) == sorted(stored)
    assert set(seen) <= set(stored) and len(set(seen)) >= len(set(stored)) - lanes


def test_resume_and_another_world_size_are_exact(windows) -> None:
    stream = StreamConfig(train=str(windows), seq_length=64, lanes=4, block_documents=16)
    whole = list(islice(ConstantLengthDataset(stream, make_encoder_stub()), 400))
    states = []
    for rank in range(2):
        dataset = ConstantLengthDataset(stream, make_encoder_stub(), rank=rank, world_size=2)
        np.testing.assert_array_equal(list(islice(dataset, 100)), whole[rank:200:2])
        states.append(dataset.state_dict())
    merged = {**states[0], "lanes": {**states[0]["lanes"], **states[1]["lanes"]}}
    one = ConstantLengthDataset(stream, make_encoder_stub())
    one.load_state_dict(merged)
    np.testing.assert_array_equal(list(islice(one, 200)), whole[200:])


@pytest.mark.parametrize("lanes", [1, 4, 64])
def test_the_validation_split_is_complete_and_its_tail_short(windows, tokens, lanes) -> None:
    valid = load_validation_set(StreamConfig(valid=str(windows), seq_length=64, lanes=lanes), make_encoder_stub())
    assert sum(map(len, valid.windows)) == len(tokens["valid"])
    if lanes == 1:
        np.testing.assert_array_equal(np.concatenate(valid.windows), tokens["valid"])


def test_errors_name_the_remedy(windows, corpus, tokenizer_folder, tmp_path) -> None:
    with pytest.raises(CodeparrotError, match=r"set stream\.seq_length to that"):
        ConstantLengthDataset(StreamConfig(train=str(windows), seq_length=32), make_encoder_stub())
    with pytest.raises(CodeparrotError, match="--overwrite true"):
        tokenize(str(corpus), str(tokenizer_folder), str(windows))
    with pytest.raises(CodeparrotError, match="holds windows already"):
        tokenize(str(windows), str(tokenizer_folder), str(tmp_path / "x"), seq_length=64)
    assert not list(tmp_path.iterdir())
    (tmp_path / "thesis.txt").write_text("three years", encoding="utf-8")
    with pytest.raises(CodeparrotError, match="holds no windows, and is not replaced"):
        tokenize(str(corpus), str(tokenizer_folder), str(tmp_path), overwrite=True)
    assert (tmp_path / "thesis.txt").is_file()


@pytest.fixture(scope="module")
def wide(tmp_path_factory, corpus, tokenizer_folder) -> tuple[Path, Path]:
    """Windows of a tokenizer whose end of document does not fit 16 bits, and the tokenizer."""
    folder = tmp_path_factory.mktemp("wide")
    tokenizer = with_end_at(tokenizer_folder, 70_000, folder / "tokenizer")
    tokenize(str(corpus), str(tokenizer), str(folder / "w"), seq_length=64)
    return folder / "w", tokenizer


def test_ids_above_the_number_of_tokens_are_stored_whole(wide, tokens) -> None:
    manifest = json.loads((wide[0] / "windows.json").read_text(encoding="utf-8"))
    assert (manifest["vocab_size"], manifest["end_of_document"]) == (70_001, 70_000)
    stored = np.concatenate([np.load(file) for file in sorted(wide[0].glob("train-*.npy"))]).ravel()
    expected = tokens["train"]
    assert stored.max() == 70_000
    np.testing.assert_array_equal(np.where(stored == 70_000, 0, stored)[: len(expected)], expected)


def test_windows_whose_ids_an_older_version_cut_are_refused(wide, tmp_path) -> None:
    shutil.copytree(wide[0], tmp_path / "w")
    manifest = json.loads((tmp_path / "w" / "windows.json").read_text(encoding="utf-8"))
    (tmp_path / "w" / "windows.json").write_text(json.dumps({**manifest, "vocab_size": 512}), encoding="utf-8")
    with pytest.raises(CodeparrotError, match="cut to 16 bits by an older version; tokenize the corpus again"):
        ConstantLengthDataset(StreamConfig(train=str(tmp_path / "w"), seq_length=64), make_encoder_stub())


def test_windows_of_another_tokenizer_are_refused(wide, windows, tokenizer_folder, tmp_path) -> None:
    own, other = (load_tokenizer(str(folder)) for folder in (tokenizer_folder, wide[1]))
    data = ["documents.jsonl", str(windows)]
    check_tokenizer(data, own.eos_token_id, tokenizer_digest(own))
    with pytest.raises(CodeparrotError, match="w holds windows of another tokenizer"):
        check_tokenizer(data, other.eos_token_id, tokenizer_digest(other))
    # Those of older versions have no digest: the end of a document must do.
    shutil.copytree(windows, tmp_path / "w")
    manifest = json.loads((windows / "windows.json").read_text(encoding="utf-8"))
    del manifest["tokenizer_sha256"]
    (tmp_path / "w" / "windows.json").write_text(json.dumps(manifest), encoding="utf-8")
    check_tokenizer([str(tmp_path / "w")], own.eos_token_id, "another")
    with pytest.raises(CodeparrotError, match="holds windows of another tokenizer"):
        check_tokenizer([str(tmp_path / "w")], other.eos_token_id, tokenizer_digest(other))


def test_a_file_that_is_not_whole_is_refused(corpus, tokenizer_folder, tmp_path) -> None:
    tokenize(str(corpus), str(tokenizer_folder), str(tmp_path / "w"), seq_length=64)
    path = tmp_path / "w" / "train-00000.npy"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CodeparrotError, match=r"train-00000\.npy is missing or incomplete"):
        ConstantLengthDataset(StreamConfig(train=str(tmp_path / "w"), seq_length=64), make_encoder_stub())


def make_encoder_stub():
    """Return an encoder that fails when called: windows need no encoding."""

    class Never:
        name, end_of_document = "none", 0

        def encode(self, texts):
            raise AssertionError("windows are not encoded")

    return Never()
