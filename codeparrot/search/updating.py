"""Bringing an index up to date: what `codeparrot search build` does between reading the tree and telling what it did."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from codeparrot import files
from codeparrot.errors import CodeparrotError
from codeparrot.result import progress_bar
from codeparrot.search import whitening
from codeparrot.search.chunks import Chunk
from codeparrot.search.embedding import Embedder
from codeparrot.search.store import EMBEDDED, LOCK, Keyed, Settings, Store, add_embedded
from codeparrot.search.tree import TextFile


@contextmanager
def alone(store: Store) -> Iterator[None]:
    """Keep other builds out within the block."""
    store.folder.mkdir(parents=True, exist_ok=True)
    with files.locked(store.folder / LOCK) as ours:
        if not ours:
            raise CodeparrotError(f"another process builds {store.folder}: wait for it, or name another --output")
        yield


def require_same(store: Store, settings: Settings) -> Settings | None:
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


def update(
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
        done |= _embed(store, settings, missing, known, embedder())
    vectors = {key: known[key] for key in texts}
    white = whitening.fit_if_enough(np.stack([vectors[key] for key in sorted(vectors)])) if whiten else None
    done |= {
        "whiten": white is not None,
        "whiten_wanted": whiten,
        "directions": white.matrix.shape[1] if white else settings.width,
    }
    store.put({**facts, **done}, read, pieces, vectors, white)
    return done


def _embed(store: Store, settings: Settings, missing: dict[bytes, str], known: Keyed, embedder: Embedder) -> dict[str, Any]:
    """Embed texts, keep every batch on the disk, and add the vectors to the known ones."""
    keys, begun = list(missing), time.monotonic()
    with progress_bar(total=len(keys), desc="embedding", unit="text") as bar:
        for batch in embedder.batches(list(missing.values())):
            if store.settings() is None:  # now that there is a vector, and not for a model that gives none
                store.begin(settings)
            own = [keys[number] for number in batch.texts]
            add_embedded(store.folder / EMBEDDED, own, batch.vectors)
            known.update(zip(own, batch.vectors, strict=True))
            bar.update(len(own))
    return {"cut": embedder.num_cut, "seconds_embedding": round(time.monotonic() - begun, 3)}
