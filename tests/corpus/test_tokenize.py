import gzip
import json
import shutil
from collections import Counter
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from tokenizers import Tokenizer

from codeparrot.config import StreamConfig
from codeparrot.corpus.split import valid_repositories
from codeparrot.corpus.tokenize import tokenize
from codeparrot.errors import CodeparrotError
from codeparrot.loading import load_tokenizer, tokenizer_digest
from codeparrot.stream import ConstantLengthDataset, load_validation_set, make_encoder
from codeparrot.stream.overlap import check_disjoint
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
    seen = [window.numpy().astype(np.uint16).tobytes() for window in islice(dataset, rounds * lanes)]
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
    with pytest.raises(CodeparrotError, match=r"set stream\.seq_length, or --seq_length, to that"):
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


def replaced(path: Path, windows: np.ndarray) -> None:
    """Write other windows, of as many bytes as the manifest says."""
    size = path.stat().st_size
    np.save(path, windows)
    content = path.read_bytes()
    path.write_bytes(content[:size].ljust(size, b"\0"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda windows: windows.astype(np.float16), r"holds float16 \[\d+, 64\], not \[\d+, 64\] tokens as uint16 or uint32"),
        (lambda windows: windows.reshape(-1, 32), r"holds uint16 \[\d+, 32\], not \[\d+, 64\] tokens"),
        (lambda windows: windows.astype(np.int64), r"holds int64|cannot read"),
        (lambda windows: np.array([{"a": 1}], object), "cannot read"),
        (lambda windows: np.where(windows == windows[3, 5], 65535, windows).astype(np.uint16), "token 65535, beyond the"),
    ],
)
def test_windows_of_another_kind_are_named_and_may_be_left_out(windows, tmp_path, change, message) -> None:
    shutil.copytree(windows, tmp_path / "w")
    path = tmp_path / "w" / "train-00000.npy"
    replaced(path, change(np.load(path)))
    stream = StreamConfig(train=str(tmp_path / "w"), seq_length=64)
    with pytest.raises(CodeparrotError, match=rf"(?=.*train-00000\.npy)(?=.*({message})).*on_error skip"):
        list(islice(ConstantLengthDataset(stream, make_encoder_stub()), 1500))
    whole = {row.tobytes() for file in sorted(windows.glob("train-*.npy")) for row in np.load(file)}
    dataset = ConstantLengthDataset(replace(stream, on_error="skip"), make_encoder_stub())
    seen = {row.numpy().astype(np.uint16).tobytes() for row in islice(dataset, 1500)}
    assert seen <= whole and dataset.damaged


@pytest.mark.parametrize(
    "content", [b"", b"\0" * 40, b"[]", b'{"seq_length": 64}', b'{"seq_length": 64, "splits": {"train": 3}}']
)
def test_a_damaged_manifest_is_named(tmp_path, content) -> None:
    (tmp_path / "windows.json").write_bytes(content)
    with pytest.raises(CodeparrotError, match=r"windows\.json is damaged \(.*\); tokenize the corpus again"):
        ConstantLengthDataset(StreamConfig(train=str(tmp_path), seq_length=64), make_encoder_stub())


def make_encoder_stub():
    """Return an encoder that fails when called: windows need no encoding."""

    class Never:
        name, end_of_document = "none", 0

        def encode(self, texts):
            raise AssertionError("windows are not encoded")

    return Never()


