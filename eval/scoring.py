"""Score samples and write the results: results.jsonl, report.json, and the task's own files beside them.

Also judges by unit tests: problems whose own reference solutions do not pass here get no score. Each file is written whole or
not at all.
"""

import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from codeparrot import files
from codeparrot.errors import CodeparrotError
from codeparrot.eval.problems.problem import P, Problem, ProblemSet
from codeparrot.eval.samples import write_lines
from codeparrot.eval.sandbox.executor import Executor
from codeparrot.eval.task import Rows, Task
from codeparrot.location import near
from codeparrot.result import Result, failed, progress_bar, say
from codeparrot.run.metrics import read_lines

RESULTS, REPORT = "results.jsonl", "report.json"


def judge(executor: Executor, problems: ProblemSet[Problem], samples: Rows, check: bool = True) -> list[dict[str, Any]]:
    """Return each sample with its verdict: outcome, passed, detail, weak.

    Args:
        executor: runs the programs; already entered.
        problems: the problems of the samples.
        samples: task_id, completion, and other keys to keep.
        check: whether to run every reference solution first.

    Raises:
        CodeparrotError: a reference solution does not pass.
    """
    if check:
        self_check(executor, problems)
    by_name = {problem.task_id: problem for problem in problems}
    results: list[dict[str, Any]] = [{} for _ in samples]
    jobs = ((by_name[sample["task_id"]], sample["completion"]) for sample in samples)
    with progress_bar(total=len(samples), desc="testing", unit="program") as bar:
        for index, verdict in executor.judge(jobs):
            outcome = {"outcome": str(verdict.outcome), "passed": verdict.passed, "detail": verdict.detail}
            results[index] = {**samples[index], **outcome, "weak": verdict.weak}
            bar.update()
    return results


def self_check(executor: Executor, problems: ProblemSet[Problem]) -> None:
    """Run every reference solution.

    Raises:
        CodeparrotError: one does not pass its own test.
    """
    solved = [problem for problem in problems if problem.canonical_solution]
    jobs = ((problem, problem.canonical_solution) for problem in solved)
    say(f"running the {len(solved)} reference solutions of {problems.name}")
    failing = {solved[index].task_id: verdict for index, verdict in executor.judge(jobs) if not verdict.passed}
    if failing:
        name, verdict = min(failing.items())
        more = f" and {len(failing) - 1} more" if len(failing) > 1 else ""
        raise CodeparrotError(
            f"{problems.name} ({problems.source}): the reference solution of {name} does not pass its test"
            f" ({verdict.outcome}: {verdict.detail}){more}: correct the problem or leave it out"
        )


def report(task: Task[P], problems: ProblemSet[P], results: Rows, facts: Mapping[str, Any], folder: Path | None) -> Result:
    """Return the result of an evaluation, and write results and report into `folder`, if given.

    If the folder cannot be written, everything goes into a new one elsewhere, which the result names, and its status is bad.

    Args:
        task: the task that scored the samples.
        problems: all problems of the evaluation.
        results: one per sample.
        facts: further entries of the report.
        folder: where to write.
    """
    found = _report(task, problems, results, facts)
    if folder is None:
        return Result(task.text(found), found)
    try:
        return _written(task, found, results, folder)
    except OSError as error:
        trouble = f"{folder} cannot be written ({error.strerror or error})"
    for place in _second_places():
        with suppress(OSError):
            spare = Path(tempfile.mkdtemp(prefix=f"{folder.name}-", dir=place))
            try:
                kept = _written(task, found, results, spare)
            except OSError:
                shutil.rmtree(spare, ignore_errors=True)
                raise
            return kept._replace(status=failed(f"{trouble}: the results are in {spare}"))
    return Result(task.text(found), found, failed(f"{trouble}, nor any other place: the results are only what is printed here"))


def _written(task: Task[P], found: dict[str, Any], results: Rows, folder: Path) -> Result:
    found = {**found, "output": str(folder)}
    write_lines(folder / RESULTS, results)
    files.write_json(folder / REPORT, found, indent=1)
    task.write(found, folder)
    return Result(f"{task.text(found)}\n{folder}/", found)


def _second_places() -> Iterator[Path]:
    """Yield folders that may be on another disk: the current one, the user's own, the system's for temporary files."""
    for find in (Path.cwd, Path.home, lambda: Path(tempfile.gettempdir())):
        with suppress(OSError, RuntimeError):  # the folder was removed, or there is none
            yield find()


def _report(task: Task[P], problems: ProblemSet[P], results: Rows, facts: Mapping[str, Any]) -> dict[str, Any]:
    ended = dict(Counter(row["ended"] for row in results if isinstance(row.get("ended"), str)))
    cut, healed = (len({row["task_id"] for row in results if row.get(name) is True}) for name in ("prompt_cut", "healed"))
    summary = task.summary(problems, results)
    described = {"name": problems.name, "source": problems.source, "sha256": problems.sha256, "problems": problems.num_whole}
    return {
        **summary,
        # Measures with their intervals, for curves and cards.
        "best": summary.get("best", {}),
        "problems": len(problems),
        "samples": len(results),
        "problem_set": described,
        **({"ended": ended, "prompts_healed": healed} if ended else {}),
        **({"prompts_cut": cut} if cut else {}),
        **facts,
    }


def read_results(folder: Path) -> list[dict[str, Any]]:
    """Return the results that an evaluation left in a folder. Damaged lines are passed over with a warning.

    Raises:
        CodeparrotError: there are none.
    """
    folder = folder.parent if folder.name == REPORT else folder
    path = folder / RESULTS if folder.is_dir() else folder
    try:
        rows = read_lines(path, _is_result, at_once=True)
    except OSError as error:
        if not folder.exists():
            raise CodeparrotError(f'there is no evaluation "{folder}"{near(str(folder))}') from error
        why = f"{path.name} cannot be read ({error.strerror})"
        raise CodeparrotError(f"{folder} is not a finished evaluation: {why}; end it with the command that began it") from error
    if not rows:
        raise CodeparrotError(f"{path}, line 1: not a result, which has task_id, temperature and passed")
    return rows


def _is_result(row: dict[str, Any]) -> bool:
    if not {"task_id", "temperature", "passed"} <= row.keys():
        return False
    right = isinstance(row["task_id"], str) and isinstance(row["passed"], bool)
    return right and isinstance(row["temperature"], int | float | None)
