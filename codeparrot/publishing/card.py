"""The model card of a run as of one of its checkpoints: made from the run alone, and the same each time.

It says which model was trained on which data under which licences, how far it is and how good, and how to load it. Evaluation
results are also in the Hub's `model-index`. A path on this machine appears only by its last part.
"""

import logging
import math
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from codeparrot import __version__
from codeparrot.location import Branch, split_hub_name
from codeparrot.markdown_tables import plain, table
from codeparrot.model.kinds import Kind, classes
from codeparrot.objectives import load_objective
from codeparrot.objectives.objective import kind_trained
from codeparrot.publishing.made_from import data, is_on_the_hub, recipe
from codeparrot.run.metrics import SET, SOLUTIONS, is_score, problems_of
from codeparrot.run.origin import WEIGHTS
from codeparrot.run.parent import of_origin
from codeparrot.run.reports import asked, in_words
from codeparrot.stream.entries import places_of

logger = logging.getLogger("codeparrot")

EVALUATIONS_SHOWN = 12
PLOT = "plots/loss.png"
METRICS = {
    **{"eval_loss": "loss", "perplexity": "perplexity", "bits_per_byte": "bits per byte"},
    "pseudo_perplexity": "pseudo-perplexity of hidden tokens",
    "middle_loss": "loss on middles",
    **{"ema_loss": "loss of averaged weights", "ema_bits_per_byte": "bits per byte of averaged weights"},
}
"""Names in a line of metrics.jsonl and on the card; scores by unit tests come on top."""
FURTHER = {f"{SET}_loss": "eval_loss", f"{SET}_perplexity": "perplexity", f"{SET}_bits_per_byte": "bits_per_byte"}
FURTHER |= {f"{SET}_pseudo_perplexity": "pseudo_perplexity"}
"""Names in a line of a further validation set, and those of the same measures in a line of the run's own."""
LABELS = METRICS | {SOLUTIONS: "bits per byte of solutions"}
TASKS: dict[Kind, str] = {"causal": "text-generation", "masked": "fill-mask", "encoder-decoder": "text2text-generation"}
"""What the Hub calls what a kind of model does."""
REFERENCES = "reference solutions"
VALIDATION = "validation set of the run"
SAMPLE = "a sample of the validation set of the run"
HUB_NAMES = {
    VALIDATION: "code",
    SAMPLE: "code",
    "humaneval": "openai/openai_humaneval",
    "mbpp": "google-research-datasets/mbpp",
}
"""Hub data set IDs of the evaluation sets."""


def model_card(
    manifest: dict[str, Any],
    metrics: list[dict[str, Any]],
    reports: dict[int, list[dict[str, Any]]],
    target: Branch,
    parameters: int,
    plot: bool,
) -> str:
    """Return the text of README.md.

    Args:
        manifest: of the checkpoint.
        metrics: the lines of metrics.jsonl up to its step.
        reports: of `codeparrot eval humaneval` and `likelihood`, by the step they measure, none later than this one.
        target: the branch it goes to.
        parameters: number of the model's parameters.
        plot: whether there is a picture of the loss.
    """
    config, step = manifest["config"], manifest["step"]
    source = (manifest.get("origin") or {}).get(WEIGHTS)
    # A score of the first problems is in the tables, which say so; the index would take it for one of all.
    whole = [report for report in reports.get(step, []) if report["problem_set"].get("problems", 0) <= report["problems"]]
    evaluations = [row for row in metrics if any(map(_is_measure, row))]
    further = [row for row in metrics if SET in row]
    whole = [*(row for row in evaluations + further if row["step"] == step and "limit" not in row), *whole]
    return "\n".join(
        [
            "---",
            # Only results of these weights; measurements at earlier steps are in the tables.
            _front_matter(config, whole, target, source),
            "---",
            "",
            f"# {config['run']['name']}",
            "",
            *_overview(manifest, parameters, target),
            *([f"![Loss over tokens]({PLOT})", ""] if plot else []),
            *_evaluations(evaluations),
            *_languages(metrics),
            *_further(further),
            *_unit_tests(reports),
            *_likelihoods(reports),
            *recipe(config, source),
            *data(config, manifest.get("sources", [])),
        ]
    )


def measured(rows: list[dict[str, Any]]) -> dict[tuple[str, str], float]:
    """Return the finite measures of evaluations, by evaluation set and name.

    Args:
        rows: lines of metrics.jsonl and reports of unit tests, of one step.
    """
    found = {}
    for row in rows:
        for key, value in row.items():
            name = FURTHER.get(key, key)
            if (_is_measure(name) or name in row.get("best", ())) and value is not None and math.isfinite(value):
                found[_measured_on(row, name), name] = value
    return found


