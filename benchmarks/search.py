"""Vectors a second, against sentence-transformers on the same model, and the time of a search among 100,000 chunks.

Both embed the same chunks of this machine's Python sources with one exported folder, in one process, on the CPU, in turns; the
median counts. sentence-transformers runs with its defaults. The model has random weights, which take as long as trained ones.
The search is over random vectors, of the width of the model's: exact search takes the same time for all vectors.
"""

import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.common import Ratio, report, tokenizer

ROUNDS = 3
NUM_TEXTS, NUM_CHUNKS, NUM_QUERIES = 120, 100_000, 100
SIZES: dict[str, Any] = {"n_positions": 512, "n_embd": 256, "n_layer": 6, "n_head": 4}
LONGEST_MILLISECONDS = 50


def texts() -> list[str]:
    """Return chunks of the standard library, spread over it."""
    import sysconfig

    from codeparrot.search.chunks import chunks
    from codeparrot.search.tree import text_files

    root = Path(sysconfig.get_paths()["stdlib"]) / "json"
    folders = (root, root.parent / "email", root.parent / "asyncio")
    found = [
        piece.text
        for folder in folders
        for file in text_files(folder, 1_000_000, Counter())
        for piece in chunks(file.path, file.text)
    ]
    return found[:: max(1, len(found) // NUM_TEXTS)][:NUM_TEXTS]


def model(folder: Path) -> None:
    """Write a GPT-2 and its tokenizer for sentence-transformers."""
    import torch
    from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

    from codeparrot.export.command import export

    torch.manual_seed(0)
    words: Any = AutoTokenizer.from_pretrained(tokenizer())
    GPT2LMHeadModel(GPT2Config(vocab_size=len(words), bos_token_id=0, eos_token_id=0, **SIZES)).save_pretrained(
        folder / "model"
    )
    words.save_pretrained(folder / "model")
    export(str(folder / "model"), str(folder / "sentences"), "sentence-transformers", pooling="mean")


def embedding(folder: Path, chosen: list[str]) -> tuple[Ratio, dict[str, Any]]:
    """Return texts a second, ours and theirs."""
    from sentence_transformers import SentenceTransformer

    from codeparrot.search.embedding import load

    ours, peer = load(str(folder / "sentences"), "mean", "cpu"), SentenceTransformer(str(folder / "sentences"), device="cpu")
    np.testing.assert_allclose(ours.embed(chosen), peer.encode(chosen), atol=1e-5)
    seconds: dict[str, list[float]] = {"ours": [], "peer": []}
    processor: dict[str, list[float]] = {"ours": [], "peer": []}
    for _ in range(ROUNDS):
        for name, run in (("ours", ours.embed), ("peer", peer.encode)):
            begun = time.process_time()
            seconds[name].append(timed(run, chosen))
            processor[name].append(time.process_time() - begun)
    own, theirs = (len(chosen) / median(seconds[name]) for name in ("ours", "peer"))
    lengths = [len(ids) for ids in ours.tokenizer(chosen, truncation=True, max_length=ours.context)["input_ids"]]
    facts = {"texts": len(chosen), "tokens a text, median and mean": (int(median(lengths)), round(sum(lengths) / len(lengths)))}
    for what, times in (("seconds", seconds), ("processor seconds", processor)):
        facts[what] = {name: [round(each, 2) for each in found] for name, found in times.items()}
    return Ratio("embedding on the CPU", own, theirs, "texts/s", 1.5), facts


def searching() -> tuple[Ratio, dict[str, Any]]:
    """Return the median time of a search beside the embedding of its query, in milliseconds."""
    import faiss
    import pyarrow as pa

    from codeparrot.search.searching import Search
    from codeparrot.search.store import Version
    from codeparrot.search.whitening import unit

    random = np.random.default_rng(0)
    vectors = unit(random.normal(size=(NUM_CHUNKS, SIZES["n_embd"])).astype(np.float32))
    nearest: Any = faiss.IndexFlatIP(vectors.shape[1])
    nearest.add(vectors)
    numbers = np.arange(NUM_CHUNKS)
    names = pa.array([f"folder/module{number // 10}.py" for number in range(NUM_CHUNKS)])
    columns = {"path": names, "kind": names, "name": names, "start": numbers, "stop": numbers, "preview": names, "row": numbers}
    columns["spans"] = pa.array([[[number, number]] for number in range(NUM_CHUNKS)])
    search = Search(Version({}, pa.table(columns), pa.table({}), nearest, None))
    queries = unit(random.normal(size=(NUM_QUERIES, vectors.shape[1])).astype(np.float32))
    begun = time.process_time()
    spent = sorted(1000 * timed(search.of_vector, query, 10) for query in queries)
    processor = 1000 * (time.process_time() - begun) / NUM_QUERIES
    facts: dict[str, Any] = {"milliseconds of a search, p50 and p95": (round(spent[49], 2), round(spent[94], 2))}
    facts["processor milliseconds of a search, mean"] = round(processor, 2)
    return Ratio("search, p50, against the target", spent[49], LONGEST_MILLISECONDS, "ms", 1.0, higher_is_better=False), facts


def timed(run: Callable[..., Any], *arguments: Any) -> float:
    begun = time.perf_counter()
    run(*arguments)
    return time.perf_counter() - begun


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        model(folder)
        found, facts = embedding(folder, texts())
        found_search, facts_search = searching()
    report("Vectors and search", [found, found_search], {**facts, **facts_search})


if __name__ == "__main__":
    sys.exit(main())