def write(path: Path, rows: list[dict[str, str]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    path.write_bytes(gzip.compress(lines.encode()) if path.suffix == ".gz" else lines.encode())
    return path


def texts_of(folder: Path, split: str, tokenizer_json: str) -> list[str]:
    """The documents of a split of windows, as they were before they were cut."""
    entry = json.loads((folder / "windows.json").read_text(encoding="utf-8"))["splits"][split]
    stored = [np.load(folder / file["name"]).ravel() for file in entry["files"]]
    ids = np.concatenate([*stored, entry["tail"]]).astype(int)[: entry["tokens"]]
    ends = np.flatnonzero(ids == 0)
    decode = Tokenizer.from_str(tokenizer_json).decode
    return [decode(part[part != 0].tolist()) for part in np.split(ids, ends + 1) if len(part)]


ROWS = [{"content": f"def f{number}(): return {number}", "repo_name": f"me/{number % 20}"} for number in range(200)]


@pytest.mark.parametrize("name", ["docs.jsonl", "docs.json.gz", "data/"])
def test_documents_without_splits_are_to_train_on_alone(tmp_path, tokenizer_folder, tokenizer_json, name) -> None:
    write(tmp_path / (f"{name}part.jsonl" if name.endswith("/") else name), ROWS)
    result = tokenize(str(tmp_path / name), str(tokenizer_folder), str(tmp_path / "w"), seq_length=16)
    assert list(result.data["tokens"]) == ["train"]
    assert "has no validation split; --valid_fraction 0.01 would set a part aside" in result.text
    assert texts_of(tmp_path / "w", "train", tokenizer_json) == [row["content"] for row in ROWS]
    with pytest.raises(CodeparrotError, match=r"no windows of the valid split, only of train; .* leave stream\.valid empty"):
        check_disjoint(StreamConfig(train=str(tmp_path / "w"), valid=str(tmp_path / "w"), seq_length=16))


@pytest.mark.parametrize("name", ["docs.jsonl", "docs.json.gz", "docs.parquet"])
@pytest.mark.parametrize("by", ["repository", "document"])
def test_a_fraction_is_set_aside_by_repository_or_by_document(tmp_path, tokenizer_folder, tokenizer_json, name, by) -> None:
    rows = [row if by == "repository" else {"content": row["content"]} for row in [*ROWS, *ROWS[:50]]]
    if name.endswith(".parquet"):
        parquet.write_table(pa.Table.from_pylist(rows), tmp_path / name, row_group_size=60)
    else:
        write(tmp_path / name, rows)
    options = {"seq_length": 16, "valid_fraction": 0.2}
    result = tokenize(str(tmp_path / name), str(tokenizer_folder), str(tmp_path / "w"), **options)
    assert f"valid: 0.2 of {tmp_path / name}, which has no validation split, by {by}" in result.text
    train, valid = (texts_of(tmp_path / "w", split, tokenizer_json) for split in ("train", "valid"))
    assert sorted([*train, *valid]) == sorted(row["content"] for row in rows)
    assert not {*train} & {*valid} and 0.05 * len(rows) < len(valid) < 0.4 * len(rows)
    if by == "repository":
        repository = {row["content"]: row["repo_name"] for row in rows}
        assert {repository[text] for text in valid} == valid_repositories(Counter(row["repo_name"] for row in rows), 0, 0.2)
    write(tmp_path / "turned.jsonl", rows[::-1])
    tokenize(str(tmp_path / "turned.jsonl"), str(tokenizer_folder), str(tmp_path / "v"), **options)
    assert sorted(texts_of(tmp_path / "v", "valid", tokenizer_json)) == sorted(valid), "whatever the order"


def test_a_repository_goes_to_one_side_whatever_is_damaged_before(tmp_path, tokenizer_folder, tokenizer_json) -> None:
    rows = [dict(row) for row in ROWS]
    lost, nameless = range(3, 20, 4), range(5, 20, 4)
    damaged = [
        {**row, **({"content": 1} if number in lost else {"repo_name": 7} if number in nameless else {})}
        for number, row in enumerate(rows)
    ]
    write(tmp_path / "docs.jsonl", damaged)
    options = {"seq_length": 16, "valid_fraction": 0.2, "on_error": "skip"}
    tokenize(str(tmp_path / "docs.jsonl"), str(tokenizer_folder), str(tmp_path / "w"), **options)
    train, valid = ({*texts_of(tmp_path / "w", split, tokenizer_json)} for split in ("train", "valid"))
    held_out = valid_repositories(Counter(row["repo_name"] for row in rows), 0, 0.2)
    for number, row in enumerate(rows):
        if number in lost:
            assert row["content"] not in train | valid
        elif number not in nameless:
            assert row["content"] in (valid if row["repo_name"] in held_out else train)
    assert len(train) + len(valid) == len(rows) - len(lost)


def test_documents_of_one_repository_are_divided_one_by_one(tmp_path, tokenizer_folder, tokenizer_json) -> None:
    write(tmp_path / "docs.jsonl", [{**row, "repo_name": "me/mine"} for row in ROWS])
    result = tokenize(
        str(tmp_path / "docs.jsonl"), str(tokenizer_folder), str(tmp_path / "w"), seq_length=16, valid_fraction=0.1
    )
    assert result.data["divided"] == {"valid_fraction": 0.1, "by": "document"}
    assert 5 < len(texts_of(tmp_path / "w", "valid", tokenizer_json)) < 40


@pytest.mark.parametrize(
    ("files", "fraction", "message"),
    [
        (["train.jsonl", "valid.jsonl"], 0.1, "has a validation split of its own; leave out --valid_fraction"),
        (["docs.jsonl"], 1.0, "--valid_fraction 1.0 is no part of the documents"),
        (["docs.jsonl"], 1e-9, "sets no document of .* aside; give a larger one"),
        (["valid.jsonl"], 0.0, r"holds no train files, only valid \(valid\.jsonl\)"),
    ],
)
def test_a_fraction_that_cannot_be_is_refused(tmp_path, tokenizer_folder, files, fraction, message) -> None:
    for file in files:
        write(tmp_path / "data" / file, [{"content": "a = 1"}, {"content": "b = 2"}])
    with pytest.raises(CodeparrotError, match=message):
        tokenize(str(tmp_path / "data"), str(tokenizer_folder), str(tmp_path / "w"), seq_length=16, valid_fraction=fraction)
    assert not (tmp_path / "w").exists()


def test_a_damaged_validation_split_is_an_error_and_not_left_out(tmp_path, tokenizer_folder) -> None:
    write(tmp_path / "data" / "train.jsonl", ROWS)
    (tmp_path / "data" / "valid.jsonl").write_text("{", encoding="utf-8")
    with pytest.raises(CodeparrotError, match=r"line 1 of .*valid\.jsonl is not JSON"):
        tokenize(str(tmp_path / "data"), str(tokenizer_folder), str(tmp_path / "w"), seq_length=16)


def test_damaged_documents_are_left_out_if_asked_and_counted(tokenizer_folder, tmp_path, capsys) -> None:
    (tmp_path / "train.jsonl").write_bytes(b'{"content": "x = 1"}\n{"content": 1}\n{"content": "y = 2"}\n')
    with pytest.raises(CodeparrotError, match=r"line 2 of .*train\.jsonl: .*--on_error skip"):
        tokenize(str(tmp_path / "train.jsonl"), str(tokenizer_folder), str(tmp_path / "w"), seq_length=4)
    assert not (tmp_path / "w").exists()
    result = tokenize(str(tmp_path / "train.jsonl"), str(tokenizer_folder), str(tmp_path / "w"), seq_length=4, on_error="skip")
    assert (result.data["damaged_places"], result.data["damaged_documents"]) == (1, 1)
    assert "; left out as damaged: 1 documents, 1 places\n" in result.text
    assert f"codeparrot: left out: line 2 of {tmp_path / 'train.jsonl'}: column" in capsys.readouterr().err


@pytest.mark.parametrize("on_error", ["stop", "skip"])
def test_a_file_without_the_column_is_an_error_whatever_is_left_out(tokenizer_folder, tmp_path, on_error) -> None:
    write(tmp_path / "data" / "a.jsonl", ROWS)
    write(tmp_path / "data" / "b.jsonl", [{"text": "x = 1"}])
    with pytest.raises(CodeparrotError, match=r'line 1 of .*b\.jsonl has no column "content"; .* names the column'):
        tokenize(str(tmp_path / "data"), str(tokenizer_folder), str(tmp_path / "w"), on_error=on_error)


def test_a_part_is_set_aside_though_the_first_document_is_damaged(tokenizer_folder, tmp_path, tokenizer_json) -> None:
    write(tmp_path / "docs.jsonl", ROWS)
    (tmp_path / "docs.jsonl").write_bytes(b"{\n" + (tmp_path / "docs.jsonl").read_bytes())
    result = tokenize(
        str(tmp_path / "docs.jsonl"), str(tokenizer_folder), str(tmp_path / "w"), 16, valid_fraction=0.1, on_error="skip"
    )
    assert result.data["divided"]["by"] == "repository"
    assert result.data["damaged_places"] == 1
    assert len(texts_of(tmp_path / "w", "train", tokenizer_json) + texts_of(tmp_path / "w", "valid", tokenizer_json)) >= len(
        ROWS
    )
