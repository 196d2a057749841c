"""Tokens a second of the whole training loop, with everything on.

The peers are (a) a bare forward, backward and update of the same model on one fixed batch and (b) `transformers.Trainer` with
the same model, data (pre-packed windows, in memory) and precision. Each runs in a fresh process, in turns; the best counts.
"""

import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.common import DATA, Ratio, corpus, report, tokenizer

ROUNDS = 3
WARM_UP, STEPS = 10, 40
BATCH, MICRO_BATCH, SEQ_LENGTH = 16, 8, 256
MODEL = {"family": "gpt2", "vocab_size": 4096, "n_positions": 256, "n_embd": 128, "n_layer": 4, "n_head": 4}
MODEL |= {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}


def settings() -> Any:
    import yaml

    from codeparrot.arguments import parse_config

    path = DATA / "train_step.yaml"
    sections = {
        "run": {"name": f"train_step_{time.time_ns()}", "dir": str(DATA / "runs")},
        "tokenizer": {"path": str(tokenizer(4096))},
        "stream": {"train": str(corpus()), "seq_length": SEQ_LENGTH, "lanes": 8},
        "model": MODEL,
        "train": {
            **{"global_batch_size": BATCH, "micro_batch_size": MICRO_BATCH, "precision": "bf16"},
            **{"max_steps": WARM_UP + STEPS, "log_every_steps": 5},
        },
        "optim": {"lr": 1e-3},
        "tracking": {"trackers": ["tensorboard"]},
        "checkpoint": {"every_steps": 0},
    }
    path.write_text(yaml.safe_dump(sections))
    return parse_config(["--config", str(path)])


def ours() -> float:
    """Run the loop as a user does; return its own figure for the steps after the warm-up."""
    from codeparrot.run.metrics import read_lines
    from codeparrot.train import train

    config = settings()
    train(config)
    lines = [line for line in read_lines(config.run_directory / "metrics.jsonl") if line["step"] > WARM_UP]
    tokens = [5 * BATCH * SEQ_LENGTH] * len(lines)
    return sum(tokens) / sum(count / line["tokens_per_second"] for count, line in zip(tokens, lines, strict=True))


def bare() -> float:
    """Run forward, backward, clip and update, and nothing else."""
    import torch

    from codeparrot.config import OptimConfig
    from codeparrot.model.families import build_model, model_config
    from codeparrot.model.hardware import keep_freed_memory
    from codeparrot.optim.adamw import AdamW

    keep_freed_memory()
    model = build_model(model_config(MODEL), seed=0)
    optimizer = AdamW().build(model, vars(OptimConfig(lr=1e-3)))
    batch = torch.randint(0, 4096, (MICRO_BATCH, SEQ_LENGTH))
    start = time.perf_counter()
    for step in range(WARM_UP + STEPS):
        if step == WARM_UP:
            start = time.perf_counter()
        for _ in range(BATCH // MICRO_BATCH):
            with torch.autocast("cpu", torch.bfloat16):
                loss = model(batch, batch)
            (loss / (BATCH // MICRO_BATCH)).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return STEPS * BATCH * SEQ_LENGTH / (time.perf_counter() - start)


def trainer() -> float:
    """Run transformers.Trainer on windows that are packed already."""
    import torch
    from transformers import AutoModelForCausalLM, GPT2Config, Trainer, TrainerCallback, TrainingArguments

    fields = {key: value for key, value in MODEL.items() if key != "family"}
    model = AutoModelForCausalLM.from_config(GPT2Config(**fields))
    windows = torch.randint(0, 4096, ((WARM_UP + STEPS) * BATCH, SEQ_LENGTH))
    data = [{"input_ids": window, "labels": window} for window in windows]
    times: dict[int, float] = {}

    class Clock(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            times[state.global_step] = time.perf_counter()

    arguments = TrainingArguments(
        output_dir=str(DATA / "trainer"),
        per_device_train_batch_size=MICRO_BATCH,
        gradient_accumulation_steps=BATCH // MICRO_BATCH,
        max_steps=WARM_UP + STEPS,
        bf16=True,
        use_cpu=True,
        logging_steps=5,
        save_strategy="no",
        report_to=["tensorboard"],
        max_grad_norm=1.0,
        weight_decay=0.1,
        learning_rate=1e-3,
        disable_tqdm=True,
    )
    Trainer(model=model, args=arguments, train_dataset=data, callbacks=[Clock()]).train()  # type: ignore[arg-type]
    return STEPS * BATCH * SEQ_LENGTH / (times[WARM_UP + STEPS] - times[WARM_UP])


RUNS = {"ours": ours, "bare": bare, "trainer": trainer}


def main() -> None:
    if len(sys.argv) > 1:
        rate = RUNS[sys.argv[1]]()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        Path(sys.argv[2]).write_text(json.dumps([rate, peak]))
        return
    corpus()
    tokenizer(4096)
    rates: dict[str, list[float]] = {name: [] for name in RUNS}
    peaks: dict[str, float] = {}
    answer = DATA / "train_step.json"
    for _ in range(ROUNDS):
        for name in RUNS:
            subprocess.run([sys.executable, "-m", "benchmarks.train_step", name, str(answer)], check=True, capture_output=True)
            rate, peaks[name] = json.loads(answer.read_text())
            rates[name].append(rate)
    best = {name: max(values) for name, values in rates.items()}
    facts = {f"peak memory, {name}": f"{peaks[name] / 1e6:,.0f} MB" for name in RUNS}
    report(
        "train_step: the whole loop, bf16, GPT-2 4x128, micro-batches of 8 x 256",
        [
            Ratio("loop against bare forward, backward, update", best["ours"], best["bare"], "tokens/s", 0.95),
            Ratio("loop against transformers.Trainer", best["ours"], best["trainer"], "tokens/s", 1.1),
        ],
        facts,
    )


if __name__ == "__main__":
    main()
