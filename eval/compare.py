"""`codeparrot eval compare`: whether two evaluations of the same problems differ, and by how much."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codeparrot import files
from codeparrot.errors import CodeparrotError
from codeparrot.location import path_of
from codeparrot.result import Result
from codeparrot.run.reports import prompt_style

if TYPE_CHECKING:
    from codeparrot.eval.measured import Measure, Measured


SURE = 0.05
"""Two evaluations differ if p is below."""
MANY = 10
"""Of so many comparisons some differ by chance, which is said."""


def compare(evaluations: list[str], k: list[int] = [1, 10], seed: int = 0, anyway: bool = False) -> Result:  # noqa: B006 - read only
    """Compare two evaluations of the same problems, paired by problem, with intervals and p-values.

    Args:
        evaluations: Two --output folders, or files in them, of `codeparrot eval humaneval` or `eval infilling` (pass@k and
            measures of infilling at each temperature), `eval likelihood` (bits a byte), `eval retrieval` (MRR and recall of
            each search) or `eval explain` (chrF and ROUGE-L).
        k: Values for pass@k; those above the number of samples per problem are left out.
        seed: Seed of the draws for interval and p-value.
        anyway: Compare evaluations whose prompts had different styles (--prompt_style), too.
    """
    from codeparrot.eval import statistics
    from codeparrot.eval.measured import read_measured
    from codeparrot.eval.report import counts
    from codeparrot.eval.scoring import read_results

    if len(evaluations) != 2:
        raise CodeparrotError(f"two evaluations are compared, and {len(evaluations)} named: name two folders")
    if not k or min(k) < 1:
        raise CodeparrotError(f"--k {k} is out of range: at least 1")
    measured = [read_measured(path_of(name)) for name in evaluations]
    if any(measured):
        return _compare_measures(evaluations, measured, seed)
    rows = [read_results(path_of(name)) for name in evaluations]
    tasks = [sorted({row["task_id"] for row in each}) for each in rows]
    _check_same(*tasks)
    reports, notes = _reports([path_of(name) for name in evaluations])
    notes += [*_differences(reports), *_styles(reports, anyway)]
    tables = [counts(each, tasks[0]) for each in rows]
    groups = _groups(rows, tasks[0])
    common = [temperature for temperature in tables[0] if temperature in tables[1]]
    if not common:
        raise CodeparrotError("the evaluations have no temperature in common: evaluate one of them again at the other's")
    found: list[dict[str, Any]] = []
    for temperature in common:
        fewest = min(number for table in tables for number, _ in table[temperature])
        for each in sorted(set(k)):
            if each <= fewest:
                values = [statistics.per_problem(table[temperature], each) for table in tables]
                result = statistics.compare(*values, seed=seed, groups=groups)
                found.append(
                    {
                        "temperature": temperature,
                        "k": each,
                        "first": float(values[0].mean()),
                        "second": float(values[1].mean()),
                        "difference": result.difference._asdict(),
                        "p_value": result.p_value,
                    }
                )
        found += _of_means(rows, tasks[0], temperature, seed, groups)
    lines = [f"{len(tasks[0])} problems; first: {evaluations[0]}, second: {evaluations[1]}", *map(_line, found), *notes]
    return Result("\n".join(lines), {"evaluations": evaluations, "problems": len(tasks[0]), "comparisons": found})


def _of_means(
    rows: list[list[dict[str, Any]]], tasks: list[str], temperature: float | None, seed: int, groups: Any
) -> list[dict[str, Any]]:
    """Compare what the samples of infilling have besides a verdict, where all samples of both evaluations have it."""
    from codeparrot.eval import statistics
    from codeparrot.eval.report import averages
    from codeparrot.eval.tasks.infilling import MEANS

    own = [[row for row in each if row["temperature"] == temperature] for each in rows]
    found = []
    for name in MEANS:
        if all(isinstance(row.get(name), int | float) for each in own for row in each):
            values = [averages(each, tasks, name) for each in own]
            result = statistics.compare(*values, seed=seed, groups=groups)
            means = {"first": float(values[0].mean()), "second": float(values[1].mean())}
            difference = {"difference": result.difference._asdict(), "p_value": result.p_value}
            found.append({"temperature": temperature, "measure": name, **means, **difference})
    return found


def _reports(places: list[Path]) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the reports beside the results, empty ones where there are none, and what to say of those that are damaged."""
    from codeparrot.eval.scoring import REPORT, RESULTS

    reports, notes = [], []
    for place in places:
        path = (place.parent if place.name in (RESULTS, REPORT) else place) / REPORT
        try:
            report = files.read_object(path)
            if not all(isinstance(report.get(name) or {}, dict) for name in ("problem_set", "settings")):
                raise ValueError("it is not what an evaluation writes")
        except FileNotFoundError:
            report = {}
        except (OSError, ValueError) as error:
            report = {}
            notes.append(f"{path} cannot be read ({error}): nothing says whether problems and sampling were the same")
        reports.append(report)
    return reports, notes


