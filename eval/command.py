"""`codeparrot eval TASK` for a task that needs no options of its own, and the ranges of the options that tasks share."""

from collections.abc import Callable
from typing import Any, Literal

from codeparrot.errors import CodeparrotError
from codeparrot.eval.problems.problem import P, ProblemSet
from codeparrot.eval.task import Task
from codeparrot.generation.sampling import TEMPERATURES, is_temperature
from codeparrot.location import path_of
from codeparrot.result import Result

RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "samples": (lambda value: value >= 1, "at least 1"),
    "temperature": (lambda values: bool(values) and all(map(is_temperature, values)), TEMPERATURES),
    "k": (lambda values: bool(values) and all(each >= 1 for each in values), "at least 1"),
    "top_p": (lambda value: 0 < value <= 1, "above 0 and at most 1"),
    "max_new_tokens": (lambda value: value >= 1, "at least 1"),
    "limit": (lambda value: value >= 0, "0 (all problems) or more"),
    "batch_size": (lambda value: value >= 1, "at least 1"),
    "workers": (lambda value: 0 <= value <= 1024, "0 (as many as there are cores) to 1024"),
}


def check_ranges(**options: Any) -> None:
    """Check options by their names.

    Raises:
        CodeparrotError: one is out of its range.
    """
    for name, value in options.items():
        holds, words = RULES[name]
        if not holds(value):
            raise CodeparrotError(f"--{name} {value} is out of range: {words}")


def check_places(checkpoint: str | None = None, output: str | None = None) -> None:
    """Check places before anything is fetched.

    Raises:
        CodeparrotError: the checkpoint is not on this machine and cannot be anywhere else, or the output cannot be a folder.
    """
    from codeparrot.location import local_folder

    if output is not None:
        path = path_of(output)
        there = next((place for place in (path, *path.parents) if place.exists()), None)
        if there is not None and not there.is_dir():
            raise CodeparrotError(f"--output {output}: {there} is a file, not a folder")
    if checkpoint is not None and not path_of(checkpoint).is_file():
        local_folder(checkpoint)


def command(task: Task[Any], max_new_tokens: int = 128) -> Callable[..., Result]:
    """Return the command of a task.

    Args:
        task: the first line of its docstring is the first line of the command's help.
        max_new_tokens: default of --max_new_tokens.
    """
    longest = max_new_tokens

    def run(
        checkpoint: str,
        samples: int = 1,
        temperature: list[float] = [0.0],  # noqa: B006 - read only
        top_p: float = 0.95,
        max_new_tokens: int = longest,
        limit: int = 0,
        seed: int = 0,
        batch_size: int = 64,
        device: str = "auto",
        precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto",
        share: str = "",
        output: str | None = None,
    ) -> Result:
        check_ranges(
            samples=samples,
            temperature=temperature,
            top_p=top_p,
            max_new_tokens=max_new_tokens,
            limit=limit,
            batch_size=batch_size,
        )
        check_places(checkpoint, output)
        options = samples, temperature, top_p, max_new_tokens, seed, batch_size, device, precision, share, output
        return evaluated(task, task.load().first(limit), checkpoint, *options)

    run.__doc__ = f"{(task.__doc__ or '').strip().splitlines()[0]}\n\n{OPTIONS}"
    return run


OPTIONS = """Args:
    checkpoint: A run (its newest checkpoint), a checkpoint, a model folder, a .gguf file, or a name on the Hub.
    samples: Samples per problem at each temperature; one at temperature 0, where all are the same.
    temperature: Sampling temperatures; 0 takes the likeliest token each time.
    top_p: Sample among the likeliest tokens that together hold this probability, above 0 and at most 1.
    max_new_tokens: Longest completion, in tokens.
    limit: Only the first N problems; 0: all.
    seed: The same seed gives the same samples, whatever the batch size and the number of processes.
    batch_size: Samples at a time on each process; less needs less memory.
    device: Where to generate: cpu, cuda, cuda:1, mps; auto takes the first accelerator, if any.
    precision: Of the weights; auto: fp32 on a CPU, as stored elsewhere.
    share: Generate only a share of the problems and do not score: 0/4 is the first of four. Once all shares are there, the
        command without --share scores them.
    output: Folder to write to; default: RUN/eval/TASK/step_00001000 for a run's checkpoint, else evaluations/NAME/TASK.
"""


def evaluated(
    task: Task[P],
    problems: ProblemSet[P],
    checkpoint: str,
    samples: int,
    temperature: list[float],
    top_p: float,
    max_new_tokens: int,
    seed: int,
    batch_size: int,
    device: str,
    precision: str,
    share: str,
    output: str | None,
) -> Result:
    """Evaluate a checkpoint by a task; the arguments are those of the task's command, `problems` all of it or the first."""
    from codeparrot.eval.evaluate import Evaluation
    from codeparrot.eval.parallel import Share
    from codeparrot.eval.sampling import Sampling

    # A temperature named twice would count its samples twice.
    temperatures, sampling = list(dict.fromkeys(temperature)), Sampling(top_p, max_new_tokens, seed)
    evaluation = Evaluation(task, problems, checkpoint, temperatures, samples, sampling, batch_size, device, precision, output)
    return evaluation.run(Share.parse(share))
