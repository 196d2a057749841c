"""Damaged data stop the stream with their place, or are left out, counted, and change the order of nothing else."""

import gzip
import json
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from codeparrot.config import StreamConfig
from codeparrot.errors import CodeparrotError
from codeparrot.stream import ConstantLengthDataset, lane, load_validation_set, merge_states
from codeparrot.stream.lane import Cursor, Order, Reading, windows
from codeparrot.stream.losses import leave_out
from codeparrot.stream.readers import jsonl
from codeparrot.stream.readers.parquet import Table
from codeparrot.stream.sources import lanes_of, open_shards
from tests.stream.bytes_encoder import BytesEncoder, documents_of

TEXTS = [f"document {number} " + "x" * (number * 7 % 40) for number in range(120)]
LINES = [json.dumps({"content": text, "n": number}).encode() + b"\n" for number, text in enumerate(TEXTS)]


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces and chunks of the usual size would hold all of these files."""
    monkeypatch.setattr(jsonl, "PIECE_BYTES", 1)
    monkeypatch.setattr(lane, "FIRST_CHUNK_CHARACTERS", 100)
    monkeypatch.setattr(lane, "CHUNK_CHARACTERS", 400)


def parquet(file: Path, texts: Any) -> Path:
    pq.write_table(pa.table({"content": texts}), file, row_group_size=20, use_dictionary=False, compression="gzip")
    return file


def zeroed_group(file: Path, group: int) -> None:
    with Table(str(file)) as table:
        start = table.metadata.row_group(group).column(0).data_page_offset
    content = bytearray(file.read_bytes())
    content[start + 40 : start + 120] = bytes(80)
    file.write_bytes(content)


def whole(folder: Path, kind: str) -> None:
    """Write the texts into five files: enough to leave every lane something, whatever becomes of the first."""
    for name, low, high in (("a", 0, 80), *((f"b{number}", number, number + 10) for number in range(80, 120, 10))):
        if kind == "jsonl":
            (folder / f"{name}.jsonl").write_bytes(b"".join(LINES[low:high]))
        elif kind == "parquet":
            parquet(folder / f"{name}.parquet", TEXTS[low:high])
        else:
            (folder / f"{name}.jsonl.gz").write_bytes(gzip.compress(b"".join(LINES[low:high])))


def bad_lines(folder: Path) -> None:
    content = (folder / "a.jsonl").read_bytes()
    for number, bad in ((3, b"\xff"), (40, b"\0"), (41, b"{")):
        content = content.replace(LINES[number], LINES[number].replace(b":", bad, 1))
    (folder / "a.jsonl").write_bytes(content)


def bad_rows(folder: Path) -> None:
    rows = [text.encode() if number not in (3, 40) else b"\xff\xfe" for number, text in enumerate(TEXTS[:80])]
    parquet(folder / "a.parquet", pa.array(rows, pa.binary()).view(pa.string()))


def bad_group(folder: Path) -> None:
    zeroed_group(folder / "a.parquet", 1)


def no_parquet(folder: Path) -> None:
    (folder / "a.parquet").write_bytes((folder / "a.parquet").read_bytes()[:-100])


def cut(folder: Path) -> None:
    """The first 50 lines of a file of two frames; the end of the second is missing."""
    packed = gzip.compress(b"".join(LINES[:50])) + gzip.compress(b"".join(LINES[50:80]))[:12]
    (folder / "a.jsonl.gz").write_bytes(packed)


CASES: list[Any] = [
    pytest.param("jsonl", bad_lines, {3, 40, 41}, 3, id="lines"),
    pytest.param("parquet", bad_rows, {3, 40}, 2, id="rows"),
    pytest.param("parquet", bad_group, set(range(20, 40)), 20, id="row group"),
    pytest.param("parquet", no_parquet, set(range(80)), None, id="no Parquet"),
    pytest.param("jsonl.gz", cut, set(range(50, 80)), None, id="cut"),
]
damages = pytest.mark.parametrize(("kind", "damage", "lost", "documents"), CASES)


def config(folder: Path, **changes: Any) -> StreamConfig:
    settings = {"seq_length": 16, "lanes": 2, "block_documents": 8, "block_windows": 20, "on_error": "skip", **changes}
    return StreamConfig(**{"train": str(folder), "valid": str(folder), **settings})


@damages
def test_damage_stops_a_run_with_its_place_and_the_two_ways_on(tmp_path, kind, damage, lost, documents) -> None:
    whole(tmp_path, kind)
    damage(tmp_path)
    for order in ("windows", "documents"):
        with pytest.raises(
            CodeparrotError, match=rf"/a\.{kind}.* \(--stream\.on_error skip, .* leaves out what is damaged\)$"
        ) as error:
            list(islice(ConstantLengthDataset(config(tmp_path, on_error="stop", order=order), BytesEncoder()), 900))
        assert "\n" not in str(error.value)
    with pytest.raises(CodeparrotError, match="leaves out what is damaged"):
        load_validation_set(config(tmp_path, on_error="stop"), BytesEncoder())


@damages
@pytest.mark.parametrize("order", ["windows", "documents"])
def test_all_that_is_not_damaged_is_read_once_an_epoch_and_the_rest_is_counted(
    tmp_path, kind, damage, lost, documents, order
) -> None:
    whole(tmp_path, kind)
    damage(tmp_path)
    dataset = ConstantLengthDataset(config(tmp_path, order=order, lanes=1, block_windows=10_000), BytesEncoder())
    kept = [text for number, text in enumerate(TEXTS) if number not in lost]
    size = sum(len(text) + 1 for text in kept) // 16
    tokens = np.concatenate(list(islice(dataset, size)))
    if order == "documents":
        assert set(documents_of(tokens)) <= set(kept)
        assert len(documents_of(tokens)) >= len(kept) - 1
    # In the order of the windows a document may lie in pieces.
    assert abs(sum(tokens == 256) - len(kept)) <= 1
    found = [each.documents for each in dataset.damaged.values()]
    assert (None if None in found else sum(filter(None, found))) == documents
    assert {each.where.file for each in dataset.damaged.values()} == {str(tmp_path / f"a.{kind}")}


@damages
@pytest.mark.parametrize("lanes", [1, 4])
def test_what_is_left_out_changes_the_order_of_nothing_else(tmp_path, kind, damage, lost, documents, lanes) -> None:
    def read(folder: Path) -> list[list[str]]:
        shards = open_shards([str(folder)], split="train", column="content", seq_length=16)
        order = [Order(seed=3, lane=number, epochs=2) for number in range(lanes)]
        return [
            documents_of(
                np.concatenate([w for w, _ in windows(own, each, Reading(2, 16, leave_out), BytesEncoder(), 16, Cursor())])
            )
            for own, each in zip(lanes_of(shards, lanes), order, strict=True)
        ]

    whole(tmp_path, kind)
    before = read(tmp_path)
    damage(tmp_path)
    gone = {TEXTS[number] for number in lost}
    expected, found = [[text for text in each if text not in gone] for each in before], read(tmp_path)
    if documents is None:  # it is not known how many are gone, so those read beside them are in another order
        expected, found = ([sorted(texts) for texts in each] for each in (expected, found))
    assert found == expected


@damages
@pytest.mark.parametrize("order", ["windows", "documents"])
def test_going_on_after_any_batch_and_on_another_world_size_is_exact(tmp_path, kind, damage, lost, documents, order) -> None:
    whole(tmp_path, kind)
    damage(tmp_path)
    stream = config(tmp_path, order=order, lanes=4)

    def go_on(state: dict[str, Any] | None, world_size: int, count: int) -> tuple[list[list[int]], dict[str, Any]]:
        parts, states = [], []
        for rank in range(world_size):
            dataset = ConstantLengthDataset(stream, BytesEncoder(), rank=rank, world_size=world_size)
            if state:
                dataset.load_state_dict(state)
            parts.append([window.tolist() for window in islice(dataset, count // world_size)])
            states.append(dataset.state_dict())
        return [window for turn in zip(*parts, strict=True) for window in turn], merge_states(states)

    expected, _ = go_on(None, 1, 600)
    for first in (4, 36, 100, 232):
        seen, state = go_on(None, 2, first)
        more, state = go_on(state, 4, 60)
        last, _ = go_on(state, 1, 600 - first - 60)
        assert seen + more + last == expected, first


def test_a_run_that_stopped_goes_on_without_what_is_damaged_where_it_would_have_been(tmp_path) -> None:
    whole(tmp_path, "parquet")
    bad_rows(tmp_path)
    skip, stop = (config(tmp_path, on_error=each, order="documents", lanes=1) for each in ("skip", "stop"))
    expected = [window.tolist() for window in islice(ConstantLengthDataset(skip, BytesEncoder(), seed=1), 200)]
    stopped = ConstantLengthDataset(stop, BytesEncoder(), seed=1)
    seen: list[list[int]] = []
    with pytest.raises(CodeparrotError, match="holds bytes that are not UTF-8"):
        seen.extend(window.tolist() for window in stopped)
    assert len(seen) > 10
    dataset = ConstantLengthDataset(skip, BytesEncoder(), seed=1)
    dataset.load_state_dict(stopped.state_dict())
    assert seen + [window.tolist() for window in islice(dataset, 200 - len(seen))] == expected


def test_a_document_that_was_damaged_after_it_was_begun_costs_no_token_of_the_next(tmp_path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b"".join(LINES[:3]))
    shards = open_shards([str(tmp_path)], split="train", column="content", seq_length=16)
    order = Order(0, 0, shuffle=False, epochs=1)
    how = Reading(1, 8, leave_out)
    (_, cursor), *_ = windows(shards, order, how, BytesEncoder(), 4, Cursor())
    assert (cursor.row, cursor.token) == (0, 4)
    (tmp_path / "a.jsonl").write_bytes(b"".join([b"{" * (len(LINES[0]) - 1) + b"\n", *LINES[1:3]]))
    shards[0].close()
    rest = np.concatenate([tokens for tokens, _ in windows(shards, order, how, BytesEncoder(), 4, cursor)])
    assert documents_of(rest) == TEXTS[1:3]


def test_validation_leaves_out_the_same_and_says_what(tmp_path) -> None:
    whole(tmp_path, "jsonl")
    bad_lines(tmp_path)
    valid = load_validation_set(config(tmp_path, lanes=1), BytesEncoder())
    found = sorted(documents_of(np.concatenate(valid.windows)))
    assert found == sorted(text for number, text in enumerate(TEXTS) if number not in (3, 40, 41))
    assert sum(each.documents or 0 for each in valid.damaged.values()) == 3
    assert valid.sample(1).damaged == valid.damaged


def test_the_documents_of_windows_are_named_past_what_is_left_out(tmp_path) -> None:
    whole(tmp_path, "jsonl")
    bad_lines(tmp_path)
    dataset = ConstantLengthDataset(config(tmp_path), BytesEncoder())
    for window in dataset.traced(dataset.states, 100):
        text = window.tokens.tolist()
        for document in window.documents:
            start, stop = document["tokens"]
            if stop - start > 12 and text[start:][:9] == list(b"document "):
                assert bytes(text[start + 9 : stop]).split(b" ")[0].startswith(str(document["n"]).encode()[: stop - start - 9])


def shorter(folder: Path) -> None:
    (folder / "a.jsonl").write_bytes(b"".join(LINES[:10]))


def gone(folder: Path) -> None:
    (folder / "a.jsonl").unlink()


@pytest.mark.parametrize(("change", "message"), [(shorter, "has become shorter"), (gone, "No such file")])
def test_a_failure_of_the_moment_is_never_left_out(tmp_path, change: Callable[[Path], None], message: str) -> None:
    """A file that is back when the run goes on would make another order."""
    whole(tmp_path, "jsonl")
    dataset = ConstantLengthDataset(config(tmp_path), BytesEncoder())
    change(tmp_path)
    with pytest.raises(CodeparrotError, match=rf"a\.jsonl.*{message}|{message}.*a\.jsonl"):
        list(islice(dataset, 500))


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.parquet"])
@pytest.mark.parametrize(("value", "kind"), [(3, "int"), (["x"], "list"), (None, "null")])
def test_types_are_checked_at_opening_whatever_is_left_out(tmp_path, name, value, kind) -> None:
    rows = [{"content": value}, {"content": "good"}] if name != "a.parquet" else [{"content": value}]
    if name == "a.parquet":
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / name)
    elif kind == "null":
        pytest.skip("a row of JSON may be empty")
    else:
        lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
        (tmp_path / name).write_bytes(gzip.compress(lines) if name.endswith("gz") else lines)
    for order in ("windows", "documents"):
        with pytest.raises(CodeparrotError, match=rf'{name}: column "content" holds {kind}.*, not text; .* names another'):
            ConstantLengthDataset(config(tmp_path, lanes=1, order=order), BytesEncoder())
    with pytest.raises(CodeparrotError, match=rf'{name}: column "content" holds {kind}.*, not text; .* names another'):
        load_validation_set(config(tmp_path, lanes=1), BytesEncoder())