def _groups(rows: list[list[dict[str, Any]]], tasks: list[str]) -> Any:
    """Return the group of each problem where both evaluations name the same ones, as those of infilling do; else None."""
    import numpy as np

    first, second = ({row["task_id"]: row.get("group") for row in each} for each in rows)
    groups = [group for group in map(first.get, tasks) if isinstance(group, int)]
    return np.unique(groups, return_inverse=True)[1] if first == second and len(groups) == len(tasks) else None


def _differences(reports: list[dict[str, Any]], how: str = "sampled") -> list[str]:
    """Return how the evaluations differ besides their models, as what was done (`how`) differently.

    Raises:
        CodeparrotError: their problems share names but differ, like HumanEval's and HumanEval+'s.
    """
    first, second = (report.get("problem_set") or {} for report in reports)
    settings = [report.get("settings") or {} for report in reports]
    names = " and ".join(f"{each.get('name')} ({each.get('source')})" for each in (first, second))
    # Reports of search by older versions have settings alone.
    drawn = [[each.get(name) for name in ("split", "candidates", "seed")] for each in settings]
    if (first and second and first.get("sha256") != second.get("sha256")) or (
        all("candidates" in each for each in settings) and drawn[0] != drawn[1]
    ):
        if all("candidates" in each for each in settings):
            same = "--pairs, --split, --candidates and --seed"
            raise CodeparrotError(
                f"the evaluations are of other queries or candidates ({names}): evaluate both with the same {same}"
            )
        raise CodeparrotError(f"the evaluations are of different problems with the same names: {names}")
    return [
        f"they were {how} differently: {name} {settings[0][name]} and {settings[1][name]}"
        for name in ("fim_order", "chat", "top_p", "max_new_tokens", "precision", "pooling", "whiten_on")
        if all(each.get(name, "auto") != "auto" for each in settings) and settings[0][name] != settings[1][name]
    ]


def _styles(reports: list[dict[str, Any]], anyway: bool) -> list[str]:
    """Return in which styles the prompts were given, if they differ.

    Raises:
        CodeparrotError: they differ, and are not to be compared anyway.
    """
    first, second = (prompt_style(report.get("settings") or {}) for report in reports)
    # Chat is a setting of its own, and an evaluation of samples from elsewhere does not say.
    if first == second or {first, second} & {"", "chat"}:
        return []
    if not anyway:
        remedy = "evaluate one again with the other's --prompt_style, or compare them with --anyway"
        raise CodeparrotError(f"the evaluations are of different styles of prompts: {first} and {second}; {remedy}")
    return [f"they were sampled differently: prompt_style {first} and {second}"]


