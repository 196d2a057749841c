"""A problem: a prompt to complete, and a test that decides whether a completion solves it; and sets of problems of any kind."""

import hashlib
import json
from collections.abc import Container, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, Generic, Protocol, TypeVar

from codeparrot.errors import CodeparrotError
from codeparrot.languages.stops import stops_of

STOP = stops_of("python")
"""Where a completion of a function ends, as in the CodeParrot and Codex evaluations."""

STOP_PROGRAM = ("\nassert", '\n"""', "\nprint", "\nif", "\n```")
"""Where a completion that defines the whole program ends."""


@dataclass(frozen=True)
class Problem:
    """One task of a set."""

    task_id: str
    prompt: str
    entry_point: str
    """The function that is tested."""
    test: str
    """Python source that defines `check(candidate)`; its assertions hold for a solution."""
    canonical_solution: str = ""
    """A completion that solves it; empty where there is none."""
    stop: tuple[str, ...] = STOP
    """Text that ends a completion and is not part of it."""


@dataclass(frozen=True)
class Translated(Problem):
    """A problem in another language than Python, whose test is a text of that language (multipl_e.py)."""

    language: str = ""
    """Its name in codeparrot.languages."""
    together: bool = False
    """Whether the test can only run in the program's process: more than plain data crosses between them."""


def languages_of(problems: Iterable[Problem]) -> list[str]:
    """Return the languages other than Python that occur, in alphabetical order."""
    return sorted({problem.language for problem in problems if isinstance(problem, Translated)})


class Question(Protocol):
    """A problem of any task: a dataclass of plain data with at least these fields."""

    @property
    def task_id(self) -> str: ...

    @property
    def prompt(self) -> str: ...


P = TypeVar("P", bound=Question)


@dataclass(frozen=True)
class ProblemSet(Generic[P]):
    """Problems in order, with distinct task ids."""

    name: str
    problems: tuple[P, ...]
    source: str
    """Where it came from: a path, or a Hub data set and revision."""
    sha256: str
    """Hash of the content of the whole set."""
    num_whole: int
    """Problems of the whole set, of which these may be some."""

    @staticmethod
    def of(name: str, problems: Iterable[P], source: str) -> "ProblemSet[P]":
        """Return the set of these problems.

        Raises:
            CodeparrotError: there are no problems, or two have the same task id.
        """
        problems = tuple(problems)
        if not problems:
            raise CodeparrotError(f"{source}: no problems in it")
        seen: set[str] = set()
        for problem in problems:
            if problem.task_id in seen:
                raise CodeparrotError(f"{source}: task_id {problem.task_id} appears twice")
            seen.add(problem.task_id)
        rows: list[Any] = [asdict(problem) for problem in problems]  # type: ignore[call-overload]
        content = "".join(json.dumps(row, sort_keys=True) + "\n" for row in rows)
        digest = hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()
        return ProblemSet(name, problems, source, digest, len(problems))

    def first(self, limit: int) -> "ProblemSet[P]":
        """Return the first `limit` problems, all for 0. The hash stays that of the whole set."""
        return replace(self, problems=self.problems[: limit or None])

    def only(self, names: Container[str]) -> "ProblemSet[P]":
        """Return the problems with these task ids. The hash stays that of the whole set."""
        return replace(self, problems=tuple(problem for problem in self.problems if problem.task_id in names))

    def __iter__(self) -> Iterator[P]:
        return iter(self.problems)

    def __len__(self) -> int:
        return len(self.problems)
