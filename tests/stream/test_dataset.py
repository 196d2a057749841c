import json
import shutil
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codeparrot.config import StreamConfig
from codeparrot.errors import CodeparrotError
from codeparrot.stream import ConstantLengthDataset, make_encoder, merge_states
from codeparrot.stream.encode import Encoder
from tests.stream.bytes_encoder import BytesEncoder, documents_of
from tests.stream.small import sizes


@pytest.fixture(scope="module")
def encoder(tokenizer_json: str) -> Encoder:
    return make_encoder(tokenizer_json, 0)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three JSONL files of numbered documents of very different lengths."""
    folder = tmp_path_factory.mktemp("files")
    rng = np.random.default_rng(0)
    for index, size in enumerate((40, 25, 60)):
        lines = [json.dumps({"content": f"{index}.{row} " + "x" * int(rng.integers(0, 60))}) for row in range(size)]
        (folder / f"train-{index}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(autouse=True, scope="module")
def small_chunks() -> Iterator[None]:
    """Documents here have about 50 characters: a chunk of the usual size would hold thousands."""
    with sizes(first=100, chunk=400):
        yield


def stream_config(folder: Path, **changes: object) -> StreamConfig:
    settings = {"train": str(folder), "seq_length": 32, "lanes": 4, "block_documents": 8, **changes}
    return StreamConfig(**settings)  # type: ignore[arg-type]


def global_batches(
    stream: StreamConfig, world_size: int, global_batch: int, micro_batch: int, steps: int, state: dict | None = None
) -> tuple[list[np.ndarray], dict]:
    """Run `world_size` simulated ranks; return each step's windows in the order of the run, and the merged state."""
    ranks = []
    for rank in range(world_size):
        dataset = ConstantLengthDataset(stream, BytesEncoder(), seed=3, rank=rank, world_size=world_size)
        if state is not None:
            dataset.load_state_dict(json.loads(json.dumps(state)))
        ranks.append(dataset)
    share = global_batch // world_size
    out = [np.empty((global_batch, stream.seq_length), np.int64) for _ in range(steps)]
    for rank, dataset in enumerate(ranks):
        with dataset.batches(micro_batch) as batches:
            for step in range(steps):
                own = np.concatenate([next(batches) for _ in range(share // micro_batch)])
                out[step][rank::world_size] = own
    return out, merge_states([dataset.state_dict() for dataset in ranks])


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(
    order=st.sampled_from(["windows", "documents"]),
    block_windows=st.integers(1, 40),
    lanes=st.sampled_from([4, 8, 12]),
    rounds=st.integers(1, 3),
    seq_length=st.integers(2, 70),
    block=st.integers(1, 70),
    steps=st.tuples(st.integers(0, 4), st.integers(0, 4)),
    micro=st.sampled_from([1, 2, 4]),
)
def test_world_sizes_1_2_and_4_see_the_same_global_batches_across_two_resumes(
    files, order, block_windows, lanes, rounds, seq_length, block, steps, micro
) -> None:
    blocks = {"block_documents": block, "block_windows": block_windows}
    stream = stream_config(files, order=order, lanes=lanes, seq_length=seq_length, **blocks)
    size = lanes * rounds
    first, second = steps
    expected, final = global_batches(stream, 1, size, 1, first + second + 2)
    seen, state = global_batches(stream, 4, size, 1, first)
    for world, count in ((2, second), (1, 1), (4, 1)):
        share = size // world
        more, state = global_batches(stream, world, size, micro if share % micro == 0 else 1, count, state)
        seen += more
    for ours, theirs in zip(seen, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert state == final


@pytest.mark.parametrize("order", ["windows", "documents"])
def test_resume_in_the_middle_of_a_round_is_exact(files, order) -> None:
    stream = stream_config(files, order=order, block_windows=8)
    whole = list(islice(ConstantLengthDataset(stream, BytesEncoder()), 40))
    for consumed in (1, 2, 3, 5, 17):
        dataset = ConstantLengthDataset(stream, BytesEncoder())
        list(islice(dataset, consumed))
        resumed = ConstantLengthDataset(stream, BytesEncoder())
        resumed.load_state_dict(dataset.state_dict())
        np.testing.assert_array_equal(list(islice(resumed, 10)), whole[consumed : consumed + 10])


def test_state_is_what_was_consumed_not_what_was_prepared(files) -> None:
    stream = stream_config(files, prefetch_batches=8)
    dataset = ConstantLengthDataset(stream, BytesEncoder())
    with dataset.batches(4) as batches:
        assert all(position[0] == 0 for position in dataset.state_dict()["lanes"].values())
        next(batches)
        assert all(position[0] == 1 for position in dataset.state_dict()["lanes"].values())


def test_state_of_64_lanes_is_a_few_kilobytes_and_has_no_rank(corpus, encoder) -> None:
    stream = StreamConfig(train=str(corpus), seq_length=64, lanes=64)
    one = ConstantLengthDataset(stream, encoder)
    list(islice(one, 640))
    halves = [ConstantLengthDataset(stream, encoder, rank=rank, world_size=2) for rank in range(2)]
    for half in halves:
        list(islice(half, 320))
    assert merge_states([half.state_dict() for half in halves]) == one.state_dict()
    assert len(json.dumps(one.state_dict())) < 4096


def test_every_document_of_an_epoch_is_seen_once_by_some_lane(files) -> None:
    stream = stream_config(files, lanes=1, order="documents")
    tokens = np.concatenate(list(islice(ConstantLengthDataset(stream, BytesEncoder()), 200)))
    names = [document.split()[0] for document in documents_of(tokens)]
    assert sorted(names[:125]) == sorted(f"{file}.{row}" for file, size in ((0, 40), (1, 25), (2, 60)) for row in range(size))


def test_real_sources_through_the_real_encoder_decode_to_the_documents(corpus, encoder, tokenizer_json) -> None:
    from tokenizers import Tokenizer

    stream = StreamConfig(train=str(corpus), seq_length=128, lanes=2, order="documents")
    dataset = ConstantLengthDataset(stream, encoder)
    lane_0 = np.concatenate([window for index, window in enumerate(islice(dataset, 3000)) if index % 2 == 0])
    texts = {text for file in corpus.glob("train-*") for text in parquet.read_table(file)["content"].to_pylist()}
    decoder = Tokenizer.from_str(tokenizer_json)
    parts = np.split(lane_0, np.flatnonzero(lane_0 == 0) + 1)[:-1]
    assert len(parts) > 20
    for part in parts:
        assert decoder.decode(part[:-1].tolist(), skip_special_tokens=False) in texts


def test_an_error_in_the_background_is_raised_at_its_place(tmp_path) -> None:
    lines = [json.dumps({"content": "y" * 40}) for _ in range(8)] + ["{broken"]
    (tmp_path / "a.jsonl").write_text("\n".join(lines), encoding="utf-8")
    stream = StreamConfig(train=str(tmp_path), seq_length=32, lanes=1, block_documents=4)
    with ConstantLengthDataset(stream, BytesEncoder()).batches(1) as batches:
        with pytest.raises(CodeparrotError, match=r"line \d+ of .*a\.jsonl is not JSON"):
            for _ in range(100):
                next(batches)
        with pytest.raises(CodeparrotError, match="is not JSON"):
            next(batches)


def test_a_state_of_other_data_is_refused_and_of_moved_data_is_not(files, tmp_path) -> None:
    state = ConstantLengthDataset(stream_config(files), BytesEncoder()).state_dict()
    moved = shutil.copytree(files, tmp_path / "moved")
    ConstantLengthDataset(stream_config(moved), BytesEncoder()).load_state_dict(state)
    with (moved / "train-1.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"content": "more"}\n')
    with pytest.raises(CodeparrotError, match="different files"):
        ConstantLengthDataset(stream_config(moved), BytesEncoder()).load_state_dict(state)


def test_a_state_of_another_order_is_refused(files) -> None:
    states = {
        order: ConstantLengthDataset(stream_config(files, order=order), BytesEncoder()).state_dict()
        for order in ("windows", "documents")
    }
    assert {order: state["version"] for order, state in states.items()} == {"windows": 2, "documents": 1}
    for order, other in (("windows", "documents"), ("documents", "windows")):
        with pytest.raises(CodeparrotError, match=rf"begun with stream\.order {other}"):
            ConstantLengthDataset(stream_config(files, order=order), BytesEncoder()).load_state_dict(states[other])
    with pytest.raises(CodeparrotError, match="version 3; this codeparrot reads 1 and 2"):
        ConstantLengthDataset(stream_config(files), BytesEncoder()).load_state_dict({**states["windows"], "version": 3})


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"seq_length": 16}, r"stream\.seq_length 32, not 16"),
        ({"block_windows": 9}, r"stream\.block_windows 8, not 9"),
    ],
)
def test_a_place_in_the_order_of_other_settings_is_refused(files, changes, name) -> None:
    state = ConstantLengthDataset(stream_config(files, block_windows=8), BytesEncoder()).state_dict()
    other = ConstantLengthDataset(stream_config(files, **{"block_windows": 8, **changes}), BytesEncoder())
    with pytest.raises(CodeparrotError, match=name):
        other.load_state_dict(state)


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_files_of_a_lane_are_closed_while_its_block_is_handed_out(tmp_path, kind) -> None:
    """A process may own hundreds of lanes, and 1,024 open files is a common limit."""
    for part in range(8):
        rows = [{"content": f"{part}.{row} " + "x" * 50} for row in range(64)]
        if kind == "jsonl":
            (tmp_path / f"{part}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        else:
            parquet.write_table(pa.Table.from_pylist(rows), tmp_path / f"{part}.parquet", row_group_size=16)
    stream = StreamConfig(train=str(tmp_path), seq_length=32, lanes=8, block_windows=16)
    before = len(list(Path("/proc/self/fd").iterdir()))
    windows = iter(ConstantLengthDataset(stream, BytesEncoder()))
    for _ in range(300):
        next(windows)
        assert len(list(Path("/proc/self/fd").iterdir())) <= before


def test_a_state_of_other_lanes_or_of_one_rank_alone_is_refused(files) -> None:
    four = ConstantLengthDataset(stream_config(files), BytesEncoder())
    with pytest.raises(CodeparrotError, match=r"4 lanes; set stream\.lanes"):
        ConstantLengthDataset(stream_config(files, lanes=8), BytesEncoder()).load_state_dict(four.state_dict())
    half = ConstantLengthDataset(stream_config(files), BytesEncoder(), rank=0, world_size=2)
    with pytest.raises(CodeparrotError, match=r"lacks lanes \[1, 3\]"):
        four.load_state_dict(half.state_dict())
    with pytest.raises(CodeparrotError, match="3 processes do not divide"):
        ConstantLengthDataset(stream_config(files), BytesEncoder(), rank=0, world_size=3)
