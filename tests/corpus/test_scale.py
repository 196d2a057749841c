"""The short version of benchmarks/scale_corpus.py, and its arithmetic."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import scale_documents
from benchmarks.scale_corpus import exponent, fitted, main, ratios
from benchmarks.scale_documents import BAD, EXACT, NEAR, UNIQUE
from benchmarks.scale_extrapolation import BYTES, DOCUMENTS, extrapolate, growing


def test_what_is_planted_has_its_shares_and_copies_belong_to_unique_documents() -> None:
    planned = scale_documents.plan(10_000)
    counts = np.bincount(planned.kind).tolist()
    assert counts == [6000, 1500, 1500, 50, 950]
    copies = np.isin(planned.kind, [EXACT, NEAR])
    assert np.all(planned.kind[planned.origin[copies]] == UNIQUE)
    assert np.array_equal(planned.origin[~copies], np.flatnonzero(~copies))
    assert sum(planned.removed().values()) == 950


@pytest.mark.slow
def test_texts_are_drawn_once_and_for_all_and_share_nothing_but_what_is_copied() -> None:
    planned, solved = scale_documents.plan(300), scale_documents.solutions()
    texts = [scale_documents.content(number, planned, solved) for number in range(300)]
    assert texts == [scale_documents.content(number, planned, solved) for number in range(300)]
    for number, text in enumerate(texts):
        origin = texts[planned.origin[number]]
        if planned.kind[number] == EXACT:
            assert text and origin and text != origin and text.split() == origin.split()
        elif planned.kind[number] == NEAR:
            assert text and origin and text.startswith(origin + b"# ")
        elif planned.kind[number] != BAD:
            assert texts.count(text) == 1
    larger = scale_documents.content(int(planned.origin[0]), scale_documents.plan(300, 10), solved)
    assert larger and len(larger) > 2500


@pytest.mark.slow
def test_a_small_corpus_is_kept_as_planted_and_measured_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figures = main("600", "2000", "600x10", place=tmp_path)
    for each in figures:
        assert each["kept"] == each["expected"] == 0.6 * each["documents"]
        assert each["recall"] == 1
        assert each["removed_as_planted"]
        assert not any(each[name] for name in ("lost", "twice", "bad_kept", "texts_differ", "in_both_splits"))
        assert each["peak_memory_bytes"] > each["stages"]["read"]["own_at_end"] > 10_000_000
        assert each["peak_disk_bytes"] > each["corpus_bytes"] > 0
        stages = each["stages"]
        assert stages["tasks of read"]["cpu_seconds"] <= stages["read"]["cpu_seconds"] <= each["cpu_seconds"]
    assert [file.name for file in tmp_path.iterdir()] == ["scale.json"]
    assert main("600", "2000", "600x10", place=tmp_path) == figures
    capsys.readouterr()
    extrapolate(json.loads((tmp_path / "scale.json").read_text(encoding="utf-8")))
    printed = capsys.readouterr().out
    assert "one node of 64 cores" in printed
    assert "in one process" in printed


def _figures(documents: int, seconds: float, **others: Any) -> dict[str, Any]:
    return {"documents": documents, "cpu_seconds": seconds, "stages": {}, **others}


def test_an_exponent_is_the_slope_on_logarithmic_scales() -> None:
    small, middle, large = _figures(100, 1.0), _figures(1000, 10.0), _figures(10_000, 1000.0)
    assert exponent(small, middle, ("cpu_seconds",)) == pytest.approx(1)
    assert exponent(middle, large, ("cpu_seconds",)) == pytest.approx(2)
    assert fitted([small, middle, large], ("cpu_seconds",)) == pytest.approx(1.5)


def test_what_misses_a_target_says_so() -> None:
    facts = {"peak_memory_bytes": 3e9, "recall": 0.9, "kept": 99, "expected": 100, "lost": 1, "twice": 2, "bad_kept": 3}
    found = ratios([_figures(100, 1.0), _figures(1000, 20.0, **facts)])
    assert len(found) == 8
    assert not any(each.reached for each in found)


def test_an_extrapolation_shows_its_arithmetic() -> None:
    line = growing("read", 1e-3, 1.1, 60_000)
    assert line.seconds == pytest.approx(6e8 * 1e-3 * (6e8 / 6e4) ** 0.1)
    assert line.arithmetic == "6e+08 x 1e+03 us x (6e+08 / 6e+04)^0.100"
    assert growing("read", 1e-3, 0.9, 60_000).seconds == pytest.approx(6e5)
    assert (DOCUMENTS, BYTES) == (600_000_000, 3 * 10**12)
