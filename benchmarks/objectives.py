"""What an objective costs: the time of its transform beside a training step on the same windows, in one process.

Windows, 8 of 256 tokens of this machine's Python sources, and the model, GPT-2's forward and backward pass, are those of
configs/nano.yaml, the smallest recipe: a larger model hides more. The two are measured in turn; the least of the times counts.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from benchmarks.common import Ratio, report

REPEATS = 9
NUM_WINDOWS = 1024
TARGET = 0.05
NANO = Path("configs/nano.yaml")


def windows(count: int, length: int) -> tuple[np.ndarray, Any]:
    """Return windows of Python sources, and the tokenizer that they are of."""
    import sysconfig

    from transformers import GPT2Tokenizer

    from codeparrot.stream.sentinels import MASK, tokens_of
    from codeparrot.tokenizer.train import END_OF_TEXT, fit

    files = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))[:80]
    texts = [file.read_text(encoding="utf-8") for file in files]
    backend = fit(texts, 4096, special=[END_OF_TEXT, *tokens_of(["masked", "span"])])
    ids = [index for text in texts for index in [*backend.encode(text).ids, 0]]
    tokenizer = GPT2Tokenizer(tokenizer_object=backend, mask_token=MASK)
    return np.array(ids[: count * length], np.int64).reshape(count, length), tokenizer


def step() -> Callable[[np.ndarray], None]:
    """Return the forward and backward pass of the smallest recipe's model."""
    import torch

    from codeparrot.model.families import build_model, model_config

    settings = yaml.safe_load(NANO.read_text(encoding="utf-8"))["model"]
    model = build_model(model_config(settings), seed=0)

    def run(each: np.ndarray) -> None:
        input_ids = torch.from_numpy(each)
        model(input_ids, input_ids).backward()
        model.zero_grad()

    return run


def pairs_of(tokenizer: Any, batch: np.ndarray) -> Callable[[np.ndarray], None]:
    """Return what puts a batch as pairs of 128 tokens, a quarter of them the description; those are the same each time."""
    from codeparrot.objectives.pairs import Pairs
    from codeparrot.stream.described import SEPARATOR

    pairs = Pairs("docstring", describe_rate=0.5, seed=0, seq_length=256, end_of_document=0)
    rows = [np.split(row, [32]) for row in batch.astype(np.uint32).reshape(-1, 128)]
    texts = [SEPARATOR.join(tokenizer.decode(half) for half in halves) for halves in rows]

    def run(_: np.ndarray) -> None:
        for text, halves in zip(texts, rows, strict=True):
            for piece in pairs.of_text(text, 0) or ():
                piece.arrange(halves)

    return run


def changed(tokens: np.ndarray, tokenizer: Any) -> str:
    """Return the share of windows of some lengths whose blocks `objective.permute` puts in another order."""
    from codeparrot.objectives.blocks import blocks_of

    blocks = blocks_of(tokenizer)

    def share(length: int) -> float:
        windows = tokens.reshape(-1)[: tokens.size // length * length].reshape(-1, length)
        moved = [(np.diff(blocks.order(window, str(number))) != 1).any() for number, window in enumerate(windows)]
        return sum(moved) / len(moved)

    return ", ".join(f"{length}: {share(length):.0%}" for length in (256, 512, 1024))


def least_seconds(works: dict[str, Callable[[np.ndarray], object]], batches: list[np.ndarray]) -> dict[str, float]:
    """Return the least time of each, measured in turn on other windows each time."""
    taken = {name: float("inf") for name in works}
    for batch in batches:
        for name, work in works.items():
            start = time.perf_counter()
            work(batch)
            taken[name] = min(taken[name], time.perf_counter() - start)
    return taken


def main() -> None:
    from codeparrot.objectives.objective import Objective
    from codeparrot.objectives.span import Span
    from codeparrot.objectives.units import Unit, units_of

    size, length = 8, 256
    found, tokenizer = windows(NUM_WINDOWS, length)
    batches = list(found[: size * (REPEATS + 1)].reshape(REPEATS + 1, size, length))

    def of_objective(objective: Objective) -> Callable[[np.ndarray], object]:
        return lambda batch: objective.examples(batch, range(size), seed=0)

    def of(unit: Unit) -> Callable[[np.ndarray], object]:
        units = units_of(tokenizer, unit)
        return lambda batch: [units(window) for window in batch]

    names: tuple[Unit, ...] = ("token", "word", "identifier", "python")
    works: dict[str, Callable[[np.ndarray], object]] = {"step": step()} | {f"units: {name}": of(name) for name in names}
    works["pairs"] = pairs_of(tokenizer, batches[0])
    kinds = {"span": Span(), "span: ul2": Span(mixture="ul2"), "span: permuted": Span(targets="text", permute=True)}
    for name, settings in kinds.items():
        works[name] = of_objective(settings.fitted(tokenizer))
    least_seconds(works, batches[:1])  # warm
    taken = least_seconds(works, batches[1:])
    ratios = [
        Ratio(f"{name}, beside a step", taken[name] * 1e3, taken["step"] * 1e3, "ms", TARGET, higher_is_better=False)
        for name in works
        if name != "step"
    ]
    facts = {"tokens of a step": size * length, "windows that permute changes, by their length": changed(found, tokenizer)}
    report("objectives: what a transform costs", ratios, facts)


if __name__ == "__main__":
    main()
