"""One corpus as a source a language: each document of a language once, whatever the files, lanes and machines."""

import json
from collections import Counter
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from codeparrot.config import Config, StreamConfig
from codeparrot.errors import CodeparrotError
from codeparrot.stream import ConstantLengthDataset
from codeparrot.stream.balance import balanced, resolved
from codeparrot.stream.entries import sources_of
from codeparrot.stream.estimate import source_tokens
from codeparrot.stream.mixture import mixture_of, weights_of
from codeparrot.stream.opened import identities
from codeparrot.stream.readers.parquet import Table
from codeparrot.stream.readers.rows import Damaged
from codeparrot.stream.shards import Shard
from codeparrot.stream.sources import lanes_of, open_shards
from tests.stream.bytes_encoder import BytesEncoder, documents_of
from tests.stream.test_mixture import dataset, global_batches

WRITTEN = {"p": "Python", "r": "rust", "g": "GO", "n": None}
"""As a data set may write them, by the letter that their documents spell."""
NAMES = {"p": "python", "r": "rust", "g": "go", "n": "unknown"}


def text(letter: str, number: int) -> str:
    return f"{letter}{number} " + letter * (7 * number % 50)


def write(
    folder: Path, letters: Sequence[str], form: str = "parquet", files: int = 2, group: int = 5, column: str = "language"
):
    """Write a document a letter to some files; return the folder."""
    folder.mkdir(exist_ok=True)
    rows = [{"content": text(letter, number), column: WRITTEN[letter]} for number, letter in enumerate(letters)]
    for number in range(files):
        own = rows[len(rows) * number // files : len(rows) * (number + 1) // files]
        if form == "parquet":
            table = pa.Table.from_pylist(own, schema=pa.schema([("content", pa.string()), (column, pa.string())]))
            pq.write_table(table, folder / f"train-{number}.parquet", row_group_size=group)
        else:
            lines = [json.dumps(row) + "\n\n" * (index % 3 == 0) for index, row in enumerate(own)]
            (folder / f"train-{number}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def corpus(folder: Path, size: int = 160, **how: Any) -> Path:
    rng = np.random.default_rng(0)
    return write(folder, rng.choice(list("pppprrg"), size).tolist(), **how)


def config_of(folder: Path, weights: dict[str, float] | None = None, **changes: Any) -> Config:
    train = {"path": str(folder), "weights": weights or {"python": 0.6, "rust": 0.3, "go": 0.1}}
    config = Config(stream=StreamConfig(**{"train": train, "seq_length": 16, "lanes": 4, "block_windows": 24, **changes}))
    config.run.seed, config.train.global_batch_size, config.train.max_steps = 3, 8, 10
    return config


def letter_of(window: Any) -> str:
    (letter,) = {chr(token) for token in window.tolist() if token < 256 and chr(token) in NAMES}
    return letter


def entry_of(stream: StreamConfig) -> dict[str, Any]:
    """Return the only entry, with the weights that its balance stands for."""
    (entry,) = resolved(stream).train
    assert isinstance(entry, dict)
    return entry


def items_of(shards: Sequence[Shard], block: int) -> list[Any]:
    found: list[Any] = []
    for shard in shards:
        position: int | None = 0
        while position is not None:
            items, position = shard.read_marked(position, block)
            found += items
        shard.close()
    return found


@pytest.mark.slow
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    letters=st.lists(st.sampled_from("pprrgn"), min_size=12, max_size=80),
    form=st.sampled_from(["parquet", "jsonl"]),
    files=st.integers(1, 5),
    group=st.integers(1, 30),
    lanes=st.integers(1, 4),
    tokens=st.integers(1, 200),
    block=st.integers(1, 20),
)
def test_lanes_and_their_places_hold_each_document_of_a_language_once(
    tmp_path_factory, letters, form, files, group, lanes, tokens, block
) -> None:
    folder = write(tmp_path_factory.mktemp("corpus"), letters, form, files, group)
    for letter, count in Counter(letters).items():
        wanted = [text(each, number) for number, each in enumerate(letters) if each == letter]
        if count < lanes:
            continue
        how: Any = {"split": "train", "column": "content", "seq_length": 16}
        dealt = lanes_of(open_shards([str(folder)], **how, language=NAMES[letter]), lanes)
        assert [item for lane in dealt for item in items_of(lane, block)] == wanted
        sizes = [sum(shard.num_items or 0 for shard in lane) for lane in dealt]
        assert max(sizes) - min(sizes) <= 1
        places = [place for lane in dealt for shard in lane for place in shard.spread(tokens)]
        assert items_of(places, 10**9) == wanted
        described = [place.describe(0, range(place.num_items or 0)) for place in places if place.num_items]
        assert [each.get("language") for some in described for each in some] == [WRITTEN[letter]] * count


@pytest.mark.parametrize("form", ["parquet", "jsonl"])
def test_windows_come_whole_from_one_language_and_no_document_is_lost_or_doubled(tmp_path, form) -> None:
    folder = corpus(tmp_path / "c", form=form)
    config = config_of(folder, lanes=1, order="documents")
    windows = list(islice(dataset(config), 2500))
    mixture, names = mixture_of(config), [source.name for source in sources_of(config.stream.train)]
    drawn = [names[index] for index in islice(mixture.drawn(0, 0), len(windows))]
    assert [NAMES[letter_of(window)] for window in windows] == drawn
    letters = np.random.default_rng(0).choice(list("pppprrg"), 160).tolist()
    for name in names:
        tokens = np.concatenate([window for window, each in zip(windows, drawn, strict=True) if each == name])
        own = sorted(text(letter, number) for number, letter in enumerate(letters) if NAMES[letter] == name)
        assert sorted(documents_of(tokens)[: len(own)]) == own


@pytest.mark.slow
@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    form=st.sampled_from(["parquet", "jsonl"]),
    how=st.sampled_from([{"order": "documents"}, {"order": "windows"}, {"packing": "best_fit"}]),
    lanes=st.sampled_from([4, 8]),
    steps=st.tuples(st.integers(0, 4), st.integers(0, 4)),
    until=st.sampled_from([0.3, 0.5]),
)
def test_world_sizes_see_the_same_global_batches_across_resumes_and_phases(
    tmp_path_factory, form, how, lanes, steps, until
) -> None:
    phases = [{"until": until}, {"until": 1, "weights": {"python": 0, "rust": 1, "go": 3}}]
    folder = corpus(tmp_path_factory.mktemp("c"), form=form)
    config = config_of(folder, **how, lanes=lanes, phases=phases)
    expected, final = global_batches(config, 1, 1, 0, sum(steps) + 2)
    seen, state = global_batches(config, 4, 2, 0, steps[0])
    begin = steps[0]
    for world, count in ((2, steps[1]), (1, 1), (4, 1)):
        more, state = global_batches(config, world, 2 if world < 4 else 1, begin, count, state)
        seen, begin = seen + more, begin + count
    np.testing.assert_array_equal(seen, expected)
    assert state == final


