"""Evaluation tasks, one file each: `codeparrot eval NAME`."""

from typing import NamedTuple


class Entry(NamedTuple):
    target: str
    """module:function of the command."""
    summary: str


TASKS = {
    "humaneval": Entry("codeparrot.eval.tasks.humaneval:humaneval", "pass@k by unit tests: generate, run in a sandbox, report"),
    "infilling": Entry(
        "codeparrot.eval.tasks.infilling:infilling", "gaps in programs: fill them, run the unit tests, report pass@k"
    ),
    "perplexity": Entry("codeparrot.eval.tasks.perplexity:perplexity", "loss, perplexity and bits per byte of a checkpoint"),
}
