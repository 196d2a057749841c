"""A step of the whole loop on two processes against two bare DDP processes with the same model and batch.

Scaling means nothing on one machine's cores; this measures what the framework costs on top of the all-reduce.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.common import DATA, Ratio, corpus, report, tokenizer
from benchmarks.train_step import BATCH, MODEL, SEQ_LENGTH, STEPS, WARM_UP

ROUNDS, MICRO_BATCH = 3, 4


def ours() -> float:
    """Return the loop's tokens a second, by its own figures for the steps after the warm-up."""
    from codeparrot.run.metrics import read_lines

    name = f"processes_{time.time_ns()}"
    path = DATA / "processes.json"
    sections = {
        "run": {"name": name, "dir": str(DATA / "runs")},
        "tokenizer": {"path": str(tokenizer(4096))},
        "stream": {"train": str(corpus()), "seq_length": SEQ_LENGTH, "lanes": 8},
        "model": MODEL,
        "train": {
            **{"global_batch_size": BATCH, "micro_batch_size": MICRO_BATCH, "precision": "fp32"},
            **{"max_steps": WARM_UP + STEPS, "log_every_steps": 5},
        },
        "optim": {"lr": 1e-3},
        "checkpoint": {"every_steps": 0},
    }
    path.write_text(json.dumps(sections))
    launch = ["accelerate", "launch", "--config_file", "launch/ddp.yaml", "--main_process_port", "0", "--num_processes", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [*launch, "codeparrot/train.py", "--config", str(path)]
    subprocess.run(command, check=True, capture_output=True, env=environment)
    lines = [line for line in read_lines(DATA / "runs" / name / "metrics.jsonl") if line["step"] > WARM_UP]
    tokens = 5 * BATCH * SEQ_LENGTH
    return tokens * len(lines) / sum(tokens / line["tokens_per_second"] for line in lines)


def bare_process() -> None:
    """Run one of two processes: DDP, forward, backward, clip, update on a fixed batch, and nothing else."""
    import torch
    import torch.distributed as dist
    from torch.nn.parallel import DistributedDataParallel

    from codeparrot.config import OptimConfig
    from codeparrot.model.families import build_model, model_config
    from codeparrot.model.hardware import keep_freed_memory
    from codeparrot.optim.adamw import AdamW

    dist.init_process_group("gloo")
    keep_freed_memory()
    model = build_model(model_config(MODEL), seed=0)
    optimizer = AdamW().build(model, vars(OptimConfig(lr=1e-3)))
    wrapped = DistributedDataParallel(model)
    batch = torch.randint(0, 4096, (MICRO_BATCH, SEQ_LENGTH))
    micro_batches = BATCH // (2 * MICRO_BATCH)
    start = time.perf_counter()
    for step in range(WARM_UP + STEPS):
        if step == WARM_UP:
            start = time.perf_counter()
        for index in range(micro_batches):
            wrapped.require_backward_grad_sync = index == micro_batches - 1
            (wrapped(batch, batch) / micro_batches).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    if dist.get_rank() == 0:
        Path(sys.argv[2]).write_text(json.dumps(STEPS * BATCH * SEQ_LENGTH / (time.perf_counter() - start)))
    dist.destroy_process_group()


def bare() -> float:
    answer = DATA / "processes_bare.json"
    command = ["torchrun", "--standalone", "--nproc_per_node", "2", "-m", "benchmarks.processes", "bare", str(answer)]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    return json.loads(answer.read_text())


def main() -> None:
    if len(sys.argv) > 1:
        bare_process()
        return
    corpus()
    tokenizer(4096)
    best = {"ours": 0.0, "bare": 0.0}
    for _ in range(ROUNDS):
        best = {"ours": max(best["ours"], ours()), "bare": max(best["bare"], bare())}
    report(
        "processes: two processes on the CPU, fp32, GPT-2 4x128, micro-batches of 4 x 256",
        [Ratio("loop against bare DDP", best["ours"], best["bare"], "tokens/s", 0.95)],
        {},
    )


if __name__ == "__main__":
    main()
