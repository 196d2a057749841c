"""`codeparrot eval retrieval`: how well the vectors of a model find functions, beside BM25.

The --output folder gets report.json and ranks.jsonl (one line a query: search, task_id, and its rank by each system).
"""

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from codeparrot import files
from codeparrot.errors import CodeparrotError
from codeparrot.eval.command import check_places
from codeparrot.eval.ranks import BM25, RANKS
from codeparrot.launcher import rank
from codeparrot.location import last_part, path_of
from codeparrot.result import Result, failed, say

if TYPE_CHECKING:
    from codeparrot.eval.pairs import Pair
    from codeparrot.search.retrieval.measures import Search

MODEL, WHITENED = "model", "model, whitened"


def retrieval(
    checkpoint: str,
    pairs: str,
    candidates: int = 1000,
    whiten_on: int = 2000,
    split: str = "valid",
    pooling: Literal["auto", "mean", "last"] = "auto",
    seed: int = 0,
    device: str = "auto",
    output: str | None = None,
) -> Result:
    """Measure search by a checkpoint's vectors: descriptions find their functions, renamed clones find the originals.

    BM25 stands beside it in the same table. Vectors are as `codeparrot search` makes them.

    Args:
        checkpoint: A run (its newest checkpoint), a checkpoint, a model folder, a .gguf file, or a name on the Hub.
        pairs: Folder that codeparrot corpus pairs wrote, or a folder or file of JSON lines in CodeSearchNet's format (code,
            docstring, language).
        candidates: Functions that are searched, drawn from the split, each also a query; 0: all of the split. Fewer are easier:
            CodeSearchNet takes 1000.
        whiten_on: Functions of the train split on which the whitening is fitted; 0: measure without it alone.
        split: Whose functions are searched: valid or test.
        pooling: How the vectors of a text's tokens become one; auto: the mean.
        seed: The candidates and the names in clones are drawn from it.
        device: Where to compute: cpu, cuda, cuda:1, mps; auto takes the first accelerator, if any.
        output: Folder to write to; default: RUN/eval/retrieval-PAIRS/step_00001000 for a run, else
            evaluations/NAME/retrieval-PAIRS. Settings other than the defaults stand behind PAIRS.
    """
    import bm25s  # said before anything is read or computed, where it is not installed

    assert bm25s
    from codeparrot.eval.pairs import has_split, load_pairs
    from codeparrot.loading import find_model

    for name, value, least in (("candidates", candidates, 0), ("whiten_on", whiten_on, 0)):
        if value < least or value == 1:
            raise CodeparrotError(f"--{name} {value} is out of range: 0, or at least 2")
    check_places(checkpoint, output)
    place = find_model(checkpoint)
    loaded = load_pairs(pairs, split, candidates, seed)
    chosen = loaded.pairs
    fitted_on: list[Pair] = []
    if whiten_on:
        if not has_split(pairs, "train"):
            raise CodeparrotError(f"{pairs} has no train split to fit a whitening on: give --whiten_on 0 to leave it out")
        fitted_on = load_pairs(pairs, "train", whiten_on).pairs
    say("loading PyTorch")
    from codeparrot.eval.evaluate import default_folder, in_full, trained_tokens, weights_of
    from codeparrot.eval.samples import check_room
    from codeparrot.search.embedding import load
    from codeparrot.search.retrieval.measures import digest_of, searches, table

    place = in_full(place)
    decisive = {"split": split, "candidates": candidates, "whiten_on": whiten_on, "pooling": pooling, "seed": seed}
    name = last_part(pairs)
    own = of_settings(name, decisive)
    folder = path_of(output) if output else default_folder(place, own, "retrieval")
    check_room(folder)
    embedder = load(place, pooling, device)
    every = searches(chosen, seed)
    found, rows = _measured(every, chosen, fitted_on, _Vectors(embedder))
    manifest = Path(place).parent / "manifest.json"
    described = {"name": f"retrieval-{name}", "source": pairs, "sha256": digest_of(every), "problems": len(chosen)}
    report = {
        "searches": found,
        "functions": len(chosen),
        "problem_set": described,
        # As in the reports of tasks that sample.
        **{"problems": len(chosen), "samples": 0, "best": {}},
        "unreadable": loaded.num_unreadable,
        "whitened_on": len(fitted_on),
        "texts_cut": embedder.num_cut,
        "checkpoint": place,
        "pairs": pairs,
        "settings": {**decisive, "weights": weights_of(place), "pooling": embedder.pooling},
        **({"tokens": trained_tokens(manifest)} if manifest.is_file() else {}),
    }
    notes = [f"{embedder.num_cut:,} texts were cut to the context"] if embedder.num_cut else []
    if loaded.num_unreadable:
        count = "1 function is" if loaded.num_unreadable == 1 else f"{loaded.num_unreadable:,} functions are"
        notes.append(f"{count} left out: no Python 3, so the docstring cannot be taken out")
    return _written(rows, report, "\n".join([*table(found), *notes]), folder)


