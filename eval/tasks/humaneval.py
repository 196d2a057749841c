"""`codeparrot eval humaneval`: generate, run the tests, report pass@k.

It also scores samples from elsewhere (`--samples_file`) and the problems' reference solutions (`--reference`). The --output
folder gets samples.jsonl (OpenAI's format), results.jsonl (one line per sample: task_id, completion, outcome, passed),
report.json, report.md, pass_at_k.png, settings.json. Run again, the same command continues where it was interrupted.
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from codeparrot.errors import CodeparrotError
from codeparrot.eval.command import check_places, check_ranges, evaluated
from codeparrot.eval.problems import conversation
from codeparrot.eval.problems.problem import Problem, ProblemSet, languages_of
from codeparrot.eval.styles import PromptStyle, styled
from codeparrot.eval.task import Rows, Task
from codeparrot.generation.requests import Request
from codeparrot.location import path_of
from codeparrot.result import Result

PAGE, PICTURE = "report.md", "pass_at_k.png"


@dataclass(frozen=True)
class HumanEval(Task[Problem]):
    """Complete functions; run their unit tests in a sandbox."""

    name: str = "humaneval"
    """Name of the set of problems."""
    ks: tuple[int, ...] = (1,)
    """Values of k for pass@k."""
    prompt_style: PromptStyle = "healed"
    """How prompts are given to the model; not in a conversation."""
    chat: bool = False
    """Whether to ask the model in a conversation, in its tokenizer's template; it answers with a whole function."""
    workers: int = 0
    """Programs tested at a time; 0: as many as there are cores."""
    unsafe: bool = False
    """Whether to run the programs without a sandbox."""
    check: bool = True
    """Whether scoring runs the reference solutions first."""

    @property
    def settings(self) -> dict[str, Any]:
        return {"prompt_style": "chat" if self.chat else self.prompt_style, "chat": self.chat}

    def settings_of(self, tokenizer: Callable[[], Any]) -> dict[str, Any]:
        return {"chat_template": conversation.digest(tokenizer())} if self.chat else {}

    def check_scorable(self) -> None:
        from codeparrot.eval.sandbox.executor import check_possible

        if not self.unsafe:
            check_possible()

    def check_problems(self, problems: ProblemSet[Problem]) -> None:
        from codeparrot.eval.sandbox.executor import Executor
        from codeparrot.eval.scoring import self_check

        with Executor(num_workers=self.workers or None, unsafe=self.unsafe, languages=languages_of(problems)) as executor:
            self_check(executor, problems)

    def load(self) -> ProblemSet[Problem]:
        from codeparrot.eval.problems.sets import load_problems

        return load_problems(self.name)

    def request(self, problem: Problem, tokenizer: Any) -> Request:
        if self.chat:
            return Request(conversation.conversation(tokenizer, problem.prompt), stop=conversation.STOP)
        return styled(problem.prompt, self.prompt_style, problem.stop, tokenizer)

    def answer(self, problem: Problem, text: str) -> str:
        return conversation.behind(problem.prompt) + text if self.chat else text

    def score(self, problems: ProblemSet[Problem], samples: Rows) -> list[dict[str, Any]]:
        from codeparrot.eval.sandbox.executor import Executor
        from codeparrot.eval.scoring import judge

        with Executor(num_workers=self.workers or None, unsafe=self.unsafe, languages=languages_of(problems)) as executor:
            return judge(executor, problems, samples, self.check)

    def summary(self, problems: ProblemSet[Problem], results: Rows) -> dict[str, Any]:
        from codeparrot.eval import report as reports

        unknown = {problem.task_id for problem in problems if not problem.canonical_solution}
        not_plain = [row for row in results if row["task_id"] in unknown and "is not plain data" in str(row.get("detail"))]
        # The meaning of a score depends on whether there was a sandbox.
        facts = {"unsafe": self.unsafe, "not_plain": len(not_plain)}
        facts |= reports.by_language(problems, results, self.ks)
        return reports.make(results, [problem.task_id for problem in problems], self.ks, facts)

    def text(self, report: Mapping[str, Any]) -> str:
        from codeparrot.eval import report as reports

        return reports.text(report)

    def write(self, report: Mapping[str, Any], folder: Path) -> None:
        from codeparrot import files
        from codeparrot.eval import report as reports
        from codeparrot.eval.plots import draw_curves

        files.write_text(folder / PAGE, reports.markdown(report))
        draw_curves(report, folder / PICTURE)


