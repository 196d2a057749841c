"""The short version of benchmarks/faults.py."""

import os
import subprocess

import pytest

from benchmarks.faults import torture
from tests.launching import ROOT, curve, run, train_command, weights, write_config

STEPS = 400
"""Enough for four kills to leave some: between kills the run continues for a third of a second at most."""


@pytest.mark.slow
def test_a_run_killed_at_random_moments_ends_with_the_bits_of_the_uninterrupted_one(tmp_path, corpus, tokenizer_folder) -> None:
    often = {"every_steps": 4, "keep_last": 2}
    config = write_config(tmp_path / "c.yaml", corpus, tokenizer_folder, checkpoint=often, train={"max_steps": STEPS})
    run(config, "--run.name", "whole", num_processes=2)
    tiny, whole = tmp_path / "runs" / "tiny", tmp_path / "runs" / "whole"

    def start() -> "subprocess.Popen[bytes]":
        command, silent = [*train_command(2), "--config", str(config)], subprocess.DEVNULL
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(command, stdout=silent, stderr=silent, cwd=ROOT, env=environment)

    faults = torture(start, tiny, kills=4, wait_seconds=0.3)
    assert [fault.during_save for fault in faults] == [False, True, False, True]
    assert curve(tiny) == curve(whole)
    assert weights(tiny, STEPS) == weights(whole, STEPS)
