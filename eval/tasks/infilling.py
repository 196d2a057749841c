"""`codeparrot eval infilling`: fill gaps in programs, run the unit tests of the whole, report pass@k.

Beside pass@k stand exact match and edit similarity to the reference, up to white space at the end (similarity.py): means over
the samples of a gap, then over the gaps; intervals are over the functions that have the gaps. The --output folder gets the
files of `eval humaneval`; results.jsonl also has exact_match, edit_similarity and group, the number of the function, of each
sample. Run again, the same command continues where it was interrupted.

The model is asked for a middle by its sentinels, and ends it itself. `--fim_order prefix` shows it the text before the gap
alone: what a model without sentinels can do, and what the text behind the gap is worth. There a middle of one line ends with
its line, any other where a completion of a function does.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from codeparrot.eval.command import check_places, check_ranges, evaluated
from codeparrot.eval.problems.infilling import Gap, functions, load_gaps, programs
from codeparrot.eval.problems.problem import STOP, Problem, ProblemSet
from codeparrot.eval.similarity import edit_similarity, exact_match
from codeparrot.eval.task import Rows, Task
from codeparrot.eval.tasks.humaneval import HumanEval
from codeparrot.generation.requests import Request
from codeparrot.loading import find_model, require_middles
from codeparrot.result import Result
from codeparrot.stream.sentinels import require_sentinels

MEANS = ("exact_match", "edit_similarity")
Order = Literal["psm", "spm", "prefix"]


@dataclass(frozen=True)
class Infilling(Task[Gap]):
    """Fill gaps in programs; run the unit tests of the whole programs in a sandbox."""

    kind: str = "single-line"
    """One of problems/infilling.py's KINDS, or a file."""
    order: Order = "psm"
    """What the model reads first: the prefix or the suffix; prefix: it reads no suffix."""
    tests: HumanEval = field(default_factory=HumanEval)
    """How programs are tested, and the values of k; its problems do not count."""

    @property
    def settings(self) -> dict[str, Any]:
        return {"fim_order": self.order}

    def settings_of(self, tokenizer: Callable[[], Any]) -> dict[str, Any]:
        if self.order != "prefix":
            # Said before anything is generated.
            require_sentinels(tokenizer(), f"infilling in the order {self.order} (unlike prefix)")
        return {}

    def check_scorable(self) -> None:
        self.tests.check_scorable()

    def check_problems(self, problems: ProblemSet[Gap]) -> None:
        self.tests.check_problems(_judged(problems, programs(problems)))

    def load(self) -> ProblemSet[Gap]:
        return load_gaps(self.kind)

    def request(self, problem: Gap, tokenizer: Any) -> Request:
        if self.order != "prefix":
            return Request(problem.prompt, suffix=problem.suffix, order=self.order)
        return Request(problem.prompt, stop=("\n",) if problem.one_line else STOP)

    def answer(self, problem: Gap, text: str) -> str:
        # The stop text is no part of a completion; of a whole line it is the end.
        ended = self.order == "prefix" and problem.canonical_solution.endswith("\n")
        return f"{text}\n" if ended else text

    def score(self, problems: ProblemSet[Gap], samples: Rows) -> list[dict[str, Any]]:
        gaps, judged, groups = {gap.task_id: gap for gap in problems}, programs(problems), functions(problems)

        def job(sample: Mapping[str, Any]) -> dict[str, Any]:
            gap, program = gaps[sample["task_id"]], judged[sample["task_id"]]
            return {"task_id": program.task_id, "completion": gap.filled(sample["completion"])[len(program.prompt) :]}

        verdicts = self.tests.score(_judged(problems, judged), [job(sample) for sample in samples])
        results = []
        for sample, verdict in zip(samples, verdicts, strict=True):
            task, middle = sample["task_id"], sample["completion"]
            same, alike = (measure(middle, gaps[task].canonical_solution) for measure in (exact_match, edit_similarity))
            results.append({**verdict, **sample, "exact_match": same, "edit_similarity": alike, "group": groups[task]})
        return results

    def summary(self, problems: ProblemSet[Gap], results: Rows) -> dict[str, Any]:
        from codeparrot.eval import report as reports

        groups = functions(problems)
        facts = {"unsafe": self.tests.unsafe, "functions": len(set(groups.values()))}
        return reports.make(results, list(groups), self.tests.ks, facts, MEANS, list(groups.values()))

    def text(self, report: Mapping[str, Any]) -> str:
        return self.tests.text(report)

    def write(self, report: Mapping[str, Any], folder: Path) -> None:
        self.tests.write(report, folder)


def _judged(gaps: ProblemSet[Gap], judged: Mapping[str, Problem]) -> ProblemSet[Problem]:
    return ProblemSet.of(gaps.name, {id(problem): problem for problem in judged.values()}.values(), gaps.source)


def infilling(
    checkpoint: str,
    kind: str = "single-line",
    fim_order: Order = "psm",
    samples: int = 1,
    temperature: list[float] = [0.0],  # noqa: B006 - read only
    k: list[int] = [1],  # noqa: B006 - read only
    top_p: float = 0.95,
    max_new_tokens: int = 256,
    limit: int = 0,
    seed: int = 0,
    batch_size: int = 64,
    device: str = "auto",
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto",
    share: str = "",
    output: str | None = None,
    workers: int = 0,
    unsafe: bool = False,
) -> Result:
    """Measure infilling: fill gaps in programs with a checkpoint, run the unit tests of the whole programs in a sandbox.

    Args:
        checkpoint: A run (its newest checkpoint), a checkpoint, a model folder, a .gguf file, or a name on the Hub.
        kind: The gaps: single-line or multi-line (HumanEval infilling, 1,033 and 5,815 gaps), random-span (1,640, by our own
            draw), own (20 easy ones, no package needed), or a JSONL file in OpenAI's format.
        fim_order: What the model reads: psm, the text before the gap and then that behind it; spm, the other way round; prefix,
            the text before it alone, as models without sentinels must.
        samples: Samples per gap at each temperature; one at temperature 0, where all are the same.
        temperature: Sampling temperatures; 0 takes the likeliest token each time.
        k: Values of k for pass@k; at most --samples.
        top_p: Sample among the likeliest tokens that together hold this probability, above 0 and at most 1.
        max_new_tokens: Longest middle, in tokens.
        limit: Only the first N gaps; 0: all.
        seed: The same seed gives the same samples, whatever the batch size and the number of processes.
        batch_size: Samples at a time on each process; less needs less memory.
        device: Where to generate: cpu, cuda, cuda:1, mps; auto takes the first accelerator, if any.
        precision: Of the weights; auto: fp32 on a CPU, as stored elsewhere.
        share: Generate only a share of the gaps and do not score: 0/4 is the first of four. Once all shares are there, the
            command without --share scores them.
        output: Folder to write to; default: RUN/eval/infilling-KIND/step_00001000 for a run, else
            evaluations/NAME/infilling-KIND.
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
    check_places(checkpoint, output)
    task = Infilling(kind, fim_order, HumanEval(ks=tuple(sorted(set(k))), workers=workers, unsafe=unsafe))
    chosen = task.load().first(limit)
    if fim_order != "prefix":
        require_middles(find_model(checkpoint), "give --fim_order prefix")
    options = samples, temperature, top_p, max_new_tokens, seed, batch_size, device, precision, share, output
    return evaluated(task, chosen, checkpoint, *options)
