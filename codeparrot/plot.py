"""Draw the curves of runs over tokens: training loss, validation perplexity, and how likely solutions of problems are.

Guarantees: the picture is complete or absent; a run in progress is drawn as far as it has got; a step whose value was not
finite is a gap in its curve; steps that were repeated after a resume count once. The curve of a run that began at a checkpoint
of another one begins on that one's curve (runs/panels.py).
Cost: about two seconds, half of it for loading matplotlib; 100,000 logged steps add one.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from codeparrot import figures
from codeparrot.errors import CodeparrotError
from codeparrot.location import local_folder, path_of
from codeparrot.result import Result
from codeparrot.run.curves import Run, read
from codeparrot.run.metrics import SOLUTIONS
from codeparrot.runs import panels
from codeparrot.runs.branches import branches
from codeparrot.runs.panels import Axis, loss_in_words, number_in_words


def plot(runs: list[str], output: str | None = None, log_x: bool = False, log_y: bool = False) -> Result:
    """Draw training loss, validation perplexity and the likelihood of solutions of runs over the tokens they were trained on.

    A run that began at a checkpoint of another one (`train --from`) is a branch of that one's curve, if both are drawn.

    Args:
        runs: Run folders; several are drawn into one picture.
        output: Picture to write (.png, .svg or .pdf); by default plots/loss.png in a single run, or loss.png here for several.
        log_x: Logarithmic axis of tokens; what was measured before the first step is not on it.
        log_y: Logarithmic axes of losses; that of perplexity always is.
    """
    chosen = path_of(output) if output else None
    folders = [_folder(name) for name in dict.fromkeys(runs)]
    if not folders:
        raise CodeparrotError("no run to draw: name one or several run folders")
    usual = folders[0] / "plots" / "loss.png" if len(folders) == 1 else Path("loss.png")
    picture = chosen or usual
    drawn = [read(folder) for folder in folders]
    try:
        panels.draw(_distinct(drawn, folders), picture, branches(drawn, folders), Axis(log_x, log_y))
    except OSError as error:
        raise CodeparrotError(f'--output "{picture}" cannot be written ({error.strerror}): name another') from error
    facts = [_facts(run) for run in drawn]
    lines = [f"{fact['run']}: " + ", ".join(_words(fact)) for fact in facts]
    return Result("\n".join([str(picture), *lines]), {"output": str(picture), "runs": facts})


def draw(runs: Sequence[Path], output: Path) -> None:
    """Draw run folders into one picture, whose suffix is its format.

    Raises:
        CodeparrotError: a run has no metrics yet, or the format is unknown.
        OSError: the picture cannot be written.
    """
    drawn = [read(folder) for folder in runs]
    panels.draw(_distinct(drawn, runs), output, branches(drawn, runs))


def _folder(name: str) -> Path:
    folder = local_folder(name)
    if folder is None:
        raise CodeparrotError(f'there is no run "{name}" here')
    return folder


def _distinct(runs: Sequence[Run], folders: Sequence[Path]) -> list[Run]:
    """Name runs by their paths where their names are the same."""
    names = [run.name for run in runs]
    titled = zip(runs, folders, strict=True)
    return [run._replace(name=str(folder)) if names.count(run.name) > 1 else run for run, folder in titled]


def _facts(run: Run) -> dict[str, Any]:
    measured = run.perplexity.values + run.at_the_end.values
    measured_at = run.perplexity.tokens + run.at_the_end.tokens
    losses = figures.smooth(run.loss.values)
    perplexities = [each for each in zip(measured, measured_at, strict=True) if math.isfinite(each[0])]
    known = [index for index, value in enumerate(losses) if math.isfinite(value)]
    following = known[-1] + 1 if known else 0
    return {
        "run": run.name,
        "tokens": max(run.loss.tokens + run.perplexity.tokens + run.at_the_end.tokens),
        "loss": losses[known[-1]] if known else None,
        "not_finite_from": run.loss.tokens[following] if following < len(losses) else None,
        run.measure.replace("-", "_"): perplexities[-1][0] if perplexities else None,
        "perplexity_tokens": perplexities[-1][1] if perplexities else None,
        SOLUTIONS: next(filter(math.isfinite, reversed(run.solutions.values)), None),
    }


def _words(fact: dict[str, Any]) -> list[str]:
    words = [f"{figures.count_in_words(fact['tokens'])} tokens"]
    words += [f"loss {loss_in_words(fact['loss'])}"] if fact["loss"] is not None else []
    if fact["not_finite_from"] is not None:
        words.append(f"not finite from {figures.count_in_words(fact['not_finite_from'])} tokens on")
    measure = next(name for name in ("perplexity", "pseudo_perplexity") if name in fact)
    if fact[measure] is not None:
        earlier = fact["perplexity_tokens"] < fact["tokens"]
        when = f" at {figures.count_in_words(fact['perplexity_tokens'])} tokens" if earlier else ""
        words.append(f"{measure.replace('_', '-')} {number_in_words(fact[measure])}{when}")
    words += [f"solutions {number_in_words(fact[SOLUTIONS])} bits/byte"] if fact[SOLUTIONS] is not None else []
    return words
