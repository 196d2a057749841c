"""`codeparrot eval humaneval`: generate, run the tests, report pass@k.

Also for samples from anywhere (`--samples_file`), and for the reference solutions of the problems (`--reference`). In the
--output folder: samples.jsonl (OpenAI's format), results.jsonl (a line a sample: task_id, completion, outcome, passed),
report.json, report.md, pass_at_k.png, settings.json. The same command again goes on where it was interrupted.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from codeparrot.errors import CodeparrotError
from codeparrot.location import local_folder
from codeparrot.result import Result


def humaneval(
    checkpoint: str | None = None,
    problems: str = "humaneval",
    samples: int = 20,
    temperature: list[float] = [0.2],  # noqa: B006 - read only
    k: list[int] = [1, 10],  # noqa: B006 - read only
    top_p: float = 0.95,
    max_new_tokens: int = 256,
    strip_prompt: bool = False,
    chat: bool = False,
    limit: int = 0,
    seed: int = 0,
    batch_size: int = 64,
    device: str = "auto",
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto",
    share: str = "",
    samples_file: str | None = None,
    reference: bool = False,
    output: str | None = None,
    workers: int = 0,
    unsafe: bool = False,
) -> Result:
    """Measure pass@k: complete the problems with a checkpoint, run their unit tests in a sandbox, count what passes.

    Args:
        checkpoint: A run (its newest checkpoint), a checkpoint, a model folder, a .gguf file, or a name on the Hub.
        problems: humaneval, humaneval+, mbpp, codeparrot (the project's own), a JSONL file in OpenAI's format, or hub:NAME.
        samples: Samples a problem at each temperature; one at temperature 0, where all are the same.
        temperature: Temperatures of the sampling; 0 takes the likeliest token each time.
        k: For pass@k; at most --samples.
        top_p: Sample among the likeliest tokens that hold this probability together, above 0 and at most 1.
        max_new_tokens: Longest completion, in tokens.
        strip_prompt: Leave out the white space at the end of prompts; the report says so.
        chat: Ask for the whole function in the model's chat format; for models that were trained to answer.
        limit: Only the first so many problems; 0: all.
        seed: The same seed gives the same samples, whatever the batch size and the number of processes.
        batch_size: Samples at a time on each process; less needs less memory.
        device: Where to generate: cpu, cuda, cuda:1, mps; auto takes the first accelerator there is.
        precision: Of the weights; auto: fp32 on a CPU, as stored elsewhere.
        share: Generate only a part of the problems and do not score: 0/4 is the first of four. The command without it, when all
            parts are there, scores them.
        samples_file: Score these samples, in OpenAI's format, instead of generating any.
        reference: Score the reference solutions of the problems.
        output: Folder to write to; for a run's checkpoint its eval/PROBLEMS/step_00001000, else evaluations/NAME/PROBLEMS.
        workers: Programs that are tested at a time; 0: as many as there are cores.
        unsafe: Run the programs without a sandbox, where there can be none. They can do whatever you can.
    """
    from codeparrot.eval.parallel import Share
    from codeparrot.eval.problems.sets import load_problems
    from codeparrot.eval.scoring import subset

    _check(samples, temperature, k, top_p, max_new_tokens, limit, batch_size, workers)
    if sum((checkpoint is not None, samples_file is not None, reference)) != 1:
        raise CodeparrotError("give one of --checkpoint, --samples_file and --reference: what is to be scored")
    if share and checkpoint is None:
        raise CodeparrotError("--share is for generating: give --checkpoint")
    _check_place(checkpoint, samples_file, output)
    # A temperature that is named twice would count its samples twice.
    temperature = list(dict.fromkeys(temperature))
    chosen = subset(load_problems(problems), limit)
    score = _Scoring(chosen, k, workers, unsafe)
    if reference:
        return score.of_references(Path(output).expanduser() if output else None)
    if samples_file is not None:
        path = Path(samples_file).expanduser()
        return score.of_file(path, Path(output).expanduser() if output else path.with_name(f"{path.name}_evaluation"))
    sampling = {"top_p": top_p, "max_new_tokens": max_new_tokens, "seed": seed, "strip_prompt": strip_prompt, "chat": chat}
    assert checkpoint is not None
    from codeparrot.eval.evaluate import Evaluation

    evaluation = Evaluation(checkpoint, chosen, temperature, samples, sampling, batch_size, device, precision, output)
    return evaluation.run(Share.parse(share), score.of_samples)


class _Scoring:
    """Scores samples of a set of problems."""

    def __init__(self, problems: Any, ks: list[int], workers: int, unsafe: bool) -> None:
        self._problems, self._ks, self._workers, self._unsafe = problems, sorted(set(ks)), workers, unsafe

    def of_references(self, folder: Path | None) -> Result:
        problems = [problem for problem in self._problems if problem.canonical_solution]
        rows = [
            {"task_id": problem.task_id, "completion": problem.canonical_solution, "temperature": None, "sample": 0}
            for problem in problems
        ]
        if len(rows) < len(self._problems):
            raise CodeparrotError(f"{len(self._problems) - len(rows)} of the problems have no reference solution to score")
        return self.of_samples(folder, rows, {"reference": True}, check=False)

    def of_file(self, path: Path, folder: Path) -> Result:
        from codeparrot.eval.samples import read_foreign

        return self.of_samples(folder, read_foreign(path, self._problems.problems), {"samples_file": str(path)})

    def of_samples(self, folder: Path | None, rows: list[dict[str, Any]], facts: dict[str, Any], check: bool = True) -> Result:
        """Run the samples and report."""
        from codeparrot.eval import report as reports
        from codeparrot.eval import scoring
        from codeparrot.eval.sandbox.executor import Executor

        with Executor(num_workers=self._workers or None, unsafe=self._unsafe) as executor:
            results = scoring.judge(executor, self._problems, rows, check)
        # A sandbox or none is part of what a number means.
        where = {"output": str(folder)} if folder else {}
        report = scoring.write(folder, self._problems, results, self._ks, {**facts, "unsafe": self._unsafe, **where})
        text = reports.text(report) + (f"\n{folder}/" if folder else "")
        failed = [row["task_id"] for row in results if not row["passed"]] if facts.get("reference") else []
        if failed:
            text += f"\nfailed: {', '.join(failed)}"
        return Result(text, report)


def _check_place(checkpoint: str | None, samples_file: str | None, output: str | None) -> None:
    """Raise CodeparrotError for what is not on this machine and can be nowhere else, before problems are fetched."""
    if output is not None:
        path = Path(output).expanduser()
        there = next((place for place in (path, *path.parents) if place.exists()), None)
        if there is not None and not there.is_dir():
            raise CodeparrotError(f"--output {output}: {there} is a file and no folder")
    if checkpoint is not None and not Path(checkpoint).expanduser().is_file():
        local_folder(checkpoint)
    if samples_file is not None and not Path(samples_file).expanduser().is_file():
        raise CodeparrotError(f"there is no file {samples_file}")


def _check(
    samples: int,
    temperature: list[float],
    k: list[int],
    top_p: float,
    max_new_tokens: int,
    limit: int,
    batch_size: int,
    workers: int,
) -> None:
    rules: list[tuple[str, Any, Callable[[Any], bool], str]] = [
        ("samples", samples, lambda value: value >= 1, "at least 1"),
        ("temperature", temperature, lambda values: values and all(0 <= each <= 100 for each in values), "0 (greedy) or more"),
        ("k", k, lambda values: values and all(each >= 1 for each in values), "at least 1"),
        ("top_p", top_p, lambda value: 0 < value <= 1, "above 0 and at most 1"),
        ("max_new_tokens", max_new_tokens, lambda value: value >= 1, "at least 1"),
        ("limit", limit, lambda value: value >= 0, "0 (all problems) or more"),
        ("batch_size", batch_size, lambda value: value >= 1, "at least 1"),
        ("workers", workers, lambda value: value >= 0, "0 (as many as there are cores) or more"),
    ]
    for name, value, holds, words in rules:
        if not holds(value):
            raise CodeparrotError(f"--{name} {value} is out of range: {words}")