@pytest.mark.slow
def test_shares_are_exact_to_half_a_percent_after_ten_thousand_windows(tmp_path) -> None:
    made = dataset(config_of(corpus(tmp_path / "c")))
    drawn = Counter(letter_of(window) for window in islice(made, 10_000))
    for letter, share in (("p", 0.6), ("r", 0.3), ("g", 0.1)):
        assert abs(drawn[letter] / 10_000 - share) < 0.005
    assert [read.windows for read in made.read] == [drawn[letter] for letter in "prg"]


def test_the_column_of_the_stack_is_read_where_the_corpus_has_no_other(tmp_path) -> None:
    for form in ("parquet", "jsonl"):
        folder = write(tmp_path / form, "prprprpr", form, column="lang")
        how: Any = {"split": "train", "column": "content", "seq_length": 16}
        assert items_of(open_shards([str(folder)], **how, language="rust"), 3) == [text("r", number) for number in (1, 3, 5, 7)]


def test_only_row_groups_that_hold_a_language_are_decoded_and_each_once(tmp_path, monkeypatch) -> None:
    folder = write(tmp_path / "c", "p" * 40 + "pr" * 10 + "r" * 40, files=1, group=20)
    decoded: list[tuple[str, int]] = []
    original = Table.read

    def noting(self: Table, group: int, columns: Sequence[str]) -> Any:
        decoded.extend((column, group) for column in columns)
        return original(self, group, columns)

    monkeypatch.setattr(Table, "read", noting)
    how: Any = {"split": "train", "column": "content", "seq_length": 16}
    python, rust = (open_shards([str(folder)], **how, language=name)[0] for name in ("python", "rust"))
    # Row group 2 holds both, and what one has decoded is there for the other.
    for shard, groups in ((python, [0, 1, 2]), (rust, [3, 4])):
        decoded.clear()
        (lane,) = lanes_of([shard], 1)
        items_of([place for each in lane for place in each.spread(100_000)], 10**9)
        assert [group for column, group in decoded if column == "content"] == groups
    # The languages are read once for both.
    assert not [group for column, group in decoded if column == "language"]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            {"weights": {"rusts": 1, "go": 1}},
            r'stream\.train "rusts": there are no documents in "rusts"; did you mean "rust"',
        ),
        ({"weights": {"cobol": 1, "rust": 1}}, r'no documents in "cobol"; there are python, rust, go'),
        ({"weights": {"python": -1, "rust": 1}}, r'the weight of "python" is -1; it must be a number, 0 or more'),
        ({"weights": {"python": 0, "rust": 0}}, "the weights add up to 0"),
        ({"weights": {}}, "name languages: {python: 0.5"),
        ({"weights": ["python"]}, r"weights is \['python'\]; name languages"),
        ({"weights": {"py": 1, "Python": 1}}, 'py and Python are the same language, "python"; name it once'),
        ({"weights": {"python": 1}, "balance": 1}, "has weights and balance, .* leave one out"),
        ({"weights": {"python": 1}, "valid": "v"}, r"has valid, and its languages are sources .* evaluate\.also"),
        ({"balance": -1}, "balance is -1; it must be a number, 0 or more"),
    ],
)
def test_weights_that_cannot_be_are_refused_in_one_line(tmp_path, entry, message) -> None:
    config = config_of(corpus(tmp_path / "c"), train=[{"path": str(tmp_path / "c"), **entry}])
    with pytest.raises(CodeparrotError, match=message) as found:
        dataset(config)
    assert "\n" not in str(found.value)


