"""What experiments tell, and what they cost. `python -m benchmarks.science scale [SEED ...]` measures one part.

scale: a law is fitted to four sizes of GPT-2 with 0.09M to 1.1M parameters at three lengths each, and predicts the loss of a
model four times larger than the largest at the middle length, which is then trained. All sizes have the same lengths in tokens:
as many tokens a parameter would leave the small ones before the power law begins (docs/LOG.md). Both counts of parameters are
fitted, with embeddings and without. The time is that of the twelve small runs, two side by side, of the seed that took least:
other work on the machine only adds to it.

Corpus and validation set are the quickstart's (benchmarks/learning.py), with a tokenizer of 2,048 tokens, so that embeddings do
not outweigh the layers. What is trained is kept in data/benchmarks/science, so that an interrupted benchmark goes on; remove it
to begin anew. `python -m benchmarks.science scale try` runs everything with a few steps, to see that it works.
"""

import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.common import DATA, Ratio, codeparrot, report
from benchmarks.learning import CORPUS, NANO, SEEDS, prepare
from benchmarks.measured import T_OF_3

FOLDER = DATA / "science"
TOKENIZER, VOCABULARY = FOLDER / "tokenizer", 2048
LENGTHS, LARGER_LENGTH = (3e6, 6e6, 9e6), 6e6
"""Tokens, of the series and of the larger model: less than the corpus has."""
LARGER_DEPTH = 7
"""Of 4.7M parameters, where the series ends with 4 layers and 1.1M."""
COUNTS = ("total", "non_embedding")
MOST_ERROR, MOST_MINUTES = 0.03, 40.0
TRIAL = 0.01
"""Share of the lengths that a trial takes."""


def train(output: Path, seed: int, *sizes_and_lengths: str) -> dict[str, Any]:
    """Train what is missing of a series; return its facts, with the seconds that all of it took."""
    kept = output / "seconds.json"
    time_taken = json.loads(kept.read_text()) if kept.exists() else {"seconds": 0.0, "finished": False}
    start = time.perf_counter()
    try:
        found = codeparrot(
            *("scale", "run", "--config", str(NANO), "--output", str(output), "--run.seed", str(seed), *sizes_and_lengths),
            *("--model.vocab_size", str(VOCABULARY), "--tokenizer.path", str(TOKENIZER), "--train.micro_batch_size", "8"),
            *("--stream.train", str(CORPUS), "--stream.valid", str(CORPUS), "--objective.fim_rate", "0"),
            *("--evaluate.likelihood_problems", "", "--evaluate.sample_tokens", "0", "--checkpoint.keep_last", "1"),
            *("--workers", "2"),
        )
    finally:
        if not time_taken["finished"] and output.exists():
            time_taken["seconds"] += time.perf_counter() - start
            kept.write_text(json.dumps(time_taken))
    kept.write_text(json.dumps({**time_taken, "finished": True}))
    return {**found, "seconds": time_taken["seconds"]}


def predicted(series: Path, larger: Path, count: str) -> tuple[float, float]:
    """Return the loss of the larger model that a law of the series predicts, and the loss that it has."""
    from codeparrot.scale.points import read

    law = series / f"law-{count}"
    codeparrot("scale", "fit", str(series / "runs"), "--output", str(law), "--parameters", count)
    (point,) = read([larger / "runs"], "total" if count == "total" else "non_embedding")
    size = ("--parameters", str(point.parameters), "--tokens", str(point.tokens))
    return codeparrot("scale", "predict", "--law", str(law), *size)["loss"], point.loss


def scale(seed: int, share: float) -> dict[str, Any]:
    """Train the series and the larger model of a seed; return the errors of the predictions, by count, and the minutes."""
    folder = FOLDER / f"{'law' if share == 1 else 'trial'}-{seed}"
    lengths = ("--sizes", "4", "--tokens", *(str(share * length) for length in LENGTHS))
    made = train(folder / "series", seed, *lengths)
    one = ("--depths", str(LARGER_DEPTH), "--tokens", str(share * LARGER_LENGTH))
    (larger,) = train(folder / "larger", seed, *one)["runs"]
    losses = {count: predicted(folder / "series", folder / "larger", count) for count in COUNTS}
    return {
        "minutes": made["seconds"] / 60,
        "times": larger["parameters"] / max(run["parameters"] for run in made["runs"]),
        "losses": losses,
        "errors": {count: guess / truth - 1 for count, (guess, truth) in losses.items()},
    }


def measure_scale(words: list[str]) -> None:
    prepare()
    if not TOKENIZER.exists():
        source = ("--corpus", str(CORPUS), "--output", str(TOKENIZER))
        codeparrot("tokenizer", "train", *source, "--vocab_size", str(VOCABULARY))
    share = TRIAL if "try" in words else 1.0
    seeds = [int(word) for word in words if word.isdigit()] or ([0] if share < 1 else SEEDS)
    found = [scale(seed, share) for seed in seeds]
    facts: dict[str, object] = {"parameters of the larger model, in those of the largest": found[0]["times"]}
    for count in COUNTS:
        errors = [each["errors"][count] for each in found]
        half = T_OF_3 * statistics.stdev(errors) / 3**0.5 if len(errors) == 3 else float("nan")
        facts[f"error of the prediction, {count}"] = f"{statistics.mean(errors):+.2%}, plus or minus {half:.2%}"
        facts[f"predicted and measured, {count}"] = [
            f"{guess:.4f} {truth:.4f}" for guess, truth in (e["losses"][count] for e in found)
        ]
    worst = max(abs(each["errors"]["total"]) for each in found)
    minutes = min(each["minutes"] for each in found)
    ratios = [
        Ratio("largest error of a prediction", worst, MOST_ERROR, "of a loss", 1.0, higher_is_better=False),
        Ratio("time of a series", minutes, MOST_MINUTES, "minutes", 1.0, higher_is_better=False),
    ]
    report("science: a law of four sizes predicts a model four times larger", ratios, facts)


PARTS = {"scale": measure_scale}


def main() -> None:
    name, *words = sys.argv[1:] or [*PARTS]
    PARTS[name](words)


if __name__ == "__main__":
    main()
