"""Search as a measure of a model: where the right function stands among all others.

A search has a query for each function and the same functions as candidates. The candidates are ordered by the cosine of
vectors, or by BM25 over words, identifiers split into their parts. The rank of the right one is 1 + those that score higher +
half of those that score the same, so that an order by chance gets no better for ties. Cost: one forward pass a text.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from codeparrot.errors import CodeparrotError
from codeparrot.eval import statistics
from codeparrot.eval.identifiers import words
from codeparrot.eval.pairs import PYTHON, Pair
from codeparrot.eval.ranks import LABELS, values
from codeparrot.search.retrieval.renaming import anonymous, bound_names, renamed

Ranks = NDArray[np.float64]
_AT_ONCE = 512


class Search(NamedTuple):
    name: str
    what: str
    """In words."""
    queries: list[str]
    candidates: list[str]
    right: list[int]
    """Of each query, the number of its candidate."""


def searches(pairs: Sequence[Pair], seed: int = 0) -> list[Search]:
    """Return the searches that pairs allow: those for clones, and without names, need Python.

    A description that several functions have is no query, since none of them is the right one alone.
    """
    codes, queries = [pair.code for pair in pairs], [pair.summary for pair in pairs]
    times = Counter(queries)
    asked = [number for number, query in enumerate(queries) if times[query] == 1]
    found = [Search("description", "description -> code", [queries[number] for number in asked], codes, asked)]
    if any(pair.language != PYTHON for pair in pairs):
        return found
    nameless = [anonymous(code) for code in codes]
    bare = [code if without is None else without for code, without in zip(codes, nameless, strict=True)]
    clones, other = clones_of(pairs, seed), [anonymous(pair.code, f"{seed}/{pair.task_id}") for pair in pairs]
    found += [
        Search("description_no_names", "description -> code without names", found[0].queries, bare, asked),
        _of_clones("clone", "renamed clone -> code", clones, codes),
        _of_clones("clone_no_names", "clone without names -> code without names", other, bare),
    ]
    return [search for search in found if search.queries]


def digest_of(every: Sequence[Search]) -> str:
    """Return the SHA-256 of queries, candidates and which are right: searches with the same one compare."""
    content = json.dumps([each._asdict() for each in every], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def clones_of(pairs: Sequence[Pair], seed: int) -> list[str | None]:
    """Return a renamed clone of each function, its names drawn from those of all; None where there is none."""
    pool = sorted({name for pair in pairs for name in bound_names(pair.code)})
    return [renamed(pair.code, pool, f"{seed}/{pair.task_id}") if pool else None for pair in pairs]


def _of_clones(name: str, what: str, clones: Sequence[str | None], candidates: list[str]) -> Search:
    asked = [number for number, clone in enumerate(clones) if clone is not None]
    return Search(name, what, [clone for clone in clones if clone is not None], candidates, asked)


def ranks_by_words(search: Search) -> Ranks:
    """Return the rank of the right candidate for each query, by BM25 (k1 1.5, b 0.75, as Lucene computes it)."""
    import bm25s

    index = bm25s.BM25(k1=1.5, b=0.75, method="lucene", backend="numpy")
    documents = [words(text) or [""] for text in search.candidates]  # it takes no document without words
    index.index(documents, show_progress=False)
    scores = [index.get_scores(asked) if (asked := words(query)) else np.zeros(len(documents)) for query in search.queries]
    return np.array([_rank(np.asarray(row), right) for row, right in zip(scores, search.right, strict=True)])


def ranks_by_vectors(queries: NDArray[np.float32], candidates: NDArray[np.float32], right: Sequence[int]) -> Ranks:
    """Return the rank of the right candidate for each query, by the product of vectors of length 1.

    Raises:
        CodeparrotError: some are not finite. No order has a place for them, and they would come first.
    """
    if not (np.isfinite(queries).all() and np.isfinite(candidates).all()):
        raise CodeparrotError(
            "the model's vectors are not finite (NaN or infinite), so they rank nothing: try another checkpoint"
        )
    found = []
    for start in range(0, len(queries), _AT_ONCE):
        scores = queries[start : start + _AT_ONCE] @ candidates.T
        found += [_rank(row, each) for row, each in zip(scores, right[start : start + _AT_ONCE], strict=True)]
    return np.array(found)


def _rank(scores: NDArray[Any], right: int) -> float:
    own = scores[right]
    # Texts that are the same may differ in the last bits of their vectors, by their place in a batch.
    same = np.isclose(scores, own, rtol=0, atol=1e-6 * max(1.0, abs(float(own))))
    return 1 + float((~same & (scores > own)).sum()) + (float(same.sum()) - 1) / 2


def measures(ranks: Ranks) -> dict[str, dict[str, float]]:
    """Return MRR and recall@k with 95% intervals by bootstrap over the queries."""
    return {name: statistics.estimate(each)._asdict() for name, each in values(ranks).items()}


def against(ranks: Ranks, other: Ranks) -> dict[str, Any]:
    """Return the difference of two MRR on the same queries, its interval and its p-value."""
    found = statistics.compare(1 / ranks, 1 / other)
    return {"difference": found.difference._asdict(), "p_value": found.p_value}


def table(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the lines of a report: a block a search, a line a system."""
    lines = []
    width = max(len(name) for each in found for name in each["systems"])
    for each in found:
        lines.append(f"{each['what']}: {each['queries']:,} queries among {each['candidates']:,} functions")
        for name, own in each["systems"].items():
            cells = "  ".join(f"{label} {_interval(own[key])}" for key, label in LABELS.items())
            lines.append(f"  {name:<{width}}  {cells}")
    return lines


def _interval(value: Mapping[str, float]) -> str:
    return f"{value['mean']:.3f} ({value['low']:.3f} to {value['high']:.3f})"
