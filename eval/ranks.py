"""Ranks of the right candidates: what `eval retrieval` measures, and `eval compare` pairs. A file has one line a query."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from codeparrot.errors import CodeparrotError
from codeparrot.text_files import json_lines

if TYPE_CHECKING:  # the command's help imports this module
    import numpy as np
    from numpy.typing import NDArray

RANKS = "ranks.jsonl"
BM25 = "bm25"
"""The system that is no model."""
TOP = (1, 10)
"""The k of recall@k."""
LABELS = {"mrr": "MRR", **{f"recall@{k}": f"recall@{k}" for k in TOP}}
"""Names of the measures in reports, and as people read them."""


def values(ranks: "NDArray[np.float64]") -> "dict[str, NDArray[np.float64]]":
    """Return what each query adds to MRR and to recall@k, by the rank of its right candidate, from 1."""
    return {"mrr": 1 / ranks, **{f"recall@{k}": (ranks <= k).astype("float64") for k in TOP}}


def read_ranks(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a ranks.jsonl: search, task_id, ranks.

    Raises:
        CodeparrotError: it cannot be read, or a line is damaged: without it the mean would be of other queries.
    """
    found = []
    for where, row in json_lines(path):
        ranks = row.get("ranks") if isinstance(row, dict) else None
        known = isinstance(ranks, dict) and all(isinstance(each, int | float) and each >= 1 for each in ranks.values())
        if not known or not all(isinstance(row.get(name), str) for name in ("search", "task_id")):
            raise CodeparrotError(f"{where}: not the ranks of a query, which has search, task_id and ranks; evaluate again")
        found.append(row)
    if not found:
        raise CodeparrotError(f"{path}, line 1: there are no ranks; evaluate again")
    return found
