"""The curves of a run over tokens, from its metrics.jsonl.

A step whose value was not finite is a gap; steps that were repeated after a resume count once.
"""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from codeparrot.errors import CodeparrotError
from codeparrot.run.metrics import SET, SOLUTIONS, read_lines
from codeparrot.run.parent import parent_of


class Curve(NamedTuple):
    """Values over tokens, in the order of the steps. NaN is a gap."""

    tokens: list[float]
    values: list[float]


class Further(NamedTuple):
    """Bits a byte on a further validation set (`evaluate.also`)."""

    name: str
    during: Curve
    """On the sample of it, where evaluations during the run measured one; else on all of it."""
    at_the_end: Curve
    """On all of it, measured behind the last sample."""


class Run(NamedTuple):
    name: str
    loss: Curve
    perplexity: Curve
    """On the sample of the validation set, where evaluations during the run measured one; else on all of it."""
    at_the_end: Curve
    """Perplexity on all of the validation set, measured behind the last sample."""
    solutions: Curve
    """Bits a byte of the reference solutions of problems, of the set that was measured last: those of sets do not compare."""
    problems: str
    """Name of that set; empty without one."""
    begun_at: dict[str, Any] | None = None
    """Checkpoint of another run at which it began (run/parent.py)."""
    further: tuple[Further, ...] = ()
    languages: tuple[Further, ...] = ()
    """The same of the languages of the validation set, the one with the most tokens first."""
    measure: str = "perplexity"
    """What `perplexity` and `at_the_end` are: of objectives that give a text no likelihood, pseudo-perplexity."""


def read(folder: Path) -> Run:
    """Read the curves of a run from its metrics.jsonl.

    Raises:
        CodeparrotError: there is no such file, or it has no loss and no perplexity yet.
    """
    path = folder / "metrics.jsonl"
    try:
        rows = [row for row in read_lines(path) if row.get("tokens") is not None]
    except OSError as error:
        raise CodeparrotError(f'"{folder}" is not a run: {path.name} cannot be read ({error.strerror})') from error
    measure = "pseudo_perplexity" if any("pseudo_perplexity" in row for row in rows) else "perplexity"
    perplexity, whole = (_curve(part, measure) for part in _divided(rows, "eval_sample"))
    names = list(dict.fromkeys(str(row[SET]) for row in rows if SET in row))
    of_sets = {name: _divided([row for row in rows if str(row.get(SET)) == name], f"{SET}_sample") for name in names}
    further = [Further(name, *(_curve(part, f"{SET}_bits_per_byte") for part in parts)) for name, parts in of_sets.items()]
    sets = [str(row.get("problems", "")) for row in rows if SOLUTIONS in row]
    solved = [row for row in rows if SOLUTIONS in row and str(row.get("problems", "")) == sets[-1]]
    measured = _curve(rows, "loss"), perplexity, whole, _curve(solved, SOLUTIONS), (sets or [""])[-1]
    named = {"languages": tuple(_languages(rows)), "further": tuple(further), "measure": measure.replace("_", "-")}
    run = Run(folder.resolve().name, *measured, begun_at=parent_of(folder), **named)
    if not any(map(math.isfinite, run.loss.values + run.perplexity.values + run.at_the_end.values)):
        raise CodeparrotError(f'the run "{folder}" has logged no loss yet: train on until it has')
    return run


def _languages(rows: Sequence[dict[str, Any]]) -> Iterator[Further]:
    """Yield the bits a byte of each language that evaluations measured."""
    of = [(row, row["eval_languages"]) for row in rows if isinstance(row.get("eval_languages"), dict)]
    for name in dict.fromkeys(name for _, found in of for name in found):
        own = [{**row, "bits_per_byte": found[name]["bits_per_byte"]} for row, found in of if name in found]
        yield Further(name, *(_curve(part, "bits_per_byte") for part in _divided(own, "eval_sample")))


def _divided(rows: Sequence[dict[str, Any]], sampled: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the lines up to the last that was measured on a sample, and those behind."""
    last = max((row["tokens"] for row in rows if row.get(sampled)), default=math.inf)
    return [row for row in rows if row["tokens"] <= last], [row for row in rows if row["tokens"] > last]


def _curve(rows: Sequence[dict[str, Any]], key: str) -> Curve:
    """Return the values of a key. Where the run went back to an earlier step, those it had from there on are left out."""
    curve = Curve([], [])
    for row in rows:
        if key in row:
            while curve.tokens and curve.tokens[-1] >= row["tokens"]:
                del curve.tokens[-1], curve.values[-1]
            curve.tokens.append(row["tokens"])
            known = row[key] is not None and math.isfinite(row[key]) and (key == "loss" or row[key] > 0)
            curve.values.append(row[key] if known else math.nan)
    return curve
