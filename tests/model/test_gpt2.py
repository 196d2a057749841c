"""The forward pass of GPT-2 for training against transformers' own: same loss, same gradients, same model."""

import copy
import logging
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers.models.gpt2 import modeling_gpt2

from codeparrot.model import gpt2
from codeparrot.model.families import build_model, model_config
from codeparrot.model.language_model import LanguageModel

SMALL = {"family": "gpt2", "vocab_size": 97, "n_layer": 2, "n_head": 4, "n_embd": 32, "n_positions": 32}
DROPOUT = {"resid_pdrop": 0.1, "embd_pdrop": 0.1, "attn_pdrop": 0.1}
NO_DROPOUT = dict.fromkeys(DROPOUT, 0.0)
OPTIONS: dict[str, dict[str, Any]] = {
    "deep": {"n_layer": 6},
    "wide": {"n_embd": 96, "n_head": 3, "n_layer": 3},
    "one head": {"n_head": 1},
    "inner width": {"n_inner": 40},
    "no scale": {"scale_attn_weights": False},
    "scale by layer": {"scale_attn_by_inverse_layer_idx": True, "n_layer": 4},
    "scale by layer alone": {"scale_attn_by_inverse_layer_idx": True, "scale_attn_weights": False},
    "upcast": {"reorder_and_upcast_attn": True, "scale_attn_by_inverse_layer_idx": True},
    "untied": {"tie_word_embeddings": False},
    "epsilon": {"layer_norm_epsilon": 1e-2},
    "dropout": DROPOUT,
} | {name: {"activation_function": name} for name in ("gelu", "gelu_fast", "gelu_pytorch_tanh", "relu", "silu")}


def build(**settings: Any) -> LanguageModel:
    return build_model(model_config({**SMALL, **NO_DROPOUT, **settings}), seed=0)


def windows(count: int = 3, length: int = 17) -> Tensor:
    return torch.randint(97, (count, length), generator=torch.Generator().manual_seed(0))


def losses_and_gradients(model: LanguageModel, way: Any) -> tuple[Tensor, dict[str, Tensor]]:
    model = copy.deepcopy(model)
    model.way = way
    torch.manual_seed(7)
    loss = model(windows(), windows())
    loss.backward()
    return loss.detach(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_loss_and_gradients_are_those_of_transformers(options) -> None:
    model = build(**options)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)), alpha=0.05)
    assert model.way == "gpt2"
    (loss, gradients), (right, right_gradients) = (losses_and_gradients(model, way) for way in ("gpt2", "transformers"))
    torch.testing.assert_close(loss, right, rtol=1e-5, atol=0)
    torch.testing.assert_close(gradients, right_gradients, rtol=1e-4, atol=1e-6)


def test_a_scale_by_layer_counts() -> None:
    """The test above would pass if both forgot it."""
    plain, scaled = (build(n_layer=4, scale_attn_by_inverse_layer_idx=on) for on in (False, True))
    assert not torch.allclose(plain(windows(), windows()), scaled(windows(), windows()), rtol=1e-6, atol=0)


@pytest.mark.parametrize("which", DROPOUT)
def test_each_dropout_drops_in_training_alone_and_its_masks_are_a_function_of_the_seed(which) -> None:
    model = build(**{which: 0.5})

    def loss(seed: int) -> float:
        torch.manual_seed(seed)
        return model(windows(), windows()).item()

    assert loss(0) == loss(0) != loss(1)
    model.eval()
    assert loss(0) == loss(1)


@pytest.mark.parametrize("name", DROPOUT)
def test_a_dropout_keeps_the_mean(name) -> None:
    """The loss of many draws is near the loss without: no factor is lost."""
    model = build(**{name: 0.1})
    torch.manual_seed(0)
    with torch.no_grad():
        mean = torch.stack([model(windows(), windows()) for _ in range(50)]).mean()
        right = model.eval()(windows(), windows())
    torch.testing.assert_close(mean, right, rtol=1e-2, atol=0)


def test_the_model_stays_transformers_in_generation_and_in_name() -> None:
    model = build()
    ours: Any = model.model
    plain: Any = modeling_gpt2.GPT2LMHeadModel(ours.config)
    plain.load_state_dict(ours.state_dict())
    assert [name for name, _ in ours.named_modules()] == [name for name, _ in plain.named_modules()]
    assert {type(block).__name__ for block in ours.get_submodule("transformer.h").children()} == {"GPT2Block"}
    padded = torch.cat([torch.zeros(2, 3, dtype=torch.long), windows(2, 5)], dim=1)
    mask = torch.ones_like(padded)
    mask[0, :3] = 0
    options: dict[str, Any] = {"attention_mask": mask, "max_new_tokens": 8, "do_sample": False, "pad_token_id": 0}
    model(windows(), windows()).backward()  # training does not change it
    with torch.no_grad():
        found, right = (each.eval()(padded, attention_mask=mask).logits for each in (ours, plain))
        torch.testing.assert_close(found, right, rtol=0, atol=0)
        assert torch.equal(ours.generate(padded, **options), plain.generate(padded, **options))


@pytest.mark.parametrize(
    ("options", "way"),
    [({"attn_implementation": "eager"}, "transformers"), ({"add_cross_attention": True}, "without masks")],
    ids=["eager attention", "cross-attention"],
)
def test_other_attention_keeps_transformers_forward_pass(options, way) -> None:
    model = build(**options)
    assert model.way == way
    torch.testing.assert_close(model(windows(), windows()), model.model(windows(), labels=windows()).loss, rtol=1e-6, atol=0)


def test_a_forward_pass_that_differs_from_transformers_is_not_used_and_the_log_says_so(monkeypatch, caplog) -> None:
    """As it would after a new version of transformers changed its GPT-2."""
    monkeypatch.setattr(gpt2.GPT2Block, "_mlp", lambda self, normed: normed)
    with caplog.at_level(logging.INFO, logger="codeparrot"):
        assert build().way == "transformers"
    assert caplog.text.count("model.family gpt2 runs transformers' forward pass") == 1


def test_under_autocast_the_residual_stream_and_the_norms_are_float32() -> None:
    model = build()
    types: dict[str, Any] = {}
    for name in ("transformer.h.1", "transformer.h.1.ln_2", "transformer.h.1.mlp.c_fc", "transformer.ln_f"):
        module = model.model.get_submodule(name)
        note: Any = lambda _, __, output, name=name: types.update({name.rpartition(".h.1")[2]: output.dtype})  # noqa: E731
        module.register_forward_hook(note)
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(windows(), windows())
    assert types == {"": torch.float32, ".ln_2": torch.float32, ".mlp.c_fc": torch.bfloat16, "transformer.ln_f": torch.float32}
    torch.testing.assert_close(loss, model(windows(), windows()), rtol=2e-3, atol=0)
