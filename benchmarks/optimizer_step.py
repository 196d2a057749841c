"""Seconds of Muon's step beside AdamW's: one process, and two that hold the model as DDP and as FSDP2 do (gloo, a thread each).

Both optimizers update the same model with the same gradients in turns, in the same processes, so that a load on the machine
meets both; the median counts. The ratio falls with the number of processes if matrices are dealt to them: on two it is at best
half of one process's, where each process has a core of its own.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

from benchmarks.common import DATA, Ratio, report

ROUNDS = 10
MODEL = {"family": "gpt2", "vocab_size": 4096, "n_positions": 256, "n_embd": 256, "n_layer": 4, "n_head": 4}


def process(strategy: str, answer: str) -> None:
    """Time the steps in one of the processes."""
    import torch
    import torch.distributed as dist
    from torch import nn
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    from codeparrot.config import OptimConfig
    from codeparrot.model.families import build_model, model_config
    from codeparrot.model.hardware import keep_freed_memory
    from codeparrot.optim import load_optimizer

    dist.init_process_group("gloo")
    torch.set_num_threads(1)
    keep_freed_memory()
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    steps = {}
    for name in ("adamw", "muon"):
        model: nn.Module = build_model(model_config(MODEL), seed=0)
        if strategy == "fsdp":
            fully_shard(model, mesh=mesh)
        settings = asdict(OptimConfig(name=name, lr=1e-3))
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter).add_(1e-3)
        steps[name] = load_optimizer(settings).build(model, settings).step
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(1 + ROUNDS):
        for name, step in steps.items():
            dist.barrier()
            start = time.perf_counter()
            step()
            dist.barrier()
            seconds[name].append(time.perf_counter() - start)
    if dist.get_rank() == 0:
        Path(answer).write_text(json.dumps({name: statistics.median(each[1:]) for name, each in seconds.items()}))
    dist.barrier()
    os._exit(0)  # gloo's threads may hang at the end


def measured(strategy: str, processes: int) -> dict[str, float]:
    answer = DATA / "optimizer_step.json"
    launch = ["torchrun", "--standalone", "--nproc_per_node", str(processes), "-m", "benchmarks.optimizer_step"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GOMP_SPINCOUNT": "2000"}
    subprocess.run([*launch, strategy, str(answer)], check=True, capture_output=True, env=environment)
    return json.loads(answer.read_text())


def main() -> None:
    if len(sys.argv) > 1:
        process(sys.argv[1], sys.argv[2])
        return
    DATA.mkdir(parents=True, exist_ok=True)
    found = {
        name: measured(strategy, processes)
        for name, strategy, processes in (("one process", "ddp", 1), ("DDP x 2", "ddp", 2), ("FSDP2 x 2", "fsdp", 2))
    }
    alone = found["one process"]["muon"] / found["one process"]["adamw"]
    ratios = [
        Ratio(f"Muon's step against AdamW's, {name}", times["muon"], times["adamw"], "s", alone, False)
        for name, times in found.items()
    ]
    report("optimizer_step: GPT-2 4x256, fp32, the update alone", ratios, {})


if __name__ == "__main__":
    main()