def _is_measure(name: str) -> bool:
    return name in LABELS or is_score(name)


def _measured_on(row: dict[str, Any], name: str) -> str:
    if name == SOLUTIONS:
        return f"{row['problem_set']['name'] if 'problem_set' in row else row.get('problems', 'problems')}, {REFERENCES}"
    if SET in row:
        return f"{'a sample of ' if row.get(f'{SET}_sample') else ''}{row[SET]}, a further validation set of the run"
    if name in METRICS:
        return SAMPLE if row.get("eval_sample") else VALIDATION
    if "problem_set" in row:
        return _as_asked(row["problem_set"]["name"], asked(row.get("settings", {})))
    # Earlier versions gave prompts as they are.
    return _as_asked(problems_of(row), asked({"prompt_style": "exact", **row}))


def _as_asked(problems: str, way: str) -> str:
    """Return a name that says how the model was asked: scores of different ways do not compare."""
    return f"{problems}, {in_words(way)}" if way else problems


def _front_matter(
    config: dict[str, Any], evaluations: list[dict[str, Any]], target: Branch, source: dict[str, Any] | None
) -> str:
    sources = [name for name in places_of(config["stream"]["train"]) if is_on_the_hub(name)]
    task = TASKS[kind_trained(load_objective(config.get("objective", {})))]
    results = [
        EvalResult(
            task_type=task,
            # The Hub treats each type, with its configuration, as one data set.
            dataset_type=HUB_NAMES.get(measured_on.partition(",")[0], measured_on),
            dataset_config=REFERENCES if name == SOLUTIONS else None,
            dataset_name=measured_on,
            metric_type=name.replace("eval_loss", "loss"),
            metric_value=round(value, 6),
        )
        for (measured_on, name), value in measured(evaluations).items()
    ]
    return ModelCardData(
        library_name="transformers",
        pipeline_tag=task,
        language="code",
        base_model=split_hub_name(source["from"])[0] if source and is_on_the_hub(source["from"]) else None,
        datasets=[split_hub_name(name)[0] for name in sources] or None,
        tags=["codeparrot", config["model"]["family"]],
        model_name=target.repo.split("/")[-1] if results else None,
        eval_results=results or None,
    ).to_yaml()


def _overview(manifest: dict[str, Any], parameters: int, target: Branch) -> list[str]:
    config = manifest["config"]
    step, steps = manifest["step"], config["train"]["max_steps"]
    auto = classes()[kind_trained(load_objective(config.get("objective", {})))].auto
    return [
        f"A {config['model']['family']} of {parameters:,} parameters for code, step {step:,} of {steps:,}: "
        f"{manifest['tokens']:,} tokens seen. Pretrained by codeparrot {__version__}.",
        "",
        *_parent(manifest),
        "```python",
        f"from transformers import {auto}, AutoTokenizer",
        "",
        f'model = {auto}.from_pretrained("{target.repo}", revision="{target.branch}")',
        f'tokenizer = AutoTokenizer.from_pretrained("{target.repo}", revision="{target.branch}")',
        "```",
        "",
        f'Every commit of the branch "{target.branch}" is a checkpoint; `revision` takes a commit as well.',
        "",
    ]


def _parent(manifest: dict[str, Any]) -> list[str]:
    """Return what says at which checkpoint of another run this one began, if it did."""
    parent = of_origin(manifest.get("origin"))
    if parent is None:
        return []
    hub, decay = parent.get("commit"), manifest["config"]["schedule"].get("decay_now")
    where = f", `{hub['repo']}@{hub['commit']}` on the Hub" if hub else ""
    how = f" Its learning rate decays from there to the end, over {decay:.4g} of the run." if decay else ""
    begun = f"It began at step {parent['step']:,} ({parent['tokens']:,} tokens) of the run {plain(parent['name'])}"
    return [f"{begun} (checkpoint {parent.get('digest', '')}{where}), with its data, weights and optimizer state.{how}", ""]


