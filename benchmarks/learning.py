"""What a model learns from equal tokens, by the order in which it sees them: bits a byte on the quickstart's validation set.

The recipe is configs/nano.yaml. Orders: (a) by document, the older one; (b) the default, windows shuffled in blocks; (c)
windows shuffled over the whole corpus before; and (d) a plain loop in the manner of nanoGPT: its initialisation, betas, cosine
to a tenth and clipping, random windows of the tokenised corpus, at the best of a few learning rates. Three seeds each; the
intervals are 95% intervals of the mean.

What is measured is kept in data/benchmarks/learning.json, so that an interrupted benchmark goes on; remove it to begin anew.
Speed does not matter here: other work on the machine changes nothing. `python -m benchmarks.learning documents global` measures
only these, so that several processes can share the work (documents, windows, global, peer); without names it reports.
`python -m benchmarks.learning try --optim.lr 3e-3` measures a change of the recipe in the default order.
"""

import hashlib
import json
import math
import shutil
import statistics
import sys
from pathlib import Path
from typing import Any

import yaml

from benchmarks.common import DATA, Ratio, codeparrot, report
from benchmarks.measured import Measured, interval

SEEDS = (0, 1, 2)
ORDERS = ("documents", "windows", "global")
PEER_RATES = (1e-3, 2e-3, 4e-3, 8e-3)
FOLDER, RESULTS = DATA / "learning", DATA / "learning.json"
NANO = Path("configs/nano.yaml")
CORPUS, TOKENIZER, WINDOWS, SHUFFLED = (FOLDER / name for name in ("corpus", "tokenizer", "windows", "shuffled"))
UNIT = "bits a byte"


def prepare() -> None:
    """Build the quickstart's corpus and tokenizer, its windows, and the same windows in a random order."""
    import numpy as np

    if not CORPUS.exists():
        size = ["--max_bytes", "30000000", "--valid_fraction", "0.03"]
        codeparrot("corpus", "build", "--recipe", "codeparrot", "--source", "python", "--output", str(CORPUS), *size)
    if not TOKENIZER.exists():
        codeparrot("tokenizer", "train", "--corpus", str(CORPUS), "--output", str(TOKENIZER), "--vocab_size", "4096")
    if not WINDOWS.exists():
        source = ["--corpus", str(CORPUS), "--tokenizer", str(TOKENIZER), "--seq_length", "256"]
        codeparrot("corpus", "tokenize", *source, "--output", str(WINDOWS))
    if not SHUFFLED.exists():
        shutil.copytree(WINDOWS, SHUFFLED)
        (file,) = SHUFFLED.glob("train-*.npy")
        np.save(file, np.random.default_rng(0).permutation(np.load(file)))


def ours(order: str, seed: int, *changes: str) -> float:
    """Train the recipe in an order; return the bits a byte at its end."""
    from codeparrot.arguments import parse_config

    name = f"{order}-{seed}-{hashlib.sha256(' '.join(changes).encode()).hexdigest()[:8]}"
    places = ["--tokenizer.path", str(TOKENIZER), "--stream.train", str(CORPUS)]
    steps = parse_config(["--config", str(NANO), *places, *changes]).train.max_steps
    shutil.rmtree(FOLDER / "runs" / name, ignore_errors=True)
    train = str(SHUFFLED if order == "global" else CORPUS)
    found = codeparrot(
        *("train", "--config", str(NANO), "--run.dir", str(FOLDER / "runs"), "--run.name", name, "--run.seed", str(seed)),
        *("--tokenizer.path", str(TOKENIZER), "--stream.train", train, "--stream.valid", str(CORPUS)),
        *("--stream.order", "documents" if order == "documents" else "windows"),
        *("--train.precision", "fp32"),  # as the plain loop
        *("--evaluate.every_steps", str(steps), "--evaluate.sample_tokens", "0", "--checkpoint.every_steps", "0"),
        *changes,
    )
    shutil.rmtree(FOLDER / "runs" / name)
    return found["bits_per_byte"]


