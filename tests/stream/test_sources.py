import json
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from codeparrot.config import StreamConfig
from codeparrot.errors import CodeparrotError
from codeparrot.stream import ConstantLengthDataset
from codeparrot.stream.sources import lanes_of, open_shards
from tests.stream.bytes_encoder import BytesEncoder, documents_of


def opened(*names: object, split: str = "train") -> list:
    return open_shards(names, split=split, column="content", seq_length=8)


def write_jsonl(path: Path, texts: list[str]) -> None:
    path.write_text("".join(json.dumps({"content": text}) + "\n" for text in texts), encoding="utf-8")


def read_lane(shards: list) -> list[str]:
    texts: list[str] = []
    for shard in shards:
        position: int | None = 0
        while position is not None:
            items, position = shard.read(position, 5)
            texts += items
    return texts


@pytest.mark.parametrize("num_files", [1, 2, 3, 5, 8, 9, 20, 200])
@pytest.mark.parametrize("num_lanes", [1, 2, 8])
def test_lanes_share_every_document_once_and_evenly(tmp_path, num_files, num_lanes) -> None:
    for file in range(num_files):
        write_jsonl(tmp_path / f"{file:03}.jsonl", [f"{file}.{row:04}" for row in range(64)])
    lanes = [read_lane(lane) for lane in lanes_of(opened(str(tmp_path)), num_lanes)]
    assert sorted(text for lane in lanes for text in lane) == sorted(
        f"{file}.{row:04}" for file in range(num_files) for row in range(64)
    )
    sizes = [len(lane) for lane in lanes]
    assert max(sizes) <= 1.1 * min(sizes) + 1


def test_of_a_corpus_folder_only_the_files_of_the_split_are_taken(tmp_path) -> None:
    write_jsonl(tmp_path / "train-0.jsonl", ["t"])
    write_jsonl(tmp_path / "valid-0.jsonl", ["v"])
    assert read_lane(opened(str(tmp_path))) == ["t"]
    assert read_lane(opened(str(tmp_path), split="valid")) == ["v"]
    (tmp_path / "valid-0.jsonl").unlink()
    with pytest.raises(CodeparrotError, match=r"stream\.valid: .* holds no valid files, only train \(train-0\.jsonl\)"):
        opened(str(tmp_path), split="valid")


def test_globs_and_lists_of_files(tmp_path) -> None:
    for name in ("b", "a", "c"):
        write_jsonl(tmp_path / f"{name}.jsonl", [name])
    assert read_lane(opened(str(tmp_path / "[ab].jsonl"), str(tmp_path / "c.jsonl"))) == ["a", "b", "c"]


def test_what_does_not_exist_is_named(tmp_path) -> None:
    with pytest.raises(CodeparrotError, match=r"stream\.train: .*nowhere\.parquet does not exist"):
        opened(str(tmp_path / "nowhere.parquet"))
    with pytest.raises(CodeparrotError, match=r"stream\.train: .*\*\.parquet matches nothing"):
        opened(str(tmp_path / "*.parquet"))
    (tmp_path / "x.csv").write_text("a", encoding="utf-8")
    with pytest.raises(CodeparrotError, match="unknown kind"):
        opened(str(tmp_path / "x.csv"))


def test_a_data_set_name_is_loaded_by_datasets(tmp_path) -> None:
    for split in ("train", "validation"):
        parquet.write_table(pa.table({"content": [f"{split} {row}" for row in range(20)]}), tmp_path / f"{split}.parquet")
    assert read_lane(opened(f"hub:{tmp_path}")) == [f"train {row}" for row in range(20)]
    assert read_lane(opened(f"hub:{tmp_path}", split="valid")) == [f"validation {row}" for row in range(20)]


def test_a_data_set_that_is_not_parquet_is_streamed_by_datasets(tmp_path) -> None:
    for index in range(3):
        (tmp_path / f"train-{index}.csv").write_text("content\n" + "".join(f"text {index}.{row}\n" for row in range(10)))
    shards = opened(f"hub:{tmp_path}")
    assert len(shards) == 3
    assert sorted(read_lane(shards)) == sorted(f"text {index}.{row}" for index in range(3) for row in range(10))


def test_without_a_network_the_hub_is_a_clear_error(monkeypatch) -> None:
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    with pytest.raises(CodeparrotError, match=r"stream\.train: cannot read nobody/nothing: .*\(check the name"):
        opened("nobody/nothing")


@pytest.mark.parametrize("order", ["windows", "documents"])
def test_a_streaming_data_set_object_resumes_twice_exactly(order) -> None:
    """Only a position is relied on: `datasets`' own state would restart at the second resume."""
    datasets = pytest.importorskip("datasets")

    def generate(shards: list[int]):
        for shard in shards:
            for row in range(30):
                yield {"content": f"{shard}.{row}"}

    def dataset() -> ConstantLengthDataset:
        source = datasets.IterableDataset.from_generator(generate, gen_kwargs={"shards": [0, 1, 2]})
        return ConstantLengthDataset(stream, BytesEncoder(), source=source)

    stream = StreamConfig(seq_length=16, lanes=2, block_documents=4, block_windows=20, order=order)
    whole = list(islice(dataset(), 60))
    if order == "documents":
        names = {*documents_of(np.concatenate(whole[0::2])), *documents_of(np.concatenate(whole[1::2]))}
        assert names == {f"{shard}.{row}" for shard in range(3) for row in range(30)}
    state, seen = None, []
    for _ in range(6):
        resumed = dataset()
        if state is not None:
            resumed.load_state_dict(state)
        seen += list(islice(resumed, 10))
        state = resumed.state_dict()
    np.testing.assert_array_equal(seen, whole)


def test_windows_and_documents_are_not_mixed(tmp_path) -> None:
    write_jsonl(tmp_path / "a.jsonl", ["a"])
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "windows.json").write_text(
        json.dumps({"seq_length": 8, "splits": {"train": {"files": [], "tail": [1]}}}), encoding="utf-8"
    )
    with pytest.raises(CodeparrotError, match="mixes windows and documents"):
        opened(str(tmp_path / "a.jsonl"), str(tmp_path / "w"))


def test_a_folder_is_the_same_data_whether_datasets_opens_it_or_not(tmp_path) -> None:
    (tmp_path / "data" / "test").mkdir(parents=True)
    (tmp_path / "disk").mkdir()
    write_jsonl(tmp_path / "disk" / "train-1.jsonl", ["linked"])
    write_jsonl(tmp_path / "data" / "train-0.jsonl", ["here"])
    write_jsonl(tmp_path / "data" / "test" / "0.jsonl", ["held out"])
    write_jsonl(tmp_path / "data" / "train-2.jsonl.tmp", ["unfinished"])
    (tmp_path / "data" / "state.json").write_text("{}", encoding="utf-8")
    (tmp_path / "data" / "more").symlink_to(tmp_path / "disk")
    for name in (str(tmp_path / "data"), f"hub:{tmp_path / 'data'}"):
        assert sorted(read_lane(opened(name))) == ["here", "linked"]
        assert read_lane(opened(name, split="valid")) == ["held out"]
