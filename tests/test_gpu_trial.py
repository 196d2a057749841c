"""`make gpu-trial` in its tiny form on the CPU: every part runs, and one that fails, hangs or needs too much is told."""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch
from torch._C._autograd import DeviceType

from benchmarks import gpu, gpu_launched
from benchmarks.gpu_parts import ALIKE_WHEN_TINY, GATES, PARTS, times_of
from benchmarks.gpu_trial import Trial
from codeparrot.arguments import parse_config
from tests.launching import ROOT, completed, require
from tests.warm import BELOW


@pytest.mark.slow
@pytest.mark.timeout(20 * 60)  # the trial's own limit, which ends it with a line for each part
def test_the_whole_trial_runs_on_a_cpu_and_prints_a_line_for_each_part() -> None:
    require("g++", "torch.compile builds C++ on the CPU")
    command = [sys.executable, "-m", "benchmarks.gpu", "--device", "cpu", "--tiny", "--minutes", "20"]
    # The workers of torch.compile would import torch once more in each part. Its processes are forked: how they start, and
    # end, is that of the tests below.
    environment = {**os.environ, "TORCHINDUCTOR_COMPILE_THREADS": "1", BELOW: "1"}
    done = completed(command, ROOT, environment, timeout=20 * 60)
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert done.returncode == 0, done.stdout + done.stderr
    found = {line["part"]: line for line in lines}
    assert [*found] == [name for name in PARTS if name not in ALIKE_WHEN_TINY]
    assert not [line for line in lines if "error" in line]
    assert {name: found[name]["passed"] for name in GATES} == dict.fromkeys(GATES, True)
    assert found["waits"]["steps_checked"] == 18 and found["kernels"]["attention"]
    assert all(line["tokens_per_second"] > 0 for name, line in found.items() if name.startswith(("small", "xl", "plain")))


@pytest.mark.parametrize("tiny", [True, False])
def test_the_recipes_of_all_parts_can_be_run(tmp_path: Path, tiny: bool) -> None:
    """Those that the tiny form leaves out too, and the lanes and batches of eight processes."""
    trial = Trial("cuda", tiny, tmp_path)
    assert [parse_config(trial.config(name)).model["n_layer"] for name in ("small", "xl")] == ([2, 2] if tiny else [12, 48])
    lanes = parse_config(trial.config("small", "--stream.lanes", "32")).stream.lanes
    assert lanes == 32


@pytest.mark.parametrize(("gpus", "processes"), [(1, 1), (2, 2), (3, 2), (8, 8), (16, 8)])
def test_runs_are_launched_on_all_gpus(monkeypatch, tmp_path: Path, gpus: int, processes: int) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert gpu_launched._processes(Trial("cuda", True, tmp_path)) == processes
    assert gpu_launched._processes(Trial("cpu", True, tmp_path)) == 1


def obstacle(monkeypatch, capsys, *arguments: str) -> str:
    monkeypatch.setattr(sys, "argv", ["gpu", *arguments])
    assert gpu.main() == 2
    return capsys.readouterr().err


def test_without_a_gpu_it_says_why_and_how_to_try_it(monkeypatch, capsys) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", None)
    remedy = "; --device cpu --tiny tries the trial itself"
    said = f"torch sees no GPU here (torch {torch.__version__} is built without CUDA){remedy}"
    assert said in obstacle(monkeypatch, capsys)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    assert f"(look for it with nvidia-smi and in CUDA_VISIBLE_DEVICES){remedy}" in obstacle(monkeypatch, capsys)

    def old_driver() -> bool:
        import warnings

        warnings.warn("CUDA initialization: The NVIDIA driver on your system is too old (found version 11040).\n", stacklevel=1)
        return False

    monkeypatch.setattr(torch.cuda, "is_available", old_driver)
    assert "(CUDA initialization: The NVIDIA driver on your system is too old" in obstacle(monkeypatch, capsys)


def test_without_an_environment_it_says_which_to_name(monkeypatch, capsys) -> None:
    monkeypatch.setattr(gpu, "find_spec", lambda name: None if name in ("torch", "accelerate") else True)
    said = obstacle(monkeypatch, capsys, "--device", "cpu")
    assert f"{sys.executable} has no torch, accelerate; name the environment" in said and "VENV=FOLDER" in said


