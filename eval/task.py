"""An evaluation task: its problems, its requests to the model, and the scores of the answers.

The rest is done for it: samples that survive an interruption, shares of a job array, several processes, files and a report
(evaluate.py), and a command with the usual options (command.py). A task is one file in tasks/ and one line in its
`__init__.py`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic

from codeparrot.eval.problems.problem import P, ProblemSet
from codeparrot.generation.requests import Request

Rows = Sequence[Mapping[str, Any]]
"""Samples, one per row: task_id, completion, temperature, sample, ...; results are samples with their scores."""


class Task(ABC, Generic[P]):
    """A task that generates."""

    @property
    def settings(self) -> dict[str, Any]:
        """Its samples depend on these besides problems and sampling: samples made with other settings are refused."""
        return {}

    def settings_of(self, tokenizer: Callable[[], Any]) -> dict[str, Any]:
        """Return further such settings, which only the model's tokenizer knows; it is loaded when it is asked for."""
        return {}

    def check_scorable(self) -> None:
        """Raise CodeparrotError where answers cannot be scored on this machine. Called before anything is generated."""

    def check_problems(self, problems: ProblemSet[P]) -> None:
        """Raise CodeparrotError where the problems are at fault, and so no answer could be scored. Called like the former."""

    @abstractmethod
    def load(self) -> ProblemSet[P]:
        """Return its problems. The evaluation is written to a folder with the name of the set."""

    @abstractmethod
    def request(self, problem: P, tokenizer: Any) -> Request:
        """Return the prompt, and where its completion ends. sampling.py fills in the sampler and the longest length."""

    def answer(self, problem: P, text: str) -> str:
        """Return the completion to record for a generated text."""
        return text

    @abstractmethod
    def score(self, problems: ProblemSet[P], samples: Rows) -> list[dict[str, Any]]:
        """Return each sample with its score. `codeparrot eval compare` reads results that have `passed`, true or false."""

    @abstractmethod
    def summary(self, problems: ProblemSet[P], results: Rows) -> dict[str, Any]:
        """Return the numbers of the report."""

    def text(self, report: Mapping[str, Any]) -> str:
        """Return the report for a terminal. It holds the summary, `problems`, `samples`, `problem_set` and the settings."""
        return plain_text(report)

    def write(self, report: Mapping[str, Any], folder: Path) -> None:
        """Write further views of the report beside report.json."""


def counted(report: Mapping[str, Any]) -> str:
    """Return how many problems a report is of, and of how many where those are more."""
    whole = report["problem_set"].get("problems", report["problems"])
    return f"{report['problems']} of {whole} problems" if whole > report["problems"] else f"{whole} problems"


def plain_text(report: Mapping[str, Any]) -> str:
    """Return the fractional numbers of a report, one per line."""
    lines = [f"{report['problem_set']['name']}: {counted(report)}, {report['samples']} samples"]
    lines += [f"{name.replace('_', ' ')}  {value:.4f}" for name, value in report.items() if isinstance(value, float)]
    return "\n".join(lines)
