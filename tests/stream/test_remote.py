"""The stream of data on an object store: windows and state as from the disk, whatever becomes of the server."""

import gzip
import json
import subprocess
import sys
import threading
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from codeparrot.config import StreamConfig
from codeparrot.errors import CodeparrotError
from codeparrot.stream import ConstantLengthDataset
from codeparrot.stream.overlap import check_disjoint
from tests.launching import ROOT
from tests.s3_server.fixture import S3Server, forget, s3
from tests.stream.bytes_encoder import BytesEncoder

__all__ = ["s3"]
TEXTS = [f"document {number} " + "abcdefgh" * (number * 7 % 90) for number in range(700)]
KINDS = ["parquet", "jsonl", "jsonl.gz", "windows"]
SEQ_LENGTH = 64


def write(folder: Path, kind: str, texts: list[str] = TEXTS) -> Path:
    """Write the documents as three files of a kind, or as windows."""
    folder.mkdir(parents=True)
    for file in range(3):
        own = texts[file::3]
        lines = "".join(json.dumps({"content": text}) + "\n" for text in own).encode()
        if kind == "parquet":
            parquet.write_table(pa.table({"content": own}), folder / f"train-{file}.parquet", row_group_size=40)
        elif kind == "windows":
            windows = np.random.default_rng(file).integers(0, 200, (300 + file, SEQ_LENGTH), np.uint16)
            np.save(folder / f"train-0000{file}.npy", windows)
        else:
            (folder / f"train-{file}.{kind}").write_bytes(gzip.compress(lines) if kind == "jsonl.gz" else lines)
    if kind == "windows":
        files = [
            {"name": each.name, "windows": len(np.load(each)), "bytes": each.stat().st_size}
            for each in sorted(folder.iterdir())
        ]
        manifest = {"seq_length": SEQ_LENGTH, "vocab_size": 300, "splits": {"train": {"files": files, "tail": []}}}
        (folder / "windows.json").write_text(json.dumps(manifest))
    return folder


def put(s3: S3Server, folder: Path) -> str:
    for file in sorted(folder.iterdir()):
        s3.put(f"{folder.name}/{file.name}", file)
    return f"s3://bucket/{folder.name}"


def stream(place: object, **settings: Any) -> ConstantLengthDataset:
    config = StreamConfig(train=str(place), seq_length=SEQ_LENGTH, **{"lanes": 4, "block_windows": 32, **settings})
    return ConstantLengthDataset(config, BytesEncoder(), seed=3)


def take(dataset: ConstantLengthDataset, count: int) -> NDArray[Any]:
    return np.stack([window.numpy() for window in islice(dataset, count)])


def places(dataset: ConstantLengthDataset) -> dict[str, Any]:
    state = dataset.state_dict()
    state.pop("versions", None)
    return state


