"""`codeparrot embed`: the vectors of a source tree as a table.

Guarantee: one row a chunk, in the order of paths and lines, with the vector that `search build` has for it before whitening.
The file is complete or absent.
Memory: the texts of the tree and their vectors.
"""

import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codeparrot.errors import CodeparrotError, writing
from codeparrot.files import new_file
from codeparrot.location import path_of
from codeparrot.result import Result, say
from codeparrot.search.pooling import Pooling

if TYPE_CHECKING:
    from codeparrot.search.chunks import Chunk
    from codeparrot.search.embedding import Vectors

SUFFIX = ".parquet"
_COLUMNS = ("path", "kind", "name", "start", "stop", "text")


def embed(
    path: str,
    *,
    checkpoint: str,
    output: str,
    pooling: Pooling = "auto",
    whiten: bool = False,
    device: str = "auto",
    max_size: int = 1_000_000,
) -> Result:
    """Write vectors of the functions, classes and other lines of a source tree, with what they are of, as Parquet.

    Text files that are not hidden and that git does not ignore are read.

    Args:
        path: Folder of a source tree.
        checkpoint: A run (its newest checkpoint), a checkpoint, a model folder, a GGUF file, or a name on the Hub.
        output: File to write, ending in .parquet. One that is there is replaced.
        pooling: How the vectors of a text's tokens become one. auto: mean.
        whiten: Whiten the vectors by themselves.
        device: Where the model runs: auto, cpu, cuda, cuda:1 or mps.
        max_size: Bytes of a file; larger ones are left out.
    """
    from codeparrot.loading import find_model
    from codeparrot.search import whitening
    from codeparrot.search.chunks import chunks
    from codeparrot.search.digest import digest_of_model
    from codeparrot.search.embedding import load
    from codeparrot.search.tree import text_files, words_of

    place, root = path_of(output), path_of(path).resolve()
    if place.suffix != SUFFIX or place.is_dir():
        raise CodeparrotError(f'--output "{place}" must be a file that ends in {SUFFIX}')
    if max_size < 1:
        raise CodeparrotError(f"--max_size {max_size}: it must be at least 1")
    model = str(Path(find_model(checkpoint)).absolute())
    skipped = Counter[str]()
    say(f"reading {root}")
    pieces = [piece for file in text_files(root, max_size, skipped) for piece in chunks(file.path, file.text)]
    if not pieces:
        raise CodeparrotError(f'"{root}" holds no text file that is not hidden or ignored by git: name another folder')
    _check_room(place)
    embedder = load(model, pooling, device)
    begun = time.monotonic()
    texts = list(dict.fromkeys(piece.text for piece in pieces))
    distinct = embedder.embed(texts, "embedding")
    seconds = time.monotonic() - begun
    # Fitted on the different texts, as an index does.
    white = whitening.fit_if_enough(distinct) if whiten else None
    distinct = white.apply(distinct) if white else distinct
    rows = {text: row for row, text in enumerate(texts)}
    facts: dict[str, Any] = {"output": str(place), "root": str(root), "checkpoint": model, "model": digest_of_model(model)}
    facts |= {"pooling": embedder.pooling, "whiten": white is not None, "width": distinct.shape[1]}
    with writing(place, "--output"):
        _write(place, pieces, distinct[[rows[piece.text] for piece in pieces]], facts)
    facts |= {"chunks": len(pieces), "texts": len(texts), "cut": embedder.num_cut, "skipped": dict(skipped)}
    facts["seconds_embedding"] = round(seconds, 3)
    cut = f", {embedder.num_cut:,} of them cut at {embedder.context} tokens" if embedder.num_cut else ""
    left = f"; left out: {words_of(skipped)}" if skipped else ""
    text = f"{place}: {len(pieces):,} vectors of {distinct.shape[1]} numbers, pooling {embedder.pooling}"
    words = whitening.in_words(whiten, white is not None)
    return Result(f"{text}{f', {words}' if words else ''}; {len(texts):,} different texts{cut}{left}", facts)


def _check_room(place: Path) -> None:
    """Check that a file can be written, before vectors are computed for it."""
    with writing(place, "--output"):
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=place.parent) as file:
            file.write(b"\n")


def _write(place: Path, pieces: "list[Chunk]", vectors: "Vectors", facts: dict[str, Any]) -> None:
    """Write the table; what made the vectors is in the metadata of its schema."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as parquet

    table = pa.table({name: [getattr(piece, name) for piece in pieces] for name in _COLUMNS})
    flat = pa.array(np.ascontiguousarray(vectors).reshape(-1), pa.float32())
    table = table.append_column("vector", pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1]))
    kept = {name: str(facts[name]) for name in ("root", "checkpoint", "model", "pooling", "whiten")}
    with new_file(place) as fresh:
        parquet.write_table(table.replace_schema_metadata({f"codeparrot.{name}": value for name, value in kept.items()}), fresh)
