"""An encoder alone makes vectors: no weight of them is made up, and nothing else is done with it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from codeparrot.errors import CodeparrotError
from codeparrot.export.command import export
from codeparrot.loading import find_model, load_model
from codeparrot.search.embedding import Embedder, load
from codeparrot.search.pooling import pooling_of
from tests.search.conftest import CAUSAL, MASKED, tiny

TEXTS = ["def f(x):\n    return x + 1\n", "x = 1", "import os\n\n\nclass Reader:\n    pass\n", "é"]
HEADLESS = ("roberta", "bert", "llama", "gpt2")


def headless(folder: Path, family: str, tokenizer: Any, architectures: list[str] | None = None, keep: bool = True) -> Any:
    """Save the part of a tiny model that has no head, and return it."""
    model = tiny(family, tokenizer).base_model
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    if not keep:
        config = json.loads((folder / "config.json").read_text())
        config["architectures"] = architectures
        (folder / "config.json").write_text(json.dumps({key: value for key, value in config.items() if value is not None}))
    return model


@pytest.mark.slow  # imports transformers' models
@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("family", HEADLESS)
def test_vectors_are_those_of_the_encoder(family: str, keep: bool, tokenizer: Any, tmp_path: Path) -> None:
    """Also where config.json does not say what the model is."""
    model = headless(tmp_path, family, tokenizer, keep=keep)
    found = load(str(tmp_path), device="cpu")
    assert found.pooling == pooling_of("auto")
    for text, vector in zip(TEXTS, found.embed(TEXTS), strict=True):
        with torch.inference_mode():
            hidden = model(torch.tensor([tokenizer(text)["input_ids"]])).last_hidden_state[0]
        expected = hidden.mean(0)
        np.testing.assert_allclose(vector, (expected / expected.norm()).numpy(), atol=1e-5)


@pytest.mark.slow
def test_a_classifier_and_the_encoder_of_a_t5_are_enough(tokenizer: Any, tmp_path: Path) -> None:
    from transformers import RobertaForSequenceClassification, T5EncoderModel

    for name, kind, family in (("roberta", RobertaForSequenceClassification, "roberta"), ("t5", T5EncoderModel, "t5")):
        model = tiny(family, tokenizer)
        own = kind(model.config).eval()
        own.save_pretrained(tmp_path / name)
        tokenizer.save_pretrained(tmp_path / name)
        encoder: Any = own.get_encoder() if family == "t5" else own.base_model
        found = load(str(tmp_path / name), device="cpu").embed(TEXTS)
        encoder.config.architectures = model.config.architectures
        np.testing.assert_allclose(found, Embedder(encoder, tokenizer).embed(TEXTS), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["roberta", "bert"])
def test_sentence_transformers_makes_the_same_vectors(family: str, tokenizer: Any, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    headless(tmp_path / "model", family, tokenizer)
    ours = load(str(tmp_path / "model"), device="cpu").embed(TEXTS)
    facts = export(str(tmp_path / "model"), str(tmp_path / "sentences"), "sentence-transformers").data
    assert facts["pooling"] == "mean"
    theirs = SentenceTransformer(str(tmp_path / "sentences"), device="cpu").encode(TEXTS)
    np.testing.assert_allclose(theirs, ours, atol=1e-5)
    np.testing.assert_allclose(load(str(tmp_path / "sentences"), device="cpu").embed(TEXTS), ours, atol=1e-5)


@pytest.mark.parametrize("family", ["roberta", "gpt2"])
def test_an_encoder_that_lacks_a_weight_is_refused(family: str, tokenizer: Any, tmp_path: Path) -> None:
    headless(tmp_path, family, tokenizer)
    weights = load_file(tmp_path / "model.safetensors")
    lost = next(name for name in weights if "attn.c_attn.weight" in name or "attention.self.query.weight" in name)
    save_file({name: weight for name, weight in weights.items() if name != lost}, tmp_path / "model.safetensors")
    with pytest.raises(CodeparrotError, match=r"lacks .*weight \(of 1 weights\)"):
        load(str(tmp_path), device="cpu")


@pytest.mark.parametrize("keep", [True, False])
def test_nothing_is_generated_with_an_encoder(keep: bool, tokenizer: Any, tmp_path: Path) -> None:
    headless(tmp_path, "roberta", tokenizer, keep=keep)
    with pytest.raises(CodeparrotError, match="is a masked language model and cannot be used here"):
        load_model(find_model(str(tmp_path)), "cpu")
    with pytest.raises(CodeparrotError, match=r"lacks lm_head\.\w+"):
        load_model(find_model(str(tmp_path)), "cpu", kind="masked")


def test_weights_in_pickles_are_not_read(tokenizer: Any, tmp_path: Path) -> None:
    model = headless(tmp_path, "roberta", tokenizer)
    (tmp_path / "model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(CodeparrotError, match=r"no model can be loaded from .*safetensors"):
        load(str(tmp_path), device="cpu")


def test_what_has_a_head_keeps_it(tokenizer: Any, tmp_path: Path) -> None:
    for family in (*CAUSAL, *MASKED):
        tiny(family, tokenizer).save_pretrained(tmp_path / family)
        tokenizer.save_pretrained(tmp_path / family)
        model, _ = load_model(str(tmp_path / family), "cpu", kind=None)
        assert model.get_output_embeddings() is not None
