"""A run is never validated on files that it trains on."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from codeparrot.config import StreamConfig
from codeparrot.errors import CodeparrotError
from codeparrot.stream.overlap import check_disjoint


def write(path: Path, *texts: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"content": text}) + "\n" for text in texts), encoding="utf-8")
    return path


def check(train: object, valid: object) -> None:
    check_disjoint(StreamConfig(train=str(train), valid=str(valid), seq_length=8))


@pytest.mark.parametrize("name", ["docs.jsonl", ".", "*.jsonl", "**/d*.jsonl"])
def test_documents_without_splits_cannot_be_both(tmp_path, name) -> None:
    file = write(tmp_path / "docs.jsonl", "a")
    message = r"in common with stream\.train: .*docs\.jsonl; the run .*--valid_fraction .* leave stream\.valid empty"
    with pytest.raises(CodeparrotError, match=message):
        check(tmp_path / name, file)
    with pytest.raises(CodeparrotError, match="reads 1 of its 1 files"):
        check(tmp_path / name, tmp_path / name)


@pytest.mark.parametrize("make", [os.symlink, os.link, shutil.copy])
def test_another_name_of_a_file_and_a_copy_are_found_and_how_much_they_are(tmp_path, make) -> None:
    train = write(tmp_path / "train" / "0.jsonl", "a" * 100)
    write(tmp_path / "valid" / "1.jsonl", "b" * 100)
    check(tmp_path, tmp_path)
    make(train, tmp_path / "valid" / "2.jsonl")
    with pytest.raises(CodeparrotError, match=r"reads 1 of its 2 files \(50% of their bytes\)"):
        check(tmp_path, tmp_path)


def test_two_splits_are_two_also_where_names_and_sizes_are_equal(tmp_path) -> None:
    write(tmp_path / "train" / "0.jsonl", "a")
    write(tmp_path / "valid" / "0.jsonl", "b")
    check(tmp_path, tmp_path)
    check(tmp_path / "train", tmp_path / "valid")


def test_a_folder_that_holds_the_validation_file_is_refused(tmp_path) -> None:
    write(tmp_path / "part-0.jsonl", "a")
    held_out = write(tmp_path / "part-1.jsonl", "b")
    with pytest.raises(CodeparrotError, match="1 of its 1 files"):
        check(tmp_path, held_out)


def test_windows_that_an_older_version_wrote_twice_are_found(tmp_path) -> None:
    windows = np.arange(80, dtype=np.uint16).reshape(10, 8)
    splits = {}
    for split, stored, tail in (("train", windows, []), ("valid", windows[:9], [72, 73])):
        file = tmp_path / f"{split}-00000.npy"
        np.save(file, stored)
        entry = {"name": file.name, "windows": len(stored), "bytes": file.stat().st_size}
        splits[split] = {"files": [entry], "tail": tail, "tokens": 74}
    (tmp_path / "windows.json").write_text(json.dumps({"seq_length": 8, "splits": splits}), encoding="utf-8")
    with pytest.raises(CodeparrotError, match=r"valid-00000\.npy holds the windows of .*train-00000\.npy"):
        check(tmp_path, tmp_path)
    np.save(tmp_path / "valid-00000.npy", windows[:9, ::-1])
    check(tmp_path, tmp_path)
