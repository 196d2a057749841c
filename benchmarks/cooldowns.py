"""A tree of cool-downs against separate runs: steps and losses of three budgets, on the quickstart's corpus.

The recipe is configs/nano.yaml with schedule.name wsd. Separate: a run for each budget, which decays over its last fifth. Tree:
one run that stays constant up to where the largest one begins to decay, and from its checkpoints a child for each budget
(`train --from RUN@step_N --schedule.decay_now 0.2`), which ends at the step at which the separate run ends. Windows, seeds and
rates are the same. The cost is counted in steps, which all have equally many tokens. Three seeds; intervals are 95% intervals
of the mean.

What is measured is kept in data/benchmarks/cooldowns.json, so that an interrupted benchmark goes on; remove it to begin anew.
Speed does not matter here. `python -m benchmarks.cooldowns 0 1` trains only these seeds, so that several processes can share
the work. `CODEPARROT_COOLDOWNS_STEPS=40 python -m benchmarks.cooldowns` tries it with a largest budget of 40 steps.
"""

import math
import os
import statistics
import sys
from collections.abc import Callable

from benchmarks.common import DATA, Ratio, codeparrot, report
from benchmarks.learning import CORPUS, NANO, SEEDS, TOKENIZER, UNIT, prepare
from benchmarks.measured import Measured, interval

LAST = int(os.environ.get("CODEPARROT_COOLDOWNS_STEPS", "4000"))
"""Steps of the largest budget."""
BUDGETS = tuple(LAST * share // 20 for share in (10, 15, 20))
DECAY = 0.2
FOLDER, RESULTS = DATA / f"cooldowns-{LAST}", DATA / "cooldowns.json"
RUNS = FOLDER / "runs"


def begin(budget: int) -> int:
    """Return the step at which a run of this budget begins to decay."""
    return budget - round(DECAY * budget)


def separate(budget: int, seed: int) -> float:
    """Train a run of its own; return the bits a byte at its end."""
    found = codeparrot(*_recipe(seed, budget), "--run.name", f"separate-{budget}-{seed}", "--checkpoint.every_steps", "0")
    return found["bits_per_byte"]


def trunk(seed: int) -> float:
    """Train the run that all cool-downs of a seed leave, up to where the last one does; return its bits a byte."""
    places = math.gcd(*map(begin, BUDGETS))
    found = codeparrot(
        *(*_recipe(seed, begin(BUDGETS[-1])), "--schedule.decay_fraction", "0", "--run.name", f"tree-{seed}"),
        *("--schedule.name", "constant", "--checkpoint.every_steps", str(places), "--checkpoint.keep_every_steps", str(places)),
    )
    return found["bits_per_byte"]


def cooled(budget: int, seed: int) -> float:
    """Train the cool-down of a budget; return the bits a byte at its end."""
    parent = f"{RUNS / f'tree-{seed}'}@step_{begin(budget)}"
    found = codeparrot(
        *("train", "--from", parent, "--run.name", f"tree-{seed}-{budget}", "--schedule.name", "wsd"),
        *("--schedule.decay_now", str(DECAY), "--evaluate.every_steps", str(budget), "--checkpoint.every_steps", "0"),
    )
    if found["step"] != budget:
        raise ValueError(f"the cool-down from step {begin(budget)} ended at step {found['step']} instead of {budget}")
    return found["bits_per_byte"]


def _recipe(seed: int, steps: int) -> tuple[str, ...]:
    return (
        *("train", "--config", str(NANO), "--run.dir", str(RUNS), "--run.seed", str(seed), "--objective.fim_rate", "0"),
        *("--tokenizer.path", str(TOKENIZER), "--stream.train", str(CORPUS), "--stream.valid", str(CORPUS)),
        *("--train.precision", "fp32", "--train.max_steps", str(steps), "--schedule.name", "wsd"),
        *("--schedule.warmup_steps", str(min(200, LAST // 20)), "--schedule.decay_fraction", str(DECAY)),
        *("--evaluate.every_steps", str(steps), "--evaluate.sample_tokens", "0", "--evaluate.likelihood_problems", ""),
    )


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    prepare()
    measured, seeds = Measured(RESULTS), [int(word) for word in sys.argv[1:]] or [*SEEDS]

    def of(name: str, measure: Callable[..., float], *arguments: int) -> float:
        return measured.of(f"{LAST} steps, {name}", measure, *arguments, unit=UNIT)

    alone: dict[int, list[float]] = {budget: [] for budget in BUDGETS}
    tree: dict[int, list[float]] = {budget: [] for budget in BUDGETS}
    for seed in seeds:
        of(f"trunk, seed {seed}", trunk, seed)
        for budget in BUDGETS:
            tree[budget].append(of(f"cool-down at {budget}, seed {seed}", cooled, budget, seed))
            alone[budget].append(of(f"separate run of {budget}, seed {seed}", separate, budget, seed))
    if sys.argv[1:]:
        return
    steps = begin(BUDGETS[-1]) + sum(budget - begin(budget) for budget in BUDGETS)
    facts = {
        f"{kind}, {budget} steps": interval(found[budget], UNIT)
        for budget in BUDGETS
        for kind, found in (("separate", alone), ("tree", tree))
    }
    mean = statistics.mean
    ratios = [Ratio("steps of the tree against separate runs", steps, sum(BUDGETS), "steps", 0.6, False)]
    for budget in BUDGETS:
        name = f"{budget} steps: the tree's against the separate run's"
        ratios.append(Ratio(name, mean(tree[budget]), mean(alone[budget]), "bits/byte", 1.01, False))
    report("cooldowns: three budgets by one run with cool-downs", ratios, facts)


if __name__ == "__main__":
    main()
