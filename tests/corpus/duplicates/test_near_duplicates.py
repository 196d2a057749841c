"""Near duplicates: which documents of known similarity are found, and that nothing else matters."""

import itertools
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codeparrot.corpus.documents import Candidate, Document
from codeparrot.corpus.duplicates.choice import KEPT, band_parts, choose
from codeparrot.corpus.duplicates.pairs import Documents, find_pairs, same_neighbours
from codeparrot.corpus.hashes import fingerprint, position
from codeparrot.corpus.minhash.bands import NearDuplicates, bands_of
from codeparrot.corpus.minhash.shingles import shingles
from codeparrot.corpus.minhash.signatures import NO_SHINGLES, band_keys, signatures
from codeparrot.corpus.segments import Segment, SegmentWriter
from codeparrot.errors import CodeparrotError
from tests.corpus.planted import Planted, documents, pairs, similar

SETTINGS = NearDuplicates()


def candidate(planted: Planted, stars: int = -1) -> Candidate:
    document = Document(*planted[:2], len(planted.content.encode()), planted.content, "MIT")
    whole = position(1, *planted)
    return Candidate(document, fingerprint(planted.content), position(0, *planted[:2]), whole, stars)


def segments_of(folder: Path, candidates: list[Candidate], sizes: list[int], settings: NearDuplicates) -> list[Segment]:
    """Write candidates to segments of these sizes, and the rest to one more segment."""
    waiting, written = iter(candidates), []
    for number, size in enumerate([*sizes, len(candidates)]):
        place = folder / f"{number}"
        place.mkdir(parents=True)
        writer = SegmentWriter(place, settings, 0, 0)
        for each in itertools.islice(waiting, size):
            writer.add(each)
        writer.close()
        written.append(Segment(place))
    return written


def kept(
    folder: Path, candidates: list[Candidate], sizes: list[int] | None = None, settings: NearDuplicates = SETTINGS
) -> set[tuple[str, str]]:
    segments = segments_of(folder, candidates, sizes or [], settings)
    found = Documents(segments)
    tasks = band_parts(len(found), folder / "pairs", settings)
    for task in tasks:
        find_pairs(task, segments, settings)
    verdicts, _ = choose(found, [task.output for task in tasks])
    assert len(verdicts) == len(candidates)
    return {each.document[:2] for each, verdict in zip(candidates, verdicts, strict=True) if verdict == KEPT}


@pytest.mark.parametrize(
    ("similarity", "least", "most"),
    [
        (0.5, 0, 0),
        (0.6, 0, 0.02),
        (0.65, 0, 0.2),
        (0.75, 0.75, 0.95),
        (0.8, 0.98, 1),
        (0.85, 0.99, 1),
        (0.9, 1, 1),
        (0.95, 1, 1),
    ],
)
def test_pairs_are_found_by_their_similarity(tmp_path: Path, similarity: float, least: float, most: float) -> None:
    planted = pairs(similarity, 200)
    left = kept(tmp_path, [candidate(each) for pair in planted for each in pair])
    found = sum(sum(each[:2] in left for each in pair) == 1 for pair in planted)
    assert least <= found / len(planted) <= most
    assert all(any(each[:2] in left for each in pair) for pair in planted)


def test_documents_with_nothing_in_common_are_all_kept(tmp_path: Path) -> None:
    planted = documents(500)
    assert len(kept(tmp_path, [candidate(each) for each in planted])) == 500


def test_neither_order_nor_segments_matter(tmp_path: Path) -> None:
    planted = [each for level in (0.6, 0.7, 0.75, 0.8, 0.9) for pair in pairs(level, 20) for each in pair]
    # Chains: neighbours are similar, the ends are not.
    generator = random.Random(0)
    tokens = [f"t{number}" for number in range(1500)]
    planted += [Planted("chain", f"{start}", " ".join(tokens[start : start + 900])) for start in range(0, 600, 60)]
    planted += [each._replace(path="copy") for each in planted[::7]]
    candidates = [candidate(each) for each in planted]
    expected = kept(tmp_path / "first", candidates)
    assert len(expected) < len(planted) - 40
    for trial in range(3):
        generator.shuffle(candidates)
        assert kept(tmp_path / str(trial), candidates, [generator.randrange(60) for _ in range(4)]) == expected


def test_a_band_in_parts_finds_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planted = [candidate(each) for pair in pairs(0.8, 40) for each in pair]
    expected = kept(tmp_path / "whole", planted)
    monkeypatch.setattr("codeparrot.corpus.duplicates.choice.PART_DOCUMENTS", 7)
    assert len(band_parts(80, tmp_path, SETTINGS)) == 12 * (1 + bands_of(SETTINGS).number)
    assert kept(tmp_path / "parts", planted) == expected


