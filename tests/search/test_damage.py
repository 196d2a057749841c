"""What is wrong with the disk or with an index on it is one line, and takes nothing that was there."""

import json
import os
import resource
import shutil
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from codeparrot.errors import CodeparrotError
from codeparrot.search.build import build
from codeparrot.search.query import query
from codeparrot.search.store import EMBEDDED, INDEX, SETTINGS, add_embedded, read_embedded
from tests.search.test_build import content


def test_a_disk_that_fills_up_at_the_last_file_leaves_the_old_index(
    tree: Path, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import safetensors.numpy

    options: dict[str, Any] = {"checkpoint": str(checkpoint), "output": str(tmp_path / "index"), "whiten": False}
    build(str(tree), **options)
    before, limits = content(tmp_path / "index"), resource.getrlimit(resource.RLIMIT_FSIZE)
    (tree / "new.py").write_text("".join(f"def new{n}():\n    pass\n" for n in range(10)), encoding="utf-8")
    save = safetensors.numpy.save_file

    def the_last(*arguments: Any) -> None:
        save(*arguments)
        # Enough for index.json; 18 vectors are more, and less than what the C library keeps in memory until it closes a file.
        resource.setrlimit(resource.RLIMIT_FSIZE, (2048, limits[1]))

    monkeypatch.setattr(safetensors.numpy, "save_file", the_last)
    try:
        with pytest.raises(CodeparrotError, match=f"cannot write .*index: {os.strerror(27)}"):
            build(str(tree), **options)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    after = content(tmp_path / "index")
    assert after[0] == before[0]
    np.testing.assert_array_equal(after[1], before[1])


DAMAGE = {
    "an empty index.json": lambda index: (index / INDEX).write_text("{}"),
    "a version without a number": lambda index: changed(index, version="version-x"),
    "no version folder": lambda index: shutil.rmtree(next(index.glob("version-*"))),
    "vectors": lambda index: next(index.glob("version-*/vectors.safetensors")).write_bytes(b"x" * 100),
}
ONLY_OF_A_QUERY = {
    "chunks": lambda index: next(index.glob("version-*/chunks.parquet")).write_bytes(b"x"),
    "rows of no vector": lambda index: rows_of(index, 1000),
    "negative rows": lambda index: rows_of(index, -1),
    "tables exchanged": lambda index: shutil.copy(*(next(index.glob(f"version-*/{n}.parquet")) for n in ("files", "chunks"))),
    "another width": lambda index: faiss.write_index(faiss.IndexFlatIP(5), str(next(index.glob("version-*/nearest.faiss")))),
}


def changed(index: Path, **facts: Any) -> None:
    (index / INDEX).write_text(json.dumps({**json.loads((index / INDEX).read_text()), **facts}))


def rows_of(index: Path, row: int) -> None:
    place = next(index.glob("version-*/chunks.parquet"))
    table = parquet.read_table(place)
    number = table.column_names.index("row")
    parquet.write_table(table.set_column(number, "row", pa.array([row] * table.num_rows)), place)


@pytest.mark.parametrize("what", [*DAMAGE, *ONLY_OF_A_QUERY])
def test_a_damaged_index_is_one_line(what: str, tree: Path, checkpoint: Path, tmp_path: Path) -> None:
    index = tmp_path / "index"
    build(str(tree), checkpoint=str(checkpoint), output=str(index), whiten=False)
    {**DAMAGE, **ONLY_OF_A_QUERY}[what](index)
    if what in DAMAGE:
        with pytest.raises(CodeparrotError, match=r"is damaged .*: build (it|the index) anew elsewhere"):
            build(str(tree), checkpoint=str(checkpoint), output=str(index), whiten=False)
    if what != "vectors":  # which no query reads
        with pytest.raises(CodeparrotError, match=r"is damaged .*: build (it|the index) anew elsewhere"):
            query("-", index=str(index), like="table.py:4")


def test_an_index_of_another_format_is_refused(tree: Path, checkpoint: Path, tmp_path: Path) -> None:
    place = tmp_path / "index" / SETTINGS
    build(str(tree), checkpoint=str(checkpoint), output=str(place.parent))
    place.write_text(json.dumps({**json.loads(place.read_text()), "format": 1}))
    with pytest.raises(CodeparrotError, match="has format 1, not 2"):
        query("x", index=str(place.parent))
    with pytest.raises(CodeparrotError, match="has format 1, not 2"):
        build(str(tree), checkpoint=str(checkpoint), output=str(place.parent))


def test_damaged_and_unfinished_records_are_left_out(tmp_path: Path) -> None:
    place = tmp_path / EMBEDDED
    vectors = np.arange(12, dtype=np.float32).reshape(3, 4)
    keys = [bytes([number]) * 16 for number in range(3)]
    add_embedded(place, keys, vectors)
    whole = place.read_bytes()
    size = len(whole) // 3
    place.write_bytes(whole[:size] + bytes(size) + whole[2 * size :] + b"half")
    found = read_embedded(place, 4)
    assert [*found] == [keys[0], keys[2]]
    np.testing.assert_array_equal(found[keys[2]], vectors[2])
    assert place.stat().st_size == 3 * size
    add_embedded(place, keys[1:2], vectors[1:2])
    assert {*read_embedded(place, 4)} == {*keys}
    assert read_embedded(tmp_path / "missing", 4) == {}
