"""The project's own problems: reference solutions pass, and programs that are nearly right do not."""

import ast
from collections.abc import Iterator

import pytest

from codeparrot.eval.problems.problem import Problem
from codeparrot.eval.problems.sets import load_problems
from codeparrot.eval.sandbox.executor import Executor

OWN = load_problems("codeparrot")
SWAPS = [(" + ", " - "), (" - ", " + "), (" -= ", " += "), (" += ", " -= "), (" * ", " + "), (" / ", " // 3 * ")]
SWAPS += [(" == ", " != "), (" < ", " > "), (" > ", " < "), (" in ", " not in "), (" is ", " is not "), ("0", "1"), ("-1", "0")]
SWAPS += [(".upper", ".lower"), (".strip", ".lstrip"), (".strip", ".rstrip"), ("'\\n'", "' '"), ("max(", "min("), ("2", "3")]

AS_GOOD = {OWN.problems[18].canonical_solution.replace("i * i", "i + i")}
"""Changes that leave a solution right."""


def test_names_are_distinct_and_prompts_end_behind_their_documentation() -> None:
    assert len(OWN) == 51
    assert [problem.task_id for problem in OWN] == [f"codeparrot/{number}" for number in range(51)]
    assert all(problem.canonical_solution.endswith("\n") and problem.prompt.endswith('"""\n') for problem in OWN)
    assert all(problem.test.count("assert ") >= 2 for problem in OWN)
    assert len({problem.entry_point for problem in OWN}) == len(OWN)


MISSED = {
    "maximum": "    best = numbers[0]\n    for x in numbers:\n        best = x if x > numbers[0] else best\n    return best\n",
    "word_counts": "    return {word: text.count(word) for word in text.split()}\n",
}
"""Wrong programs that a model may well write."""


def wrong_programs(problem: Problem) -> Iterator[str]:
    """Yield completions that give up, hand back a constant or an argument, or are the solution with one thing changed."""
    solution = problem.canonical_solution
    indent = solution[: len(solution) - len(solution.lstrip())]
    function = [node for node in ast.walk(ast.parse(problem.prompt)) if isinstance(node, ast.FunctionDef)][-1]
    arguments = [argument.arg for argument in function.args.args]
    for value in ("None", "True", "False", "0", "1", "''", "[]", "{}", *arguments):
        yield f"{indent}return {value}\n"
    yield f"{indent}pass\n"
    yield from [MISSED[problem.entry_point]] if problem.entry_point in MISSED else []
    for old, new in SWAPS:
        for piece in range(solution.count(old)):
            parts = solution.split(old)
            changed = old.join(parts[: piece + 1]) + new + old.join(parts[piece + 1 :])
            # A loop's `in` has no opposite; and some changes are no Python.
            try:
                ast.parse(problem.prompt + changed)
            except SyntaxError:
                continue
            yield changed


@pytest.mark.slow
def test_wrong_programs_fail_and_reference_solutions_pass(executor: Executor) -> None:
    jobs = [(problem, problem.canonical_solution) for problem in OWN]
    jobs += [(problem, text) for problem in OWN for text in wrong_programs(problem)]
    assert len(jobs) > 600
    verdicts = dict(executor.judge(jobs))
    passed = [jobs[index] for index in range(len(jobs)) if verdicts[index].passed]
    assert [problem.task_id for problem, _ in passed[: len(OWN)]] == [problem.task_id for problem in OWN]
    assert [(problem.task_id, text) for problem, text in passed[len(OWN) :] if text not in AS_GOOD] == []
    assert not any(verdict.weak for verdict in verdicts.values())