def peer(lr: float, seed: int) -> float:
    """Train a GPT-2 of the recipe's size by a plain loop on as many tokens; return its bits a byte."""
    import numpy as np
    import torch
    import torch.nn.functional as F
    from transformers import GPT2Config, GPT2LMHeadModel

    from codeparrot.arguments import load_config
    from codeparrot.eval.tasks.perplexity import bytes_per_token, evaluate
    from codeparrot.loading import load_tokenizer
    from codeparrot.model.hardware import keep_freed_memory
    from codeparrot.model.language_model import LanguageModel
    from codeparrot.stream import load_validation_set, make_encoder

    keep_freed_memory()
    config = load_config(NANO)
    batch_size, length, steps = config.train.global_batch_size, config.stream.seq_length, config.train.max_steps
    torch.manual_seed(seed)
    sizes = {key: value for key, value in config.model.items() if key not in ("family", "initializer_range")}
    model: Any = GPT2LMHeadModel(GPT2Config(**sizes, initializer_range=0.02))
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": 0.1},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.95), fused=True)
    (file,) = WINDOWS.glob("train-*.npy")
    tokens = torch.from_numpy(np.load(file).reshape(-1).astype(np.int64))
    warmup = steps // 20
    for step in range(steps):
        progress = (step - warmup) / (steps - warmup)
        rate = lr * (step + 1) / warmup if step < warmup else lr * (0.1 + 0.45 * (1 + math.cos(math.pi * progress)))
        for group in optimizer.param_groups:
            group["lr"] = rate
        starts = torch.randint(len(tokens) - length, (batch_size,))
        rows = torch.stack([tokens[start : start + length + 1] for start in starts.tolist()])
        logits = model(rows[:, :-1]).logits
        F.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten()).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    tokenizer = load_tokenizer(str(TOKENIZER))
    encoder = make_encoder(tokenizer.backend_tokenizer.to_str(), tokenizer.eos_token_id)
    config.stream.valid = str(CORPUS)
    score = evaluate(
        LanguageModel(model),
        load_validation_set(config.stream, encoder),
        batch_size=8,
        token_bytes=bytes_per_token(tokenizer, model.config.vocab_size),
        device=torch.device("cpu"),
    )
    assert score is not None  # nothing breaks it off
    return score.bits_per_byte


class Results:
    """What was measured, by name, for one recipe; for the plain loop, by what it takes of the recipe."""

    def __init__(self) -> None:
        self._measured = Measured(RESULTS)
        recipe = yaml.safe_load(NANO.read_text())
        train = recipe["train"]
        taken = [recipe["model"], recipe["stream"]["seq_length"], train["global_batch_size"], train["max_steps"]]
        self._recipe, self._taken = (hashlib.sha256(json.dumps(each).encode()).hexdigest()[:12] for each in (recipe, taken))

    def of(self, name: str, measure: Any, *arguments: Any) -> float:
        recipe = self._taken if measure is peer else self._recipe
        return self._measured.of(f"{recipe} {name}", measure, *arguments, unit=UNIT)


def main() -> None:
    DATA.mkdir(parents=True, exist_ok=True)
    prepare()
    results, wanted = Results(), sys.argv[1:] or [*ORDERS, "peer"]
    if wanted[0] == "try":
        changes = wanted[1:]
        values = [results.of(f"{' '.join(changes)}, seed {seed}", ours, "windows", seed, *changes) for seed in SEEDS]
        print(f"{' '.join(changes)}: {interval(values, UNIT)}")
        return
    found = {
        order: [results.of(f"order {order}, seed {seed}", ours, order, seed) for seed in SEEDS]
        for order in ORDERS
        if order in wanted
    }
    rates = {lr: results.of(f"plain loop, lr {lr}, seed 0", peer, lr, 0) for lr in PEER_RATES if "peer" in wanted}
    best = min(rates, key=lambda lr: rates[lr], default=0.0)
    found["peer"] = [results.of(f"plain loop, lr {best}, seed {seed}", peer, best, seed) for seed in SEEDS if rates]
    if len(sys.argv) > 1:
        return
    facts = {
        "(a) order of the documents": interval(found["documents"], UNIT),
        "(b) windows shuffled in blocks, the default": interval(found["windows"], UNIT),
        "(c) windows shuffled over the whole corpus": interval(found["global"], UNIT),
        f"(d) plain loop in the manner of nanoGPT, lr {best}": interval(found["peer"], UNIT),
        "(d) by learning rate, seed 0": ", ".join(f"{lr}: {value:.4f}" for lr, value in rates.items()),
    }
    mean = {name: statistics.mean(values) for name, values in found.items()}
    ratios = [
        Ratio("(b) against (a), the older order", mean["windows"], mean["documents"], "bits/byte", 1.0, False),
        Ratio("(b) against (c), shuffled globally", mean["windows"], mean["global"], "bits/byte", 1.005, False),
        Ratio("(b) against (d), a plain loop", mean["windows"], mean["peer"], "bits/byte", 1.0, False),
    ]
    report("learning: the nano recipe, by the order of its windows", ratios, facts)


if __name__ == "__main__":
    main()
