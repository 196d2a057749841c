"""The report of an evaluation: as data, as text and as Markdown.

Each measure is that of the temperature at which it is best, which it names. The table of all temperatures stands beside it,
since the best of several is a little better than one chosen beforehand.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codeparrot.eval import statistics
from codeparrot.eval.problems.problem import Problem, Translated
from codeparrot.eval.styles import note
from codeparrot.eval.task import counted
from codeparrot.run.reports import prompt_style

Rows = Sequence[Mapping[str, Any]]
"""Results, one per sample: task_id, temperature, passed, outcome, ..."""


def counts(rows: Rows, tasks: Iterable[str]) -> dict[float | None, list[tuple[int, int]]]:
    """Return, for each temperature, the number of samples of each problem and how many of them passed.

    A temperature at which a problem has no sample is left out; `make` names it.
    """
    samples = Counter((row["temperature"], row["task_id"]) for row in rows)
    passed = Counter((row["temperature"], row["task_id"]) for row in rows if row["passed"])
    table = {t: [(samples[t, task], passed[t, task]) for task in tasks] for t in _temperatures(rows)}
    return {temperature: row for temperature, row in table.items() if all(number for number, _ in row)}


def _temperatures(rows: Rows) -> list[float | None]:
    return sorted({row["temperature"] for row in rows}, key=lambda value: (value is not None, value))


def make(
    rows: Rows,
    tasks: Sequence[str],
    ks: Sequence[int],
    facts: Mapping[str, Any],
    means: Sequence[str] = (),
    groups: Sequence[int] | None = None,
) -> dict[str, Any]:
    """Return the report.

    Args:
        rows: results.
        tasks: names of the problems.
        ks: for pass@k; one above the number of samples per problem is left out, and named.
        facts: further entries of the report.
        means: numbers of the results, from 0 to 1; each is averaged over the samples of a problem, then over the problems.
        groups: numbers, from 0, of the groups in which problems come, for the intervals; None: each is its own.
    """
    together = None if groups is None else np.array(groups)
    table = []
    for temperature, row in counts(rows, tasks).items():
        fewest = min(number for number, _ in row)
        own = [result for result in rows if result["temperature"] == temperature]
        line: dict[str, Any] = {"temperature": temperature, "samples_per_problem": fewest}
        for k in ks:
            if k <= fewest:
                line[f"pass@{k}"] = statistics.estimate(statistics.per_problem(row, k), groups=together)._asdict()
        line |= {name: statistics.estimate(averages(own, tasks, name), groups=together)._asdict() for name in means}
        line["curve"] = {k: float(statistics.per_problem(row, k).mean()) for k in _spaced(fewest)}
        line["outcomes"] = _outcomes(own)
        table.append(line)
    best: dict[str, Any] = {}
    for name in (*(f"pass@{k}" for k in ks), *means):
        lines = [line for line in table if name in line]
        if lines:
            chosen = max(lines, key=lambda line: line[name]["mean"])
            best[name] = {"temperature": chosen["temperature"], **chosen[name]}
    weak = {row["task_id"] for row in rows if row.get("weak")}
    return {
        **{name: value["mean"] for name, value in best.items()},
        "problems": len(tasks),
        "samples": len(rows),
        "best": best,
        "by_temperature": table,
        "outcomes": _outcomes(rows),
        "weak_problems": len(weak),
        "fenced": sum(not row["passed"] and _has_fence(str(row.get("completion", ""))) for row in rows),
        "not_reported": [k for k in ks if f"pass@{k}" not in best],
        "incomplete": [value for value in _temperatures(rows) if value not in {line["temperature"] for line in table}],
        **facts,
    }


def by_language(problems: Iterable[Problem], rows: Rows, ks: Sequence[int]) -> dict[str, Any]:
    """Return what the report says of problems in other languages: scores of each, and its tools; {} if all are in Python.

    The tools are those of this machine now: scoring has just used them.
    """
    from codeparrot.eval.sandbox.toolchains import language

    grouped: dict[str, list[str]] = {}
    for problem in problems:
        name = problem.language if isinstance(problem, Translated) else "python"
        grouped.setdefault(name, []).append(problem.task_id)
    if not grouped.keys() - {"python"}:
        return {}
    found = {}
    for name, tasks in sorted(grouped.items()):
        own = [row for row in rows if row["task_id"] in set(tasks)]
        found[name] = {"problems": len(tasks), "samples": len(own), **make(own, tasks, ks, {})["best"]}
        if name != "python":
            found[name]["toolchain"] = language(name).find().version
    return {"by_language": found}


def averages(rows: Rows, tasks: Sequence[str], name: str) -> NDArray[np.float64]:
    """Return the mean of a number over the samples of each problem."""
    values: dict[str, list[float]] = {}
    for row in rows:
        values.setdefault(row["task_id"], []).append(row[name])
    return np.array([sum(values[task]) / len(values[task]) for task in tasks])


def text(report: Mapping[str, Any]) -> str:
    """Return the report for a terminal."""
    lines = [f"{report['problem_set']['name']}: {counted(report)}, {report['samples']} samples"]
    width = max(9, *map(len, report["best"]))
    lines += [f"{name:<{width}} {_interval(value)}{_at(value['temperature'])}" for name, value in report["best"].items()]
    if len(report["by_temperature"]) > 1:
        lines.append("each is that of its best temperature; all of them:")
        for line in report["by_temperature"]:
            values = (f"{name} {100 * line[name]['mean']:.1f}%" for name in report["best"] if name in line)
            lines.append(f"  {line['temperature']}: {', '.join(values)}")
    for language, value in report.get("by_language", {}).items():
        scores = (f"{name} {_interval(value[name])}" for name in report["best"] if name in value)
        tool = f" ({value['toolchain']})" if "toolchain" in value else ""
        lines.append(f"{language}: {value['problems']} problems, {', '.join(scores)}{tool}")
    shares = (f"{name} {share:.1%}" for name, share in _shares(report["outcomes"]))
    return "\n".join([*lines, f"{'outcomes':<{width}} {', '.join(shares)}", *_notes(report)])


def markdown(report: Mapping[str, Any]) -> str:
    """Return the report as a page."""
    names = list(report["best"])
    lines = [f"# {report['problem_set']['name']}", ""]
    if report.get("checkpoint"):
        lines += [f"`{report['checkpoint']}`", ""]
    lines += [f"{counted(report)}, {report['samples']} samples. Means over problems with 95% intervals.", ""]
    lines += [f"| temperature | samples a problem | {' | '.join(names)} |", "|---" * (2 + len(names)) + "|"]
    for line in report["by_temperature"]:
        cells = [_interval(line[name]) if name in line else "" for name in names]
        number = line["temperature"] if line["temperature"] is not None else "unknown"
        lines.append(f"| {number} | {line['samples_per_problem']} | {' | '.join(cells)} |")
    if len(report["by_temperature"]) > 1:
        best = (f"{name} at {value['temperature']}" for name, value in report["best"].items())
        lines += ["", f"Best temperatures, chosen on the same problems: {', '.join(best)}."]
    if languages := report.get("by_language"):
        lines += ["", f"| language | problems | {' | '.join(names)} | tools |", "|---" * (3 + len(names)) + "|"]
        for language, value in languages.items():
            cells = [_interval(value[name]) if name in value else "" for name in names]
            lines.append(f"| {language} | {value['problems']} | {' | '.join(cells)} | {value.get('toolchain', '')} |")
    lines += ["", "| outcome | samples | share |", "|---|---|---|"]
    lines += [f"| {name} | {report['outcomes'][name]} | {share:.1%} |" for name, share in _shares(report["outcomes"])]
    notes = _notes(report)
    lines += ["", *notes] if notes else []
    settings = {**report.get("settings", {}), "problems": report["problem_set"]["source"]}
    lines += ["", "| setting | value |", "|---|---|", *(f"| {name} | `{value}` |" for name, value in settings.items())]
    return "\n".join(lines) + "\n"


def _notes(report: Mapping[str, Any]) -> list[str]:
    notes = []
    if report["problem_set"].get("problems", 0) > report["problems"]:
        notes.append(f"This is the score of {counted(report)}: it does not compare with one of all.")
    for temperature in report.get("incomplete", ()):
        notes.append(f"Temperature {temperature} is left out: some problems have no sample at it.")
    if words := note(report, prompt_style(report.get("settings", {}))):
        notes.append(words)
    if functions := report.get("functions"):
        number = "one function" if functions == 1 else f"{functions} functions"
        notes.append(f"Intervals are over the {number} with the gaps.")
    if report["weak_problems"]:
        count = report["weak_problems"]
        notes.append(f"The tests of {count} problems shared a process with the program (a weaker guard against forgery).")
    if report["not_reported"]:
        notes += [f"pass@{k} is left out: it needs {k} samples a problem." for k in report["not_reported"]]
    if count := report.get("fenced", 0):
        notes.append(f"{count} of the samples that did not pass had Markdown fences (```), run as code: give the code alone.")
    if count := report.get("not_plain", 0):
        why = "exchanged more than plain data with the test, and no reference solution shows how to judge that"
        notes.append(f"{count} of the programs {why}: give such problems a canonical_solution.")
    if count := report.get("prompts_cut", 0):
        lost = "text far from the gap" if report.get("settings", {}).get("fim_order") in ("psm", "spm") else "their beginning"
        notes.append(f"The prompts of {count} problems were too long for the model and lost {lost}.")
    at_length = report.get("ended", {}).get("length", 0)
    if at_length:
        notes.append(f"{at_length / sum(report['ended'].values()):.0%} of the completions were cut at their longest length.")
    return notes


def _has_fence(completion: str) -> bool:
    return any(line.lstrip().startswith("```") for line in completion.splitlines())


def _outcomes(rows: Rows) -> dict[str, int]:
    return dict(Counter(str(row["outcome"]) for row in rows).most_common())


def _shares(outcomes: Mapping[str, int]) -> list[tuple[str, float]]:
    total = sum(outcomes.values())
    return [(name, count / total) for name, count in outcomes.items()]


def _interval(value: Mapping[str, float]) -> str:
    return f"{100 * value['mean']:.2f}% ({100 * value['low']:.1f} to {100 * value['high']:.1f})"


def _at(temperature: float | None) -> str:
    return "" if temperature is None else f" at temperature {temperature}"


def _spaced(most: int) -> list[int]:
    """Return 1, 2, 3, 5, 7, 10, 15, ... up to `most`, for a curve over a logarithmic axis."""
    scale = (1, 1.5, 2, 3, 5, 7)
    return sorted({k for power in range(7) for unit in scale if (k := int(unit * 10**power)) <= most} | {most})
