"""`codeparrot search query`: the chunks of an index that are nearest to a text, or to a place in the tree.

Guarantees: a model other than the index's is refused. Hits in files that have changed or are gone are marked, and all such
files are counted. "More like this" loads no model.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codeparrot.errors import CodeparrotError, nearest
from codeparrot.location import path_of
from codeparrot.result import Result
from codeparrot.text_files import require_characters

if TYPE_CHECKING:
    from codeparrot.search.searching import Hit, Search
    from codeparrot.search.staleness import Stale
    from codeparrot.search.store import Version

_NAMED = 3
"""Files that the text names; the JSON has all."""
_MARKS = {"changed": "  [changed since]", "gone": "  [gone]", "fresh": ""}


def query(text: str, *, index: str, top: int = 10, like: str = "", checkpoint: str = "", device: str = "auto") -> Result:
    """Show the places of a source tree that are nearest to a description or to a piece of code.

    Args:
        text: What to look for; none, or -: standard input is read. Not with --like.
        index: Folder that codeparrot search build wrote.
        top: Most chunks to show.
        like: More like the function, class or lines at FILE:LINE of the tree; lines count from 1.
        checkpoint: Where the model of the index lies now, if it was moved.
        device: Where the model runs: auto, cpu, cuda, cuda:1 or mps.
    """
    if top < 1:
        raise CodeparrotError(f"--top {top}: it must be at least 1")
    if like and text != "-":
        raise CodeparrotError("a text and --like at once: give one of them")
    import faiss  # noqa: F401 - its absence is said before anything is read

    from codeparrot.search.searching import Search
    from codeparrot.search.staleness import stale_files
    from codeparrot.search.store import Store

    version = Store(path_of(index)).version()
    search, facts = Search(version), version.facts
    root, wanted, chunk = Path(facts["root"]), "", None
    if like:
        chunk = _place(search, like, root)
        hits = search.like(chunk, top)
    else:
        wanted = sys.stdin.read() if text == "-" else text
        require_characters(wanted, "the text")
        if not wanted.strip():
            raise CodeparrotError("there is nothing to look for: give a text, or --like FILE:LINE")
        hits = search.of_vector(_vector(wanted, version, checkpoint, device), top)
    stale = stale_files(root, version.files)
    found = [{**hit._asdict(), "file": str(root / hit.path), "state": stale.state(hit.path)} for hit in hits]
    data: dict[str, Any] = {"index": index, "root": str(root), "text": wanted, "like": like, "hits": found}
    data |= {"changed": stale.changed, "gone": stale.gone, "files": facts["files"], "chunks": facts["chunks"]}
    begin: list[str] = []
    if chunk is not None:
        own = search.hit(chunk)
        data["like_state"] = stale.state(own.path)
        begin = _like_lines(own, data["like_state"])
    return Result("\n".join([*begin, *_lines(hits, stale), *_stale_lines(index, facts, root, stale)]), data)


def _vector(text: str, version: "Version", checkpoint: str, device: str) -> Any:
    """Return the vector of a text, [width]."""
    from codeparrot.loading import find_model
    from codeparrot.search.digest import digest_of_model
    from codeparrot.search.embedding import load

    facts = version.facts
    place = checkpoint or facts["checkpoint"]
    if not checkpoint and not path_of(place).exists():
        raise CodeparrotError(f"the model of the index, {place}, is gone: say with --checkpoint where it lies now")
    model = find_model(place)
    if digest_of_model(model) != facts["model"]:
        made_by = f"the index has the vectors of {facts['checkpoint']} as it was"
        raise CodeparrotError(f"{model} is another model than the index's: {made_by}; name that one, or build the index again")
    return load(model, facts["pooling"], device).embed([text])[0]


def _place(search: "Search", like: str, root: Path) -> int:
    """Return the chunk at FILE:LINE.

    Raises:
        CodeparrotError: it has another form, or the index has nothing there.
    """
    name, _, number = like.rpartition(":")
    if not name or not number.isdecimal() or int(number) < 1:
        raise CodeparrotError(f'--like "{like}" is no place: write FILE:LINE, such as reader.py:120')
    paths = set(search.version.files["path"].to_pylist())
    inside = path_of(name).resolve()
    path = name if name in paths else str(inside.relative_to(root)) if inside.is_relative_to(root) else name
    if path not in paths:
        hint = nearest(name, paths)
        raise CodeparrotError(f'--like "{like}": the index has no file {path}{hint or "; build it again if the file is new"}')
    chunk = search.chunk_at(path, int(number))
    if chunk is None:
        raise CodeparrotError(f'--like "{like}": the index has nothing at this line of {path}: name one that is not empty')
    return chunk


def _like_lines(own: "Hit", state: str) -> list[str]:
    """Return a warning where the place of --like is no longer what was read."""
    words = {"changed": "has changed since the build", "gone": "is gone"}
    lines = f"these are like its lines {own.start} to {own.stop} as they were"
    return [f"{own.path} {words[state]}: {lines}"] if state in words else []


def _lines(hits: "list[Hit]", stale: "Stale") -> list[str]:
    found = []
    for number, hit in enumerate(hits, 1):
        name = f"  {hit.name}" if hit.name else ""
        mark = _MARKS[stale.state(hit.path)]
        found.append(f"{number:>3}  {hit.score:6.3f}  {hit.path}:{hit.start}-{hit.stop}{name}{mark}")
        found += [f"             {line}" for line in hit.preview.split("\n")]
    return found


def _stale_lines(index: str, facts: dict[str, Any], root: Path, stale: "Stale") -> list[str]:
    again = f"codeparrot search build {root} --checkpoint {facts['checkpoint']} --output {index} reads them again"
    if not root.is_dir():
        where = f"codeparrot search build ITS_NEW_PLACE --checkpoint {facts['checkpoint']} --output {index}"
        return [f"the folder {root} is gone, and so are all {len(stale.gone):,} files of the index; if it was moved: {where}"]
    parts = [
        f"{len(paths):,} of {facts['files']:,} files {word}: {', '.join([*paths[:_NAMED], *['...'] * (len(paths) > _NAMED)])}"
        for paths, word in ((stale.changed, "have changed"), (stale.gone, "are gone"))
        if paths
    ]
    return [*parts, again] if parts else []