def _line(found: dict[str, Any]) -> str:
    difference = found["difference"]
    low, high = 100 * difference["low"], 100 * difference["high"]
    name = found["measure"] if "measure" in found else f"pass@{found['k']}"
    where = "" if found["temperature"] is None else f" at temperature {found['temperature']}"
    sure = "they differ" if found["p_value"] < SURE else "not to be told apart"
    return (
        f"{name}{where}: {100 * found['first']:.2f}% and {100 * found['second']:.2f}%, difference "
        f"{100 * difference['mean']:+.2f} ({low:+.1f} to {high:+.1f}), p {found['p_value']:.4f}: {sure}"
    )


def _compare_measures(evaluations: list[str], measured: "list[Measured | None]", seed: int) -> Result:
    """Compare what two evaluations without unit tests measured, paired by task.

    Raises:
        CodeparrotError: they are of different kinds, or of different problems.
    """
    from codeparrot.eval.scoring import read_results

    first, second = measured
    for name, each in zip(evaluations, measured, strict=True):
        if each is None:
            read_results(path_of(name))  # says so if there is no evaluation
    if first is None or second is None or first.kind != second.kind:
        kinds = [each.kind if each else "unit tests" for each in measured]
        if first is None:  # in the order in which people think of them
            kinds.reverse()
        raise CodeparrotError(f"one of the evaluations is of {kinds[0]}, the other of {kinds[1]}: compare two of a kind")
    # Their folders may be named by the file in them.
    reports, notes = _reports([path.parent if path.is_file() else path for path in map(path_of, evaluations)])
    notes += _differences(reports, "measured")
    others = {each.name: each for each in second.measures}
    names = {each.name for each in first.measures}
    if alone := sorted(names ^ others.keys()):
        notes.append(f"only one of them has: {'; '.join(alone)}")
    found, lines, tasks = [], [], set[str]()
    for own in first.measures:
        if own.name in others:
            found.append(_of_measure(own, others[own.name], [first.rows, second.rows], seed))
            lines.append(_measure_line(own.name, found[-1], 4 if first.kind == "likelihood" else 3))
            tasks |= own.values.keys()
    if not found:
        raise CodeparrotError("the evaluations have no measure in common: evaluate one again as the other was")
    if len(found) >= MANY:
        notes.append(f"{len(found)} comparisons: about {len(found) * SURE:.0f} of them differ at p {SURE} by chance alone")
    heading = f"{len(tasks)} {first.of}; first: {evaluations[0]}, second: {evaluations[1]}"
    facts = {"problems": len(tasks), "comparisons": found}
    return Result("\n".join([heading, *lines, *notes]), {"evaluations": evaluations, **facts})


def _of_measure(first: "Measure", second: "Measure", rows: list[Any], seed: int) -> dict[str, Any]:
    import numpy as np

    from codeparrot.eval import statistics

    _check_same(first.values, second.values)
    tasks = sorted(first.values)
    values = [np.array([each.values[task] for task in tasks]) for each in (first, second)]
    result = statistics.compare(*values, seed=seed, groups=_groups(rows, tasks) if all(rows) else None)
    means = {"first": float(values[0].mean()), "second": float(values[1].mean())}
    return {**first.facts, **means, "difference": result.difference._asdict(), "p_value": result.p_value}


def _check_same(first: Iterable[str], second: Iterable[str]) -> None:
    """Check that two evaluations are of the same tasks.

    Raises:
        CodeparrotError: they are not.
    """
    if different := len(set(first) ^ set(second)):
        raise CodeparrotError(
            f"the evaluations are of different problems ({different} are in only one of them): compare the same ones"
        )


def _measure_line(name: str, found: dict[str, Any], digits: int) -> str:
    difference, sure = found["difference"], "they differ" if found["p_value"] < SURE else "not to be told apart"
    low, high, mean = (f"{difference[key]:+.{digits}f}" for key in ("low", "high", "mean"))
    means = f"{found['first']:.{digits}f} and {found['second']:.{digits}f}"
    return f"{name}: {means}, difference {mean} ({low} to {high}), p {found['p_value']:.4f}: {sure}"
