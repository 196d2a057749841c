"""`make gpu-trial` in its tiny form on the CPU: every part runs, and one that fails, hangs or needs too much is told."""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import gpu
from benchmarks.gpu_parts import PARTS, Trial
from tests.launching import ROOT, require


@pytest.mark.slow
def test_the_whole_trial_runs_on_a_cpu_and_prints_a_line_for_each_part() -> None:
    require("g++", "torch.compile and DeepSpeed build C++ on the CPU")
    command = [sys.executable, "-m", "benchmarks.gpu", "--device", "cpu", "--tiny", "--minutes", "20"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line["part"] for line in lines] == ["machine", *PARTS]
    found = {line["part"]: line for line in lines}
    assert not [line for line in lines if "error" in line]
    gates = ("forward", "waits", "DDP", "FSDP2", "ZeRO-2", "generation")
    assert {name: found[name]["passed"] for name in gates} == dict.fromkeys(gates, True)
    assert found["waits"]["steps_checked"] == 18 and found["kernels"]["attention"]
    assert all(found[name]["tokens_per_second"] > 0 for name in PARTS if name.startswith(("small", "xl", "plain")))


def test_without_a_gpu_it_says_how_to_try_it(monkeypatch, capsys) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["gpu"])
    assert gpu.main() == 2
    assert "torch sees no GPU here; --device cpu --tiny tries the trial itself" in capsys.readouterr().err


@pytest.mark.slow
def test_a_part_that_does_not_end_in_time_is_ended_and_told(tmp_path: Path) -> None:
    arguments = argparse.Namespace(device="cpu", tiny=True)
    assert gpu._in_a_process("forward", arguments, tmp_path, 0.5) == {"error": "not ended after 0 s"}
    lost = gpu._in_a_process("forward", argparse.Namespace(device="tpu", tiny=True), tmp_path, 100)
    assert lost["passed"] is False and lost["error"].startswith("status 2: ") and "'tpu'" in lost["error"]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory.\nmore"), {"error": "CUDA out of memory."}),
        (ValueError("no number"), {"passed": False, "error": "no number"}),
    ],
)
def test_memory_that_runs_out_is_a_finding_and_another_error_a_failure(monkeypatch, tmp_path, error, expected) -> None:
    def part(trial: Trial) -> None:
        raise error

    monkeypatch.setitem(PARTS, "forward", part)
    found = gpu._run_part("forward", Trial("cpu", True, tmp_path))
    assert found.get("passed") == expected.get("passed")
    assert expected["error"] in found["error"]
