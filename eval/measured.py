"""Evaluations without unit tests, as `eval compare` pairs them: a number for each task and measure."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from codeparrot.errors import CodeparrotError
from codeparrot.eval.ranks import BM25, LABELS, RANKS, read_ranks, values
from codeparrot.eval.scoring import REPORT, RESULTS
from codeparrot.eval.tasks.explain import MEASURES
from codeparrot.eval.tasks.likelihood import LIKELIHOOD, read_likelihoods
from codeparrot.run.metrics import SOLUTIONS, read_lines


class Measure(NamedTuple):
    """One of an evaluation."""

    name: str
    """As people read it."""
    facts: Mapping[str, str]
    """What names it in data."""
    values: Mapping[str, float]
    """Of each task."""


class Measured(NamedTuple):
    """What an evaluation measured."""

    kind: str
    of: str
    """What its tasks are, several of them."""
    measures: Sequence[Measure]
    rows: Sequence[Mapping[str, Any]] = ()
    """Its lines, if some of them may be a group."""


def read_measured(place: Path) -> Measured | None:
    """Return what an evaluation measured; None if it is by unit tests, or none at all.

    Args:
        place: its folder, or a file in it.

    Raises:
        CodeparrotError: a line of it is damaged.
    """
    if place.name == REPORT:
        place = place.parent
    for name, read in ((LIKELIHOOD, _likelihoods), (RANKS, _search), (RESULTS, _explanations)):
        path = place / name if place.is_dir() else place
        if path.name == name and path.is_file():
            return read(path)
    return None


def _likelihoods(path: Path) -> Measured | None:
    rows = read_likelihoods(path)
    if not rows:
        return None
    own = {row["task_id"]: row["bits_per_byte"] for row in rows}
    return Measured("likelihood", "problems", [Measure("bits a byte of solutions", {"measure": SOLUTIONS}, own)], rows)


def _search(path: Path) -> Measured:
    import numpy as np

    tasks: dict[tuple[str, str], dict[str, None]] = {}
    ranks: dict[tuple[str, str], list[float]] = {}
    for row in read_ranks(path):
        for system in row["ranks"].keys() - {BM25}:
            if row["task_id"] in tasks.get((row["search"], system), ()):
                raise CodeparrotError(f"{path}: the query {row['task_id']} of {row['search']} is there twice; evaluate again")
            tasks.setdefault((row["search"], system), {})[row["task_id"]] = None
            ranks.setdefault((row["search"], system), []).append(row["ranks"][system])
    measures = [
        Measure(
            f"{LABELS[key]} of {search} by {system}",
            {"search": search, "system": system, "measure": key},
            dict(zip(tasks[search, system], each.tolist(), strict=True)),
        )
        for search, system in sorted(ranks)
        for key, each in values(np.array(ranks[search, system])).items()
    ]
    return Measured("search", "functions", measures)


def _explanations(path: Path) -> Measured | None:
    """Return the measures of results; None if they have no such ones. Damaged lines are passed over with a warning."""

    def is_ours(row: dict[str, Any]) -> bool:
        return isinstance(row.get("task_id"), str) and all(isinstance(row.get(key), int | float) for key in MEASURES)

    with path.open("rb") as file:
        if b'"rouge_l"' not in file.read(1 << 20):
            return None  # read by others, who say what is damaged
    rows = read_lines(path, is_ours, at_once=True)
    own = [Measure(name, {"measure": key}, {row["task_id"]: row[key] for row in rows}) for key, name in MEASURES.items()]
    return Measured("explanations", "functions", own) if rows else None
