"""What an evaluation task is: problems, what is asked of the model, and what its answers are worth.

Everything else is done for it: samples that survive an interruption, shares of a job array, several processes, files and a
report (evaluate.py), and a command with the usual options (command.py). A task is one file in tasks/ and one line in its
`__init__.py`.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Generic

from codeparrot.eval.problems.problem import P, ProblemSet
from codeparrot.generation.requests import Request

Rows = Sequence[Mapping[str, Any]]
"""Samples: task_id, completion, temperature, sample, ..., one each; results are samples with what came of them."""


class Task(ABC, Generic[P]):
    """A task that generates."""

    @property
    def settings(self) -> dict[str, Any]:
        """What its samples depend on beside the problems and the sampling: samples that other settings made are refused."""
        return {}

    @abstractmethod
    def load(self) -> ProblemSet[P]:
        """Return its problems. The name of the set is that of the folder which the evaluation is written to."""

    @abstractmethod
    def request(self, problem: P, tokenizer: Any) -> Request:
        """Return what to complete, and where a completion ends. sampling.py fills in the sampler and the longest length."""

    def answer(self, problem: P, text: str) -> str:
        """Return what is written down as the completion, given the text that was generated."""
        return text

    @abstractmethod
    def score(self, problems: ProblemSet[P], samples: Rows) -> list[dict[str, Any]]:
        """Return each sample with what came of it. With `passed`, true or false, `codeparrot eval compare` reads it."""

    @abstractmethod
    def summary(self, problems: ProblemSet[P], results: Rows) -> dict[str, Any]:
        """Return the numbers of the report."""

    def text(self, report: Mapping[str, Any]) -> str:
        """Return the report for a terminal. It holds the summary, `problems`, `samples`, `problem_set` and the settings."""
        return plain_text(report)

    def write(self, report: Mapping[str, Any], folder: Path) -> None:
        """Write what the report is to be shown as beside report.json."""


def plain_text(report: Mapping[str, Any]) -> str:
    """Return the fractional numbers of a report, a line each."""
    lines = [f"{report['problem_set']['name']}: {report['problems']} problems, {report['samples']} samples"]
    lines += [f"{name.replace('_', ' ')}  {value:.4f}" for name, value in report.items() if isinstance(value, float)]
    return "\n".join(lines)
