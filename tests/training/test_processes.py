"""What a process is given before the loop begins."""

import resource
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch.distributed import distributed_c10d

from codeparrot.config import Config
from codeparrot.training.processes import _join, quiet_and_ready


def test_the_limit_of_open_files_is_raised() -> None:
    before, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, before), hard))
        quiet_and_ready(SimpleNamespace(device=SimpleNamespace(type="meta")))
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == (1 << 16 if hard == resource.RLIM_INFINITY else hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (before, hard))


@pytest.mark.parametrize(("offload", "backend"), [("", "nccl"), ("true", "cuda:nccl,cpu:gloo")])
def test_the_group_is_bound_to_the_gpu_of_the_process_and_waits_longer_than_the_watchdog(monkeypatch, offload, backend) -> None:
    made: list[Any] = []
    monkeypatch.setattr(dist, "init_process_group", lambda *arguments, **options: made.append((*arguments, options)))
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: torch.device("cuda"))
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 8)
    for name in ("default_pg_timeout", "default_pg_nccl_timeout"):
        monkeypatch.setattr(distributed_c10d, name, None)
    for name, value in {"RANK": "11", "LOCAL_RANK": "3", "FSDP_OFFLOAD_PARAMS": offload}.items():
        monkeypatch.setenv(name, value)
    _join(Config())
    wait = timedelta(minutes=31)
    assert made == [(backend, {"timeout": wait, "device_id": torch.device("cuda", 3)})]
    assert distributed_c10d._get_default_timeout(dist.Backend.NCCL)  # type: ignore[arg-type] == wait
