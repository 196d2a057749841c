"""Programs with a gap: the text before it, the text behind it, and a test that decides whether a middle fills it.

`single-line` and `multi-line` are HumanEval infilling (Bavarian et al., arXiv:2207.14255), made from HumanEval: each line that
is not blank, and each pair of such lines with what lies between them, is taken out of the reference solution. Ids, texts and
order are those of OpenAI's files: 1,033 and 5,815 rows. `random-span` takes out NUM_SPANS texts a problem, between two places
that we draw: it does not compare with OpenAI's rows of that name, which can be given as a file. `own` needs no package.

A gap is judged by the sandbox as a Problem. Rows that have the same program without the gap share one, whose reference solution
runs once for all of them.
"""

import ast
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from codeparrot.errors import CodeparrotError, nearest
from codeparrot.eval.problems.problem import Problem, ProblemSet
from codeparrot.eval.problems.sets import from_row, load_problems
from codeparrot.location import path_of
from codeparrot.text_files import json_lines

KINDS = ("single-line", "multi-line", "random-span", "own")
NUM_SPANS = 10
"""Random spans of a problem."""
_FORMAT = "a line has task_id, prompt, suffix, canonical_solution, entry_point and test"


@dataclass(frozen=True)
class Gap:
    """A program with a gap. The fields are those of OpenAI's human-eval-infilling."""

    task_id: str
    prompt: str
    """The text before the gap."""
    suffix: str
    """The text behind it."""
    canonical_solution: str
    """A middle that fills it; a few of OpenAI's random spans are empty."""
    entry_point: str
    """The function that is tested."""
    test: str
    """Python source that defines `check(candidate)`."""

    @property
    def whole(self) -> str:
        return self.filled(self.canonical_solution)

    def filled(self, middle: str) -> str:
        """Return the program with this middle."""
        return self.prompt + middle + self.suffix

    @property
    def one_line(self) -> bool:
        """Whether the reference stays in one line, up to its end or not."""
        return "\n" not in self.canonical_solution.removesuffix("\n")


def load_gaps(kind: str) -> ProblemSet[Gap]:
    """Return the gaps of a kind: one of KINDS, or the path of a JSONL file (also .gz) in OpenAI's format.

    Raises:
        CodeparrotError: there is no such kind or file, or one of its lines is not a gap.
    """
    name = f"infilling-{kind}"
    if kind == "own":
        return _read(name, Path(str(resources.files("codeparrot.eval.problems") / "infilling.jsonl")))
    if kind in KINDS:
        problems = load_problems("humaneval")
        make = {"single-line": single_lines, "multi-line": multi_lines, "random-span": random_spans}[kind]
        return ProblemSet.of(name, (gap for problem in problems for gap in make(problem)), problems.source)
    path = path_of(kind)
    if not path.is_file():
        raise CodeparrotError(f"there are no gaps {kind!r}{nearest(kind, KINDS)}; it can be {', '.join(KINDS)} or a JSONL file")
    return _read(path.name, path)


def single_lines(problem: Problem) -> Iterator[Gap]:
    """Yield a gap for each line of the reference solution that is not blank."""
    lines = problem.canonical_solution.split("\n")
    return (_lines_out(problem, f"SingleLineInfilling/{problem.task_id}/L{i}", lines, i, i) for i in _not_blank(lines))


def multi_lines(problem: Problem) -> Iterator[Gap]:
    """Yield a gap for each pair of lines i <= j that are not blank, with the lines between them."""
    lines = problem.canonical_solution.split("\n")
    for i in _not_blank(lines):
        for j in (j for j in _not_blank(lines) if j >= i):
            yield _lines_out(problem, f"MultiLineInfilling/{problem.task_id}/L{i}_L{j}", lines, i, j)


