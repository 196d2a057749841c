"""Fill-in-the-middle is a function of the document and the epoch, loses no token, and moves nothing but what it draws."""

import json
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codeparrot.config import StreamConfig
from codeparrot.errors import CodeparrotError
from codeparrot.objectives.fim import Middles
from codeparrot.stream import ConstantLengthDataset, lane, make_encoder, merge_states
from codeparrot.stream.lane import Cursor, Order, Reading, cut, windows
from codeparrot.stream.provenance import trace
from codeparrot.stream.sentinels import sentinels_of
from codeparrot.stream.shuffle import LaneState, in_order, reading
from codeparrot.stream.transform import Texts
from tests.objectives.fim_tokens import MARKS, middles, pieces_of, restored
from tests.stream.bytes_encoder import END, BytesEncoder, documents_of
from tests.stream.test_lane import TEXTS, shards_of

RATES = st.sampled_from([0.0, 0.3, 1.0])
LEVELS = st.sampled_from(["character", "line", "token"])


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane, "PIECE_CHARACTERS", 16)
    monkeypatch.setattr(lane, "FIRST_CHUNK_CHARACTERS", 20)
    monkeypatch.setattr(lane, "CHUNK_CHARACTERS", 80)


def packed(texts: list[list[str]], transform: Middles | None, seq_length: int = 16, **order):
    """Run a lane; return its windows, each with the cursor behind it."""
    own = Order(**{"seed": 0, "lane": 1, "epochs": 2, **order})
    return list(windows(shards_of(*texts), own, Reading(1, 3), BytesEncoder(), seq_length, Cursor(), transform))


def only(transform: Middles, text: str, epoch: int) -> Texts:
    """Return the only piece of a short document."""
    (piece,) = transform.of_text(text, epoch) or iter(())
    return piece


def tokens_of(texts: list[list[str]], transform: Middles | None, **order) -> np.ndarray:
    return np.concatenate([window for window, _ in packed(texts, transform, **order)])


@settings(deadline=None)
@given(TEXTS, RATES, RATES, LEVELS, st.integers(1, 40), st.integers(0, 3))
def test_documents_come_back_whole_from_their_tokens(texts, rate, spm_rate, level, seq_length, seed) -> None:
    transform = middles(rate, spm_rate, level, seed, seq_length)
    tokens = tokens_of(texts, transform, seed=seed, shuffle=False, epochs=1)
    kinds = iter(pieces_of(tokens))
    for text in (text for shard in texts for text in shard):
        whole = b""
        for number, piece in enumerate(cut(text, max(1, seq_length * 3))):
            kind, parts = next(kinds)
            whole += b"".join(parts)
            if not kind:
                assert number == 0 and whole == text.encode()
                break
            assert b"".join(parts) == piece.encode()
        assert whole == text.encode()
    assert next(kinds, None) is None


@settings(deadline=None)
@given(TEXTS, RATES, LEVELS, st.integers(2, 30), st.integers(1, 5), st.integers(0, 25), st.integers(0, 25))
def test_resume_after_any_window_and_again_is_exact(texts, rate, level, seq_length, block, first, second) -> None:
    transform, order = middles(rate, level=level, seq_length=seq_length), Order(seed=7, lane=2)

    def run(start: Cursor):
        return windows(shards_of(*texts), order, Reading(1, block), BytesEncoder(), seq_length, start, transform)

    whole = list(islice(run(Cursor()), 60))
    cursor = whole[first - 1][1] if first else Cursor()
    part = list(islice(run(cursor), second))
    cursor = part[-1][1] if part else cursor
    rest = list(islice(run(cursor), 60 - first - second))
    expected = [window.tolist() for window, _ in whole]
    assert [window.tolist() for window, _ in [*part, *rest]] == expected[first:]
    assert [at for _, at in [*part, *rest]] == [at for _, at in whole[first:]]


@settings(deadline=None)
@given(TEXTS, st.integers(2, 30), st.integers(0, 3))
def test_documents_that_are_not_drawn_are_what_they_were(texts, seq_length, seed) -> None:
    plain = packed(texts, None, seq_length, seed=seed)
    none_drawn = packed(texts, middles(0.0, seq_length=seq_length), seq_length, seed=seed)
    assert [(window.tolist(), at) for window, at in none_drawn] == [(window.tolist(), at) for window, at in plain]
    before = documents_of(np.concatenate([window for window, _ in plain]))
    pieces = pieces_of(tokens_of(texts, middles(0.5, seq_length=1000), seed=seed))
    assert [b"".join(parts).decode() for _, parts in pieces] == before