def test_the_one_with_most_stars_is_kept_then_the_longest_then_by_hash(tmp_path: Path) -> None:
    first, second, _ = similar(random.Random(1), 0.9)
    short, long = sorted((first, second + "    # a longer one\n"), key=len)
    few = [
        candidate(Planted("a", "short", short), 7),
        candidate(Planted("b", "long", long), 2),
        candidate(Planted("c", "copy", long)),
    ]
    assert kept(tmp_path / "stars", few) == {("a", "short")}
    assert kept(tmp_path / "length", [*few[1:], candidate(Planted("a", "short", short), 2)]) == {("b", "long")}
    same = [candidate(Planted(name, "same", long)) for name in "abcdef"]
    (one,) = kept(tmp_path / "hash", same)
    assert one == min(same, key=lambda each: each.whole).document[:2]
    assert kept(tmp_path / "turned", same[::-1]) == {one}


def test_texts_of_fewer_tokens_than_a_shingle_are_compared_as_a_whole_and_without_tokens_not_at_all(tmp_path: Path) -> None:
    texts = ["a b c", "a  b, c", "a b d", "a b", "", "+ +", "- -", "...", " . . ."]
    left = kept(tmp_path, [candidate(Planted("r", str(number), text)) for number, text in enumerate(texts)])
    names = sorted(int(path) for _, path in left)
    assert len({0, 1} & set(names)) == 1 and {2, 3, 4, 5, 6} <= set(names)
    assert len({7, 8} & set(names)) == 1  # the same except for white space


def test_without_a_threshold_only_exact_ones_are_removed(tmp_path: Path) -> None:
    planted = [candidate(each) for pair in pairs(0.95, 10) for each in pair]
    off = NearDuplicates(threshold=0)
    assert (
        len(kept(tmp_path, [*planted, planted[0]._replace(document=planted[0].document._replace(path="x"))], settings=off))
        == 20
    )


def test_bands_find_what_is_halfway_to_one() -> None:
    for threshold, permutations in itertools.product((0.5, 0.7, 0.85, 0.95), (64, 128, 256)):
        bands = bands_of(NearDuplicates(threshold=threshold, permutations=permutations))
        assert bands.number * bands.rows <= permutations
        assert bands.probability((1 + threshold) / 2) >= 0.999
    assert bands_of(SETTINGS) == (28, 9)


def test_estimates_are_without_bias_and_as_sharp_as_theory_says() -> None:
    for similarity in (0.5, 0.7, 0.85, 0.95):
        generator, errors = random.Random(5), []
        for _ in range(200):
            first, second, exact = similar(generator, similarity)
            rows = signatures([shingles(text.encode(), 5) for text in (first, second)], 256)
            errors.append((rows[0] == rows[1]).mean() - exact)
        deviation = (similarity * (1 - similarity) / 256) ** 0.5
        assert abs(np.mean(errors)) < 4 * deviation / len(errors) ** 0.5
        assert np.std(errors) < 1.25 * deviation


PROGRAM = """
from codeparrot.corpus.minhash.shingles import shingles
from codeparrot.corpus.minhash.bands import NearDuplicates, bands_of
from codeparrot.corpus.minhash.signatures import band_keys, signatures
rows = signatures([shingles(b"def f(x): return x + 1", 5), shingles(b"", 5)], 256)
print(rows[0, :3].tolist(), int(rows.sum()), int(band_keys(rows, bands_of(NearDuplicates())).sum()))
"""


def test_signatures_are_the_same_in_every_process_and_release() -> None:
    runs = [subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True) for _ in range(2)]
    assert {run.stdout.strip() for run in runs} == {FROZEN}


FROZEN = "[3418675049, 3554682638, 3644891180] 2004151493614 17143599239573966053"


def test_a_text_without_tokens_is_in_no_band() -> None:
    rows = signatures([shingles(b"", 5), shingles(b"x", 5)], 256)
    assert set(rows[0].tolist()) == {NO_SHINGLES}
    keys = band_keys(rows, bands_of(SETTINGS))
    assert not keys[:, 0].any() and keys[:, 1].all()


@given(st.lists(st.integers(0, 5)))
def test_groups_are_the_runs_of_equal_keys(keys: list[int]) -> None:
    array = np.sort(np.array(keys, np.uint64))
    found = [array[start:end].tolist() for start, end in same_neighbours(array)]
    assert found == [run for _, each in itertools.groupby(array.tolist()) if len(run := list(each)) > 1]


@pytest.mark.parametrize("wrong", [{"threshold": -0.1}, {"threshold": 1.5}, {"ngram": 0}, {"permutations": 0}])
def test_settings_that_mean_nothing_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(CodeparrotError, match=next(iter(wrong))):
        NearDuplicates(**wrong).check()  # pyright: ignore[reportArgumentType]
