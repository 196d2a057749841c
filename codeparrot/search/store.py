"""The folder of an index, a format on the disk.

    settings.json       which model and pooling its vectors have; written with the first vectors, never changed
    embedded.bin        vectors that are in no version yet: what a build has done so far
    index.json          which version counts; replaced last
    version-00000003/   chunks.parquet, files.parquet, vectors.safetensors, nearest.faiss, whitening.safetensors

Guarantees: a kill at any moment leaves the version that was there, or the new one. Vectors that were added to embedded.bin
stay: the next build takes them from there. Records that a kill or a power cut damaged are left out by their check sums. A
reader whose version is replaced while it opens it reads the new one.

Vectors are kept as the model gives them, one for each different text. Whitening is fitted on all of them and applied to those
in nearest.faiss, so that an index is a function of the tree, the model and the settings, not of the builds that led to it.
Size: two float32 vectors a chunk, 6 kB with 768 numbers each.
"""

import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import xxhash
from numpy.typing import NDArray

from codeparrot import files
from codeparrot.errors import CodeparrotError
from codeparrot.search import whitening
from codeparrot.search.chunks import Chunk
from codeparrot.search.tree import TextFile

SETTINGS, INDEX, EMBEDDED, LOCK = "settings.json", "index.json", "embedded.bin", ".lock"
VERSION = "version-"
_CHUNKS, _FILES, _VECTORS, _NEAREST, _WHITENING = (
    "chunks.parquet",
    "files.parquet",
    "vectors.safetensors",
    "nearest.faiss",
    "whitening.safetensors",
)
FORMAT = 2
_FACTS = ("version", "root", "checkpoint", "model", "pooling", "width", "whiten", "files", "chunks")
"""Of index.json, what others rely on."""
_FILE_COLUMNS = ("path", "digest", "size", "modified_ns")
_CHUNK_COLUMNS = ("path", "kind", "name", "start", "stop", "preview", "spans", "row")
KEY_BYTES = 16

Keyed = dict[bytes, NDArray[np.float32]]
"""Vectors by the keys of their texts."""


@dataclass(frozen=True)
class Settings:
    """What all vectors of an index have in common."""

    model: str
    """SHA-256 of the weights and the tokenizer."""
    pooling: str
    width: int
    """Numbers of a vector."""
    format: int = FORMAT


class Version(NamedTuple):
    """What a search reads."""

    facts: dict[str, Any]
    """index.json: root, checkpoint, files, chunks, whiten, ..."""
    chunks: pa.Table
    """path, kind, name, start, stop, preview, spans, row: that of its vector."""
    files: pa.Table
    """path, digest, size, modified_ns."""
    nearest: Any
    """A faiss index of the vectors by inner product."""
    whitening: whitening.Whitening | None