@pytest.mark.slow
@pytest.mark.parametrize("order", ["windows", "documents"])
@pytest.mark.parametrize("kind", KINDS)
def test_windows_and_state_are_those_of_the_same_files_on_the_disk(s3: S3Server, tmp_path: Path, kind: str, order: Any) -> None:
    here = write(tmp_path / "data", kind)
    local, distant = stream(here, order=order), stream(put(s3, here), order=order)
    with s3.slow(0.01):
        for _ in range(2):
            np.testing.assert_array_equal(take(local, 333), take(distant, 333))
            assert places(local) == places(distant)
    # A run goes on where its data have moved, either way.
    moved = stream(here, order=order)
    moved.load_state_dict(distant.state_dict())
    back = stream(put(s3, here), order=order)
    back.load_state_dict(local.state_dict())
    expected = take(local, 100)
    np.testing.assert_array_equal(expected, take(moved, 100))
    np.testing.assert_array_equal(expected, take(back, 100))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_server_that_dies_in_the_middle_loses_and_doubles_nothing(
    s3: S3Server, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = write(tmp_path / "data", kind)
    address = put(s3, here)
    expected = take(stream(here), 900)
    monkeypatch.setenv("CODEPARROT_PATIENCE_SECONDS", "2")
    dataset = stream(address)
    found: list[NDArray[Any]] = [take(dataset, 50)]
    s3.kill()
    with pytest.raises(CodeparrotError, match=rf"cannot read {address}/.*: .*no answer for .* s; see that") as error:
        for window in dataset:
            found.append(window.numpy()[None])
            assert len(found) < 900
    assert "\n" not in str(error.value)
    before = np.concatenate(found)
    np.testing.assert_array_equal(before, expected[: len(before)])
    s3.start()
    forget()
    resumed = stream(address)
    resumed.load_state_dict(dataset.state_dict())
    np.testing.assert_array_equal(take(resumed, 900 - len(before)), expected[len(before) :])


@pytest.mark.slow
def test_a_server_that_dies_and_comes_back_is_waited_for(s3: S3Server, tmp_path: Path) -> None:
    here = write(tmp_path / "data", "parquet")
    dataset = stream(put(s3, here))
    expected = take(stream(here), 900)
    first = take(dataset, 50)
    s3.kill()
    threading.Timer(3.0, s3.start).start()
    np.testing.assert_array_equal(np.concatenate([first, take(dataset, 850)]), expected)


@pytest.mark.slow
def test_files_that_were_replaced_by_others_of_the_same_size_are_noticed_when_a_run_goes_on(
    s3: S3Server, tmp_path: Path
) -> None:
    address = put(s3, write(tmp_path / "data", "jsonl"))
    dataset = stream(address)
    take(dataset, 20)
    state = dataset.state_dict()
    put(s3, write(tmp_path / "more" / "data", "jsonl", [text.replace("document", "DOCUMENT") for text in TEXTS]))
    forget()
    with pytest.raises(CodeparrotError, match=rf"{address} was replaced by other files of the same names and sizes"):
        stream(address).load_state_dict(state)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [2, 3])
def test_workers_of_a_dataloader_read_after_a_fork(s3: S3Server, tmp_path: Path, workers: int) -> None:
    here = write(tmp_path / "data", "parquet")
    distant, local = stream(put(s3, here)), stream(here)
    take(distant, 5)  # the parent's connections and threads are open
    distant, local = stream("s3://bucket/data"), stream(here)
    loaders: list[Any] = [DataLoader(each, batch_size=4, num_workers=workers, timeout=60) for each in (distant, local)]
    found, expected = (np.concatenate([batch.numpy() for batch in islice(loader, 40)]) for loader in loaders)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.slow
def test_a_run_is_not_validated_on_what_it_learns_wherever_that_lies(s3: S3Server, tmp_path: Path) -> None:
    here = write(tmp_path / "data", "jsonl")
    there = put(s3, here)
    one, all_here, all_there = f"{there}/train-1.jsonl", f"{here}/*.jsonl", f"{there}/*.jsonl"
    for train, valid in ((all_there, all_there), (all_here, one), (one, all_here)):
        with pytest.raises(CodeparrotError, match=r"in common with stream.train"):
            check_disjoint(StreamConfig(train=train, valid=valid, seq_length=SEQ_LENGTH))
    check_disjoint(StreamConfig(train=f"{there}/train-0.jsonl", valid=f"{there}/train-1.jsonl", seq_length=SEQ_LENGTH))


@pytest.mark.slow
def test_a_stream_that_waits_for_a_dead_server_can_be_closed(s3: S3Server, tmp_path: Path) -> None:
    batches = stream(put(s3, write(tmp_path / "data", "jsonl")), prefetch_batches=1).batches(4)
    next(batches)
    s3.kill()
    closing = threading.Thread(target=lambda: (threading.Event().wait(3.0), batches.close()))
    closing.start()
    closing.join(60)
    assert not closing.is_alive()


@pytest.mark.slow
def test_what_does_not_read_from_elsewhere_loads_no_client_of_a_store() -> None:
    program = "import sys, codeparrot.stream, codeparrot.corpus.build, codeparrot.tokenizer.train; print(sorted(sys.modules))"
    output = subprocess.check_output([sys.executable, "-c", program], text=True, cwd=ROOT)
    assert not [each for each in ("s3fs", "boto3", "botocore", "aiobotocore") if f"'{each}'" in output]
