"""A tree of cool-downs against separate runs: steps and losses of three budgets, on the quickstart's corpus.

Separate: a run for each budget with the schedule of configs/nano.yaml, which was tuned: warm-up over a fifth of the run, then
linear to zero. Tree: one run that stays constant up to where the largest budget begins to decay, and from its checkpoints a
child for each budget (`train --from RUN@step_N --schedule.decay_now 0.2`), which ends at the step at which the separate run
ends. The tree's learning rate and the shape of its decay are the best of a few, by seed 0. Windows and seeds are the same. The
cost is counted in steps, which all have equally many tokens. Three seeds; intervals are 95% intervals of the mean.

What is measured is kept in data/benchmarks/cooldowns.json, so that an interrupted benchmark goes on; remove it to begin anew.
Speed does not matter here. `CODEPARROT_COOLDOWNS_STEPS=40 python -m benchmarks.cooldowns` tries it with a largest budget of 40
steps.
"""

import math
import os
import statistics
from collections.abc import Callable
from itertools import product
from typing import Any

from benchmarks.common import DATA, Ratio, codeparrot, report
from benchmarks.learning import CORPUS, NANO, SEEDS, TOKENIZER, UNIT, prepare
from benchmarks.measured import Measured, interval

LAST = int(os.environ.get("CODEPARROT_COOLDOWNS_STEPS", "1000"))
"""Steps of the largest budget: by default those of the recipe."""
BUDGETS = tuple(LAST * share // 20 for share in (10, 15, 20))
DECAY = 0.2
RATES, SHAPES = (2.5e-3, 3.5e-3), ("linear", "1-sqrt")
FOLDER, RESULTS = DATA / f"cooldowns-{LAST}", DATA / "cooldowns.json"
RUNS = FOLDER / "runs"


def begin(budget: int) -> int:
    """Return the step at which the cool-down of this budget begins."""
    return budget - round(DECAY * budget)


def separate(budget: int, seed: int) -> float:
    """Train a run of its own; return the bits a byte at its end."""
    name = ("--run.name", f"separate-{budget}-{seed}", "--checkpoint.every_steps", "0")
    return codeparrot(*_recipe(seed, budget), *name, "--schedule.warmup_steps", str(budget // 5))["bits_per_byte"]


def trunk(rate: float, seed: int) -> float:
    """Train the run that all cool-downs of a rate and a seed leave, up to where the last one does; return its bits a byte."""
    places = math.gcd(*map(begin, BUDGETS))
    found = codeparrot(
        *(*_recipe(seed, begin(BUDGETS[-1])), "--run.name", _tree(rate, seed), "--optim.lr", f"{rate:g}"),
        *("--schedule.name", "constant", "--schedule.warmup_steps", str(LAST // 10)),
        *("--checkpoint.every_steps", str(places), "--checkpoint.keep_every_steps", str(places)),
    )
    return found["bits_per_byte"]


def cooled(rate: float, shape: str, budget: int, seed: int) -> float:
    """Train the cool-down of a budget; return the bits a byte at its end."""
    name = f"{_tree(rate, seed)}-{shape}-{budget}"
    found = codeparrot(
        *("train", "--from", f"{RUNS / _tree(rate, seed)}@step_{begin(budget)}", "--run.name", name),
        *("--schedule.name", "wsd", "--schedule.decay_now", str(DECAY), "--schedule.decay_shape", shape),
        *("--evaluate.every_steps", str(budget), "--checkpoint.every_steps", "0"),
    )
    if found["step"] != budget:
        raise ValueError(f"the cool-down from step {begin(budget)} ended at step {found['step']} instead of {budget}")
    return found["bits_per_byte"]


def _tree(rate: float, seed: int) -> str:
    return f"tree-{rate:g}-{seed}"


def _recipe(seed: int, steps: int) -> tuple[str, ...]:
    return (
        *("train", "--config", str(NANO), "--run.dir", str(RUNS), "--run.seed", str(seed), "--objective.fim_rate", "0"),
        *("--tokenizer.path", str(TOKENIZER), "--stream.train", str(CORPUS), "--stream.valid", str(CORPUS)),
        *("--train.precision", "fp32", "--train.max_steps", str(steps)),
        *("--evaluate.every_steps", str(steps), "--evaluate.sample_tokens", "0", "--evaluate.likelihood_problems", ""),
    )


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    prepare()
    measured = Measured(RESULTS)

    def of(name: str, measure: Callable[..., float], *arguments: Any) -> float:
        return measured.of(f"{LAST} steps, {name}", measure, *arguments, unit=UNIT)

    def tree(rate: float, shape: str, seed: int) -> list[float]:
        of(f"trunk, lr {rate:g}, seed {seed}", trunk, rate, seed)
        name = f"lr {rate:g}, {shape}, seed {seed}"
        return [of(f"cool-down at {budget}, {name}", cooled, rate, shape, budget, seed) for budget in BUDGETS]

    mean = statistics.mean
    alone = {
        budget: [of(f"separate run of {budget}, seed {seed}", separate, budget, seed) for seed in SEEDS] for budget in BUDGETS
    }
    tuned = {(rate, shape): mean(tree(rate, shape, 0)) for rate, shape in product(RATES, SHAPES)}
    rate, shape = min(tuned, key=lambda each: tuned[each])
    trees = dict(zip(BUDGETS, zip(*(tree(rate, shape, seed) for seed in SEEDS), strict=True), strict=True))
    facts = {
        f"{kind}, {budget} steps": interval([*found[budget]], UNIT)
        for budget in BUDGETS
        for kind, found in (("separate", alone), ("tree", trees))
    }
    tried = ", ".join(f"{rate:g} {shape}: {value:.4f}" for (rate, shape), value in tuned.items())
    facts["tree by learning rate and decay, seed 0"] = tried
    steps = begin(BUDGETS[-1]) + sum(budget - begin(budget) for budget in BUDGETS)
    ratios = [Ratio("steps of the tree against separate runs", steps, sum(BUDGETS), "steps", 0.6, False)]
    for budget in BUDGETS:
        name = f"{budget} steps: the tree's against the separate run's"
        ratios.append(Ratio(name, mean(trees[budget]), mean(alone[budget]), "bits/byte", 1.01, False))
    report("cooldowns: three budgets by one run with cool-downs", ratios, facts)


if __name__ == "__main__":
    main()
