"""Vectors of texts are transformers', whatever stands beside a text."""

from typing import Any

import numpy as np
import pytest
import torch

from codeparrot.errors import CodeparrotError
from codeparrot.search.embedding import Embedder, load
from tests.search.conftest import CAUSAL, ENCODER_DECODER, MASKED, tiny

TEXTS = ["def f(x):\n    return x + 1\n", "x = 1", "", "import os\n\n\nclass Reader:\n    pass\n", "é", "return\n" * 100]


@pytest.mark.slow  # imports transformers' models
@pytest.mark.parametrize("pooling", ["mean", "last"])
@pytest.mark.parametrize("family", [*CAUSAL, *MASKED])
def test_a_vector_does_not_depend_on_the_texts_beside_it(family: str, pooling: Any, tokenizer: Any) -> None:
    embedder = Embedder(tiny(family, tokenizer), tokenizer, pooling)
    together = embedder.embed(TEXTS)
    alone = np.concatenate([embedder.embed([text]) for text in TEXTS])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    assert together.dtype == np.float32 and together.shape == (len(TEXTS), embedder.width)
    assert np.abs(together[0] - together[1]).max() > 0.01


@pytest.mark.parametrize("family", [*CAUSAL, *MASKED])
def test_vectors_are_those_of_transformers(family: str, tokenizer: Any) -> None:
    model = tiny(family, tokenizer)
    text = TEXTS[0]
    with torch.inference_mode():
        hidden = model.base_model(torch.tensor([tokenizer(text)["input_ids"]])).last_hidden_state[0]
    for pooling, expected in (("mean", hidden.mean(0)), ("last", hidden[-1])):
        found = Embedder(model, tokenizer, pooling).embed([text, *TEXTS])[0]  # pyright: ignore[reportArgumentType]
        np.testing.assert_allclose(found, (expected / expected.norm()).numpy(), atol=1e-5)


@pytest.mark.parametrize("family", [*CAUSAL, *MASKED])
def test_long_texts_are_cut_at_the_context_and_counted(family: str, tokenizer: Any) -> None:
    embedder = Embedder(tiny(family, tokenizer), tokenizer)
    long = "return value\n" * 200
    assert embedder.context == 64
    found = embedder.embed([long, "x", long + "more"])
    assert embedder.num_cut == 2
    np.testing.assert_allclose(found[0], found[2], atol=1e-5)


def test_no_batch_has_more_tokens_than_allowed(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    embedder = Embedder(tiny("gpt2", tokenizer), tokenizer, tokens_per_batch=100)
    sizes = []
    inner = embedder._hidden
    monkeypatch.setattr(embedder, "_hidden", lambda ids, seen: sizes.append(ids.numel()) or inner(ids, seen))
    batches = list(embedder.batches([text * times for text in TEXTS for times in (1, 2, 3)]))
    assert max(sizes) <= 100
    assert sorted(number for batch in batches for number in batch.texts.tolist()) == list(range(18))


@pytest.mark.parametrize("family", ["gpt2", "roberta"])
def test_pooling_is_the_mean_unless_asked_otherwise(family: str, tokenizer: Any) -> None:
    assert Embedder(tiny(family, tokenizer), tokenizer).pooling == "mean"
    assert Embedder(tiny(family, tokenizer), tokenizer, "last").pooling == "last"


def test_a_tokenizer_without_an_end_is_refused(tokenizer: Any) -> None:
    class NoEnd:
        eos_token_id = bos_token_id = unk_token_id = None
        model_max_length = 10**30

    with pytest.raises(CodeparrotError, match="eos_token"):
        Embedder(tiny("gpt2", tokenizer), NoEnd())


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_vectors_that_are_no_numbers_are_refused(value: float, tokenizer: Any) -> None:
    model = tiny("gpt2", tokenizer)
    model.transformer.ln_f.weight.data[3] = value
    with pytest.raises(CodeparrotError, match="vectors that are no numbers"):
        Embedder(model, tokenizer).embed(TEXTS)


@pytest.mark.slow  # imports transformers' models
@pytest.mark.parametrize("family", [*MASKED, *ENCODER_DECODER])
def test_checkpoints_of_all_kinds_are_loaded(family: str, tokenizer: Any, tmp_path: Any) -> None:
    model = tiny(family, tokenizer)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    found = load(str(tmp_path))
    assert found.pooling == "mean" and not found.causal
    np.testing.assert_allclose(found.embed(TEXTS), Embedder(model, tokenizer).embed(TEXTS), atol=1e-6)
    alone = np.concatenate([found.embed([text]) for text in TEXTS])
    np.testing.assert_allclose(found.embed(TEXTS), alone, atol=1e-5)