def of_settings(name: str, settings: Mapping[str, Any]) -> str:
    """Return the name of pairs with the settings that are not the defaults, so that each has a folder of its own."""
    defaults = inspect.signature(retrieval).parameters
    others = (f"-{each}-{value}" for each, value in settings.items() if value != defaults[each].default)
    return name.removesuffix(".gz").removesuffix(".jsonl") + "".join(others)


class _Vectors:
    """The vectors of texts, each computed once."""

    def __init__(self, embedder: Any) -> None:
        self._embedder = embedder
        self._known: dict[str, Any] = {}

    def __call__(self, texts: Sequence[str]) -> Any:
        import numpy as np

        missing = [text for text in dict.fromkeys(texts) if text not in self._known]
        if missing:
            self._known |= dict(zip(missing, self._embedder.embed(missing, "embedding"), strict=True))
        return np.stack([self._known[text] for text in texts])


def _measured(
    every: "Sequence[Search]", pairs: "Sequence[Pair]", fitted_on: "Sequence[Pair]", vectors: _Vectors
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the measures of each search, and the ranks of each query."""
    from codeparrot.search import whitening
    from codeparrot.search.retrieval.measures import against, measures, ranks_by_vectors, ranks_by_words, searches

    # The whitening of a search is fitted on texts of both of its kinds.
    similar = {search.name: search for search in searches(fitted_on)} if fitted_on else {}
    found, rows = [], []
    for search in every:
        say(f"searching: {search.what}")
        queries, candidates = vectors(search.queries), vectors(search.candidates)
        ranks = {BM25: ranks_by_words(search), MODEL: ranks_by_vectors(queries, candidates, search.right)}
        if search.name in similar:
            own = similar[search.name]
            fitted = whitening.fit(vectors([*own.queries, *own.candidates]))
            ranks[WHITENED] = ranks_by_vectors(fitted.apply(queries), fitted.apply(candidates), search.right)
        systems = {
            name: {**measures(each), **({"against_bm25": against(each, ranks[BM25])} if name != BM25 else {})}
            for name, each in ranks.items()
        }
        sizes = {"queries": len(search.queries), "candidates": len(search.candidates)}
        found.append({"search": search.name, "what": search.what, **sizes, "systems": systems})
        for number, right in enumerate(search.right):
            own_ranks = {name: float(each[number]) for name, each in ranks.items()}
            rows.append({"search": search.name, "task_id": pairs[right].task_id, "ranks": own_ranks})
    return found, rows


def _written(rows: list[dict[str, Any]], report: dict[str, Any], words: str, folder: Path) -> Result:
    from codeparrot.eval.samples import write_lines
    from codeparrot.eval.scoring import REPORT

    if rank() != 0:
        return Result(words, report)
    report = {**report, "output": str(folder)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_lines(folder / RANKS, rows)
        files.write_json(folder / REPORT, report, indent=1)
    except OSError as error:
        trouble = f"{folder} cannot be written ({error.strerror or error}): the result is only what is printed here"
        return Result(words, {**report, "rows": rows}, failed(trouble))
    return Result(f"{words}\n{folder}/", report)
