"""`codeparrot eval likelihood`: how likely a checkpoint finds the reference solutions of problems, in bits a byte.

The --output folder gets likelihood.jsonl (one line a problem: task_id, bits, bytes, tokens, bits_per_byte) and report.json;
`codeparrot eval compare` pairs two of them.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from codeparrot import files
from codeparrot.errors import CodeparrotError
from codeparrot.eval.command import check_places, check_ranges
from codeparrot.launcher import rank
from codeparrot.location import path_of
from codeparrot.result import Result, failed, progress_bar, say
from codeparrot.run.metrics import SOLUTIONS
from codeparrot.text_files import json_lines

if TYPE_CHECKING:
    from codeparrot.eval.likelihood import Solution

LIKELIHOOD = "likelihood.jsonl"


def likelihood(
    checkpoint: str,
    problems: str = "humaneval",
    limit: int = 0,
    batch_size: int = 8,
    precision: Literal["fp32", "bf16"] = "fp32",
    device: str = "auto",
    output: str | None = None,
) -> Result:
    """Measure how likely a checkpoint finds the reference solutions, given their prompts: bits a byte, a mean over problems.

    Args:
        checkpoint: A run (its newest checkpoint), a checkpoint, a model folder, a .gguf file, or a name on the Hub.
        problems: humaneval, humaneval+, mbpp, codeparrot (the project's own), a JSONL file in OpenAI's format, or hub:NAME. Of
            middles, given both sides: infilling (the project's own), infilling-single-line, infilling-multi-line,
            infilling-random-span.
        limit: Only the first N problems; 0: all.
        batch_size: Solutions per forward pass, of the longest ones; more of shorter ones.
        precision: Compute type of the matrix products.
        device: Where to compute: cpu, cuda, cuda:1, mps; auto takes the first accelerator, if any.
        output: Folder to write to; default: RUN/eval/likelihood-PROBLEMS/step_00001000 for a run, else
            evaluations/NAME/likelihood-PROBLEMS.
    """
    from codeparrot.eval.likelihood import load_solved
    from codeparrot.eval.problems.infilling import Gap
    from codeparrot.loading import find_model, require_middles

    check_ranges(limit=limit, batch_size=batch_size)
    check_places(checkpoint, output)
    chosen = load_solved(problems).first(limit)
    place = find_model(checkpoint)
    if any(isinstance(problem, Gap) for problem in chosen):
        require_middles(place, "name problems that are no gaps")
    say("loading PyTorch")
    import torch

    from codeparrot.eval.evaluate import default_folder, in_full, trained_tokens, weights_of
    from codeparrot.eval.likelihood import bits, solutions_of
    from codeparrot.eval.samples import check_room
    from codeparrot.generation.prompts import context_length
    from codeparrot.loading import load_model
    from codeparrot.model.language_model import LanguageModel

    place = in_full(place)
    folder = path_of(output) if output else default_folder(place, chosen.name, "likelihood")
    check_room(folder)
    loaded, tokenizer = load_model(place, device, torch.float32)
    model, context = LanguageModel(loaded), context_length(loaded)
    known = solutions_of(chosen, tokenizer, context)
    solutions = known.found
    if not solutions:
        raise CodeparrotError(f"{chosen.source}: none of the problems has a reference solution (canonical_solution)")
    longest = max(len(each.ids) for each in solutions)
    with (
        progress_bar(unit="batch", desc="likelihood") as bar,
        torch.autocast(loaded.device.type, torch.bfloat16, enabled=precision == "bf16"),
    ):
        batch_tokens = batch_size * min(longest, context or longest)
        options = {"context": context, "batch_tokens": batch_tokens, "device": loaded.device}
        found = bits(model, solutions, **options, progress=bar.update)
    assert found is not None  # nothing breaks it off
    rows = [_row(solution, each) for solution, each in zip(solutions, found, strict=True)]
    if not all(math.isfinite(row["bits"]) for row in rows):
        raise CodeparrotError(f'"{checkpoint}" computes probabilities that are not finite; name an earlier checkpoint')
    manifest = Path(place).parent / "manifest.json"
    described = {"name": chosen.name, "source": chosen.source, "sha256": chosen.sha256, "problems": chosen.num_whole}
    report = {
        **summary(rows),
        "problem_set": described,
        "without_solution": known.without_solution,
        "too_long": known.too_long,
        "checkpoint": place,
        "settings": {"weights": weights_of(place), "precision": precision},
        **({"tokens": trained_tokens(manifest)} if manifest.is_file() else {}),
    }
    return _written(rows, report, "\n".join([text(report), *known.left_out()]), folder)


def _row(solution: "Solution", bits: float) -> dict[str, Any]:
    tokens = len(solution.ids) - solution.begin
    counts = {"bits": bits, "bytes": solution.num_bytes, "tokens": tokens}
    group = {} if solution.group is None else {"group": solution.group}
    return {"task_id": solution.task_id, **counts, "bits_per_byte": bits / solution.num_bytes, **group}


def summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the mean over problems, with its interval, and the totals of lines of likelihood.jsonl."""
    import numpy as np

    from codeparrot.eval import statistics

    # As with pass@k, the middles of a function are drawn together.
    groups = np.unique([row.get("group", number) for number, row in enumerate(rows)], return_inverse=True)[1]
    estimate = statistics.estimate(np.array([row["bits_per_byte"] for row in rows]), groups=groups)
    return {
        SOLUTIONS: estimate.mean,
        "interval": {"low": estimate.low, "high": estimate.high},
        **{name: sum(row[name] for row in rows) for name in ("bits", "bytes")},
        "problems": len(rows),
        "samples": 0,
        "best": {},
    }


def text(report: Mapping[str, Any]) -> str:
    """Return the report for a terminal."""
    from codeparrot.eval.task import counted

    interval = report["interval"]
    lines = (
        f"{report['problem_set']['name']}: {counted(report)}, {report['bytes']:,} bytes of solutions",
        f"{report[SOLUTIONS]:.4f} bits a byte ({interval['low']:.3f} to {interval['high']:.3f}), the mean over problems",
    )
    return "\n".join(lines)


def _written(rows: list[dict[str, Any]], report: dict[str, Any], words: str, folder: Path) -> Result:
    from codeparrot.eval.samples import write_lines
    from codeparrot.eval.scoring import REPORT

    if rank():
        return Result(words, report)
    report = {**report, "output": str(folder)}
    try:
        write_lines(folder / LIKELIHOOD, rows)
        files.write_json(folder / REPORT, report, indent=1)
    except OSError as error:
        trouble = f"{folder} cannot be written ({error.strerror or error}): the result is only what is printed here"
        return Result(words, {**report, "rows": rows}, failed(trouble))
    return Result(f"{words}\n{folder}/", report)


def read_likelihoods(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a likelihood.jsonl.

    Raises:
        CodeparrotError: it cannot be read, or a line is damaged: without it the mean would be of other problems.
    """
    found = []
    for where, row in json_lines(path):
        bits, size = (row.get("bits"), row.get("bytes")) if isinstance(row, dict) else (None, None)
        if not (isinstance(bits, int | float) and isinstance(size, int) and size > 0 and isinstance(row.get("task_id"), str)):
            raise CodeparrotError(f"{where}: not a likelihood, which has task_id, bits and bytes; evaluate again")
        found.append({**row, "bits_per_byte": bits / size})
    return found
