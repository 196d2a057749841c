"""`codeparrot search build`: the index of a source tree.

Guarantees: the index is a function of tree, model and settings. A text that has a vector is not embedded again, wherever its
file was moved; what was deleted goes. A kill at any moment leaves the old index, and the same command goes on: it loses one
batch. Another model is refused. Two builds of one index do not run at once.
Memory: the texts of the tree and their vectors.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import numpy as np

from codeparrot import files
from codeparrot.errors import CodeparrotError, writing
from codeparrot.location import path_of
from codeparrot.result import Result, progress_bar, say
from codeparrot.search import whitening
from codeparrot.search.chunks import Chunk, chunks
from codeparrot.search.embedding import Embedder, Pooling, pooling_of
from codeparrot.search.store import EMBEDDED, LOCK, Keyed, Settings, Store, add_embedded
from codeparrot.search.tree import TextFile, text_files

_SKIPPED = {"too_large": "larger than --max_size", "no_text": "no text", "unreadable": "unreadable"}


def build(
    path: str,
    *,
    checkpoint: str,
    output: str,
    pooling: Pooling = "auto",
    whiten: bool = True,
    device: str = "auto",
    max_size: int = 1_000_000,
) -> Result:
    """Build or update the index of a source tree: vectors of its functions, classes and other lines.

    Text files that are not hidden and that git does not ignore are read. Unchanged ones are not embedded again.

    Args:
        path: Folder of a source tree.
        checkpoint: A run (its newest checkpoint), a checkpoint, a model folder, a GGUF file, or a name on the Hub.
        output: Folder of the index. One that is there is updated.
        pooling: How the vectors of a text's tokens become one. auto: last for causal models, mean for others.
        whiten: Whiten the vectors by the tree's own.
        device: Where the model runs: auto, cpu, cuda, cuda:1 or mps.
        max_size: Bytes of a file; larger ones are left out.
    """
    import faiss  # noqa: F401 - its absence is said before anything is read

    from codeparrot.loading import config_of, find_model, load_model
    from codeparrot.search.digest import digest_of_model

    begun = time.monotonic()
    if max_size < 1:
        raise CodeparrotError(f"--max_size {max_size}: it must be at least 1")
    root, store = path_of(path).resolve(), Store(path_of(output))
    model = find_model(checkpoint)
    config = config_of(model)
    settings = Settings(digest_of_model(model), pooling_of(pooling, config), config.get_text_config().hidden_size)
    _require_same(store, settings)
    skipped = Counter[str]()
    say(f"reading {root}")
    read = list(text_files(root, max_size, skipped, without=store.folder))
    pieces = [piece for file in read for piece in chunks(file.path, file.text)]
    if not pieces:
        raise CodeparrotError(f'"{root}" holds no text file that is not hidden or ignored by git: name another folder')
    facts: dict[str, Any] = {"index": str(store.folder), "root": str(root), "checkpoint": model, **asdict(settings)}
    facts |= {"files": len(read), "chunks": len(pieces), "skipped": dict(skipped)}
    with writing(store.folder, "--output"), _alone(store):
        if _require_same(store, settings) is None:
            store.begin(settings)
        # Loaded only if there is something to embed.
        facts |= _update(store, settings, facts, read, pieces, whiten, lambda: Embedder(*load_model(model, device), pooling))
    facts["seconds"] = round(time.monotonic() - begun, 3)
    return Result(_text(facts), facts)


@contextmanager
def _alone(store: Store) -> Iterator[None]:
    """Keep other builds out within the block."""
    store.folder.mkdir(parents=True, exist_ok=True)
    with files.locked(store.folder / LOCK) as ours:
        if not ours:
            raise CodeparrotError(f"another process builds {store.folder}: wait for it, or name another --output")
        yield


def _require_same(store: Store, settings: Settings) -> Settings | None:
    """Return the settings of the index that is there.

    Raises:
        CodeparrotError: its vectors are of another model, or of another pooling.
    """
    before = store.settings()
    if before in (None, settings):
        return before
    made_by = (store.facts() or {}).get("checkpoint", f"the model {before.model[:12]}")
    if before.model == settings.model:
        difference = f"has --pooling {before.pooling}, not {settings.pooling}"
    else:
        difference = f"has the vectors of another model ({made_by})"
    raise CodeparrotError(f"the index {store.folder} {difference}: name another --output")


def _update(
    store: Store,
    settings: Settings,
    facts: dict[str, Any],
    read: Sequence[TextFile],
    pieces: Sequence[Chunk],
    whiten: bool,
    embedder: Callable[[], Embedder],
) -> dict[str, Any]:
    """Bring the index up to date and return what was done."""
    known = store.vectors(settings)
    texts = {piece.key: piece.text for piece in pieces}
    missing = {key: text for key, text in texts.items() if key not in known}
    done: dict[str, Any] = {"embedded": len(missing), "texts": len(texts), "cut": 0, "seconds_embedding": 0.0}
    if missing:
        done |= _embed(store, missing, known, embedder())
    vectors = {key: known[key] for key in texts}
    white = whitening.fit(np.stack([vectors[key] for key in sorted(vectors)])) if whiten else None
    done |= {"whiten": whiten, "directions": white.matrix.shape[1] if white else settings.width}
    store.put({**facts, **done}, read, pieces, vectors, white)
    return done


def _embed(store: Store, missing: dict[bytes, str], known: Keyed, embedder: Embedder) -> dict[str, Any]:
    """Embed texts, keep every batch on the disk, and add the vectors to the known ones."""
    keys, begun = list(missing), time.monotonic()
    with progress_bar(total=len(keys), desc="embedding", unit="text") as bar:
        for batch in embedder.batches(list(missing.values())):
            own = [keys[number] for number in batch.texts]
            add_embedded(store.folder / EMBEDDED, own, batch.vectors)
            known.update(zip(own, batch.vectors, strict=True))
            bar.update(len(own))
    return {"cut": embedder.num_cut, "seconds_embedding": round(time.monotonic() - begun, 3)}


def _text(facts: dict[str, Any]) -> str:
    lines = [
        f"index       {facts['index']}: {facts['chunks']:,} chunks of {facts['files']:,} files in {facts['root']}",
        f"vectors     {facts['embedded']:,} of {facts['texts']:,} texts embedded, {_speed(facts)}; the others were there",
    ]
    what = f"{facts['directions']} directions, whitened" if facts["whiten"] else f"{facts['directions']} numbers each"
    lines.append(f"pooling     {facts['pooling']}; {what}")
    if facts["cut"]:
        lines.append(f"cut         {facts['cut']:,} texts that are longer than the context of the model")
    if facts["skipped"]:
        left = ", ".join(f"{count:,} {_SKIPPED[why]}" for why, count in sorted(facts["skipped"].items()))
        lines.append(f"left out    files: {left}")
    return "\n".join([*lines, f'next        codeparrot search query "read a csv file" --index {facts["index"]}'])


def _speed(facts: dict[str, Any]) -> str:
    seconds = facts["seconds_embedding"]
    return f"{facts['embedded'] / seconds:,.0f} a second" if seconds else "none needed"
