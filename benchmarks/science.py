"""What experiments tell, and what they cost. `python -m benchmarks.science scale [SEED ...]` measures one part.

scale: a law is fitted to four sizes of GPT-2 with 0.09M to 1.1M parameters at three lengths each, and predicts the loss of a
model four times larger than the largest at the middle length, which is then trained. All sizes have the same lengths in tokens:
as many tokens a parameter would leave the small ones before the power law begins (docs/LOG.md). Both counts of parameters are
fitted, with embeddings and without. The time is that of the twelve small runs, two side by side, of the seed that took least:
other work on the machine only adds to it.

law: the same errors from runs that were trained before, of one seed here and another there: tables with a row for each run, as
`scale` leaves them in data/benchmarks/science/law-SEED/runs.csv; docs/law.csv unless others are named. Nothing is trained.

Corpus and validation set are the quickstart's (benchmarks/learning.py), with a tokenizer of 2,048 tokens, so that embeddings do
not outweigh the layers. What is trained is kept in data/benchmarks/science, so that an interrupted benchmark goes on; remove it
to begin anew. `python -m benchmarks.science scale try` runs everything with a few steps, to see that it works.
"""

import csv
import json
import statistics
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.common import DATA, Ratio, codeparrot, machine, report
from benchmarks.learning import CORPUS, NANO, SEEDS, prepare
from benchmarks.measured import T_OF_3

FOLDER = DATA / "science"
SIZES = 4
TOKENIZER, VOCABULARY = FOLDER / "tokenizer", 2048
LENGTHS, LARGER_LENGTH = (3e6, 6e6, 9e6), 6e6
"""Tokens, of the series and of the larger model: less than the corpus has."""
LARGER_DEPTH = 7
"""Of 4.7M parameters, where the series ends with 4 layers and 1.1M."""
COUNTS = {"total": "parameters", "non_embedding": "non_embedding"}
"""How `scale fit` calls a count of parameters, and its column in a table of runs."""
TABLE = Path("docs/law.csv")
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


def trained(folder: Path, seed: int) -> list[dict[str, Any]]:
    """Return a row for each run of a seed, and keep them as a table."""
    from codeparrot.arguments import load_config
    from codeparrot.scale.points import read

    rows = []
    for part in (folder / "series" / "runs", folder / "larger" / "runs"):
        for total, inner in zip(read([part]), read([part], "non_embedding"), strict=True):
            precision = load_config(part / total.name / "config.yaml").train.precision
            of_run = {"name": total.name, "parameters": int(total.parameters), "non_embedding": int(inner.parameters)}
            measured = {"tokens": int(total.tokens), "loss": total.loss, "precision": precision, "machine": machine()}
            rows.append({"seed": seed, **of_run, **measured})
    _write(folder / "runs.csv", rows)
    return rows


def _write(file: Path, rows: list[dict[str, Any]]) -> None:
    with file.open("w", encoding="utf-8", newline="") as opened:
        table = csv.DictWriter(opened, list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


def predicted(rows: list[dict[str, Any]], count: str) -> tuple[float, float]:
    """Return the loss of the largest model of some runs that a law of the others predicts, and the loss that it has."""
    column = COUNTS[count]
    *series, larger = sorted(rows, key=lambda row: float(row["parameters"]))
    with TemporaryDirectory() as folder:
        law, table = Path(folder) / "law", Path(folder) / "series.csv"
        _write(table, [{"parameters": row[column], "tokens": row["tokens"], "loss": row["loss"]} for row in series])
        codeparrot("scale", "fit", str(table), "--output", str(law), "--parameters", count, "--draws", "20")
        size = ("--parameters", str(larger[column]), "--tokens", str(larger["tokens"]))
        return codeparrot("scale", "predict", "--law", str(law), *size)["loss"], float(larger["loss"])


def errors(seeds: list[list[dict[str, Any]]]) -> tuple[Ratio, dict[str, object]]:
    """Return the largest error of the predictions, and the facts, from the runs of each seed."""
    facts: dict[str, object] = {}
    worst = 0.0
    for count in COUNTS:
        losses = [predicted(rows, count) for rows in seeds]
        found = [guess / truth - 1 for guess, truth in losses]
        half = T_OF_3 * statistics.stdev(found) / 3**0.5 if len(found) == 3 else float("nan")
        facts[f"error of the prediction, {count}"] = f"{statistics.mean(found):+.2%}, plus or minus {half:.2%}"
        facts[f"predicted and measured, {count}"] = [f"{guess:.4f} {truth:.4f}" for guess, truth in losses]
        worst = max(map(abs, found)) if count == "total" else worst
    return Ratio("largest error of a prediction", worst, MOST_ERROR, "of a loss", 1.0, higher_is_better=False), facts


def scale(seed: int, share: float) -> dict[str, Any]:
    """Train the series and the larger model of a seed; return the runs, the minutes of the series, and its step in size."""
    folder = FOLDER / f"{'law' if share == 1 else 'trial'}-{seed}"
    lengths = ("--sizes", str(SIZES), "--tokens", *(str(share * length) for length in LENGTHS))
    made = train(folder / "series", seed, *lengths)
    one = ("--depths", str(LARGER_DEPTH), "--tokens", str(share * LARGER_LENGTH))
    (larger,) = train(folder / "larger", seed, *one)["runs"]
    times = larger["parameters"] / max(run["parameters"] for run in made["runs"])
    return {"runs": trained(folder, seed), "minutes": made["seconds"] / 60, "times": times}


def measure_scale(words: list[str]) -> None:
    prepare()
    if not TOKENIZER.exists():
        source = ("--corpus", str(CORPUS), "--output", str(TOKENIZER))
        codeparrot("tokenizer", "train", *source, "--vocab_size", str(VOCABULARY))
    share = TRIAL if "try" in words else 1.0
    seeds = [int(word) for word in words if word.isdigit()] or ([0] if share < 1 else SEEDS)
    found = [scale(seed, share) for seed in seeds]
    worst, facts = errors([each["runs"] for each in found])
    facts["parameters of the larger model, in those of the largest"] = found[0]["times"]
    minutes = min(each["minutes"] for each in found)
    time_taken = Ratio("time of a series", minutes, MOST_MINUTES, "minutes", 1.0, higher_is_better=False)
    report("science: a law of four sizes predicts a model four times larger", [worst, time_taken], facts)


def measure_law(words: list[str]) -> None:
    seeds: dict[str, list[dict[str, Any]]] = {}
    for table in map(Path, words or [str(TABLE)]):
        with table.open(encoding="utf-8", newline="") as opened:
            for row in csv.DictReader(opened):
                seeds.setdefault(row["seed"], []).append(row)
    runs = SIZES * len(LENGTHS) + 1
    whole = {seed: rows for seed, rows in seeds.items() if len(rows) == runs}
    if not whole:
        raise SystemExit(f"no seed has its {runs} runs: train them with python -m benchmarks.science scale SEED")
    worst, facts = errors(list(whole.values()))
    left_out = [f"seed {seed} ({len(rows)} of {runs} runs)" for seed, rows in seeds.items() if seed not in whole]
    report(
        "science: a law of four sizes predicts a model four times larger, from runs of before",
        [worst],
        {"seeds": ", ".join(whole), **({"left out": ", ".join(left_out)} if left_out else {}), **facts},
    )


PARTS = {"scale": measure_scale, "law": measure_law}


def main() -> None:
    name, *words = sys.argv[1:] or ["scale"]
    PARTS[name](words)


if __name__ == "__main__":
    main()