def humaneval(
    checkpoint: str | None = None,
    problems: str = "humaneval",
    samples: int = 20,
    temperature: list[float] = [0.2],  # noqa: B006 - read only
    k: list[int] = [1, 10],  # noqa: B006 - read only
    top_p: float = 0.95,
    max_new_tokens: int = 256,
    prompt_style: PromptStyle = "healed",
    strip_prompt: bool = False,
    chat: bool = False,
    limit: int = 0,
    seed: int = 0,
    batch_size: int = 64,
    device: str = "auto",
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto",
    share: str = "",
    samples_file: str | None = None,
    partial: bool = False,
    reference: bool = False,
    output: str | None = None,
    workers: int = 0,
    unsafe: bool = False,
) -> Result:
    """Measure pass@k: complete the problems with a checkpoint, run their unit tests in a sandbox, count what passes.

    Args:
        checkpoint: A run (its newest checkpoint), a checkpoint, a model folder, a .gguf file, or a name on the Hub.
        problems: humaneval, humaneval+, mbpp, codeparrot, codeparrot-javascript, codeparrot-cpp (the project's own), a JSONL
            file in OpenAI's or MultiPL-E's format, or hub:NAME, with :CONFIG for one of several in it.
        samples: Samples per problem at each temperature; one at temperature 0, where all are the same.
        temperature: Sampling temperatures; 0 takes the likeliest token each time.
        k: Values of k for pass@k; at most --samples.
        top_p: Sample among the likeliest tokens that together hold this probability, above 0 and at most 1.
        max_new_tokens: Longest completion, in tokens.
        prompt_style: How prompts are given: healed (a token may begin in the prompt and end behind it), exact, stripped
            (without white space at the end), codeparrot (stripped, behind an end-of-text token, as the original script did).
            Scores of different styles do not compare.
        strip_prompt: Older name of --prompt_style stripped.
        chat: Ask for the whole function in the model's chat format; for models trained to answer.
        limit: Only the first N problems, also of a --samples_file; 0: all.
        seed: The same seed gives the same samples, whatever the batch size and the number of processes.
        batch_size: Samples at a time on each process; less needs less memory.
        device: Where to generate: cpu, cuda, cuda:1, mps; auto takes the first accelerator, if any.
        precision: Of the weights; auto: fp32 on a CPU, as stored elsewhere.
        share: Generate only a share of the problems and do not score: 0/4 is the first of four. Once all shares are there, the
            command without --share scores them.
        samples_file: Score these samples, in OpenAI's format, instead of generating any.
        partial: Score only the problems that have samples in --samples_file; the report says how many of all these are.
        reference: Score the reference solutions of the problems.
        output: Folder to write to; default: RUN/eval/PROBLEMS/step_00001000 for a run, else evaluations/NAME/PROBLEMS.
        workers: Programs tested at a time; 0: as many as there are cores.
        unsafe: Run the programs without a sandbox, where none is possible. They can do whatever you can.
    """
    check_ranges(
        samples=samples,
        temperature=temperature,
        k=k,
        top_p=top_p,
        max_new_tokens=max_new_tokens,
        limit=limit,
        batch_size=batch_size,
        workers=workers,
    )
    if sum((checkpoint is not None, samples_file is not None, reference)) != 1:
        raise CodeparrotError("give one of --checkpoint, --samples_file and --reference: what is to be scored")
    if share and checkpoint is None:
        raise CodeparrotError("--share is for generating: give --checkpoint")
    if partial and samples_file is None:
        raise CodeparrotError("--partial is for samples from elsewhere: give --samples_file")
    check_places(checkpoint, output)
    if samples_file is not None and not path_of(samples_file).is_file():
        raise CodeparrotError(f"there is no file {samples_file}")
    style = _style(prompt_style, strip_prompt, chat)
    task = HumanEval(problems, tuple(sorted(set(k))), style, chat, workers, unsafe)
    everything = task.load()
    chosen = everything.first(limit)
    if chat and languages_of(chosen):
        raise CodeparrotError("--chat asks for a function in Python, and some problems are in other languages: leave it out")
    folder = path_of(output) if output else None
    if reference:
        return _score_references(task, chosen, folder)
    if samples_file is not None:
        return _score_file(task, everything, chosen, path_of(samples_file), folder, partial)
    assert checkpoint is not None
    options = samples, temperature, top_p, max_new_tokens, seed, batch_size, device, precision, share, output
    return evaluated(task, chosen, checkpoint, *options)


def _style(style: PromptStyle, strip_prompt: bool, chat: bool) -> PromptStyle:
    if strip_prompt and style not in ("healed", "stripped"):
        raise CodeparrotError(f"--strip_prompt is --prompt_style stripped, and {style} was given: give one of them")
    style = "stripped" if strip_prompt else style
    if chat and style != "healed":
        raise CodeparrotError(f"--chat asks in a conversation, where prompts have no style {style}: give one of them")
    return style


def _score_references(task: HumanEval, problems: ProblemSet[Problem], folder: Path | None) -> Result:
    from codeparrot.eval.samples import check_room
    from codeparrot.eval.scoring import report

    rows = [
        {"task_id": problem.task_id, "completion": problem.canonical_solution, "temperature": None, "sample": 0}
        for problem in problems
        if problem.canonical_solution
    ]
    if len(rows) < len(problems):
        raise CodeparrotError(f"{len(problems) - len(rows)} of the problems have no reference solution to score")
    if folder is not None:
        check_room(folder)
    results = replace(task, check=False).score(problems, rows)
    result = report(task, problems, results, {"reference": True}, folder)
    failed = [row["task_id"] for row in results if not row["passed"]]
    return result._replace(text=f"{result.text}\nfailed: {', '.join(failed)}") if failed else result


def _score_file(
    task: HumanEval,
    everything: ProblemSet[Problem],
    chosen: ProblemSet[Problem],
    path: Path,
    folder: Path | None,
    partial: bool,
) -> Result:
    from codeparrot.eval.samples import check_room, read_foreign, sampled
    from codeparrot.eval.scoring import report

    folder = folder or path.with_name(f"{path.name}_evaluation")
    found = read_foreign(path, everything)
    if partial:
        chosen = chosen.only(sampled(found))
        if not chosen:
            raise CodeparrotError(f"{path} has no problem with a sample at each of its temperatures: there is nothing to score")
    names = {problem.task_id for problem in chosen}
    rows = [row for row in found if row["task_id"] in names]
    missing = sorted(names - {row["task_id"] for row in rows})
    if missing:
        more = f" and {len(missing) - 1} more problems" if len(missing) > 1 else ""
        raise CodeparrotError(f"{path} has no sample of {missing[0]}{more}: --partial scores the problems that have samples")
    if len(rows) < len(found):
        print(f"{path}: {len(found) - len(rows)} samples of other problems are passed over", file=sys.stderr)
    check_room(folder)
    return report(task, chosen, task.score(chosen, rows), {"samples_file": str(path)}, folder)