def test_phases_name_the_languages(tmp_path) -> None:
    config = config_of(corpus(tmp_path / "c"), phases=[{"until": 1, "weights": {"python": 1, "rust": 1, "ruby": 1}}])
    with pytest.raises(CodeparrotError, match='there is no source "ruby"'):
        dataset(config)


def test_data_without_languages_are_refused(tmp_path) -> None:
    folder = write(tmp_path / "c", "pr", column="tongue")
    with pytest.raises(CodeparrotError, match=r'has no column "language" or "lang" .* \(it has content, tongue\)'):
        dataset(config_of(folder))
    folder = write(tmp_path / "j", "pr", "jsonl", column="tongue")
    with pytest.raises(CodeparrotError, match=r'has no column "language" or "lang"'):
        dataset(config_of(folder))
    packed = tmp_path / "packed.jsonl.gz"
    packed.write_bytes(b"")
    with pytest.raises(CodeparrotError, match="cannot be read by language: only Parquet and unpacked JSONL"):
        dataset(config_of(packed))
    with pytest.raises(CodeparrotError, match=r'there are 1 documents in "go", fewer than the 4 lanes; lower stream\.lanes'):
        dataset(config_of(write(tmp_path / "few", "pppprrrrg")))


def test_damage_is_left_out_and_what_has_no_language_belongs_to_all(tmp_path) -> None:
    folder = corpus(tmp_path / "c", form="jsonl")
    with (folder / "train-0.jsonl").open("a", encoding="utf-8") as file:
        file.write("{broken\n" + json.dumps({"content": 7, "language": "Go"}) + "\n")
    with pytest.raises(CodeparrotError, match="is not JSON"):
        dataset(config_of(folder))
    made = dataset(config_of(folder, on_error="skip"))
    list(islice(made, 3000))
    assert len(made.damaged) == 2
    how: Any = {"split": "train", "column": "content", "seq_length": 16}
    go, python = (items_of(open_shards([str(folder)], **how, language=name), 10) for name in ("go", "python"))
    assert [sum(isinstance(item, Damaged) for item in items) for items in (go, python)] == [2, 1]


