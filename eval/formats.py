"""Rows of other benchmarks in OpenAI's format (problems.py).

MBPP: a description, assertions that call the function by name, and a whole program as the solution. evalplus: either `test`, as
OpenAI, or inputs whose expected outputs are what the reference solution returns.
"""

import ast
from collections.abc import Mapping
from typing import Any

from codeparrot.errors import CodeparrotError

# Assertions at the top level of a test call the function by its name; executing the test is then the check.
CHECKED_BY_NAME = "\n\ndef check(candidate):\n    pass\n"


def normalized(row: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the row with OpenAI's keys.

    Raises:
        CodeparrotError: its solution or assertions do not say which function is tested.
    """
    row = dict(row)
    if "task_id" in row and isinstance(row["task_id"], int):
        row["task_id"] = f"Mbpp/{row['task_id']}"
    if "code" in row and "test_list" in row:
        return _mbpp(row, where)
    if "test" not in row and "base_input" in row:
        return _evalplus(row, where)
    if isinstance(row.get("test"), str) and "def check(" not in row["test"] and "canonical_solution" in row:
        row["test"] += CHECKED_BY_NAME
    return row


def _mbpp(row: dict[str, Any], where: str) -> dict[str, Any]:
    from codeparrot.eval.problems import STOP_PROGRAM

    assertions = [text.strip() for text in row["test_list"]]
    description = row.get("text") or row.get("prompt", "")
    lines = "\n".join([description.strip(), *assertions])
    setup = row.get("test_setup_code") or "\n".join(row.get("test_imports") or ())
    return {
        "task_id": row["task_id"],
        # The prompt of the InCoder and BigCode evaluations: description and assertions as a docstring.
        "prompt": f'"""\n{lines}\n"""\n',
        "entry_point": _tested_function(row["code"], "\n".join(assertions), where),
        # evalplus's data set carries a longer test beside the three assertions.
        "test": (row.get("test") or "\n".join([setup, *assertions])) + CHECKED_BY_NAME,
        "canonical_solution": row["code"].replace("\r\n", "\n"),
        "stop": STOP_PROGRAM,
    }


def _tested_function(solution: str, assertions: str, where: str) -> str:
    """Return the function of the solution that the assertions call first."""
    try:
        defined = {node.name for node in ast.parse(solution).body if isinstance(node, ast.FunctionDef)}
        calls = [node.func for node in ast.walk(ast.parse(assertions)) if isinstance(node, ast.Call)]
    except SyntaxError as error:
        raise CodeparrotError(f"{where}: the solution or the assertions are no Python: {error}") from None
    for function in calls:
        if isinstance(function, ast.Name) and function.id in defined:
            return function.id
    raise CodeparrotError(f"{where}: the assertions call no function of the solution")


def _evalplus(row: dict[str, Any], where: str) -> dict[str, Any]:
    """Inputs become a test that compares with the reference solution, which runs beside the test, not beside the program."""
    missing = [key for key in ("prompt", "entry_point", "canonical_solution") if not isinstance(row.get(key), str)]
    if missing:
        raise CodeparrotError(f"{where}: the key {missing[0]!r} is missing or no string")
    inputs = [*row["base_input"], *(row.get("plus_input") or ())]
    row["test"] = _EVALPLUS_TEST.format(
        reference=row["prompt"] + row["canonical_solution"], name=row["entry_point"], inputs=inputs, atol=row.get("atol") or 0
    )
    return row


_EVALPLUS_TEST = """
import copy, math
_names = {{}}
exec({reference!r}, _names)

def _close(ours, expected, atol):
    if isinstance(expected, float) or atol:
        if isinstance(expected, (list, tuple)):
            return len(ours) == len(expected) and all(_close(a, b, atol) for a, b in zip(ours, expected))
        if isinstance(expected, (int, float)):
            return ours == expected or math.isclose(ours, expected, rel_tol=1e-7, abs_tol=atol or 1e-6)
    if isinstance(expected, (list, tuple)) and expected and all(isinstance(item, float) for item in expected):
        return len(ours) == len(expected) and all(_close(a, b, atol) for a, b in zip(ours, expected))
    return ours == expected

def check(candidate):
    for arguments in {inputs!r}:
        expected = _names[{name!r}](*copy.deepcopy(arguments))
        assert _close(candidate(*copy.deepcopy(arguments)), expected, {atol!r}), arguments
"""
