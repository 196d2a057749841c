"""Rows of other benchmarks in OpenAI's format (sets.py).

MBPP: a description, assertions that call the function by name, and a whole program as the solution. evalplus: either `test`, as
in OpenAI's format, or inputs for which the reference solution returns the expected outputs.
"""

import ast
from collections.abc import Iterator, Mapping
from typing import Any

from codeparrot.errors import CodeparrotError
from codeparrot.eval.problems.problem import STOP_PROGRAM

# Top-level assertions of a test call the function by its name: executing the test is the check.
CHECKED_BY_NAME = "\n\ndef check(candidate):\n    pass\n"


def normalized(row: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the row with OpenAI's keys.

    Raises:
        CodeparrotError: a key is missing or of another type, the tested function is unclear, or nothing is tested.
    """
    try:
        return _normalized(dict(row), where)
    except KeyError as error:
        raise CodeparrotError(f"{where}: the key {error} is missing") from None
    except (TypeError, AttributeError) as error:
        raise CodeparrotError(f"{where}: a value is not of the type that its format has: {error}") from None


def in_words(task_id: Any) -> Any:
    """Return the name of a problem: MBPP's are numbers."""
    return f"Mbpp/{task_id}" if isinstance(task_id, int) else task_id


def _normalized(row: dict[str, Any], where: str) -> dict[str, Any]:
    if "task_id" in row:
        row["task_id"] = in_words(row["task_id"])
    if "code" in row and "test_list" in row:
        return _mbpp(row, where)
    if "test" not in row and "base_input" in row:
        return _evalplus(row, where)
    if isinstance(row.get("test"), str) and "entry_point" in row:
        row["test"] = _with_check(row["test"], row["entry_point"], where)
    return row


def _with_check(test: str, entry_point: str, where: str) -> str:
    """Return a test that defines `check`; a test whose own statements check gets a `check` that does nothing.

    Raises:
        CodeparrotError: it would pass every program: it has no assertions, or only in functions that nobody calls.
    """
    try:
        tree = ast.parse(test)
    except (SyntaxError, ValueError) as error:
        raise CodeparrotError(f"{where}: the test is not Python: {error}") from None
    executed = list(_executed(tree))
    if "check" in {name for node in executed for name in _bound(node)}:
        return test
    checking = {entry_point}
    for node in executed:
        if isinstance(node, ast.FunctionDef) and any(_checks(inner, checking) for inner in ast.walk(node)):
            checking.add(node.name)
    if not any(_checks(node, checking) for node in executed):
        raise CodeparrotError(f"{where}: the test checks nothing when it is executed")
    return test + CHECKED_BY_NAME


def _executed(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes that run when a module runs: all but the bodies of its functions and classes."""
    for child in ast.iter_child_nodes(node):
        yield child
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            yield from _executed(child)


def _bound(node: ast.AST) -> list[str]:
    """Return the names that a node binds."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.Import | ast.ImportFrom):
        return [alias.asname or alias.name for alias in node.names]
    return [node.id] if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) else []


def _checks(node: ast.AST, functions: set[str]) -> bool:
    """Return whether a node asserts something or calls one of the functions."""
    called = node.func if isinstance(node, ast.Call) else None
    return isinstance(node, ast.Assert) or (isinstance(called, ast.Name) and called.id in functions)


def _mbpp(row: dict[str, Any], where: str) -> dict[str, Any]:
    assertions = [text.strip() for text in row["test_list"]]
    description = row.get("text") or row.get("prompt", "")
    lines = "\n".join([description.strip(), *assertions])
    setup = row.get("test_setup_code") or "\n".join(row.get("test_imports") or ())
    if not assertions:
        raise CodeparrotError(f"{where}: the test checks nothing when it is executed")
    name = _tested_function(row["code"], "\n".join(assertions), where)
    return {
        "task_id": row["task_id"],
        # The prompt of the InCoder and BigCode evaluations: description and assertions as a docstring.
        "prompt": f'"""\n{lines}\n"""\n',
        "entry_point": name,
        # evalplus's data set carries a longer test beside the three assertions.
        "test": _with_check(row.get("test") or "\n".join([setup, *assertions]), name, where),
        "canonical_solution": row["code"].replace("\r\n", "\n"),
        "stop": STOP_PROGRAM,
    }


def _tested_function(solution: str, assertions: str, where: str) -> str:
    """Return the function of the solution that the assertions call first."""
    try:
        defined = {node.name for node in ast.parse(solution).body if isinstance(node, ast.FunctionDef)}
        calls = [node.func for node in ast.walk(ast.parse(assertions)) if isinstance(node, ast.Call)]
    except SyntaxError as error:
        raise CodeparrotError(f"{where}: the solution or the assertions are not Python: {error}") from None
    for function in calls:
        if isinstance(function, ast.Name) and function.id in defined:
            return function.id
    raise CodeparrotError(f"{where}: the assertions call no function of the solution")


def _evalplus(row: dict[str, Any], where: str) -> dict[str, Any]:
    """Turn the inputs into a test that compares with the reference solution; it runs with the test, not with the program."""
    missing = [key for key in ("prompt", "entry_point", "canonical_solution") if not isinstance(row.get(key), str)]
    if missing:
        raise CodeparrotError(f"{where}: the key {missing[0]!r} is missing or not a string")
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
