"""What a model must not have read: the documentation and the solutions of the benchmarks that will measure it."""

import ast
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from codeparrot.errors import CodeparrotError
from codeparrot.location import path_of
from codeparrot.text_files import json_lines, require_characters

DOCUMENTATION_KEYS = ("docstring", "text", "prompt")
SOLUTION_KEYS = ("canonical_solution", "solution", "code")


class Sample(NamedTuple):
    """The parts of a benchmark's problem that a corpus could hold; a part that it lacks is empty."""

    benchmark: str
    task_id: str
    documentation: str
    solution: str


def read_benchmark(name: str) -> list[Sample]:
    """Return the problems of a benchmark.

    Args:
        name: a set that `codeparrot eval` knows by name (humaneval, mbpp, hub:NAME; codeparrot is all of the project's own, in
            Python and in other languages), or the path of a JSONL file (also .gz) whose lines each have a documentation
            (docstring, text or prompt) or a solution (canonical_solution, solution or code).

    Raises:
        CodeparrotError: it cannot be reached or read, or a line has neither.
    """
    path = path_of(name)
    if path.is_file():
        return list(_of_file(path, name))
    # Imported here, because a corpus can be built without benchmarks.
    from codeparrot.eval.problems.problem import Translated
    from codeparrot.eval.problems.sets import OWN, load_problems

    found = []
    for problem in (problem for each in (OWN if name == "codeparrot" else (name,)) for problem in load_problems(each)):
        other = isinstance(problem, Translated)
        documentation = _comment(problem.prompt, "//") if other else _documentation(problem.prompt)
        found.append(Sample(name, problem.task_id, documentation, problem.canonical_solution))
    return found


def _of_file(path: Path, name: str) -> Iterator[Sample]:
    try:
        for number, (where, row) in enumerate(json_lines(path), 1):
            require_characters(row, where)
            yield _of_row(row, name, number, where)
    except CodeparrotError as error:
        raise CodeparrotError(f"contamination.benchmarks: {error}") from None


def _of_row(row: Any, benchmark: str, number: int, where: str) -> Sample:
    row = row if isinstance(row, dict) else {}
    documentation, solution = (_first_text(row, keys) for keys in (DOCUMENTATION_KEYS, SOLUTION_KEYS))
    if not documentation and not solution:
        keys = ", ".join((*DOCUMENTATION_KEYS, *SOLUTION_KEYS))
        raise CodeparrotError(f"{where}: no text under {keys}")
    task_id = row.get("task_id", number)
    return Sample(benchmark, str(task_id), _documentation(documentation), solution)


def _first_text(row: dict[str, Any], keys: tuple[str, ...]) -> str:
    return next((row[key] for key in keys if isinstance(row.get(key), str) and row[key].strip()), "")


def _documentation(prompt: str) -> str:
    """Return the last documentation string of a prompt: that of the function to complete.

    A program without one is documented by its longest comment. A prompt that is not a program is returned unchanged.
    """
    for program in (prompt, f"{prompt.rstrip()}\n    pass\n"):
        try:
            nodes = list(ast.walk(ast.parse(program)))
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        documented = [
            node for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module)
        ]
        found = [(node, ast.get_docstring(node, clean=False)) for node in documented]
        strings = [text for node, text in sorted(found, key=lambda each: getattr(each[0], "lineno", 0)) if text]
        return strings[-1] if strings else _comment(prompt)
    return prompt


def _comment(prompt: str, sign: str = "#") -> str:
    """Return the longest run of comment lines, without the comment signs."""
    lines = (line.strip() for line in prompt.splitlines() if line.strip())
    runs = groupby(lines, key=lambda line: line.startswith(sign))
    texts = ("\n".join(line.lstrip(sign).strip() for line in run) for is_comment, run in runs if is_comment)
    return max(texts, key=len, default="")


def description(documentation: str) -> str:
    """Return the part before the examples."""
    lines = documentation.strip().splitlines()
    markers = (">>>", "assert ", "example", "for example")
    examples = (index for index, line in enumerate(lines) if line.strip().lower().startswith(markers))
    return "\n".join(lines[: next(examples, len(lines))])
