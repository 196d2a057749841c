"""`codeparrot eval compare`: whether two evaluations of the same problems differ, and by how much."""

from pathlib import Path
from typing import Any

from codeparrot import files
from codeparrot.errors import CodeparrotError
from codeparrot.location import path_of
from codeparrot.result import Result
from codeparrot.run.metrics import SOLUTIONS
from codeparrot.run.reports import prompt_style


def compare(evaluations: list[str], k: list[int] = [1, 10], seed: int = 0, anyway: bool = False) -> Result:  # noqa: B006 - read only
    """Compare two evaluations, paired by problem: pass@k and measures of infilling at each temperature, or likelihoods.

    Args:
        evaluations: Two --output folders of `codeparrot eval humaneval`, or of `eval infilling`, or their results.jsonl; or two
            of `eval likelihood`.
        k: Values for pass@k; those above the number of samples per problem are left out.
        seed: Seed of the draws for interval and p-value.
        anyway: Compare evaluations whose prompts had different styles (--prompt_style), too.
    """
    from codeparrot.eval import statistics
    from codeparrot.eval.report import counts
    from codeparrot.eval.scoring import read_results

    if len(evaluations) != 2:
        raise CodeparrotError(f"two evaluations are compared, and {len(evaluations)} named: name two folders")
    if not k or min(k) < 1:
        raise CodeparrotError(f"--k {k} is out of range: at least 1")
    likelihoods = [_likelihoods(path_of(name)) for name in evaluations]
    if any(likelihoods):
        return _compare_likelihoods(evaluations, likelihoods, seed)
    rows = [read_results(path_of(name)) for name in evaluations]
    tasks = [sorted({row["task_id"] for row in each}) for each in rows]
    if tasks[0] != tasks[1]:
        different = len(set(tasks[0]) ^ set(tasks[1]))
        raise CodeparrotError(
            f"the evaluations are of different problems ({different} are in only one of them): compare the same ones"
        )
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
        path = (place.parent if place.name == RESULTS else place) / REPORT
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
    if first and second and first.get("sha256") != second.get("sha256"):
        names = " and ".join(f"{each.get('name')} ({each.get('source')})" for each in (first, second))
        raise CodeparrotError(f"the evaluations are of different problems with the same names: {names}")
    settings = [report.get("settings") or {} for report in reports]
    return [
        f"they were {how} differently: {name} {settings[0][name]} and {settings[1][name]}"
        for name in ("fim_order", "chat", "top_p", "max_new_tokens", "precision")
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
    sure = "they differ" if found["p_value"] < 0.05 else "not to be told apart"
    return (
        f"{name}{where}: {100 * found['first']:.2f}% and {100 * found['second']:.2f}%, difference "
        f"{100 * difference['mean']:+.2f} ({low:+.1f} to {high:+.1f}), p {found['p_value']:.4f}: {sure}"
    )


def _likelihoods(place: Path) -> list[dict[str, Any]]:
    """Return the lines of an evaluation of likelihood; none if it is of another kind.

    Raises:
        CodeparrotError: a line of it is damaged.
    """
    from codeparrot.eval.tasks.likelihood import LIKELIHOOD, read_likelihoods

    path = place / LIKELIHOOD if place.is_dir() else place
    return read_likelihoods(path) if path.name == LIKELIHOOD and path.is_file() else []


def _compare_likelihoods(evaluations: list[str], likelihoods: list[list[dict[str, Any]]], seed: int) -> Result:
    """Compare how likely the solutions are, paired by problem.

    Raises:
        CodeparrotError: only one of the evaluations is of likelihood, or they are of different problems.
    """
    import numpy as np

    from codeparrot.eval import statistics

    if not all(likelihoods):
        raise CodeparrotError("one of the evaluations is of likelihood, the other of unit tests: compare two of a kind")
    first, second = ({row["task_id"]: row["bits_per_byte"] for row in each} for each in likelihoods)
    if different := len(first.keys() ^ second.keys()):
        raise CodeparrotError(
            f"the evaluations are of different problems ({different} are in only one of them): compare the same ones"
        )
    # Their folders may be named by the file in them.
    reports, notes = _reports([path.parent if path.is_file() else path for path in map(path_of, evaluations)])
    notes += _differences(reports, "measured")
    tasks = sorted(first)
    values = [np.array([each[task] for task in tasks]) for each in (first, second)]
    result = statistics.compare(*values, seed=seed, groups=_groups(likelihoods, tasks))
    means = [float(each.mean()) for each in values]
    difference, sure = result.difference, "they differ" if result.p_value < 0.05 else "not to be told apart"
    line = (
        f"bits a byte of solutions: {means[0]:.4f} and {means[1]:.4f}, difference {difference.mean:+.4f} "
        f"({difference.low:+.4f} to {difference.high:+.4f}), p {result.p_value:.4f}: {sure}"
    )
    found = {"measure": SOLUTIONS, "first": means[0], "second": means[1], "difference": difference._asdict()}
    heading = f"{len(first)} problems; first: {evaluations[0]}, second: {evaluations[1]}"
    facts = {"problems": len(first), "comparisons": [{**found, "p_value": result.p_value}]}
    return Result("\n".join([heading, line, *notes]), {"evaluations": evaluations, **facts})
