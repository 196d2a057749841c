"""The table of `codeparrot embed`."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import pytest

from codeparrot.cli import main
from codeparrot.errors import CodeparrotError
from codeparrot.search.build import build
from codeparrot.search.embed import embed
from codeparrot.search.embedding import load
from codeparrot.search.store import Store
from tests.search.conftest import more_functions


def test_a_row_has_the_vector_of_its_text_and_says_what_made_it(tree: Path, checkpoint: Path, tmp_path: Path) -> None:
    output = tmp_path / "vectors.parquet"
    words = ["embed", str(tree), "--checkpoint", str(checkpoint), "--output", str(output), "--pooling", "mean"]
    assert main([*words, "--json"]) == 0
    table = parquet.read_table(output)
    assert table.num_rows == 8 and table["name"].to_pylist()[1:3] == ["split", "join"]
    vectors = np.array(table["vector"].to_pylist(), np.float32)
    expected = load(str(checkpoint), "mean", "cpu").embed(table["text"].to_pylist())
    np.testing.assert_allclose(vectors, expected, atol=1e-5)
    assert table.schema.metadata[b"codeparrot.pooling"] == b"mean"


def test_whitened_vectors_are_those_of_an_index(tree: Path, checkpoint: Path, tmp_path: Path) -> None:
    output, index = str(tmp_path / "a.parquet"), tmp_path / "index"
    result = embed(str(tree), checkpoint=str(checkpoint), output=output, whiten=True)
    assert not result.data["whiten"] and "not whitened: that needs 16 different texts" in result.text
    more_functions(tree)
    facts = embed(str(tree), checkpoint=str(checkpoint), output=output, whiten=True).data
    assert facts["whiten"] and facts["width"] == 44 // 8
    build(str(tree), checkpoint=str(checkpoint), output=str(index))
    version = Store(index).version()
    held = version.nearest.reconstruct_n(0, version.nearest.ntotal)[version.chunks["row"].to_numpy()]
    np.testing.assert_allclose(np.array(parquet.read_table(output)["vector"].to_pylist()), held, atol=1e-4)


def test_what_is_left_out_is_said_in_words(tree: Path, checkpoint: Path, tmp_path: Path) -> None:
    (tree / "image").write_bytes(b"\0")
    (tree / "large").write_text("x" * 200, encoding="utf-8")
    result = embed(str(tree), checkpoint=str(checkpoint), output=str(tmp_path / "a.parquet"), max_size=199)
    assert result.text.endswith("; left out: 1 no text, 1 larger than --max_size")
    assert result.data["skipped"] == {"no_text": 1, "too_large": 1}


def test_an_output_that_cannot_be_written_is_said_before_the_model_is_loaded(
    tree: Path, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for room in ("loading", "search.embedding"):
        monkeypatch.setattr(f"codeparrot.{room}.load_model", lambda *a, **k: pytest.fail("it was loaded"), raising=False)
    (tmp_path / "file").touch()
    with pytest.raises(CodeparrotError, match=r"cannot write .*file.a\.parquet: .*choose another place"):
        embed(str(tree), checkpoint=str(checkpoint), output=str(tmp_path / "file" / "a.parquet"))


def test_what_is_wrong_is_said(tree: Path, checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(CodeparrotError, match=r"ends in \.parquet"):
        embed(str(tree), checkpoint=str(checkpoint), output=str(tmp_path / "vectors"))
    with pytest.raises(CodeparrotError, match="holds no text file"):
        embed(str(tree), checkpoint=str(checkpoint), output=str(tmp_path / "a.parquet"), max_size=1)
    assert not [*tmp_path.glob("*.parquet")]