def run_alone(name: str, device: str, folder: Path, seconds: float) -> dict[str, Any]:
    return gpu._in_a_process(name, argparse.Namespace(device=device, tiny=True), folder, seconds, [])


@pytest.mark.slow
def test_a_part_that_does_not_end_in_time_is_ended_and_told(tmp_path: Path) -> None:
    hung = run_alone("forward", "cpu", tmp_path, 1.5)
    assert hung["passed"] is False and hung["error"] == "not ended after 2 s"
    assert "Current thread" in hung["log"]
    assert run_alone("kernels", "cpu", tmp_path, 1)["passed"] is None
    lost = run_alone("forward", "tpu", tmp_path, 100)
    assert lost["passed"] is False and lost["error"].startswith("status 2: ") and "'tpu'" in lost["error"]


def test_what_a_part_has_started_ends_with_it() -> None:
    """torchrun's processes are in sessions of their own."""
    inner = "import subprocess; subprocess.Popen(['sleep', '60'], start_new_session=True); print('on', flush=True); input()"
    part = subprocess.Popen([sys.executable, "-c", inner], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert part.stdout is not None and part.stdout.readline() == "on\n"
    (child,) = psutil.Process(part.pid).children()
    gpu._end(part)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


def test_one_part_that_hangs_leaves_time_for_the_others(monkeypatch, tmp_path: Path) -> None:
    asked: dict[str, float] = {}

    def part(name: str, arguments: Any, folder: Path, seconds: float, running: Any) -> dict[str, Any]:
        asked[name] = seconds
        return {"side_by_side": 2} if name == "machine" else {"passed": True}

    monkeypatch.setattr(gpu, "_in_a_process", part)
    monkeypatch.setattr("codeparrot.verify.trials.make_data", lambda folder: None)
    arguments = argparse.Namespace(device="cpu", tiny=False, minutes=10, part=None)
    assert {line["part"] for line in gpu._trial(arguments, tmp_path)} == set(PARTS) == set(asked)
    assert max(asked.values()) <= 0.4 * 600
    first, *rest = asked
    assert first == "machine" and set(rest[: len(GATES)]) == set(GATES)


def test_a_gpu_that_cannot_be_used_ends_the_trial(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(gpu, "_in_a_process", lambda *_: {"passed": False, "error": "CUDA-capable device(s) is/are busy"})
    arguments = argparse.Namespace(device="cuda", tiny=False, minutes=10, part=None)
    assert [line["part"] for line in gpu._trial(arguments, tmp_path)] == ["machine"]


@pytest.mark.slow
def test_a_signal_ends_the_trial_and_its_parts() -> None:
    command = [sys.executable, "-m", "benchmarks.gpu", "--device", "cpu", "--tiny", "--part", "forward"]
    trial = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    own = psutil.Process(trial.pid)
    assert trial.stdout is not None and '"machine"' in trial.stdout.readline()
    while not (parts := own.children(recursive=True)):
        time.sleep(0.05)
    trial.terminate()
    _, said = trial.communicate(timeout=60)
    assert trial.returncode == 130 and "interrupted" in said
    _, alive = psutil.wait_procs(parts, timeout=10)
    assert not alive


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


def test_a_kernel_counts_once() -> None:
    """The profiler gives its time to the operation that started it as well, and to ranges that a user names."""

    def event(key: str, device: DeviceType, micros: float, count: int, named: bool = False) -> Any:
        fields = {"key": key, "device_type": device, "count": count, "is_user_annotation": named}
        return SimpleNamespace(**fields, self_device_time_total=micros, self_cpu_time_total=7.0)

    gemm, soft = event("sm90_gemm", DeviceType.CUDA, 30.0, 2), event("triton_softmax", DeviceType.CUDA, 10.0, 1)
    others = [event("aten::mm", DeviceType.CPU, 30.0, 2), event("step", DeviceType.CUDA, 40.0, 1, named=True)]
    assert times_of([soft, *others, gemm], cuda=True) == ({"sm90_gemm": 30.0, "triton_softmax": 10.0}, 3)
    assert [*times_of([soft, *others, gemm], cuda=False)[0]] == ["aten::mm"]
