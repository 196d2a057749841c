"""What fill-in-the-middle costs and brings, at equal tokens on the quickstart's corpus; and what measures tell of small models.

The model is that of configs/nano.yaml, trained for 5,000 steps with `objective.fim_rate` 0 and 0.5, three seeds each; intervals
are 95% intervals of the mean.

- Left to right: bits a byte of the validation set, which has no sentinels in it.
- Infilling: lines of the validation set are taken out, and written again greedily: by the model with 0 given the text before
  them, by the model with 0.5 given that or both sides, in either order. A hit is the first line it writes, white space at its
  ends apart; models of this size seldom end a middle themselves. Of HumanEval's lines, all that is written counts.
- Measures: checkpoints that lie a tenth of the training apart, by bits a byte of reference solutions and by pass@1; the p-value
  of `codeparrot eval compare`, paired by problem.

What is measured is kept in data/benchmarks/completion.json, so that an interrupted benchmark goes on; remove it to begin anew.
Speed does not matter here. `python -m benchmarks.completion train 0` trains only the models of seed 0, so that several
processes can share the work.
"""

import logging
import random
import statistics
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from benchmarks.common import DATA, Ratio, codeparrot, report
from benchmarks.learning import CORPUS, NANO, SEEDS, prepare
from benchmarks.measured import Measured, interval

RATES = (0.0, 0.5)
FOLDER, RESULTS = DATA / "completion", DATA / "completion.json"
of = Measured(RESULTS).of
TOKENIZER = FOLDER / "tokenizer"
STEPS = 5000
"""10M tokens, about one pass over the corpus: after the recipe's 1,000 no model writes any line again."""
WAYS = ((0.0, "prefix"), (0.5, "prefix"), (0.5, "psm"), (0.5, "spm"))
"""Rate of fill-in-the-middle in training, and what a model is shown of a gap's surroundings."""
LINES = 1000
LINES_OF_A_DOCUMENT = 20
NEW_TOKENS = 48
PROBLEMS = ("codeparrot", "humaneval")


class Line(NamedTuple):
    """A line of the validation set, and its document around it."""

    prefix: str
    middle: str
    suffix: str


