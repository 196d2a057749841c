"""`codeparrot search build`: the index of a source tree.

Guarantees: the index is a function of tree, model and settings. A text that has a vector is not embedded again, wherever its
file was moved; what was deleted goes. A kill at any moment leaves the old index, and the same command goes on: it loses one
batch. Another model is refused. Two builds of one index do not run at once.
Memory: the texts of the tree and their vectors.
"""

import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from codeparrot.errors import CodeparrotError, writing
from codeparrot.location import path_of
from codeparrot.result import Result, say
from codeparrot.search.pooling import Pooling, pooling_of


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
        pooling: How the vectors of a text's tokens become one. auto: mean.
        whiten: Whiten the vectors by the tree's own.
        device: Where the model runs: auto, cpu, cuda, cuda:1 or mps.
        max_size: Bytes of a file; larger ones are left out.
    """
    import faiss  # noqa: F401 - its absence is said before anything is read

    from codeparrot.loading import config_of, find_model
    from codeparrot.search.chunks import chunks
    from codeparrot.search.digest import digest_of_model
    from codeparrot.search.embedding import load
    from codeparrot.search.store import Settings, Store
    from codeparrot.search.tree import text_files
    from codeparrot.search.updating import alone, require_same, update

    begun = time.monotonic()
    if max_size < 1:
        raise CodeparrotError(f"--max_size {max_size}: it must be at least 1")
    root, store = path_of(path).resolve(), Store(path_of(output))
    model = str(Path(find_model(checkpoint)).absolute())
    config = config_of(model)
    settings = Settings(digest_of_model(model), pooling_of(pooling), config.get_text_config().hidden_size)
    require_same(store, settings)
    skipped = Counter[str]()
    say(f"reading {root}")
    read = list(text_files(root, max_size, skipped, without=store.folder))
    pieces = [piece for file in read for piece in chunks(file.path, file.text)]
    if not pieces:
        raise CodeparrotError(f'"{root}" holds no text file that is not hidden or ignored by git: name another folder')
    facts: dict[str, Any] = {"index": str(store.folder), "root": str(root), "checkpoint": model, **asdict(settings)}
    facts |= {"files": len(read), "chunks": len(pieces), "skipped": dict(skipped)}
    with writing(store.folder, "--output"), alone(store):
        require_same(store, settings)  # another build may have begun meanwhile
        # Loaded only if there is something to embed.
        facts |= update(store, settings, facts, read, pieces, whiten, lambda: load(model, pooling, device))
    facts["seconds"] = round(time.monotonic() - begun, 3)
    return Result(_text(facts), facts)


def _text(facts: dict[str, Any]) -> str:
    from codeparrot.search.tree import words_of
    from codeparrot.search.whitening import in_words

    lines = [
        f"index       {facts['index']}: {facts['chunks']:,} chunks of {facts['files']:,} files in {facts['root']}",
        f"vectors     {_embedded(facts)}",
    ]
    what = f"{facts['directions']} {'directions' if facts['whiten'] else 'numbers each'}"
    white = in_words(facts["whiten_wanted"], facts["whiten"])
    lines.append(f"pooling     {facts['pooling']}; {', '.join(filter(None, (what, white)))}")
    if facts["cut"]:
        lines.append(f"cut         {facts['cut']:,} of the texts embedded now, which are longer than the context of the model")
    if facts["skipped"]:
        lines.append(f"left out    files: {words_of(facts['skipped'])}")
    return "\n".join([*lines, f'next        codeparrot search query "read a csv file" --index {facts["index"]}'])


def _embedded(facts: dict[str, Any]) -> str:
    done, texts, seconds = facts["embedded"], facts["texts"], facts["seconds_embedding"]
    if not done:
        return f"all {texts:,} texts have theirs already"
    speed = f", {done / seconds:,.0f} a second" if seconds else ""
    return f"{done:,} of {texts:,} texts embedded{speed}{'' if done == texts else '; the others have theirs already'}"
