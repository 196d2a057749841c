"""What a benchmark has measured is kept, and another process's measurements beside it."""

import json
from pathlib import Path

import pytest

from benchmarks.measured import Measured, interval


def test_what_was_measured_is_not_measured_again(tmp_path: Path) -> None:
    file = tmp_path / "kept.json"
    assert Measured(file).of("a", lambda number: number / 2, 3) == 1.5
    assert Measured(file).of("a", lambda: pytest.fail("it was measured")) == 1.5


def test_what_another_process_measured_meanwhile_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "kept.json"

    def slow() -> float:
        Measured(file).of("b", lambda: 2.0)
        return 1.0

    assert Measured(file).of("a", slow, unit="bits a byte") == 1.0
    assert json.loads(file.read_text(encoding="utf-8")) == {"b": 2.0, "a": 1.0}


def test_an_interval_names_the_mean_its_half_width_and_the_values() -> None:
    assert interval([1.0, 2.0, 3.0], "bits") == "2.0000 +- 2.4843 bits (1.0000, 2.0000, 3.0000)"