@settings(deadline=None)
@given(TEXTS, LEVELS, st.integers(2, 30), st.integers(1, 5), st.integers(0, 40), st.sampled_from(["windows", "documents"]))
def test_tracing_names_prefix_suffix_and_middle(texts, level, seq_length, block, first, kind) -> None:
    shards, order = shards_of(*texts), Order(seed=7, lane=2, epochs=3)
    stream = StreamConfig(seq_length=seq_length, block_documents=block, block_windows=5, order=kind)
    transform = middles(0.7, level=level, seq_length=seq_length)
    made = windows(shards, order, reading(stream, False), BytesEncoder(), seq_length, Cursor(), transform)
    whole = list(in_order(made, order, stream, False, LaneState()))
    first = min(first, len(whole) - 1)
    start = whole[first - 1][1] if first else LaneState()
    traced = trace(shards, order, stream, BytesEncoder(), start, 10, transform)
    assert [tokens.tolist() for tokens, _ in traced] == [tokens.tolist() for tokens, _ in whole[first : first + 10]]
    homes = {MARKS.prefix: {"prefix", "suffix"}, MARKS.suffix: {"suffix"}, MARKS.middle: {"middle", "prefix"}}
    for tokens, documents in traced:
        for document in documents:
            start, stop = document["tokens"]
            parts = document.get("parts", [])
            if not parts:
                assert not np.isin(tokens[start:stop], list(MARKS)).any()
                continue
            assert [start, *(part["tokens"][1] for part in parts)] == [*(part["tokens"][0] for part in parts), stop]
            for part in parts:
                content = tokens[slice(*part["tokens"])].tolist()
                assert all(part["name"] in homes[each] for each in content if each in homes)
                ends = part["tokens"][1] < stop and part["name"] == "middle"
                assert content.count(END) == (content[-1] == END) and (content[-1] == END or not ends)


def test_a_document_is_drawn_by_its_text_and_the_epoch_and_not_by_its_place() -> None:
    texts = [f"document {number}\n" for number in range(300)]
    one = middles(0.5, seq_length=100)
    drawn = {text for text in texts if one.of_text(text, 0)}
    assert drawn == {text for text in reversed(texts) if one.of_text(text, 0)}
    assert drawn != {text for text in texts if one.of_text(text, 1)}, "another epoch draws others"
    assert drawn != {text for text in texts if middles(0.5, seed=1, seq_length=100).of_text(text, 0)}
    forward, backward = (tokens_of([each], one, epochs=1) for each in (texts, texts[::-1]))
    assert sorted(map(str, pieces_of(forward))) == sorted(map(str, pieces_of(backward)))
    many = {text for text in texts if middles(0.8, seq_length=100).of_text(text, 0)}
    assert drawn < many, "a higher rate adds documents"


def test_rates_are_kept_within_statistical_bounds() -> None:
    texts = [f"x{number} = {number * number}" for number in range(4000)]
    pieces = pieces_of(tokens_of([texts], middles(0.3, 0.25, seq_length=100), epochs=1))
    changed = [parts for kind, parts in pieces if kind]
    # Four standard deviations of a binomial distribution.
    assert abs(len(changed) - 0.3 * 4000) < 4 * (4000 * 0.3 * 0.7) ** 0.5
    made = [found for text in texts if (found := middles(1.0, 0.25, seq_length=100).of_text(text, 0))]
    first = [next(each).arrange([np.array([1]), np.array([2]), np.array([3])])[0].name for each in made]
    assert abs(first.count("suffix") - 0.25 * 4000) < 4 * (4000 * 0.25 * 0.75) ** 0.5


def test_cuts_are_uniform_over_the_characters_and_never_inside_a_line_end() -> None:
    counts, text = np.zeros(11), "a = 1 + 23"
    for epoch in range(4000):
        piece = only(middles(1.0, seq_length=100), text, epoch)
        counts[len(piece.texts[0])] += 1
        counts[len(piece.texts[0]) + len(piece.texts[1])] += 1
    assert counts.sum() == 8000 and np.abs(counts - 8000 / 11).max() < 4 * (8000 * 10 / 121) ** 0.5 * 1.5
    for epoch in range(300):
        piece = only(middles(1.0, seq_length=100), "ab\r\n\r\ncd\r\n", epoch)
        assert "".join(piece.texts) == "ab\r\n\r\ncd\r\n" and not any(part.startswith("\n") for part in piece.texts)


def test_lines_are_cut_at_their_starts_and_tokens_between_them(tokenizer_json) -> None:
    text = "def f(x):\n    return x\n\n\nprint(f(1))"
    for epoch in range(100):
        piece = only(middles(1.0, level="line", seq_length=100), text, epoch)
        assert "".join(piece.texts) == text
        assert all(part.endswith("\n") or not part or text.endswith(part) for part in piece.texts[:2])
    encoder = make_encoder(tokenizer_json, 0)
    own = middles(1.0, 0.0, level="token", seq_length=100)
    whole, _ = encoder.encode([text])
    for epoch in range(20):
        piece = only(own, text, epoch)
        prefix, suffix, middle = (part.tokens[1:] for part in piece.arrange([whole]))
        assert [*prefix, *middle[:-1], *suffix] == whole.tolist()