def train(rate: float, seed: int) -> dict[str, float]:
    """Train the recipe, unless it is trained; return bits a byte at its end."""
    return codeparrot(
        *("train", "--config", str(NANO), "--run.dir", str(FOLDER / "runs"), "--run.name", run(rate, seed).name),
        *("--run.seed", str(seed), "--objective.fim_rate", str(rate), "--train.precision", "auto"),
        *("--train.max_steps", str(STEPS), "--schedule.warmup_steps", str(STEPS // 20)),
        *("--tokenizer.path", str(TOKENIZER), "--stream.train", str(CORPUS), "--stream.valid", str(CORPUS)),
        *("--evaluate.every_steps", str(STEPS), "--evaluate.sample_tokens", "0"),
        *("--checkpoint.every_steps", str(STEPS // 10), "--checkpoint.keep_last", "2"),
    )


def run(rate: float, seed: int) -> Path:
    return FOLDER / "runs" / f"fim-{rate:g}-seed-{seed}"


def lines() -> list[Line]:
    """Draw lines of the validation set that are not blank, from all of its documents."""
    import pyarrow.parquet as parquet

    found: list[Line] = []
    draw = random.Random(0)
    for file in sorted(CORPUS.glob("valid-*.parquet")):
        for text in parquet.read_table(file, columns=["content"])["content"].to_pylist():
            own = text.splitlines(keepends=True)
            written = [number for number, line in enumerate(own) if line.strip()]
            for number in draw.sample(written, min(LINES_OF_A_DOCUMENT, len(written))):
                found.append(Line("".join(own[:number]), own[number], "".join(own[number + 1 :])))
    return draw.sample(found, min(LINES, len(found)))


def hits(rate: float, order: str, seed: int) -> float:
    """Return the share of the lines that a model writes again."""
    from codeparrot.generation.engine import Engine
    from codeparrot.generation.requests import Request
    from codeparrot.loading import find_model, load_model

    logging.getLogger("codeparrot.generation").setLevel(logging.ERROR)  # most documents are longer than the context
    model, tokenizer = load_model(find_model(str(run(rate, seed))), "cpu")
    taken = lines()
    with Engine(model, tokenizer) as engine:
        asked = []
        for line in taken:
            request = Request(line.prefix, max_new_tokens=NEW_TOKENS)
            if order != "prefix":
                request = replace(request, suffix=line.suffix, order=order)
            asked.append(engine.submit(request))
        for _ in engine.run():
            pass
    return statistics.mean(_first_line(each.text) == line.middle.strip() for each, line in zip(asked, taken, strict=True))


def _first_line(text: str) -> str:
    """Return the first line that is not blank, without white space at its ends."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


def humaneval_hits(rate: float, order: str, seed: int) -> float:
    """Return the exact matches among HumanEval's lines."""
    output = FOLDER / "infilling" / f"{run(rate, seed).name}-{order}"
    found = codeparrot(
        *("eval", "infilling", "--checkpoint", str(run(rate, seed)), "--kind", "single-line", "--fim_order", order),
        *("--max_new_tokens", str(NEW_TOKENS), "--output", str(output)),
    )
    return found["exact_match"]


def told_apart(seed: int, measure: str, problems: str) -> float:
    """Return the p-value between the checkpoints at 90% and at the end of training."""
    place = FOLDER / measure / problems
    options = {
        "likelihood": (),
        "humaneval": ("--samples", "10", "--k", "1", "--max_new_tokens", str(NEW_TOKENS)),
    }[measure]
    outputs = []
    for checkpoint in sorted((run(0.5, seed) / "checkpoints").glob("step_*"))[-2:]:
        outputs.append(str(place / f"seed-{seed}-{checkpoint.name}"))
        source = ["--checkpoint", str(checkpoint), "--problems", problems]
        codeparrot("eval", measure, *source, *options, "--output", outputs[-1])
    (found,) = codeparrot("eval", "compare", *outputs, *(("--k", "1") if measure == "humaneval" else ()))["comparisons"]
    return found["p_value"]


def _by_way(name: str, measure: Callable[[float, str, int], float]) -> dict[tuple[float, str], list[float]]:
    return {
        (rate, order): [of(f"{name}, rate {rate:g}, {order}, seed {seed}", measure, rate, order, seed) for seed in SEEDS]
        for rate, order in WAYS
    }


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    prepare()
    if not TOKENIZER.exists():
        codeparrot("tokenizer", "train", "--corpus", str(CORPUS), "--output", str(TOKENIZER), "--vocab_size", "4096")

    def bits(rate: float, seed: int) -> float:
        return train(rate, seed)["bits_per_byte"]

    if sys.argv[1:2] == ["train"]:
        for seed in map(int, sys.argv[2:]):
            for rate in RATES:
                of(f"left to right, rate {rate:g}, seed {seed}", bits, rate, seed)
        return
    plain, mixed = ([of(f"left to right, rate {rate:g}, seed {seed}", bits, rate, seed) for seed in SEEDS] for rate in RATES)
    written = {name: _by_way(name, measure) for name, measure in (("lines", hits), ("HumanEval's lines", humaneval_hits))}
    p_values = {
        f"{problems} by {measure}": [
            of(f"{problems}, {measure}, seed {seed}", told_apart, seed, measure, problems) for seed in SEEDS
        ]
        for problems in PROBLEMS
        for measure in ("likelihood", "humaneval")
    }
    facts = {
        "bits a byte left to right, rate 0": interval(plain),
        "bits a byte left to right, rate 0.5": interval(mixed),
        **{
            f"{name} written again, rate {rate:g}, {order}": interval(shares)
            for name, found in written.items()
            for (rate, order), shares in found.items()
        },
        **{f"p of a tenth of training, {name}": ", ".join(f"{p:.4f}" for p in values) for name, values in p_values.items()},
    }
    mean = statistics.mean
    before = mean(written["lines"][0.0, "prefix"])
    ratios = [
        Ratio("left to right, rate 0.5 against 0", mean(mixed), mean(plain), "bits/byte", 1.01, False),
        *(
            Ratio(
                f"lines written again, {order} against the text before",
                mean(written["lines"][0.5, order]),
                before,
                "share",
                2.0,
            )
            for order in ("psm", "spm")
        ),
        *(
            Ratio(f"largest p of bits a byte, {name}'s problems", max(p_values[f"{name} by likelihood"]), 1.0, "p", 0.01, False)
            for name in PROBLEMS
        ),
        *(
            Ratio(f"smallest p of pass@1, {name}'s problems", min(p_values[f"{name} by humaneval"]), 1.0, "p", 0.01)
            for name in PROBLEMS
        ),
    ]
    report("completion: the nano recipe with and without fill-in-the-middle", ratios, facts)


if __name__ == "__main__":
    main()
