"""An open index and the answers to searches in it, the same for the command and the server.

Guarantees: a model other than the index's is refused. Hits in files that have changed or are gone since the build are marked,
and all such files are named. "More like this" needs no model.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codeparrot.errors import CodeparrotError, nearest
from codeparrot.location import path_of
from codeparrot.search.searching import Hit, Search
from codeparrot.search.staleness import stale_files
from codeparrot.search.store import Store

if TYPE_CHECKING:
    from codeparrot.search.embedding import Embedder

MANY = 1000
"""Of more files only those of the same name are proposed for one that is not there."""
_DIGITS = 18
"""Of a line's number; no file has so many lines."""


class NoPlace(CodeparrotError):
    """FILE:LINE has another form, or the index has nothing there."""


class Index:
    """The version of an index that counted when it was opened. It can be searched whatever builds do meanwhile."""

    def __init__(self, folder: str) -> None:
        """Open an index.

        Raises:
            CodeparrotError: there is none, or it is damaged.
        """
        self.folder = folder
        self._store = Store(path_of(folder))
        self._version = self._store.version()
        self._search = Search(self._version)
        self.facts = self._version.facts
        """index.json: root, checkpoint, model, pooling, files, chunks, ..."""
        self.root = Path(self.facts["root"])

    def newest(self) -> "Index":
        """Return this index, or the version that a build has put in its place since.

        Raises:
            CodeparrotError: it is gone, damaged, or has the vectors of another model or pooling.
        """
        if self._store.facts() == self.facts:
            return self
        found = Index(self.folder)
        if any(found.facts[name] != self.facts[name] for name in ("model", "pooling")):
            raise CodeparrotError(
                f'the index "{self.folder}" was built again with another model or pooling: restart the server'
            )
        return found

    def embedder(self, checkpoint: str, device: str, option: str = "--checkpoint") -> "Embedder":
        """Load the model of the index.

        Args:
            checkpoint: where it lies now; empty: where it was.
            device: where it runs.
            option: the option that says where it lies, for errors.

        Raises:
            CodeparrotError: it is gone, is another model, or cannot be loaded.
        """
        from codeparrot.loading import find_model
        from codeparrot.search.digest import digest_of_model
        from codeparrot.search.embedding import load

        place = checkpoint or self.facts["checkpoint"]
        if not checkpoint and not path_of(place).exists():
            raise CodeparrotError(f"the model of the index, {place}, is gone: say with {option} where it lies now")
        model = find_model(place)
        if digest_of_model(model) != self.facts["model"]:
            made_by = f"that has the vectors of {self.facts['checkpoint']} as it was"
            remedy = f"say with {option} where that one is, or build another index (--output)"
            raise CodeparrotError(f"{model} is another model than the index's: {made_by}; {remedy}")
        return load(model, self.facts["pooling"], device)

    def like_text(self, text: str, top: int, embedder: "Embedder") -> dict[str, Any]:
        """Return the answer to a search by text: the nearest chunks.

        Args:
            text: with something in it.
            top: most chunks.
            embedder: the index's.

        Raises:
            CodeparrotError: the model gives no numbers.
        """
        return self._told(self._search.of_vector(embedder.embed([text])[0], top), text=text)

    def like_place(self, place: str, top: int, here: Path) -> dict[str, Any]:
        """Return the answer to a search by FILE:LINE: the chunks nearest to the one there.

        Args:
            place: the file below the index's root, or as seen from a folder; lines count from 1.
            top: most chunks.
            here: that folder.

        Raises:
            NoPlace: it has another form, or the index has nothing there.
        """
        chunk = self._chunk(place, here)
        return self._told(self._search.like(chunk, top), like=place, own=self._search.hit(chunk))

    def _told(self, hits: list[Hit], text: str = "", like: str = "", own: Hit | None = None) -> dict[str, Any]:
        stale = stale_files(self.root, self._version.files)
        found = [{**hit._asdict(), "file": str(self.root / hit.path), "state": stale.state(hit.path)} for hit in hits]
        told: dict[str, Any] = {"index": self.folder, "root": str(self.root), "text": text, "like": like, "hits": found}
        told |= {"changed": stale.changed, "gone": stale.gone}
        told |= {name: self.facts[name] for name in ("files", "chunks")}
        if own is not None:
            told["like_state"] = stale.state(own.path)
            told["like_chunk"] = {name: getattr(own, name) for name in ("path", "start", "stop", "kind", "name")}
        return told

    def _chunk(self, place: str, here: Path) -> int:
        """Return the number of the chunk at FILE:LINE."""
        name, _, number = place.rpartition(":")
        line = int(number[:_DIGITS]) if number.isdecimal() else 0
        if not name or "\0" in name or line < 1:
            raise NoPlace(f'"{place}" is no place: write FILE:LINE, such as reader.py:120')
        paths = set(self._version.files["path"].to_pylist())
        path = name if name in paths else self._below(name, here)
        if path not in paths:
            # To compare with all of a large tree would take seconds.
            alike = {each for each in paths if each.rpartition("/")[2] == path.rpartition("/")[2]}
            hint = nearest(name, alike if len(paths) > MANY else paths) or "; build it again if the file is new"
            raise NoPlace(f'"{place}": the index has no file {path}{hint}')
        chunk = self._search.chunk_at(path, line)
        if chunk is None:
            raise NoPlace(f'"{place}": the index has nothing at this line of {path}: name one that is not empty')
        return chunk

    def _below(self, name: str, here: Path) -> str:
        """Return the path below the root of a file as seen from a folder; one that is elsewhere stays as it was named."""
        try:
            # A link that leads to itself stays.
            file = Path(os.path.realpath(here / path_of(name)))
        except CodeparrotError as error:
            raise NoPlace(str(error)) from error
        return file.relative_to(self.root).as_posix() if file.is_relative_to(self.root) else name
