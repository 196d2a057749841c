"""Forecasts of masked models: the head is counted, and its logits are held, for the hidden tokens alone."""

from typing import Any

import pytest

from codeparrot.arguments import load_config
from codeparrot.config import Config
from codeparrot.model.families import num_parameters
from codeparrot.model.flops import causal_flops_per_token, flops_per_token
from codeparrot.plan import sizes
from codeparrot.plan.ledger import LOGITS, PARAMETERS
from codeparrot.plan.memory import ONE, Memory, model_of
from codeparrot.plan.trace import Tracer
from codeparrot.stream.batches import Batches
from tests.launching import ROOT

BERT: dict[str, Any] = {
    **{"family": "bert", "vocab_size": 512, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2},
    **{"intermediate_size": 128, "max_position_embeddings": 64},
    **{"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0},
}

SIDES = {"layers": 2, "attention_heads": 2, "ffn_dim": 128}


def configuration(rate: float, **model: Any) -> Config:
    config = Config(model={**BERT, **model}, objective={"name": "masked", "rate": rate})
    config.stream.seq_length, config.train.precision, config.tokenizer.path = 64, "fp32", "on/another/machine"
    return config


def test_flops_count_the_head_for_the_hidden_tokens_alone() -> None:
    settings = sizes.model_settings(configuration(0.25))
    whole = flops_per_token(settings, 64)
    assert whole == 6 * (num_parameters(settings) - 64 * 64 - 2 * 64) + 12 * 2 * 64 * 64
    assert whole - flops_per_token(settings, 64, 0.25) == 6 * 0.75 * 512 * 64
    # Attention on both sides is not the half that a causal mask leaves.
    assert causal_flops_per_token(settings, 64, 0.25) == 6 * (num_parameters(settings) - 0.75 * 512 * 64) + 12 * 2 * 64 * 64
    config = configuration(0.25)
    found = sizes.count(config, settings, sizes.Corpus(None, ""))
    assert found.flops_per_token == flops_per_token(settings, 64, 0.25)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["bert", "modernbert"])
def test_the_logits_of_the_hidden_tokens_are_held(family) -> None:
    model = {} if family == "bert" else {"family": family}
    held = []
    for rate in (0.25, 1.0):
        config = configuration(rate, **model)
        if family == "modernbert":
            for name in ("hidden_dropout_prob", "attention_probs_dropout_prob"):
                del config.model[name]
        settings = sizes.model_settings(config)
        numbers = model_of(settings, "fp32", config.optimizer_settings())
        memory = Memory(Tracer(config, settings, on_gpu=True), numbers, Batches(((0, 4),)), 1)
        held.append(memory.phases(ONE, 2)["last: loss"][LOGITS])
    # 2 x 64 rows and a quarter of them: logits and the gradients of their inputs; that of the weight is one size.
    assert held[1] - held[0] == pytest.approx(4 * 96 * (512 + 64), rel=0.1)


@pytest.mark.parametrize("recipe", ["nano-bert", "bert-base"])
def test_recipes_fit_into_their_windows(recipe, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = load_config(ROOT / "configs" / f"{recipe}.yaml")
    found = sizes.count(config, sizes.model_settings(config), sizes.corpus_of(config, 0))
    assert found.parameters == {"nano-bert": 1_371_392, "bert-base": 111_633_920}[recipe]


@pytest.mark.slow
@pytest.mark.parametrize("on_gpu", [False, True])
@pytest.mark.parametrize("recipe", ["nano-t5", "bart"])
def test_an_encoder_decoder_is_traced_with_what_it_reads_and_writes(recipe, on_gpu) -> None:
    if recipe == "bart":
        sides = {f"{side}_{name}": size for side in ("encoder", "decoder") for name, size in SIDES.items()}
        config = Config(model={"family": "bart", "vocab_size": 512, "d_model": 64, **sides}, objective={"name": "span"})
        config.train.precision = "fp32"
    else:
        config = load_config(ROOT / "configs" / f"{recipe}.yaml")
    config.tokenizer.path, config.train.precision, config.stream.seq_length = "on/another/machine", "fp32", 284
    settings = sizes.model_settings(config)
    numbers = model_of(settings, "fp32", config.optimizer_settings())
    held = Memory(Tracer(config, settings, on_gpu=on_gpu), numbers, Batches(((0, 4),)), 1).phases(ONE, 2)
    # Written are 58 tokens of a window: logits, and the gradients of their inputs and of the head.
    rows, width, vocabulary = 2 * 58, settings.d_model, settings.vocab_size
    assert held["last: loss"][LOGITS] == pytest.approx(4 * (rows * (vocabulary + width) + vocabulary * width), rel=0.05)
    count = num_parameters(settings)
    assert held["update"][PARAMETERS] == pytest.approx(4 * count, rel=0.02)
    found = sizes.count(config, settings, sizes.Corpus(None, ""))
    assert found.flops_per_token == flops_per_token(settings, 284, lengths=(256, 58)) < 6 * count
