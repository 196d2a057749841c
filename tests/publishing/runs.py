"""Run directories as training leaves them, without the training: checkpoints of a tiny model, written as the saver does."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from transformers import GPT2Config, GPT2LMHeadModel

from codeparrot.config import Config, HubConfig
from codeparrot.run import checkpoint
from codeparrot.run.progress import Progress
from codeparrot.training.run_directory import write_config

TOKENS_PER_STEP = 256
SIZES: Any = {"vocab_size": 512, "n_positions": 32, "n_embd": 16, "n_layer": 1, "n_head": 2}


def make_run(
    folder: Path,
    tokenizer_folder: Path,
    steps: tuple[int, ...] = (),
    *,
    train: Sequence[str] = ("data/corpus",),
    average: bool = False,
    **hub: Any,
) -> Path:
    """Make a run of 24 steps, named `folder.name`, with checkpoints at `steps`; `hub` holds its settings.

    Args:
        average: whether checkpoints hold an average of the weights, too.
    """
    settings = HubConfig(**{"repo": "me/model", "branch": folder.name, "retry_seconds": 0.05, "timeout_seconds": 5.0, **hub})
    config = Config(hub=settings)
    config.run.name, config.run.dir, config.tokenizer.path = folder.name, str(folder.parent), str(tokenizer_folder)
    config.stream.train, config.train.max_steps = list(train), 24
    config.train.global_batch_size = 192
    (folder / "log").mkdir(parents=True)
    write_config(config)
    for step in steps:
        add_checkpoint(folder, step, config, average=average)
    return folder


def add_checkpoint(
    run: Path, step: int, config: Config, seed: int | None = None, number: int = 0, average: bool = False
) -> Path:
    """Log a step with its evaluation, and save it. The weights are drawn with the seed, or else the step.

    Args:
        number: the least that the checkpoint may have.
        average: whether it holds an average of the weights, too.
    """
    tokens = step * TOKENS_PER_STEP
    loss = 6.0 - step / 100
    lines = [{"step": step, "tokens": tokens, "loss": loss, "lr": 1e-3, "grad_norm": 1.0, "tokens_per_second": 1.0}]
    lines += [{"step": step, "tokens": tokens, "eval_loss": loss, "perplexity": 400.0, "bits_per_byte": 4.0}]
    with (run / "metrics.jsonl").open("a", encoding="utf-8") as log:
        log.writelines(json.dumps(line) + "\n" for line in lines)
    partial = checkpoint.partial_of(run / "checkpoints", step)
    checkpoint.begin(partial)
    torch.manual_seed(step if seed is None else seed)
    GPT2LMHeadModel(GPT2Config(**SIZES)).save_pretrained(partial / "model")
    shutil.copytree(config.tokenizer.path, partial / "model", dirs_exist_ok=True)
    if average:
        shutil.copytree(partial / "model", partial / "ema")
    (partial / "state").mkdir()
    (partial / "state" / "training.json").write_text(json.dumps({"num_updates": step}), encoding="utf-8")
    (partial / "stream.json").write_text("{}", encoding="utf-8")
    names = [str(path.relative_to(partial)) for path in partial.rglob("*") if path.is_file()]
    facts = {**Progress(step, tokens)._asdict(), "world_size": 1, "config": asdict(config), "number": number}
    return checkpoint.publish(partial, facts, checkpoint.describe(partial, names))