@pytest.mark.slow
def test_tracing_finds_each_document_by_its_file_and_row(tmp_path) -> None:
    made = dataset(config_of(corpus(tmp_path / "c")))
    list(islice(made, 30))
    traced = made.traced(made.states, 40)
    for window, tokens in zip(traced, islice(made, 40), strict=True):
        np.testing.assert_array_equal(window.tokens, tokens.numpy())
        assert window.source == NAMES[letter_of(tokens)]
        for document in window.documents:
            row = pq.read_table(document["file"]).slice(document["row"], 1).to_pylist()[0]
            assert NAMES[row["content"][0]] == window.source and document["language"] == row["language"]


@pytest.mark.slow
def test_a_state_tells_languages_apart_and_weights_may_not_change_in_silence(tmp_path) -> None:
    config = config_of(corpus(tmp_path / "c"))
    made = dataset(config)
    list(islice(made, 20))
    assert identities(config.stream) == [source.identity for source in made.sources]
    other = config_of(tmp_path / "c", {"python": 0.6, "go": 0.3, "rust": 0.1})
    with pytest.raises(CodeparrotError, match="different files"):
        dataset(other, made.state_dict())
    assert weights_of(config.stream.train) == [0.6, 0.3, 0.1]
    count, exact = source_tokens(made.sources[0]) or (0, True)
    letters = np.random.default_rng(0).choice(list("pppprrg"), 160).tolist()
    whole = sum(len(text(letter, number)) + 1 for number, letter in enumerate(letters) if letter == "p")
    assert not exact and abs(count - whole) < 0.02 * whole


def test_an_entry_by_language_beside_others_keeps_the_share_of_the_entry(tmp_path) -> None:
    train = [
        {"path": "a", "weight": 3, "weights": {"Python": 2, "c++": 1}, "epochs": 2},
        {"path": "b", "name": "b", "weight": 1},
    ]
    found = sources_of(train)
    assert [(each.name, each.language, each.weight, each.epochs) for each in found] == [
        ("python", "python", 2.0, 2),
        ("c++", "c++", 1.0, 2),
        ("b", "", 1, 0),
    ]
    assert [each.name for each in sources_of({"path": "a", "name": "web", "weights": {"python": 2, "go": 1}})] == [
        "web-python",
        "web-go",
    ]


def test_balance_stands_for_weights_as_bytes_to_its_power(tmp_path, caplog) -> None:
    folder = write(tmp_path / "c", "pppprrrrppppg" * 3)
    letters = list("pppprrrrppppg" * 3)
    sizes = {
        name: sum(len(text(letter, number)) for number, letter in enumerate(letters) if NAMES[letter] == name)
        for name in ("python", "rust", "go")
    }
    caplog.set_level("INFO", logger="codeparrot")
    stream = config_of(folder, train={"path": str(folder), "balance": 0.5, "epochs": 4}).stream
    entry = entry_of(stream)
    assert entry == {
        "path": str(folder),
        "epochs": 4,
        "weights": balanced({"python": sizes["python"], "rust": sizes["rust"]}, 0.5),
    }
    assert "fewer documents than stream.lanes 4: go (3)" in caplog.text
    assert resolved(resolved(stream)) == resolved(stream)
    made = ConstantLengthDataset(stream, BytesEncoder())
    assert [source.name for source in made.sources] == ["python", "rust"]
    for exponent, wanted in ((1, sizes["python"] / (sizes["python"] + sizes["rust"])), (0, 0.5)):
        entry = entry_of(config_of(folder, train=[{"path": str(folder), "balance": exponent}]).stream)
        assert entry["weights"]["python"] == pytest.approx(wanted, rel=1e-5)


def test_balance_takes_the_bytes_that_the_statistics_of_a_corpus_say(tmp_path) -> None:
    folder = write(tmp_path / "c", "pr" * 8)
    stated = {"languages": {"python": {"documents": 8, "bytes": 900}, "rust": {"documents": 8, "bytes": 100}}}
    (folder / "statistics.json").write_text(json.dumps(stated), encoding="utf-8")
    entry = entry_of(config_of(folder, train={"path": str(folder), "balance": 1}).stream)
    assert entry["weights"] == {"python": 0.9, "rust": 0.1}
