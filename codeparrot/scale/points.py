"""Finished runs as points of a law: from a table (CSV), or from run folders."""

import csv
import math
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from codeparrot import files
from codeparrot.arguments import load_config
from codeparrot.errors import CodeparrotError
from codeparrot.run.metrics import read_lines
from codeparrot.scale.law import FLOPS_PER_TOKEN_AND_PARAMETER

if TYPE_CHECKING:
    from codeparrot.scale.fit import Points


Count = Literal["total", "non_embedding"]


class Point(NamedTuple):
    name: str
    parameters: float
    tokens: float
    loss: float
    """Nats a token, on the validation set."""


def read(places: list[Path], count: Count = "total") -> list[Point]:
    """Read tables and folders of runs.

    Args:
        places: files and folders.
        count: of the parameters of runs, with embeddings or without. A table's are taken as they are.

    Raises:
        CodeparrotError: a place is neither, or a run is not finished or has no evaluation.
    """
    found: list[Point] = []
    for place in places:
        if place.is_dir():
            found += _runs(place, count)
        elif place.is_file():
            found += _table(place)
        else:
            raise CodeparrotError(f'there is no "{place}": name a folder of runs, or a table with parameters, tokens and loss')
    return found


def as_points(points: list[Point]) -> "Points":
    import numpy as np

    from codeparrot.scale.fit import Points

    columns = zip(*((point.parameters, point.tokens, point.loss) for point in points), strict=True)
    return Points(*(np.array(column, dtype=float) for column in columns))


def _table(path: Path) -> list[Point]:
    """Read a CSV file with the columns parameters, loss and tokens or flops (6 N D), and name if there is one."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file)
        columns = set(rows.fieldnames or ())
        needed = {"parameters", "loss"} | ({"tokens"} if "flops" not in columns else set())
        if missing := sorted(needed - columns):
            wanted = "it needs parameters, loss, and tokens or flops"
            raise CodeparrotError(f"{path} has no column {' and '.join(missing)}: {wanted}")
        found = []
        for number, row in enumerate(rows, 2):
            try:
                parameters, loss = float(row["parameters"]), float(row["loss"])
                tokens = float(row["tokens"]) if "tokens" in columns else _tokens(float(row["flops"]), parameters)
            except (TypeError, ValueError) as error:
                raise CodeparrotError(f"{path}, line {number}: a value is no number ({error})") from error
            if not all(value > 0 and math.isfinite(value) for value in (parameters, tokens, loss)):
                raise CodeparrotError(f"{path}, line {number}: parameters, tokens and loss must be above zero")
            found.append(Point(row.get("name") or f"{path.name}:{number}", parameters, tokens, loss))
    return found


def _tokens(flops: float, parameters: float) -> float:
    return flops / FLOPS_PER_TOKEN_AND_PARAMETER / parameters


def _runs(folder: Path, count: Count) -> list[Point]:
    runs = sorted(path.parent for path in folder.glob("**/metrics.jsonl") if (path.parent / "config.yaml").is_file())
    if not runs:
        raise CodeparrotError(f"{folder} holds no run: a run has a config.yaml and a metrics.jsonl")
    return [_run(run, count) for run in runs]


def _run(folder: Path, count: Count) -> Point:
    from codeparrot.model.families import model_config, num_non_embedding_parameters, num_parameters

    try:
        state = files.read_object(folder / "status.json").get("state") or "its status.json does not say"
    except FileNotFoundError:
        state = "it has no status.json"
    except ValueError as error:
        state = f"its status.json is damaged: {error}"
    if state != "finished":
        raise CodeparrotError(f"the run {folder} is not finished ({state}): its loss says nothing yet; train it to its end")
    measured = [line for line in read_lines(folder / "metrics.jsonl") if line.get("eval_loss") is not None]
    if not measured:
        raise CodeparrotError(f"the run {folder} was never evaluated: train it with evaluate.every_steps above 0")
    last = measured[-1]
    model = load_config(folder / "config.yaml").model
    if "from" in model:
        raise CodeparrotError(
            f"the run {folder} began with the weights of another model: its tokens are not all that it learned"
        )
    config = model_config(model)
    parameters = num_parameters(config) if count == "total" else num_non_embedding_parameters(config)
    return Point(folder.name, parameters, last["tokens"], last["eval_loss"])
