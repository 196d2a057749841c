"""Processes agree at the same step, nobody waits for the answer, and no collective gives up before the watchdog has spoken."""

import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist
from torch.distributed import distributed_c10d

from codeparrot.config import Config
from codeparrot.training.agreement import Agreement
from codeparrot.training.processes import _join, longest_wait


def test_one_process_hears_itself_at_once() -> None:
    agreement = Agreement(SimpleNamespace(num_processes=1))
    assert [agreement.any_soon(flag) for flag in (False, True, False)] == [[False], [True], [False]]


@pytest.mark.parametrize(
    ("startup", "timeout", "expected"), [(30.0, 5.0, 31.0), (2.0, 120.0, 121.0), (1e300, 5.0, 30 * 24 * 60)]
)
def test_a_collective_waits_longer_than_the_watchdog(startup, timeout, expected) -> None:
    config = Config()
    config.train.startup_minutes, config.train.timeout_minutes = startup, timeout
    assert longest_wait(config) == timedelta(minutes=expected)


@pytest.mark.parametrize(("on_cpu", "expected"), [(False, ("nccl", torch.device("cuda", 1))), (True, ("gloo", None))])
def test_processes_meet_at_their_gpus_unless_they_are_to_compute_on_the_cpu(on_cpu, expected, monkeypatch) -> None:
    for name, value in {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    for name, wait in [(name, getattr(distributed_c10d, name)) for name in ("default_pg_timeout", "default_pg_nccl_timeout")]:
        monkeypatch.setattr(distributed_c10d, name, wait)  # _join sets them for the process
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: torch.device("cuda"))
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)
    asked: list[tuple[str, torch.device | None]] = []
    monkeypatch.setattr(dist, "init_process_group", lambda backend, timeout, device_id: asked.append((backend, device_id)))
    _join(Config(), on_cpu)
    assert asked == [expected]


TWO = """
import sys, time
from datetime import timedelta
from types import SimpleNamespace
import torch, torch.distributed as dist
from codeparrot.config import Config
from codeparrot.training.agreement import Agreement
from codeparrot.training.processes import _join

_join(Config())
rank, cpu = dist.get_rank(), torch.device("cpu")
agreement = Agreement(SimpleNamespace(num_processes=2))
for group in (dist.group.WORLD, agreement._group, dist.new_group([0, 1])):
    assert group._get_backend(cpu).options._timeout == timedelta(minutes=31), group._get_backend(cpu).options._timeout
heard = [agreement.any_soon(rank == 1, False)]         # a first call waits for its own answer
heard += [agreement.any_soon(False, rank == 0)]        # and gets it again
heard += [agreement.any_soon(False, False)]
assert heard == [[True, False], [True, False], [False, True]], heard
time.sleep(2 * rank)                                   # process 1 is behind
start = time.monotonic()
assert agreement.any_soon(rank == 0, False) == [False, False]
assert time.monotonic() - start < 1, "it waited for the process behind"
assert agreement.gather(rank) == [0, 1]                # what was asked before is out of date now
assert agreement.any_soon(False, False) == [False, False]
assert agreement.any(rank == 1) == [True] and agreement.any_soon(rank == 0) == [True]
dist.destroy_process_group()
"""


@pytest.mark.slow
def test_two_processes_hear_the_answer_to_the_call_before_and_wait_only_at_first(tmp_path: Path, monkeypatch) -> None:
    from tests.test_launch import free_port

    names = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    for name, value in names.items():
        monkeypatch.setenv(name, value)
    processes = []
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        monkeypatch.setenv("LOCAL_RANK", rank)
        processes.append(subprocess.Popen([sys.executable, "-c", TWO], cwd=tmp_path, stderr=subprocess.PIPE, text=True))
    for process in processes:
        _, err = process.communicate(timeout=100)
        assert process.returncode == 0, err
