"""Judge samples and write what came of them: results.jsonl, report.json, report.md, pass_at_k.png.

No score is given for problems whose own reference solutions do not pass here. Each file is written whole or not at all.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from codeparrot import files
from codeparrot.errors import CodeparrotError
from codeparrot.eval import report as reports
from codeparrot.eval.problems.problem import Problem
from codeparrot.eval.problems.sets import ProblemSet
from codeparrot.eval.samples import write_lines
from codeparrot.eval.sandbox.executor import Executor

RESULTS, REPORT, PAGE, PICTURE = "results.jsonl", "report.json", "report.md", "pass_at_k.png"


def judge(
    executor: Executor, problems: ProblemSet, samples: Sequence[Mapping[str, Any]], check: bool = True
) -> list[dict[str, Any]]:
    """Return each sample with what came of it: outcome, passed, detail, weak.

    Args:
        executor: what runs them, entered.
        problems: the problems of the samples.
        samples: task_id, completion, and what else is to be kept.
        check: first run every reference solution.

    Raises:
        CodeparrotError: a reference solution does not pass.
    """
    from tqdm import tqdm

    if check:
        self_check(executor, problems)
    by_name = {problem.task_id: problem for problem in problems}
    results: list[dict[str, Any]] = [{} for _ in samples]
    jobs = ((by_name[sample["task_id"]], sample["completion"]) for sample in samples)
    with tqdm(total=len(samples), desc="tests", unit="program", disable=None) as bar:
        for index, verdict in executor.judge(jobs):
            outcome = {"outcome": str(verdict.outcome), "passed": verdict.passed, "detail": verdict.detail}
            results[index] = {**samples[index], **outcome, "weak": verdict.weak}
            bar.update()
    return results


def self_check(executor: Executor, problems: ProblemSet) -> None:
    """Run every reference solution.

    Raises:
        CodeparrotError: one does not pass its own test.
    """
    solved = [problem for problem in problems if problem.canonical_solution]
    jobs = ((problem, problem.canonical_solution) for problem in solved)
    failing = {solved[index].task_id: verdict for index, verdict in executor.judge(jobs) if not verdict.passed}
    if failing:
        name, verdict = min(failing.items())
        more = f" and {len(failing) - 1} more" if len(failing) > 1 else ""
        raise CodeparrotError(
            f"{problems.name} ({problems.source}): the reference solution of {name} does not pass its test"
            f" ({verdict.outcome}: {verdict.detail}){more}: correct the problem or leave it out"
        )


def write(
    folder: Path | None,
    problems: ProblemSet,
    results: list[dict[str, Any]],
    ks: Sequence[int],
    facts: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the report, and write it and the results into `folder`, if there is one."""
    ended = dict(Counter(row["ended"] for row in results if isinstance(row.get("ended"), str)))
    described = {"name": problems.name, "source": problems.source, "sha256": problems.sha256}
    tasks = [problem.task_id for problem in problems]
    report = reports.make(results, tasks, ks, {"problem_set": described, **({"ended": ended} if ended else {}), **facts})
    if folder is not None:
        from codeparrot.eval.plots import draw_curves

        write_lines(folder / RESULTS, results)
        files.write_json(folder / REPORT, report, indent=1)
        files.write_text(folder / PAGE, reports.markdown(report))
        draw_curves(report, folder / PICTURE)
    return report


def read_results(folder: Path) -> list[dict[str, Any]]:
    """Return the results that an evaluation has left in a folder.

    Raises:
        CodeparrotError: there are none, or a line is not one.
    """
    path = folder / RESULTS if folder.is_dir() else folder
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise CodeparrotError(f"{folder} is no finished evaluation: {path.name} can not be read ({error})") from error
    for number, row in enumerate(rows, 1):
        if not _is_result(row):
            raise CodeparrotError(f"{path}, line {number}: not a result, which has task_id, temperature and passed")
    return rows


def _is_result(row: Any) -> bool:
    if not isinstance(row, dict) or not {"task_id", "temperature", "passed"} <= row.keys():
        return False
    right = isinstance(row["task_id"], str) and isinstance(row["passed"], bool)
    return right and isinstance(row["temperature"], int | float | None)


def subset(problems: ProblemSet, limit: int) -> ProblemSet:
    """Return the first `limit` problems, all for 0."""
    chosen: tuple[Problem, ...] = problems.problems[: limit or None]
    return ProblemSet(problems.name, chosen, problems.source, problems.sha256)
