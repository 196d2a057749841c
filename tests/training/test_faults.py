"""The short version of benchmarks/faults.py."""

from typing import Any

import pytest

from benchmarks.faults import torture
from tests.launching import curve, run, start, weights, write_config

STEPS = 240
"""Enough for four kills to leave some: between kills the run continues for a third of a second at most, and saves every 4."""


@pytest.mark.slow
def test_a_run_killed_at_random_moments_ends_with_the_bits_of_the_uninterrupted_one(tmp_path, corpus, tokenizer_folder) -> None:
    often = {"every_steps": 4, "keep_last": 2}
    config = write_config(tmp_path / "c.yaml", corpus, tokenizer_folder, checkpoint=often, train={"max_steps": STEPS})
    run(config, "--run.name", "whole", "--checkpoint.every_steps", str(STEPS), num_processes=2)
    tiny, whole = tmp_path / "runs" / "tiny", tmp_path / "runs" / "whole"

    def again() -> Any:
        """New processes, which are killed with all that they hold: only their imports, most of the time, are not made anew."""
        return start(config, num_processes=2)

    faults = torture(again, tiny, kills=4, wait_seconds=0.3)
    assert [fault.during_save for fault in faults] == [False, True, False, True]
    assert curve(tiny) == curve(whole)
    assert weights(tiny, STEPS) == weights(whole, STEPS)