class Store:
    """The folder of an index."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def settings(self) -> Settings | None:
        """Return the settings; None: there is no index, and the folder is empty or does not exist.

        Raises:
            CodeparrotError: the folder holds something else, or the index of a later version of codeparrot.
        """
        try:
            found = files.read_object(self.folder / SETTINGS)
            if found.get("format") != FORMAT:
                raise CodeparrotError(f"{self.folder} has format {found.get('format')}, not {FORMAT}: build it anew elsewhere")
            return Settings(**found)
        except (FileNotFoundError, NotADirectoryError):
            others = self.folder.iterdir() if self.folder.is_dir() else ()
            here = [each.name for each in others if not each.name.startswith((files.UNFINISHED, LOCK))]
            if here or self.folder.is_file():
                raise CodeparrotError(f'"{self.folder}" is there and is no index: name another folder') from None
            return None
        except (OSError, ValueError, TypeError) as error:
            raise CodeparrotError(f"{self.folder / SETTINGS} is damaged ({error}): build the index anew elsewhere") from error

    def begin(self, settings: Settings) -> None:
        """Write the settings of a new index."""
        files.write_json(self.folder / SETTINGS, asdict(settings))

    def facts(self) -> dict[str, Any] | None:
        """Return index.json; None: no build has ended yet.

        Raises:
            CodeparrotError: it is damaged.
        """
        try:
            found = files.read_object(self.folder / INDEX)
            if lacking := [name for name in _FACTS if name not in found]:
                raise ValueError(f"it lacks {lacking[0]}")
            if not re.fullmatch(rf"{VERSION}\d+", str(found["version"])):
                raise ValueError(f"no version is called {found['version']}")
            return found
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise CodeparrotError(f"{self.folder / INDEX} is damaged ({error}): build the index anew elsewhere") from error

    def vectors(self, settings: Settings) -> Keyed:
        """Return all vectors that were embedded, those of the version and those in no version yet."""
        return {**self._of_version(settings.width), **read_embedded(self.folder / EMBEDDED, settings.width)}

    def _of_version(self, width: int) -> Keyed:
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        facts = self.facts()
        if facts is None:
            return {}
        place = self.folder / facts["version"] / _VECTORS
        try:
            found = load_file(place)
            keys, vectors = found["keys"], found["vectors"]
            if keys.shape != (len(vectors), KEY_BYTES) or vectors.shape != (len(keys), width):
                raise ValueError(f"keys {keys.shape} and vectors {vectors.shape} do not fit")
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise CodeparrotError(f"{place} is damaged ({error}): build the index anew elsewhere") from error
        return {key.tobytes(): vector for key, vector in zip(keys, vectors, strict=True)}

    def put(
        self,
        facts: Mapping[str, Any],
        read: Sequence[TextFile],
        chunks: Sequence[Chunk],
        vectors: Keyed,
        white: whitening.Whitening | None,
    ) -> None:
        """Write a version and make it the one that counts; then remove the others and what was embedded for it.

        Args:
            facts: of index.json.
            read: the files; their texts are not kept.
            chunks: of the files.
            vectors: of all chunks, and of nothing else.
            white: fitted on the vectors, or None.
        """
        before = self.facts()
        number = int(before["version"].removeprefix(VERSION)) + 1 if before else 1
        name = f"{VERSION}{number:08d}"
        keys = sorted(vectors)
        matrix = np.stack([vectors[key] for key in keys])
        # A build that was killed may have left one by this name, which counts for nothing.
        shutil.rmtree(self.folder / name, ignore_errors=True)
        with files.new_folder(self.folder / name) as fresh:
            _write_tables(fresh, read, chunks, {key: row for row, key in enumerate(keys)})
            _write_vectors(fresh, keys, matrix, white)
        files.write_json(self.folder / INDEX, {"version": name, **facts}, indent=1)
        self._tidy(name)

    def _tidy(self, name: str) -> None:
        (self.folder / EMBEDDED).unlink(missing_ok=True)
        for each in self.folder.iterdir():
            if each.is_dir() and each.name != name and each.name.startswith((VERSION, files.UNFINISHED)):
                shutil.rmtree(each, ignore_errors=True)

    def version(self) -> Version:
        """Return the version that counts.

        Raises:
            CodeparrotError: there is none, it is damaged, or it has the format of another version of codeparrot.
        """
        facts = self.facts()
        if facts is not None:
            self.settings()  # refuses another format
        while facts is not None:
            try:
                return _read_version(self.folder / facts["version"], facts)
            # RuntimeError is faiss's.
            except (OSError, RuntimeError, ValueError, pa.ArrowException, CodeparrotError) as error:
                again = self.facts()
                if again == facts:
                    why = " ".join(str(error).split())[:200]
                    raise CodeparrotError(f"the index {self.folder} is damaged ({why}): build it anew elsewhere") from error
                facts = again
        raise CodeparrotError(f'"{self.folder}" is no index that can be searched: build one with codeparrot search build')


def add_embedded(place: Path, keys: Sequence[bytes], vectors: NDArray[np.float32]) -> None:
    """Append vectors, [texts, width], to what a build has done."""
    records = np.zeros(len(keys), _record(vectors.shape[1]))
    records["key"] = np.frombuffer(b"".join(keys), np.uint8).reshape(-1, KEY_BYTES)
    records["vector"] = vectors
    records["check"] = [_check(record) for record in records]
    files.append(place, records.tobytes())


def read_embedded(place: Path, width: int) -> Keyed:
    """Return the vectors that were appended, without those that are damaged; cut off a record that is not whole."""
    kind = _record(width)
    try:
        content = place.read_bytes()
    except FileNotFoundError:
        return {}
    whole = len(content) - len(content) % kind.itemsize
    if whole < len(content):
        with place.open("r+b") as file:
            file.truncate(whole)
    records = np.frombuffer(content[:whole], kind)
    return {record["key"].tobytes(): record["vector"] for record in records if record["check"] == _check(record)}


def _record(width: int) -> np.dtype[Any]:
    return np.dtype([("check", "<u8"), ("key", "u1", (KEY_BYTES,)), ("vector", "<f4", (width,))])


def _check(record: Any) -> int:
    # Not 0 for zeros, which a power cut may leave.
    return xxhash.xxh3_64_intdigest(record["key"].tobytes() + record["vector"].tobytes(), seed=1)


def _write_tables(folder: Path, read: Sequence[TextFile], chunks: Sequence[Chunk], rows: Mapping[bytes, int]) -> None:
    parquet.write_table(pa.table({name: [getattr(each, name) for each in read] for name in _FILE_COLUMNS}), folder / _FILES)
    table = {name: [getattr(each, name) for each in chunks] for name in _CHUNK_COLUMNS if name != "row"}
    parquet.write_table(pa.table({**table, "row": [rows[each.key] for each in chunks]}), folder / _CHUNKS)


def _write_vectors(folder: Path, keys: Sequence[bytes], matrix: NDArray[np.float32], white: whitening.Whitening | None) -> None:
    import faiss
    from safetensors.numpy import save_file

    held = np.frombuffer(b"".join(keys), np.uint8).reshape(-1, KEY_BYTES)
    save_file({"keys": held, "vectors": matrix}, folder / _VECTORS)
    if white:
        white.save(folder / _WHITENING)
        matrix = white.apply(matrix)
    nearest: Any = faiss.IndexFlatIP(matrix.shape[1])
    nearest.add(matrix)
    # Not by faiss.write_index, which says only on standard error that a disk is full.
    with (folder / _NEAREST).open("wb") as file:
        file.write(faiss.serialize_index(nearest).data)


def _read_version(folder: Path, facts: dict[str, Any]) -> Version:
    import faiss

    nearest = faiss.read_index(str(folder / _NEAREST))
    white = whitening.load(folder / _WHITENING) if facts["whiten"] else None
    found = Version(facts, parquet.read_table(folder / _CHUNKS), parquet.read_table(folder / _FILES), nearest, white)
    _require_fit(found)
    return found


def _require_fit(version: Version) -> None:
    """Check that the parts of a version belong together.

    Raises:
        ValueError: they do not.
    """
    chunks, read, nearest, white = version.chunks, version.files, version.nearest, version.whitening
    if (*chunks.column_names,) != _CHUNK_COLUMNS or (*read.column_names,) != _FILE_COLUMNS:
        raise ValueError("its tables have other columns")
    rows, width = chunks["row"].to_numpy(), version.facts["width"]
    if not len(rows) or rows.min() < 0 or rows.max() >= nearest.ntotal:
        raise ValueError(f"its {len(rows)} chunks and {nearest.ntotal} vectors do not fit")
    if nearest.d != (white.matrix.shape[1] if white else width) or (white and white.matrix.shape[0] != width):
        raise ValueError(f"its vectors have {nearest.d} numbers")