def test_pieces_are_a_window_and_end_with_lines() -> None:
    text = "".join(f"line {number} of a long document\n" for number in range(400))
    pieces = list(middles(1.0, seq_length=32).of_text(text, 0) or ())
    assert "".join(part for piece in pieces for part in piece.texts) == text
    assert all(len("".join(piece.texts)) <= 96 and "".join(piece.texts).endswith("\n") for piece in pieces)
    assert len(pieces) < len(text) / 96 * 1.6


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    rng = np.random.default_rng(0)
    for index, size in enumerate((40, 25, 60)):
        lines = [json.dumps({"content": f"{index}.{row} " + "x\n" * int(rng.integers(0, 60))}) for row in range(size)]
        (folder / f"train-{index}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def run(
    files: Path,
    transform: Middles | None,
    world_size: int,
    micro_batch: int,
    steps: int,
    state=None,
    order: Any = "windows",
    packing: Any = "concatenate",
):
    """Return each step's global batch of 8 windows, in the order of the run, and the merged state behind them."""
    stream = StreamConfig(train=str(files), seq_length=32, lanes=4, block_windows=7, order=order, packing=packing)
    shares = []
    for rank in range(world_size):
        ranks: dict[str, Any] = {"rank": rank, "world_size": world_size}
        dataset = ConstantLengthDataset(stream, BytesEncoder(), seed=3, transform=transform, **ranks)
        if state is not None:
            dataset.load_state_dict(json.loads(json.dumps(state)))
        shares.append(dataset)
    out = np.empty((steps, 8, 32), np.int64)
    for rank, dataset in enumerate(shares):
        with dataset.batches(micro_batch) as batches:
            for step in range(steps):
                out[step, rank::world_size] = np.concatenate([next(batches) for _ in range(8 // world_size // micro_batch)])
    return out, merge_states([dataset.state_dict() for dataset in shares])


@pytest.mark.parametrize(
    ("order", "packing"), [("windows", "concatenate"), ("documents", "concatenate"), ("windows", "best_fit")]
)
def test_any_world_size_and_resume_see_the_same_global_batches(files, order, packing) -> None:
    transform = middles(0.5, seq_length=32)
    whole, end = run(files, transform, 1, 8, 40, order=order, packing=packing)
    assert np.isin(whole, list(MARKS)).any() and not np.isin(whole, list(MARKS)).all(axis=2).any()
    first, state = run(files, transform, 4, 2, 13, None, order, packing)
    second, state = run(files, transform, 2, 1, 9, state, order, packing)
    third, last = run(files, transform, 1, 4, 18, state, order, packing)
    np.testing.assert_array_equal(np.concatenate([first, second, third]), whole)
    assert last == end and len(json.dumps(end)) < 2000


def test_a_position_belongs_to_its_settings(files) -> None:
    plain, half = run(files, None, 1, 8, 1)[1], run(files, middles(0.5, seq_length=32), 1, 8, 1)[1]
    assert "objective" not in plain
    assert half["objective"] == {"fim_rate": 0.5, "fim_spm_rate": 0.5, "fim_level": "character"}
    with pytest.raises(CodeparrotError, match=r"fim_rate 0\.5 fim_spm_rate 0\.5 fim_level character, not fim_rate 0; set"):
        run(files, None, 1, 8, 1, half)
    with pytest.raises(CodeparrotError, match=r"fim_rate 0, not fim_rate 0\.5 fim_spm_rate 0\.5 fim_level line; set"):
        run(files, middles(0.5, level="line", seq_length=32), 1, 8, 1, plain)


def test_text_that_spells_a_sentinel_stays_text(tmp_path, corpus) -> None:
    from transformers import AutoTokenizer

    from codeparrot.tokenizer.train import train

    train(str(corpus), str(tmp_path / "t"), vocab_size=300, sample_bytes=50_000)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "t")
    sentinels = sentinels_of(tokenizer)
    assert sentinels is not None
    text = "a = '<fim_prefix><fim_suffix><fim_middle><|endoftext|>'\n"
    encoder = make_encoder(tokenizer.backend_tokenizer.to_str(), 0)
    own = Middles(1.0, 0.5, "character", 0, 64, sentinels, 0)
    for epoch in range(30):
        piece = only(own, text, epoch)
        flat, offsets = encoder.encode(list(piece.texts))
        parts = piece.arrange([flat[start:stop] for start, stop in pairwise(offsets)])
        tokens = np.concatenate([part.tokens for part in parts]).tolist()
        assert sorted(each for each in tokens if each < 7) == [0, *sorted(sentinels)]
        assert "".join(tokenizer.decode(flat[start:stop]) for start, stop in pairwise(offsets)) == text


def test_restored_documents_of_windows_tokenised_before() -> None:
    rng = np.random.default_rng(0)
    window = rng.integers(97, 110, 200).astype(np.uint32)
    window[[20, 21, 90, 150]] = END
    parts = middles(1.0, seq_length=40).of_tokens(window, 0)
    tokens = np.concatenate([*(part.tokens for part in parts)])
    assert b"".join(restored(tokens)) == window[window != END].astype(np.uint8).tobytes()
    assert [part.tokens.tolist() for part in parts if not part.name] == [[END]], "an empty document stays"
    plain = middles(0.0, seq_length=40).of_tokens(window, 0)
    assert np.concatenate([part.tokens for part in plain]).tolist() == window.tolist()
