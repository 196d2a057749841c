"""Evaluation tasks, one file each: `codeparrot eval NAME`."""

from typing import NamedTuple


class Entry(NamedTuple):
    target: str
    """module:function of the command."""
    summary: str
    goes_on: bool = True
    """Whether the same command goes on with what was done when it was interrupted."""


TASKS = {
    "humaneval": Entry("codeparrot.eval.tasks.humaneval:humaneval", "pass@k by unit tests: generate, run in a sandbox, report"),
    "infilling": Entry(
        "codeparrot.eval.tasks.infilling:infilling", "gaps in programs: fill them, run the unit tests, report pass@k"
    ),
    "likelihood": Entry("codeparrot.eval.tasks.likelihood:likelihood", "bits a byte of the reference solutions", goes_on=False),
    "perplexity": Entry(
        "codeparrot.eval.tasks.perplexity:perplexity", "loss, perplexity and bits per byte of a checkpoint", goes_on=False
    ),
    "explain": Entry("codeparrot.eval.tasks.explain:explain", "what functions do, beside the first sentences of docstrings"),
    "retrieval": Entry(
        "codeparrot.search.retrieval.command:retrieval", "search by a model's vectors, beside BM25", goes_on=False
    ),
}
