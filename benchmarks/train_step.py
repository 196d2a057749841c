"""Tokens a second of the whole training loop, with everything on, alone and beside a busy process.

The peers are bare loops (forward, backward, clip, update on one fixed batch) of transformers' GPT-2 and of a plain hand-written
one (benchmarks/plain_gpt2.py), the latter with glibc keeping freed memory, as training has it, and as it comes; and
`transformers.Trainer` with the same model and data (packed windows in memory). All run in the precision that this CPU is faster
in. Each runs in a fresh process, in turns; the best counts.
"""

import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.common import DATA, Ratio, corpus, report, tokenizer

ROUNDS = 4
WARM_UP, STEPS = 10, 40
BATCH, MICRO_BATCH, SEQ_LENGTH = 16, 8, 256
MODEL = {"family": "gpt2", "vocab_size": 4096, "n_positions": 256, "n_embd": 128, "n_layer": 4, "n_head": 4}
MODEL |= {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}


def settings(precision: str) -> Any:
    import yaml

    from codeparrot.arguments import parse_config

    path = DATA / "train_step.yaml"
    sections = {
        "run": {"name": f"train_step_{time.time_ns()}", "dir": str(DATA / "runs")},
        "tokenizer": {"path": str(tokenizer(4096))},
        "stream": {"train": str(corpus()), "seq_length": SEQ_LENGTH, "lanes": 8},
        "model": MODEL,
        "train": {
            **{"global_batch_size": BATCH, "micro_batch_size": MICRO_BATCH, "precision": precision},
            **{"max_steps": WARM_UP + STEPS, "log_every_steps": 5},
        },
        "optim": {"lr": 1e-3},
        "tracking": {"trackers": ["tensorboard"]},
        "checkpoint": {"every_steps": 0},
    }
    path.write_text(yaml.safe_dump(sections))
    return parse_config(["--config", str(path)])


def ours(precision: str) -> float:
    """Run the loop as a user does; return its own figure for the steps after the warm-up."""
    from codeparrot.launcher import wait_asleep

    wait_asleep()  # what every command does before torch is loaded
    from codeparrot.run.metrics import read_lines
    from codeparrot.train import train

    config = settings(precision)
    train(config)
    lines = [line for line in read_lines(config.run_directory / "metrics.jsonl") if line["step"] > WARM_UP]
    tokens = [5 * BATCH * SEQ_LENGTH] * len(lines)
    return sum(tokens) / sum(count / line["tokens_per_second"] for count, line in zip(tokens, lines, strict=True))


def _bare(model: Any, loss: Any, precision: str) -> float:
    from benchmarks.plain_gpt2 import bare_loop

    batch = {"micro_batches": BATCH // MICRO_BATCH, "precision": precision, "warm_up": WARM_UP, "steps": STEPS}
    return bare_loop(model, loss, (MICRO_BATCH, SEQ_LENGTH), vocab_size=MODEL["vocab_size"], **batch)


def transformers_bare(precision: str) -> float:
    """Train transformers' GPT-2 with its own loss; freed memory is kept."""
    from transformers import AutoModelForCausalLM, GPT2Config

    from codeparrot.model.hardware import keep_freed_memory

    keep_freed_memory()
    fields = {key: value for key, value in MODEL.items() if key != "family"}
    model = AutoModelForCausalLM.from_config(GPT2Config(**fields))
    return _bare(model, lambda batch: model(input_ids=batch, labels=batch, use_cache=False).loss, precision)


def plain(precision: str) -> float:
    """Train the plain GPT-2; freed memory is kept."""
    from codeparrot.model.hardware import keep_freed_memory

    keep_freed_memory()
    return plain_as_it_comes(precision)


def plain_as_it_comes(precision: str) -> float:
    """Train the plain GPT-2; glibc returns freed memory to the kernel, as it does by default."""
    from benchmarks.plain_gpt2 import PlainGPT2

    model = PlainGPT2(MODEL)
    return _bare(model, model, precision)


def trainer(precision: str) -> float:
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
        bf16=precision == "bf16",
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


RUNS = {f.__name__: f for f in (ours, transformers_bare, plain, plain_as_it_comes, trainer)}


def best_precision() -> str:
    """Return the precision that `train.precision: auto` takes here."""
    from codeparrot.training.precision import on_the_cpu

    return on_the_cpu("auto").name


@contextmanager
def neighbour() -> Iterator[None]:
    """Keep one core busy."""
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        busy.kill()
        busy.wait()


def measure(precision: str, names: list[str]) -> tuple[dict[str, float], dict[str, float]]:
    """Return the best rate and the last peak memory of each, over rounds in turns."""
    rates, peaks, answer = dict.fromkeys(names, 0.0), dict.fromkeys(names, 0.0), DATA / "train_step.json"
    for _ in range(ROUNDS):
        for name in names:
            command = [sys.executable, "-m", "benchmarks.train_step", name, precision, str(answer)]
            subprocess.run(command, check=True, capture_output=True)
            rate, peaks[name] = json.loads(answer.read_text())
            rates[name] = max(rates[name], rate)
    return rates, peaks


def main() -> None:
    if len(sys.argv) > 1:
        rate = RUNS[sys.argv[1]](sys.argv[2])
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        Path(sys.argv[3]).write_text(json.dumps([rate, peak]))
        return
    corpus()
    tokenizer(4096)
    precision = best_precision()
    targets = {
        "transformers_bare": ("bare loop of transformers' GPT-2", 1.2),
        "plain": ("bare loop of a plain GPT-2", 1.1),
        "plain_as_it_comes": ("the same, freed memory not kept", 1.4),
        "trainer": ("transformers.Trainer", 1.1),
    }
    alone, peaks = measure(precision, list(RUNS))
    with neighbour():
        beside, _ = measure(precision, [name for name in RUNS if name != "trainer"])
    ratios = [
        Ratio(f"{what}{where}", rates["ours"], rates[name], "tokens/s", target)
        for where, rates in (("", alone), (", beside a busy process", beside))
        for name, (what, target) in targets.items()
        if name in rates
    ]
    facts = {f"peak memory, {name}": f"{peaks[name] / 1e6:,.0f} MB" for name in RUNS}
    report(f"train_step: the whole loop, {precision}, GPT-2 4x128, micro-batches of 8 x 256", ratios, facts)


if __name__ == "__main__":
    main()
