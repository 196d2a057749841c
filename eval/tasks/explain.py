"""`codeparrot eval explain`: say what functions do, compared with the first sentences of their docstrings.

A model reads a function without its docstring, an empty line and three quotes, and goes on with the likeliest tokens; its first
sentence counts. chrF (sacrebleu) and ROUGE-L (rouge-score, F1) are measured sentence by sentence, from 0 to 1, and averaged
over the functions. Beside the model stands what costs nothing: the function's name as words. Both measures count letters and
words that are the same, so an explanation in other words gets little: read some, too. The --output folder gets the files of
`eval humaneval`. Run again, the same command continues where it was interrupted.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from codeparrot.corpus.sentences import first_sentence
from codeparrot.errors import CodeparrotError
from codeparrot.eval.command import check_places, check_ranges, evaluated
from codeparrot.eval.identifiers import words
from codeparrot.eval.problems.problem import ProblemSet
from codeparrot.eval.task import Rows, Task, counted
from codeparrot.generation.requests import Request
from codeparrot.location import last_part
from codeparrot.result import Result

MEASURES = {"chrf": "chrF", "rouge_l": "ROUGE-L"}
NAME = "name_"
"""What the measures of the baseline begin with."""


@dataclass(frozen=True)
class Function:
    """A function to explain."""

    task_id: str
    prompt: str
    summary: str
    """First sentence of its docstring."""
    name: str
    """As words."""


def words_of(name: str) -> str:
    """Return a function's name as a sentence would have it: `Reader.readCSV_file` is read csv file."""
    return " ".join(words(name.rpartition(".")[2]))


@dataclass(frozen=True)
class Explain(Task[Function]):
    """Say what functions do, compared with the first sentences of their docstrings."""

    pairs: str
    """Folder of `corpus pairs`, or JSON lines of CodeSearchNet."""
    split: str = "valid"
    seed: int = 0
    """The order of the functions is drawn from it."""

    def load(self) -> ProblemSet[Function]:
        from codeparrot.eval.pairs import PYTHON, load_pairs
        from codeparrot.objectives.pairs import BEFORE_DESCRIPTION
        from codeparrot.stream.order import draw

        pairs = [pair for pair in load_pairs(self.pairs, self.split).pairs if pair.language == PYTHON]
        if not pairs:
            raise CodeparrotError(f"{self.pairs} has no functions in Python, which this evaluation is for")
        pairs.sort(key=lambda pair: draw(1 << 62, self.seed, "explain", pair.task_id))
        functions = [
            Function(pair.task_id, f"{pair.code.rstrip()}{BEFORE_DESCRIPTION}", pair.summary, words_of(pair.name))
            for pair in pairs
        ]
        return ProblemSet.of(f"explain-{last_part(self.pairs)}", functions, self.pairs)

    def check_scorable(self) -> None:
        # Said before anything is generated, where one is not installed.
        import rouge_score
        import sacrebleu

        assert rouge_score and sacrebleu

    def request(self, problem: Function, tokenizer: Any) -> Request:
        from codeparrot.objectives.pairs import QUOTES

        return Request(problem.prompt, stop=(QUOTES,))

    def score(self, problems: ProblemSet[Function], samples: Rows) -> list[dict[str, Any]]:
        functions = {function.task_id: function for function in problems}
        measured = Measured()
        results = []
        for sample in samples:
            function = functions[sample["task_id"]]
            own = measured(first_sentence(sample["completion"]), function.summary)
            trivial = {f"{NAME}{key}": value for key, value in measured(function.name, function.summary).items()}
            results.append({**sample, **own, **trivial})
        return results

    def summary(self, problems: ProblemSet[Function], results: Rows) -> dict[str, Any]:
        import numpy as np

        from codeparrot.eval import statistics

        values = {key: np.array([row[key] for row in results]) for key in [*MEASURES, *(f"{NAME}{key}" for key in MEASURES)]}
        estimates = {key: statistics.estimate(each)._asdict() for key, each in values.items()}
        compared = {key: statistics.compare(values[key], values[f"{NAME}{key}"]) for key in MEASURES}
        return {
            **{key: each["mean"] for key, each in estimates.items()},
            "intervals": estimates,
            "against_name": {
                key: {"difference": each.difference._asdict(), "p_value": each.p_value} for key, each in compared.items()
            },
            "empty": sum(not first_sentence(row["completion"]) for row in results),
        }

    def text(self, report: Mapping[str, Any]) -> str:
        found = report["intervals"]
        lines = [f"{report['problem_set']['name']}: {counted(report).replace('problems', 'functions')}"]
        for label, before in (("model", ""), ("name as words", NAME)):
            cells = (f"{shown} {_interval(found[f'{before}{key}'])}" for key, shown in MEASURES.items())
            lines.append(f"  {label:<14} {'  '.join(cells)}")
        if report["empty"]:
            lines.append(f"the model says nothing of {report['empty']} functions")
        if report.get("prompts_cut"):
            lines.append(f"{report['prompts_cut']} functions were too long for the model and lost their beginnings")
        return "\n".join(lines)


class Measured:
    """chrF and ROUGE-L of a sentence beside another, from 0 to 1."""

    def __init__(self) -> None:
        from rouge_score.rouge_scorer import RougeScorer
        from sacrebleu.metrics.chrf import CHRF

        self._chrf, self._rouge = CHRF(), RougeScorer(["rougeL"])

    def __call__(self, sentence: str, reference: str) -> dict[str, float]:
        return {
            "chrf": self._chrf.sentence_score(sentence, [reference]).score / 100,
            "rouge_l": self._rouge.score(reference, sentence)["rougeL"].fmeasure,
        }


def _interval(value: Mapping[str, float]) -> str:
    return f"{value['mean']:.3f} ({value['low']:.3f} to {value['high']:.3f})"


def explain(
    checkpoint: str,
    pairs: str,
    limit: int = 500,
    split: str = "valid",
    max_new_tokens: int = 64,
    seed: int = 0,
    batch_size: int = 64,
    device: str = "auto",
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto",
    share: str = "",
    output: str | None = None,
) -> Result:
    """Measure explanations: what a checkpoint says of functions, beside the first sentences of their docstrings.

    Greedy decoding behind the code and three quotes; chrF and ROUGE-L, with the function's name as words beside them.

    Args:
        checkpoint: A run (its newest checkpoint), a checkpoint, a model folder, a .gguf file, or a name on the Hub.
        pairs: Folder that codeparrot corpus pairs wrote, or a folder or file of JSON lines in CodeSearchNet's format (code,
            docstring, language).
        limit: Functions to explain, drawn from the split; 0: all.
        split: Whose functions are explained: valid or test.
        max_new_tokens: Longest explanation, in tokens.
        seed: The functions are drawn from it.
        batch_size: Functions at a time on each process; less needs less memory.
        device: Where to generate: cpu, cuda, cuda:1, mps; auto takes the first accelerator, if any.
        precision: Of the weights; auto: fp32 on a CPU, as stored elsewhere.
        share: Explain only a share of the functions and do not score: 0/4 is the first of four. Once all shares are there, the
            command without --share scores them.
        output: Folder to write to; default: RUN/eval/explain-PAIRS/step_00001000 for a run, else
            evaluations/NAME/explain-PAIRS.
    """
    check_ranges(limit=limit, max_new_tokens=max_new_tokens, batch_size=batch_size)
    check_places(checkpoint, output)
    task = Explain(pairs, split, seed)
    options = 1, [0.0], 0.95, max_new_tokens, seed, batch_size, device, precision, share, output
    return evaluated(task, task.load().first(limit), checkpoint, *options)
