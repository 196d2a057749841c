"""Each window comes from the source that weights, phases and its number say, whatever the machine."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codeparrot.config import Config, StreamConfig
from codeparrot.errors import CodeparrotError
from codeparrot.stream import ConstantLengthDataset, merge_states
from codeparrot.stream.entries import sources_of
from codeparrot.stream.estimate import source_tokens
from codeparrot.stream.mixture import GOLDEN, SIDEWAYS, Mixture, mixture_of, windows_before, without_phases
from codeparrot.stream.transform import Part, Texts
from tests.stream.bytes_encoder import BytesEncoder, documents_of
from tests.stream.small import sizes

SIZES = (40, 25, 60)
NAMES = ("a", "b", "c")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three folders of JSONL; each document spells its folder's name, and so does each of its characters."""
    folder = tmp_path_factory.mktemp("sources")
    rng = np.random.default_rng(0)
    for name, size in zip(NAMES, SIZES, strict=True):
        lines = [json.dumps({"content": f"{name}{row} " + name * int(rng.integers(0, 60))}) for row in range(size)]
        (folder / name).mkdir()
        (folder / name / "train-0.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(autouse=True, scope="module")
def small_chunks() -> Iterator[None]:
    """Documents here have about 50 characters: a chunk of the usual size would hold thousands."""
    with sizes(first=100, chunk=400):
        yield


def mixed(folder: Path, weights: tuple[float, ...] = (0.6, 0.3, 0.1), **changes: Any) -> Config:
    train = [{"path": str(folder / name), "weight": weight} for name, weight in zip(NAMES, weights, strict=False)]
    config = Config(stream=StreamConfig(**{"train": train, "seq_length": 16, "lanes": 4, "block_windows": 24, **changes}))
    config.run.seed, config.train.global_batch_size, config.train.max_steps = 3, 8, 10
    return config


def dataset(config: Config, state: dict[str, Any] | None = None, step: int = 0, **ranks: int) -> ConstantLengthDataset:
    how: Any = {"seed": config.run.seed, "mixture": mixture_of(config), **ranks}
    made = ConstantLengthDataset(config.stream, BytesEncoder(), **how)
    if state is not None:
        made.load_state_dict(json.loads(json.dumps(state)))
    made.goes_on_at(windows_before(config, step))
    return made


def global_batches(
    config: Config, world_size: int, micro_batch: int, begin: int, steps: int, state: dict[str, Any] | None = None
) -> tuple[list[np.ndarray], dict[str, Any]]:
    """Run `world_size` simulated ranks; return each step's windows in the order of the run, and the merged state."""
    ranks = [dataset(config, state, begin, rank=rank, world_size=world_size) for rank in range(world_size)]
    size = config.train.global_batch_size
    out = [np.empty((size, config.stream.seq_length), np.int64) for _ in range(steps)]
    for rank, each in enumerate(ranks):
        with each.batches(micro_batch) as batches:
            for step in range(steps):
                out[step][rank::world_size] = np.concatenate([next(batches) for _ in range(size // world_size // micro_batch)])
    return out, merge_states([each.state_dict() for each in ranks])


def source_of(window: np.ndarray) -> str:
    """Return the one source whose letter is in a window."""
    (name,) = {chr(token) for token in window.tolist() if token < 256 and chr(token) in NAMES}
    return name


weights = st.lists(st.sampled_from([0, 0.01, 0.1, 0.3, 1, 2.5, 7]), min_size=1, max_size=6).filter(any)


def counts(mixture: Mixture, lanes: int, num_windows: int) -> np.ndarray:
    """Return how many of the first windows of each lane come from each source: [lanes, sources]."""
    found = [
        np.bincount(list(islice(mixture.drawn(lane, 0), num_windows)), minlength=len(mixture.shares)) for lane in range(lanes)
    ]
    return np.array(found)


@pytest.mark.slow
@settings(deadline=None, max_examples=60)
@given(weights, st.sampled_from([1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144]) | st.integers(1, 100), st.integers(0, 2**40))
def test_shares_over_all_lanes_are_exact_to_half_a_percent_and_each_lane_is_a_few_windows_off(shares, lanes, seed) -> None:
    train = [{"path": f"s{index}", "weight": weight} for index, weight in enumerate(shares)]
    mixture = without_phases(train, seed)
    rounds = -(-10_000 // lanes)
    found, wanted = counts(mixture, lanes, rounds), np.array(shares) / sum(shares)
    assert np.abs(found.sum(0) / found.sum() - wanted).max() < 0.005
    assert np.abs(found - rounds * wanted).max() < 6
    assert found.sum() == lanes * rounds and not found[:, wanted == 0].any()


def test_shares_do_not_drift_over_ten_million_windows() -> None:
    """The same points in numpy, whose unsigned numbers wrap around as 2^64 does."""
    mixture = without_phases([{"path": "a", "weight": 0.7}, {"path": "b", "weight": 0.3}], seed=1)
    bound = np.uint64(mixture.stretches[0].bounds[0])
    lanes, numbers = np.arange(8, dtype=np.uint64)[:, None], np.arange(1_250_000, dtype=np.uint64)
    points = numbers * np.uint64(GOLDEN) + lanes * np.uint64(SIDEWAYS) + np.uint64(mixture.offset)
    first = points < bound
    for number in (0, 1, 77, 1_249_999):
        assert [next(mixture.drawn(lane, number)) for lane in range(8)] == [int(not each) for each in first[:, number]]
    off = np.cumsum(first, axis=1) - 0.7 * np.arange(1, 1_250_001)
    assert np.abs(off).max() < 6
    assert np.abs(off.sum(0)).max() < 12


def test_which_source_a_window_comes_from_is_the_same_for_ever() -> None:
    mixture = without_phases([{"path": "a", "weight": 0.6}, {"path": "b", "weight": 0.3}, {"path": "c", "weight": 0.1}], seed=3)
    drawn = bytes(index for lane in range(4) for index in islice(mixture.drawn(lane, 0), 1000))
    assert hashlib.sha256(drawn).hexdigest()[:16] == "812f7fe344fbf3f7"


@pytest.mark.parametrize(("order", "digest"), [("windows", "278b8f60cade9d39"), ("documents", "3c8c6e775dfef7d0")])
def test_a_stream_of_one_source_is_the_one_of_versions_without_mixtures(files, order, digest) -> None:
    names = [str(files / name) for name in NAMES]
    for train in (names, [{"path": names, "weight": 7}]):
        config = mixed(files, train=train, order=order)
        windows = np.array(list(islice(dataset(config), 400)))
        assert hashlib.sha256(windows.tobytes()).hexdigest()[:16] == digest
        state = dataset(config).state_dict()
        assert "sources" not in state and all(isinstance(place[0], int) for place in state["lanes"].values())


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(
    order=st.sampled_from(["windows", "documents"]),
    shares=st.tuples(*[st.sampled_from([0.05, 0.2, 1.0])] * 3),
    block_windows=st.integers(1, 60),
    lanes=st.sampled_from([4, 8]),
    steps=st.tuples(st.integers(0, 4), st.integers(0, 4)),
    until=st.sampled_from([0.1, 0.3, 0.5, 0.7]),
)
def test_world_sizes_1_2_and_4_see_the_same_global_batches_across_resumes_and_phases(
    files, order, shares, block_windows, lanes, steps, until
) -> None:
    phases = [{"until": until}, {"until": 1, "weights": {"a": 0, "b": 1, "c": 3}}]
    config = mixed(files, shares, order=order, block_windows=block_windows, lanes=lanes, phases=phases)
    first, second = steps
    expected, final = global_batches(config, 1, 1, 0, first + second + 2)
    seen, state = global_batches(config, 4, 2, 0, first)
    begin = first
    for world, count in ((2, second), (1, 1), (4, 1)):
        more, state = global_batches(config, world, 2 if world < 4 else 1, begin, count, state)
        seen, begin = seen + more, begin + count
    for ours, theirs in zip(seen, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert state == final


def test_windows_come_whole_from_the_source_that_is_drawn_and_no_token_of_a_source_is_lost(files) -> None:
    config = mixed(files, lanes=1, order="documents")
    windows = list(islice(dataset(config), 3000))
    mixture = mixture_of(config)
    drawn = [NAMES[index] for index in islice(mixture.drawn(0, 0), len(windows))]
    assert [source_of(window.numpy()) for window in windows] == drawn
    for name, size in zip(NAMES, SIZES, strict=True):
        tokens = np.concatenate([window for window, each in zip(windows, drawn, strict=True) if each == name])
        documents = [document.partition(" ")[0] for document in documents_of(tokens)]
        assert len(documents) >= size and sorted(documents[:size]) == sorted(f"{name}{row}" for row in range(size))


def test_a_source_is_read_as_if_it_were_the_only_one(files) -> None:
    """What is read of the others, and in which shares, changes nothing in its windows."""
    few, many = (
        [each.numpy() for each in islice(dataset(mixed(files, weights, order="documents", lanes=1)), 300)]
        for weights in ((0.2, 0.7, 0.1), (0.8, 0.15, 0.05))
    )
    own = [[each.tolist() for each in windows if source_of(each) == "a"] for windows in (few, many)]
    assert len(own[0]) > 40 and own[1][: len(own[0])] == own[0]


@pytest.mark.parametrize(("until", "switch"), [(0.3, 3), (0.5, 5), (0.86, 9)])
def test_a_phase_begins_with_the_first_window_of_its_step(files, until, switch) -> None:
    config = mixed(files, phases=[{"until": until, "weights": [1, 0, 0]}, {"until": 1, "weights": [0, 0, 1]}])
    batches, _ = global_batches(config, 2, 2, 0, 10)
    assert [{source_of(window) for window in batch} for batch in batches] == [{"a"}] * switch + [{"c"}] * (10 - switch)


def test_what_a_run_reads_of_each_source_counts_the_windows_of_each_step(files) -> None:
    config = mixed(files, phases=[{"until": 0.5, "weights": [1, 0, 0]}, {"until": 1, "weights": [0, 1, 1]}])
    assert mixture_of(config).read == [0.5, 0.25, 0.25]
    config.train.global_batch_schedule = [[5, 24]]
    assert mixture_of(config).read == [0.25, 0.375, 0.375]


def test_a_source_of_a_later_phase_that_cannot_be_read_is_refused_at_the_start(files, tmp_path) -> None:
    few = tmp_path / "few.jsonl"
    few.write_text(json.dumps({"content": "c" * 20}) + "\n", encoding="utf-8")
    train = [{"path": str(files / "a")}, {"path": str(few)}]
    config = mixed(files, train=train, phases=[{"until": 0.5, "weights": [1, 0]}, {"until": 1, "weights": [1, 1]}])
    with pytest.raises(CodeparrotError, match="has no documents"):
        next(iter(dataset(config)))
    # Behind its last phase a source is not read.
    config.stream.phases = [{"until": 0.5, "weights": [1, 1]}, {"until": 1, "weights": [1, 0]}]
    mixture = mixture_of(config)
    assert [mixture.read_from(number) for number in (0, 9, 10, 99)] == [[0, 1], [0, 1], [0], [0]]


def test_phases_are_of_the_run_also_where_its_data_begin_anew(files) -> None:
    config = mixed(files, phases=[{"until": 0.5, "weights": [1, 0, 0]}, {"until": 1, "weights": [0, 0, 1]}])
    anew, _ = global_batches(config, 1, 8, 4, 2)
    assert [{source_of(window) for window in batch} for batch in anew] == [{"a"}, {"c"}]


def test_a_state_has_a_place_a_source_and_lane_and_stays_small(files) -> None:
    config = mixed(files, lanes=8)
    one = dataset(config)
    list(islice(one, 640))
    state = one.state_dict()
    assert [len(places) for places in state["lanes"].values()] == [3] * 8
    assert len(json.dumps(state)) < 2048
    assert sum(read.windows for read in one.read) == 640


def test_blocks_of_all_sources_together_are_one_block(files) -> None:
    made = dataset(mixed(files, block_windows=100))
    assert [source.stream.block_windows for source in made.sources] == [60, 30, 10]
    assert [source.reading.together for source in made.sources] == [2, 1, 1]
    assert [source.stream.block_windows for source in dataset(mixed(files, (1, 0, 0), block_windows=100)).sources] == [
        100,
        1,
        1,
    ]


def test_a_state_of_other_sources_is_refused_and_one_of_other_weights_goes_on(files) -> None:
    config = mixed(files)
    made = dataset(config)
    list(islice(made, 41))
    state = made.state_dict()
    with pytest.raises(CodeparrotError, match=r"stream\.train has 2 sources, and the run was begun with 3"):
        dataset(mixed(files, (1, 1)), state)
    turned = mixed(files)
    assert isinstance(turned.stream.train, list)
    turned.stream.train.reverse()
    with pytest.raises(CodeparrotError, match="different files"):
        dataset(turned, state)
    with pytest.raises(CodeparrotError, match=r"block_windows 24, not 12"):
        dataset(mixed(files, block_windows=12), state)
    other = dataset(mixed(files, (1, 5, 1)), state)
    assert other.states == made.states
    ours, theirs = ([each.tolist() for each in islice(iter(each), 160)] for each in (made, other))
    for name in NAMES:
        own = [[each for each in windows if source_of(np.array(each)) == name] for windows in (ours, theirs)]
        assert {str(each) for each in own[0]} & {str(each) for each in own[1]}
    assert Counter(source_of(np.array(each)) for each in theirs)["b"] > 100


def test_tracing_names_the_source_of_each_window(files) -> None:
    config = mixed(files)
    made = dataset(config)
    list(islice(made, 30))
    traced = made.traced(made.states, 60)
    following = [each.numpy() for each in islice(made, 60)]
    for window, tokens in zip(traced, following, strict=True):
        np.testing.assert_array_equal(window.tokens, tokens)
        assert window.source == source_of(tokens) == window.facts()["source"]
        assert all(Path(document["file"]).parent.name == window.source for document in window.documents)


def test_damage_in_a_source_is_left_out_and_counted(files, tmp_path) -> None:
    broken = tmp_path / "broken.jsonl"
    broken.write_text("".join(json.dumps({"content": f"c{row} " + "c" * 40}) + "\n" for row in range(20)) + "{broken\n")
    train = [{"path": str(files / "a"), "weight": 3}, {"path": str(broken), "weight": 1}]
    made = dataset(mixed(files, train=train, on_error="skip"))
    list(islice(made, 400))
    assert [Path(each.where.file).name for each in made.damaged.values()] == ["broken.jsonl"]
    with pytest.raises(CodeparrotError, match="is not JSON"):
        list(islice(dataset(mixed(files, train=train)), 400))


def windows_of(folder: Path, letter: str, seq_length: int = 16, count: int = 40) -> Path:
    """Write windows that spell a letter, as `corpus tokenize` does."""
    folder.mkdir()
    np.save(folder / "train-00000.npy", np.full((count, seq_length), ord(letter), np.uint16))
    file = {"name": "train-00000.npy", "windows": count, "bytes": (folder / "train-00000.npy").stat().st_size}
    manifest = {"seq_length": seq_length, "splits": {"train": {"files": [file], "tail": [], "tokens": count * seq_length}}}
    (folder / "windows.json").write_text(json.dumps(manifest), encoding="utf-8")
    return folder


def test_one_source_may_be_windows_and_another_documents(files, tmp_path) -> None:
    made = windows_of(tmp_path / "made", "b")
    train = [{"path": str(files / "a")}, {"path": str(made)}]
    whole, _ = global_batches(mixed(files, train=train), 2, 2, 0, 6)
    first, state = global_batches(mixed(files, train=train), 1, 8, 0, 3)
    then, _ = global_batches(mixed(files, train=train), 4, 2, 3, 3, state)
    np.testing.assert_array_equal(whole, first + then)
    assert Counter(source_of(window) for batch in whole for window in batch) == {"a": 23, "b": 25}
    assert [source.tokenized for source in dataset(mixed(files, train=train)).sources] == [False, True]
    tokens = source_tokens(dataset(mixed(files, train=train)).sources[1])
    assert tokens == (40 * 16, True)


def test_windows_of_another_length_are_refused_by_the_name_of_their_source(files, tmp_path) -> None:
    train = [{"path": str(files / "a")}, {"path": str(windows_of(tmp_path / "made", "b", seq_length=8))}]
    with pytest.raises(CodeparrotError, match=r'^stream\.train "made": .* holds windows of 8 tokens; set stream\.seq_length'):
        dataset(mixed(files, train=train))


def test_each_source_has_the_middles_that_its_data_ask_for(files, tmp_path) -> None:
    """Windows that were made with fill-in-the-middle stay as they are, beside documents that are changed as they are read."""
    from codeparrot.stream.tokenized import still_to_change

    class Changing:
        settings: ClassVar[dict[str, Any]] = {"fim_rate": 1.0}

        def of_text(self, text: str, epoch: int) -> Any:
            return iter([Texts((text[:1] * 8,), lambda tokens: [Part("", tokens[0])])])

    made = windows_of(tmp_path / "made", "b")
    manifest = json.loads((made / "windows.json").read_text(encoding="utf-8"))
    (made / "windows.json").write_text(json.dumps({**manifest, "objective": Changing.settings}), encoding="utf-8")
    config = mixed(files, train=[{"path": str(files / "a")}, {"path": str(made)}], order="documents")
    transforms = [still_to_change(source.path, Changing()) for source in sources_of(config.stream.train)]  # type: ignore[arg-type]
    changed = ConstantLengthDataset(config.stream, BytesEncoder(), seed=3, transform=transforms)
    windows = [window.numpy() for window in islice(changed, 40)]
    assert {bytes(window.astype(np.uint8)) for window in windows} == {b"a" * 16, b"b" * 16}
    state = changed.state_dict()
    assert ["objective" in facts for facts in state["sources"]] == [True, False]
    with pytest.raises(CodeparrotError, match=r"one of objective fim_rate 1\.0, not fim_rate 0"):
        dataset(config, state)


def take(windows: ConstantLengthDataset, count: int) -> np.ndarray:
    return np.stack([window.numpy() for window in islice(windows, count)])
