"""sentence-transformers gives an exported folder the vectors that `codeparrot embed` gives."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from codeparrot.errors import CodeparrotError
from codeparrot.export.command import export
from codeparrot.search.embedding import load
from tests.search.conftest import tiny

TEXTS = ["def f(x):\n    return x + 1\n", "x = 1", "import os\n\n\nclass Reader:\n    pass\n", "é", "return value\n" * 100]


@pytest.fixture
def model(request: pytest.FixtureRequest, tokenizer_folder: Path, tmp_path: Path) -> Path:
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(tokenizer_folder)
    folder = tmp_path / "model"
    tiny(request.param, tokenizer).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("pooling", ["mean", "last"])
@pytest.mark.parametrize("model", ["gpt2", "llama"], indirect=True)
def test_its_vectors_are_ours(model: Path, pooling: Any, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    folder = tmp_path / "sentences"
    facts = export(str(model), str(folder), "sentence-transformers", pooling=pooling).data
    assert (facts["pooling"], facts["width"], facts["max_seq_length"]) == (pooling, 32, 64)
    peer = SentenceTransformer(str(folder), device="cpu")
    ours = load(str(model), pooling, "cpu").embed(TEXTS)
    np.testing.assert_allclose(peer.encode(TEXTS), ours, atol=1e-5)
    np.testing.assert_allclose(load(str(folder), pooling, "cpu").embed(TEXTS), ours, atol=1e-5)


@pytest.mark.parametrize("model", ["gpt2"], indirect=True)
def test_the_folder_holds_what_the_format_names(model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "sentences"
    assert not export(str(model), str(folder), "sentence-transformers").data["replaced"]
    assert export(str(model), str(folder), "sentence-transformers").data["replaced"]
    parts = json.loads((folder / "modules.json").read_text())
    assert [part["type"].rpartition(".")[2] for part in parts] == ["Transformer", "Pooling", "Normalize"]
    assert all((folder / part["path"]).is_dir() for part in parts)
    pooling = json.loads((folder / "1_Pooling" / "config.json").read_text())
    assert [name for name, value in pooling.items() if value is True] == ["pooling_mode_mean_tokens"]
    assert json.loads((folder / "tokenizer_config.json").read_text())["pad_token"]


@pytest.mark.parametrize("model", ["t5"], indirect=True)
def test_an_encoder_decoder_is_refused_before_it_is_loaded(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("codeparrot.loading.load_model", lambda *arguments, **options: pytest.fail("it was loaded"))
    with pytest.raises(CodeparrotError, match="is an encoder-decoder"):
        export(str(model), str(tmp_path / "sentences"), "sentence-transformers")


@pytest.mark.parametrize(
    ("format", "options"),
    [
        ("sentence-transformers", {"type": "f16"}),
        ("sentence-transformers", {"license": "mit"}),
        ("gguf", {"pooling": "mean"}),
    ],
)
def test_settings_of_the_other_format_are_refused(format: Any, options: dict[str, Any], tmp_path: Path) -> None:
    ((name, value),) = options.items()
    with pytest.raises(CodeparrotError, match=f"--{name} {value} does nothing with --format {format}"):
        export("model", str(tmp_path / "out.gguf"), format, **options)


@pytest.mark.parametrize("model", ["gpt2"], indirect=True)
def test_nothing_else_is_replaced(model: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").touch()
    with pytest.raises(CodeparrotError, match="no folder of sentence-transformers"):
        export(str(model), str(tmp_path / "mine"), "sentence-transformers")
    with pytest.raises(CodeparrotError, match="reads a folder"):
        export(str(model), str(tmp_path / "a.gguf"), "sentence-transformers")