def random_spans(problem: Problem, number: int = NUM_SPANS) -> Iterator[Gap]:
    """Yield gaps between two places of the reference solution, all different and none of white space alone.

    Each pair of places is equally likely. What is drawn depends on the problem's task_id alone.
    """
    text, found = problem.canonical_solution, set[tuple[int, int]]()
    # A short text has fewer spans than there are draws: it gives what there is.
    for draw in range(100 * number):
        places = _two_places(f"{problem.task_id} {draw}", len(text))
        if places in found or not text[slice(*places)].strip():
            continue
        found.add(places)
        begin, end = places
        name = f"RandomSpan/{problem.task_id}/{len(found) - 1}"
        yield _gap(problem, name, problem.prompt + text[:begin], text[begin:end], text[end:])
        if len(found) == number:
            return


def _two_places(name: str, length: int) -> tuple[int, int]:
    """Return two different places of a text, the earlier first, drawn by a name. Place 0 lies before the first character."""
    pairs = (length + 1) * length // 2
    # 256 bits: that they are no multiple of the number of pairs makes no difference that could be seen.
    drawn = int.from_bytes(hashlib.sha256(name.encode()).digest(), "big") % max(1, pairs)
    first = 0
    while drawn >= length - first > 0:
        drawn, first = drawn - (length - first), first + 1
    return first, first + 1 + drawn


def _not_blank(lines: list[str]) -> list[int]:
    return [number for number, line in enumerate(lines) if line.strip()]


def _lines_out(problem: Problem, name: str, lines: list[str], first: int, last: int) -> Gap:
    # Where the first line is taken out, OpenAI's prompts have an empty line before the gap.
    before, middle, behind = ("\n".join(part) for part in (lines[:first], lines[first : last + 1], lines[last + 1 :]))
    return _gap(problem, name, f"{problem.prompt}{before}\n", f"{middle}\n", behind)


def _gap(problem: Problem, name: str, before: str, middle: str, behind: str) -> Gap:
    return Gap(name, before, behind, middle, problem.entry_point, problem.test)


def _read(name: str, path: Path) -> ProblemSet[Gap]:
    return ProblemSet.of(name, [_of_line(row, where) for where, row in json_lines(path)], str(path))


def _of_line(row: Any, where: str) -> Gap:
    if not isinstance(row, dict):
        raise CodeparrotError(f"{where}: not a JSON object")
    for key in ("suffix", "canonical_solution"):
        if not isinstance(row.get(key), str):
            raise CodeparrotError(f"{where}: the key {key!r} is missing or not a string: {_FORMAT}")
    problem = from_row(row, where)
    gap = _gap(problem, problem.task_id, problem.prompt, problem.canonical_solution, row["suffix"])
    try:
        _head(gap)
    except (SyntaxError, ValueError) as error:
        raise CodeparrotError(f"{where}: prompt, canonical_solution and suffix together are not Python: {error}") from None
    return gap


def functions(gaps: Iterable[Gap]) -> dict[str, int]:
    """Return the number, from 0, of the function that each gap is in, by task_id: gaps of one are no independent draws."""
    numbers: dict[tuple[str, str], int] = {}
    return {gap.task_id: numbers.setdefault((gap.entry_point, gap.test), len(numbers)) for gap in gaps}


def programs(gaps: Iterable[Gap]) -> dict[str, Problem]:
    """Return what the sandbox judges for each gap, by task_id: the rest of the program behind what it has in front of the gap.

    The prompt of such a Problem, which the test's process runs too, is made of the imports, functions and classes that lie
    before the gap as a whole. Gaps of one program share their Problem, named like the first of them, if these are the same.
    """
    found: dict[tuple[str, ...], Problem] = {}
    named: dict[str, Problem] = {}
    for gap in gaps:
        head = _head(gap)
        key = head, gap.whole, gap.entry_point, gap.test
        if key not in found:
            found[key] = Problem(gap.task_id, head, gap.entry_point, gap.test, gap.whole[len(head) :])
        named[gap.task_id] = found[key]
    return named


def _head(gap: Gap) -> str:
    """Return the statements at the top level of the program that lie in lines before the gap.

    Raises:
        SyntaxError, ValueError: the program without the gap is not Python.
    """
    lines_before = gap.prompt.count("\n")
    ends = (statement.end_lineno or 0 for statement in ast.parse(gap.whole).body)
    number = max((end for end in ends if end <= lines_before), default=0)
    return "".join(f"{line}\n" for line in gap.prompt.split("\n")[:number])
