"""`codeparrot search query`: the chunks of an index that are nearest to a text, or to a place in the tree."""

import sys
from pathlib import Path
from typing import Any

from codeparrot.errors import CodeparrotError
from codeparrot.result import Result
from codeparrot.text_files import require_characters

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

    from codeparrot.search.index import Index, NoPlace

    opened = Index(index)
    if like:
        try:
            told = opened.like_place(like, top, Path.cwd())
        except NoPlace as error:
            raise CodeparrotError(f"--like {error}") from error
    else:
        wanted = sys.stdin.read() if text == "-" else text
        require_characters(wanted, "the text")
        if not wanted.strip():
            raise CodeparrotError("there is nothing to look for: give a text, or --like FILE:LINE")
        told = opened.like_text(wanted, top, opened.embedder(checkpoint, device))
    lines = [*_like_lines(told), *_lines(told["hits"]), *_stale_lines(told, opened.facts["checkpoint"])]
    return Result("\n".join(lines), told)


def _like_lines(told: dict[str, Any]) -> list[str]:
    """Return a warning where the place of --like is no longer what was read."""
    words = {"changed": "has changed since the build", "gone": "is gone"}
    if told.get("like_state") not in words:
        return []
    own = told["like_chunk"]
    lines = f"these are like its lines {own['start']} to {own['stop']} as they were"
    return [f"{own['path']} {words[told['like_state']]}: {lines}"]


def _lines(hits: list[dict[str, Any]]) -> list[str]:
    found = []
    for number, hit in enumerate(hits, 1):
        name = f"  {hit['name']}" if hit["name"] else ""
        place = f"{hit['path']}:{hit['start']}-{hit['stop']}"
        found.append(f"{number:>3}  {hit['score']:6.3f}  {place}{name}{_MARKS[hit['state']]}")
        found += [f"             {line}" for line in hit["preview"].split("\n")]
    return found


def _stale_lines(told: dict[str, Any], checkpoint: str) -> list[str]:
    index, root, files, gone = told["index"], told["root"], told["files"], told["gone"]
    again = f"codeparrot search build {root} --checkpoint {checkpoint} --output {index} reads them again"
    if not Path(root).is_dir():
        where = f"codeparrot search build ITS_NEW_PLACE --checkpoint {checkpoint} --output {index}"
        return [f"the folder {root} is gone, and so are all {len(gone):,} files of the index; if it was moved: {where}"]
    parts = [
        f"{len(paths):,} of {files:,} files {word}: {', '.join([*paths[:_NAMED], *['...'] * (len(paths) > _NAMED)])}"
        for paths, word in ((told["changed"], "have changed"), (gone, "are gone"))
        if paths
    ]
    return [*parts, again] if parts else []
