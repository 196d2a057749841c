"""How many steps Muon saves: bits a byte of the quickstart's recipe with AdamW, and with Muon after 0.8 of its steps.

Both optimizers are tuned over as many learning rates (seed 0), then trained with three seeds; the intervals are 95% intervals
of the mean. A run of 0.8 of the steps is a run of its own: its warm-up and decay are as much shorter. A ratio of bits a byte
of at most 1 says that Muon reaches AdamW's loss in 1.25 times fewer steps, or better.

What is measured is kept in data/benchmarks/learning.json, so that an interrupted benchmark goes on. Speed does not matter here:
other work on the machine changes nothing.
"""

import statistics

from benchmarks.common import DATA, Ratio, report
from benchmarks.learning import NANO, SEEDS, UNIT, Results, ours, prepare
from benchmarks.measured import interval

SHARE = 0.8
RATES = {"adamw": (2e-3, 3.5e-3, 6e-3, 1e-2), "muon": (3.5e-3, 7e-3, 1.4e-2, 2.8e-2)}


def changes(optimizer: str, lr: float, share: float) -> list[str]:
    from codeparrot.arguments import load_config

    recipe = load_config(NANO)
    steps, warmup = (round(share * count) for count in (recipe.train.max_steps, recipe.schedule.warmup_steps))
    length = ["--train.max_steps", str(steps), "--schedule.warmup_steps", str(warmup)]
    return ["--optim.name", optimizer, "--optim.lr", f"{lr:g}", *length]


def main() -> None:
    DATA.mkdir(parents=True, exist_ok=True)
    prepare()
    results = Results()

    def measured(optimizer: str, lr: float, share: float, seed: int) -> float:
        asked = changes(optimizer, lr, share)
        return results.of(f"{' '.join(asked)}, seed {seed}", ours, "windows", seed, *asked)

    facts: dict[str, str] = {}
    mean: dict[str, float] = {}
    for name, optimizer, share in (("AdamW", "adamw", 1.0), ("Muon, 0.8 of the steps", "muon", SHARE), ("Muon", "muon", 1.0)):
        tuned = {lr: measured(optimizer, lr, SHARE if optimizer == "muon" else 1.0, 0) for lr in RATES[optimizer]}
        best = min(tuned, key=lambda lr: tuned[lr])
        values = [measured(optimizer, best, share, seed) for seed in SEEDS]
        facts[f"{name}, lr {best:g}"] = interval(values, UNIT)
        facts[f"{optimizer} by learning rate, seed 0"] = ", ".join(f"{lr:g}: {value:.4f}" for lr, value in tuned.items())
        mean[name] = statistics.mean(values)
    ratios = [
        Ratio(
            "Muon after 0.8 of the steps against AdamW", mean["Muon, 0.8 of the steps"], mean["AdamW"], "bits/byte", 1.0, False
        ),
        Ratio("Muon after as many steps against AdamW", mean["Muon"], mean["AdamW"], "bits/byte", 1.0, False),
    ]
    report("muon: the nano recipe by its optimizer", ratios, facts)


if __name__ == "__main__":
    main()