def _evaluations(rows: list[dict[str, Any]]) -> list[str]:
    if not rows:
        return []
    merged: dict[int, dict[str, Any]] = {}
    for row in rows:
        merged.setdefault(row["step"], {}).update(row)
    names = [*LABELS, *sorted({name for row in rows for name in row if is_score(name)})]
    names = [name for name in names if any(name in row for row in rows)]
    shown = list(merged.values())[-EVALUATIONS_SHOWN:]
    cells = [(_step(row), row["tokens"], *(_number(row.get(name)) for name in names)) for row in shown]
    header = ("step", "tokens", *(LABELS.get(name, name) for name in names))
    sampled = (
        [f"Loss, perplexity and bits per byte of steps with a star are those of {SAMPLE}.", ""]
        if any(row.get("eval_sample") for row in shown)
        else []
    )
    tested = sorted({_measured_on(row, name) for row in rows for name in row if is_score(name)})
    tested = [f"pass@k of this table is of {'; '.join(tested)}.", ""] if tested else []
    solved = sorted({str(row.get("problems", "problems")) for row in rows if SOLUTIONS in row})
    tested += [f"Solutions of this table are those of {', '.join(solved)}.", ""] if solved else []
    return ["## Evaluation", "", *table(header, cells), "", *sampled, *tested, "All lines are in `metrics.jsonl`.", ""]


def _languages(rows: list[dict[str, Any]]) -> list[str]:
    """Return what the last evaluation measured of each language of the validation set."""
    measured = [row for row in rows if row.get("eval_languages")]
    if not measured:
        return []
    last = measured[-1]
    cells = [
        (name, f"{each['tokens']:,}", _number(each["loss"]), _number(each["bits_per_byte"]))
        for name, each in last["eval_languages"].items()
    ]
    where = f"Of {SAMPLE if last.get('eval_sample') else f'the {VALIDATION}'}, at step {last['step']}."
    return ["### By language", "", where, "", *table(("language", "tokens", "loss", "bits per byte"), cells), ""]


def _further(rows: list[dict[str, Any]]) -> list[str]:
    """Return the bits a byte of the further validation sets, a column each."""
    if not rows:
        return []
    names = list(dict.fromkeys(str(row[SET]) for row in rows))
    merged: dict[int, dict[str, Any]] = {}
    for row in rows:
        found = merged.setdefault(row["step"], {"step": row["step"], "tokens": row["tokens"]})
        found[f"of {row[SET]}"] = row.get(f"{SET}_bits_per_byte")
        found["eval_sample"] = found.get("eval_sample") or row.get(f"{SET}_sample")
    shown = list(merged.values())[-EVALUATIONS_SHOWN:]
    cells = [(_step(row), row["tokens"], *(_number(row.get(f"of {name}")) for name in names)) for row in shown]
    sampled = ["Steps with a star are those of samples of the sets.", ""] if any(row["eval_sample"] for row in shown) else []
    return ["### Bits per byte of further validation sets", "", *table(("step", "tokens", *names), cells), "", *sampled]


def _step(row: dict[str, Any]) -> str:
    return f"{row['step']}{'*' if row.get('eval_sample') else ''}"


def _unit_tests(reports: dict[int, list[dict[str, Any]]]) -> list[str]:
    tested = [(step, report) for step in sorted(reports) for report in reports[step] if report["best"]]
    if not tested:
        return []
    rows = [
        (step, *_asked(report), report["samples"], name, _interval(best))
        for step, report in tested[-EVALUATIONS_SHOWN:]
        for name, best in report["best"].items()
    ]
    header = ("step", "problem set", "prompts", "problems", "samples", "measure", "best temperature: mean, 95% interval")
    return [
        "## Unit tests",
        "",
        *table(header, rows),
        "",
        "By `codeparrot eval humaneval` and `codeparrot eval infilling`.",
        "",
    ]


def _likelihoods(reports: dict[int, list[dict[str, Any]]]) -> list[str]:
    rows = [
        (step, _asked(report)[0], _asked(report)[2], _number(report[SOLUTIONS]))
        for step in sorted(reports)
        for report in reports[step]
        if SOLUTIONS in report
    ]
    if not rows:
        return []
    header = ("step", "problem set", "problems", "bits per byte of the reference solutions")
    shown = table(header, rows[-EVALUATIONS_SHOWN:])
    return ["## Likelihood of solutions", "", *shown, "", "By `codeparrot eval likelihood`: a mean over problems.", ""]


def _asked(report: dict[str, Any]) -> tuple[str, str, str]:
    """Return problem set, how prompts were given, and the number of problems."""
    whole = report["problem_set"].get("problems", report["problems"])
    count = f"{report['problems']} of {whole}" if whole > report["problems"] else str(whole)
    return report["problem_set"]["name"], asked(report.get("settings", {})), count


def _interval(best: dict[str, Any]) -> str:
    return f"{best['temperature']}: {best['mean']:.2%}, {best['low']:.2%} to {best['high']:.2%}"


def _number(value: float | None) -> str:
    return "" if value is None or not math.isfinite(value) else f"{value:.4g}"
