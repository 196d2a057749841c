"""The documents of a window are named exactly, whatever the shards, the cursor and the thread."""

import gzip
import json
from collections.abc import Iterator, Sequence
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from codeparrot.config import StreamConfig
from codeparrot.corpus.tokenize import tokenize
from codeparrot.errors import CodeparrotError
from codeparrot.stream import ConstantLengthDataset, make_encoder
from codeparrot.stream.lane import Cursor, Order, windows
from codeparrot.stream.parquet import LIGHT_BYTES
from codeparrot.stream.provenance import LONGEST_VALUE, MOST_VALUES, light, trace
from codeparrot.stream.shuffle import LaneState, in_order, reading
from tests.stream.bytes_encoder import END, BytesEncoder
from tests.stream.small import sizes
from tests.stream.test_lane import TEXTS, shards_of

FILES = 3
SIZES = (40, 25, 60)


@pytest.fixture(autouse=True, scope="module")
def small_pieces() -> Iterator[None]:
    """Most documents are longer than a piece, and chunks hold a few documents."""
    with sizes(first=20, chunk=200, piece=16):
        yield


def rows_of(file: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(file)
    rows: list[dict[str, Any]] = []
    for row in range(SIZES[file]):
        lines = "".join(f"é {number}\n" for number in range(int(rng.integers(0, 40))))
        rows.append({"repo_name": f"repo {file}", "content": f"{file}.{row}\n{lines}", "path": f"{row}.py"})
    return rows


def write(folder: Path, kind: str) -> Any:
    """Write three files of 125 documents; return the pattern that names them."""
    if kind == "data set":
        datasets = pytest.importorskip("datasets")

        def generate(files: list[int]) -> Iterator[dict[str, Any]]:
            for file in files:
                yield from rows_of(file)

        return datasets.IterableDataset.from_generator(generate, gen_kwargs={"files": list(range(FILES))})
    for file in range(FILES):
        rows, place = rows_of(file), folder / f"train-{file}.{kind}"
        lines = "".join(json.dumps(row) + "\n\n" for row in rows).encode()
        if kind == "parquet":
            parquet.write_table(pa.Table.from_pylist(rows), place, row_group_size=10)
        else:
            pack = {"jsonl": bytes, "jsonl.gz": gzip.compress, "jsonl.zst": zstandard.compress}[kind]
            place.write_bytes(pack(lines))
    return str(folder)


KINDS = ["parquet", "jsonl", "jsonl.gz", "jsonl.zst", "data set"]


@pytest.fixture(scope="module", params=KINDS)
def source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return write(tmp_path_factory.mktemp("files"), request.param)


def dataset_of(source: Any, **settings: Any) -> ConstantLengthDataset:
    ranks = {name: settings.pop(name) for name in ("rank", "world_size") if name in settings}
    stream = StreamConfig(**{"seq_length": 32, "lanes": 4, "block_documents": 8, **settings})
    return ConstantLengthDataset(stream, BytesEncoder(), seed=3, source=source, **ranks)


def text_at(document: dict[str, Any]) -> str:
    """Read the document at the named place, by other means than the stream's."""
    file = document["file"]
    if file.endswith(".parquet"):
        return parquet.read_table(file)["content"][document["row"]].as_py()
    if file.endswith(".jsonl"):
        return json.loads(Path(file).read_bytes()[document["byte"] :].partition(b"\n")[0])["content"]
    if ", shard " in file:
        return rows_of(int(file.rpartition(" ")[2]))[document["row"]]["content"]
    raw = Path(file).read_bytes()
    text = gzip.decompress(raw) if file.endswith(".gz") else zstandard.ZstdDecompressor().decompressobj().decompress(raw)
    return json.loads([line for line in text.splitlines() if line][document["row"]])["content"]


def ids_of(text: str) -> list[int]:
    return [*text.encode(), END]


def check_spans(entries: list[dict[str, Any]], rows: Sequence[Any]) -> None:
    """Check that the spans tile their window, and that each is the next part of the named document's tokens."""
    inside: dict[int, tuple[tuple, int]] = {}  # the document that continues in a lane's next window, and how much of it is read
    for entry, tokens in zip(entries, rows, strict=True):
        edges = [span["tokens"] for span in entry["documents"]]
        assert edges[0][0] == 0 and edges[-1][1] == len(tokens)
        assert all(left[1] == right[0] for left, right in pairwise(edges))
        for number, document in enumerate(entry["documents"]):
            expected = ids_of(text_at(document))
            span = tokens[slice(*document["tokens"])].tolist()
            place = (document["file"], document.get("row"), document.get("byte"))
            before = inside.pop(entry["lane"], None)
            if before is None and number == 0:
                # The first document may have begun before tracing did.
                begin = len(expected) - len(span) if span[-1] == END else _find(expected, span)
            else:
                begin = before[1] if before and before[0] == place else 0
                assert number or before is None or before[0] == place
            assert span == expected[begin : begin + len(span)]
            if span[-1] != END:
                inside[entry["lane"]] = (place, begin + len(span))
            assert document["repo_name"].startswith("repo ") and document["path"].endswith(".py")
            assert "content" not in document


def _find(whole: list[int], part: list[int]) -> int:
    return next(begin for begin in range(len(whole)) if whole[begin : begin + len(part)] == part)


@settings(deadline=None, max_examples=15)
@given(skipped=st.integers(0, 500), seq_length=st.sampled_from([7, 32, 300]), block=st.sampled_from([1, 8, 70]))
def test_the_documents_of_windows_lie_where_they_are_said_to_lie(source, skipped, seq_length, block) -> None:
    dataset = dataset_of(source, seq_length=seq_length, block_documents=block, order="documents")
    iterator = iter(dataset)
    list(islice(iterator, skipped))
    before = dataset.states
    rows = list(islice(iterator, 20))
    traced = dataset.traced(before, 20)
    np.testing.assert_array_equal([window.tokens for window in traced], rows)
    check_spans([window.facts() for window in traced], rows)
    order = [(window.window, window.lane) for window in traced]
    assert order == [divmod(number, 4) for number in range(skipped, skipped + 20)]
    assert [window.position for window in traced] == [skipped % 4 + number for number in range(20)]


@settings(deadline=None)
@given(
    *(TEXTS, st.integers(2, 30), st.integers(1, 5), st.integers(0, 40), st.integers(1, 20)),
    *(st.sampled_from(["windows", "documents"]), st.integers(1, 30)),
)
def test_tracing_yields_the_windows_of_iterating_from_any_state(texts, seq_length, block, first, count, kind, size) -> None:
    shards, order = shards_of(*texts), Order(seed=7, lane=2, epochs=3)
    stream = StreamConfig(seq_length=seq_length, block_documents=block, block_windows=size, order=kind)
    packed = windows(shards, order, reading(stream, False), BytesEncoder(), seq_length, Cursor())
    whole = list(in_order(packed, order, stream, False, LaneState()))
    first = min(first, len(whole) - 1)
    start = whole[first - 1][1] if first else LaneState()
    traced = trace(shards, order, stream, BytesEncoder(), start, count)
    expected = [tokens.tolist() for tokens, _ in whole[first : first + count]]
    assert [tokens.tolist() for tokens, _ in traced] == expected
    assert all(documents[-1]["tokens"][1] == len(tokens) for tokens, documents in traced)
    ends = sum(tokens.tolist().count(END) for tokens, _ in traced)
    starts = sum(len(documents) for _, documents in traced)
    assert ends <= starts <= ends + len(traced)


def test_an_epoch_names_every_document_once_and_the_next_one_again(source) -> None:
    dataset = dataset_of(source, lanes=1, order="documents")
    entries = dataset.documents(dataset.states, 1300)
    named: list[tuple] = []
    for entry in entries:
        for document in entry["documents"]:
            place = (document["repo_name"], document["path"])
            if not named or named[-1] != place:
                named.append(place)
    every = sorted((f"repo {file}", f"{row}.py") for file in range(FILES) for row in range(SIZES[file]))
    assert sorted(named[:125]) == every and sorted(named[125:250]) == every
    assert named[:125] != named[125:250]
    json.dumps(entries, allow_nan=False)


def test_two_processes_name_together_what_one_names(source) -> None:
    one = dataset_of(source)
    whole = one.documents(one.states, 24)
    halves = [dataset_of(source, rank=rank, world_size=2) for rank in range(2)]
    parts = [entry for half in halves for entry in half.documents(half.states, 12)]
    assert sorted(parts, key=lambda entry: entry["position"]) == whole
    assert [entry["position"] for entry in whole] == list(range(24))


def test_tracing_disturbs_neither_iterating_nor_what_is_prepared_in_the_background(source) -> None:
    expected = list(islice(dataset_of(source), 240))
    dataset = dataset_of(source, prefetch_batches=2)
    seen, traced = [], []
    with dataset.batches(4) as batches:
        for _ in range(60):
            before = dataset.states
            seen += list(next(batches))
            behind = dataset.states
            traced += [window.tokens for window in dataset.traced(before, 4)]
            assert dataset.states == behind
    np.testing.assert_array_equal(seen, expected)
    np.testing.assert_array_equal(traced, expected)


def test_states_before_a_step_stay_what_they_were(source) -> None:
    dataset = dataset_of(source)
    before = dataset.states
    list(islice(dataset, 9))
    assert [state.num_windows for state in before.values()] == [0] * 4
    assert [state.num_windows for state in dataset.states.values()] == [3, 2, 2, 2]


def test_the_real_encoder_is_shared_with_the_background(corpus, tokenizer_json) -> None:
    encoder, decoder = make_encoder(tokenizer_json, 0), Tokenizer.from_str(tokenizer_json)
    dataset = ConstantLengthDataset(StreamConfig(train=str(corpus), seq_length=64, lanes=4), encoder)
    with dataset.batches(4) as batches:
        for _ in range(5):
            before = dataset.states
            rows = next(batches)
            for tokens, window in zip(rows, dataset.traced(before, 4), strict=True):
                np.testing.assert_array_equal(tokens, window.tokens)
                for document in window.documents:
                    assert document["path"].startswith(Path(document["file"]).name[:11])
                    text = decoder.decode(tokens[slice(*document["tokens"])].tolist(), skip_special_tokens=True)
                    assert text.strip("\ufffd") in text_at(document)


@pytest.mark.slow
def test_windows_that_were_tokenised_before_name_their_file(tmp_path, corpus, tokenizer_folder) -> None:
    tokenize(str(corpus), str(tokenizer_folder), str(tmp_path / "w"), seq_length=32)
    dataset = dataset_of(str(tmp_path / "w"))
    rows = list(islice(dataset, 10_000))
    before = dataset.states
    rows = list(islice(dataset, 40))
    for tokens, window in zip(rows, dataset.traced(before, 40), strict=True):
        np.testing.assert_array_equal(tokens, window.tokens)
        (entry,) = window.documents
        assert set(entry) == {"file", "window", "tokens"} and entry["tokens"] == [0, 32]
        np.testing.assert_array_equal(np.load(entry["file"])[entry["window"]], tokens)


def test_the_last_short_window_of_a_finite_lane_is_traced() -> None:
    out = trace(
        shards_of(["ab", "c"]),
        Order(0, 0, False, 1),
        StreamConfig(seq_length=4, order="documents"),
        BytesEncoder(),
        LaneState(),
        9,
    )
    assert [(tokens.tolist(), [document["tokens"] for document in documents]) for tokens, documents in out] == [
        ([97, 98, END, 99], [[0, 3], [3, 4]]),
        ([END], [[0, 1]]),
    ]


def test_a_document_of_many_windows_is_named_in_each_with_one_span() -> None:
    shards, stream = shards_of(["line\n" * 100, "end"]), StreamConfig(seq_length=50, order="documents")
    out = trace(shards, Order(0, 0, False, 1), stream, BytesEncoder(), LaneState(), 10)
    assert [document for _, documents in out for document in documents] == [
        {"file": "list", "row": 0, "tokens": [0, 50]} for _ in range(10)
    ]


def test_of_a_parquet_file_only_light_columns_are_read(tmp_path, monkeypatch) -> None:
    heavy = [f"{row}" * LIGHT_BYTES for row in range(20)]
    nested = [{"stars": row, "tags": ["a"] * 50} for row in range(20)]
    texts = [f"text {row}" for row in range(20)]
    table = pa.table({"content": texts, "original": heavy, "facts": nested, "file": ["not a place"] * 20})
    parquet.write_table(table, tmp_path / "a.parquet", use_dictionary=False)
    dataset = dataset_of(str(tmp_path / "a.parquet"), lanes=1, order="documents")
    read: list[list[str]] = []
    original = parquet.ParquetFile.read_row_group

    def spy(self: Any, group: int, columns: list[str], **options: Any) -> Any:
        read.append(columns)
        return original(self, group, columns=columns, **options)

    monkeypatch.setattr(parquet.ParquetFile, "read_row_group", spy)
    (entry,) = dataset.documents(dataset.states, 1)
    assert read == [["content"], ["facts", "file"]]
    document = entry["documents"][0]
    assert document["file"].endswith("a.parquet") and "original" not in document
    assert document["facts"] == {"stars": document["row"], "tags": ["a"] * MOST_VALUES}


def test_values_are_cut_and_ready_for_json() -> None:
    import datetime

    values = ["é" * 999, float("nan"), datetime.date(2020, 1, 2), b"\x00" * 999, "\ud83d", 3, None, True, [1] * 99]
    cut = light({str(index): value for index, value in enumerate(values)})
    assert json.loads(json.dumps(cut, allow_nan=False)) == cut
    assert cut["0"] == "é" * LONGEST_VALUE + "…" and cut["1"] == "nan" and cut["2"] == "2020-01-02"
    assert cut["4"] == "\ufffd" and [cut["5"], cut["6"], cut["7"]] == [3, None, True]


def test_a_data_set_that_cannot_be_copied_says_so() -> None:
    import threading

    class Locked:
        num_shards = 1

        def __init__(self) -> None:
            self.lock = threading.Lock()

        def __iter__(self) -> Iterator[dict[str, str]]:
            return iter([{"content": "text"}])

    dataset = dataset_of(Locked(), lanes=1)
    next(iter(dataset))
    with pytest.raises(CodeparrotError, match="cannot be read twice at the same time"):
        dataset.documents(dataset.states, 1)


def test_files_are_given_back(tmp_path, monkeypatch) -> None:
    dataset = dataset_of(write(tmp_path, "parquet"))
    closed: list[Any] = []
    original = parquet.ParquetFile.close
    monkeypatch.setattr(parquet.ParquetFile, "close", lambda self, **options: (closed.append(self), original(self, **options)))
    dataset.documents(dataset.states, 40)
    assert len(closed) >= 4
    assert all(file.closed for file in closed)


def test_a_deep_column_is_cut_and_not_followed_to_its_end(tmp_path) -> None:
    deep = "[" * 400 + "]" * 400
    (tmp_path / "a.jsonl").write_text(f'{{"content": "abcdefgh", "m": {deep}, "n": 1}}\n', encoding="utf-8")
    dataset = ConstantLengthDataset(StreamConfig(train=str(tmp_path), seq_length=8), BytesEncoder())
    (window,) = dataset.traced(dataset.states, 1)
    assert len(json.dumps(window.facts())) < 300 and window.documents[0]["n"] == 1
