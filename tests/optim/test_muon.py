"""Muon: what is orthogonalised and how much it moves; what AdamW updates; fused matrices are taken apart."""

from dataclasses import asdict
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from codeparrot.config import OptimConfig
from codeparrot.errors import CodeparrotError
from codeparrot.model.families import build_model, model_config, without_weights
from codeparrot.optim.muon import Muon, Split, orthogonalise, parameter_groups, split_of, update_of
from codeparrot.optim.optimizer import kept_numbers, set_learning_rate

GPT2: dict[str, Any] = {"family": "gpt2", "vocab_size": 64, "n_positions": 16, "n_embd": 16, "n_layer": 2, "n_head": 2}
LLAMA: dict[str, Any] = {
    **{"family": "llama", "vocab_size": 64, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2},
    **{"num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 16},
}
SETTINGS = asdict(OptimConfig(lr=0.01, embedding_lr=0.03, vector_lr=0.02))


@pytest.mark.parametrize("shape", [(32, 32), (16, 64), (64, 16), (3, 16, 64)])
def test_all_directions_become_alike(shape) -> None:
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonalise(torch.randn(shape) * 1e-3))
    known = values[..., : min(shape[-2:]) * 9 // 10]  # the smallest of a square matrix are nearly 0
    assert float(known.min()) > 0.6 and float(known.max()) < 1.3


def test_a_matrix_and_its_transpose_are_updated_alike() -> None:
    update = torch.randn(12, 20)
    torch.testing.assert_close(orthogonalise(update.T), orthogonalise(update).T, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(64, 64), (32, 128)])
def test_the_size_of_an_update_is_that_of_adamws(shape) -> None:
    torch.manual_seed(0)
    rms = update_of(torch.randn(shape), Split()).square().mean().sqrt()
    assert 0.15 < float(rms) < 0.25


@pytest.mark.parametrize("split", [Split(), Split(1, (4, 4, 4)), Split(0, (8, 2, 2)), Split(0, (4, 4, 4), heads=2)])
def test_parts_are_joined_to_the_whole(split: Split) -> None:
    whole = torch.arange(144.0).view(12, 12)
    assert torch.equal(split.join(split.parts(whole)), whole)


def test_queries_keys_and_values_are_orthogonalised_apart() -> None:
    model = build_model(model_config(GPT2), seed=0).model
    modules = dict(model.named_modules())
    name = "transformer.h.0.attn.c_attn"
    split = split_of(name, modules[name], model.config)
    update = torch.randn(16, 48)
    parts = split.parts(update_of(update, split))
    for part, own in zip(parts, update.split(16, 1), strict=True):
        torch.testing.assert_close(part, update_of(own, Split()))
    assert not torch.allclose(update_of(update, split), update_of(update, Split()), atol=0.05)


def test_a_fused_matrix_of_gpt_neox_is_taken_apart_head_by_head() -> None:
    """[heads, 3, head size] rows: those of the queries are not the first third."""
    rows = torch.arange(24.0)[:, None].expand(24, 5)
    queries, keys, values = Split(0, (8, 8, 8), heads=2).parts(rows)
    assert queries[:, 0].tolist() == [0, 1, 2, 3, 12, 13, 14, 15]
    assert keys[0, 0] == 4 and values[0, 0] == 8


def test_a_matrix_that_says_it_holds_several_is_refused_where_how_is_not_known() -> None:
    config = SimpleNamespace(model_type="unheard_of")
    with pytest.raises(CodeparrotError, match=r"optim\.name muon: a\.c_attn of a unheard_of model holds several"):
        split_of("a.c_attn", nn.Linear(4, 12), config)


@pytest.mark.parametrize(("settings", "matrices"), [(GPT2, 4), (LLAMA, 7)])
def test_matrices_of_layers_are_muons_and_the_rest_is_adamws(settings, matrices) -> None:
    model = without_weights(model_config(settings))
    groups = parameter_groups(model, SETTINGS)
    named = {id(parameter): name for name, parameter in model.named_parameters()}
    layers, others = [each for each in groups if each["matrices"]], [each for each in groups if not each["matrices"]]
    assert [len(group["params"]) for group in layers] == [2 * matrices]  # of two layers, in one group
    assert all(parameter.dim() == 2 for group in layers for parameter in group["params"])
    names = [{named[id(parameter)] for parameter in group["params"]} for group in others]
    if settings is GPT2:
        assert names[0] == {"transformer.wte.weight", "transformer.wpe.weight"} and len(others) == 2
        assert [group["rate"] for group in others] == [3.0, 2.0]
    else:
        assert names[:2] == [{"model.embed_tokens.weight"}, {"lm_head.weight"}]
        assert [group["rate"] for group in others] == [3.0, 1.0, 2.0]
    assert [group["weight_decay"] for group in others][-1] == 0.0
    assert sum(len(group["params"]) for group in groups) == len(named)
    kept = kept_numbers(Muon(), model, SETTINGS)
    inside = sum(parameter.numel() for group in layers for parameter in group["params"])
    assert kept == 2 * sum(parameter.numel() for parameter in model.parameters()) - inside


def test_a_step_is_the_one_that_is_written_down() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(6, 4)
    optimizer = Muon().build(layer, {**SETTINGS, "weight_decay": 0.1})
    weight, momentum = layer.weight.detach().clone(), torch.zeros(4, 6)
    for number in range(3):
        optimizer.zero_grad()
        (layer(torch.randn(5, 6)).square().sum() * (number + 1)).backward()
        gradient = layer.weight.grad
        assert gradient is not None
        momentum = 0.95 * momentum + 0.05 * gradient
        nesterov = 0.05 * gradient + 0.95 * momentum
        weight = weight * (1 - 0.01 * 0.1) - 0.01 * 0.2 * 6**0.5 * orthogonalise(nesterov)
        set_learning_rate(optimizer, 0.01)
        optimizer.step()
        torch.testing.assert_close(layer.weight.detach(), weight)


def test_what_is_no_matrix_is_updated_as_adamw_does() -> None:
    torch.manual_seed(0)
    ours, theirs = nn.Linear(6, 4), nn.Linear(6, 4)
    theirs.load_state_dict(ours.state_dict())
    optimizer = Muon().build(ours, {**SETTINGS, "vector_lr": 0.0})
    reference = torch.optim.AdamW([theirs.bias], lr=0.01, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, fused=True)
    for _ in range(4):
        data = torch.randn(5, 6)
        for layer, each in ((ours, optimizer), (theirs, reference)):
            layer.weight.data.zero_()  # so that gradients of the biases are equal
            each.zero_grad()
            layer(data).square().sum().backward()
            each.step()
    assert torch.equal(ours.bias, theirs.bias)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_skipped_step_changes_nothing_even_with_gradients_that_are_not_finite(bad) -> None:
    layer = nn.Linear(6, 4)
    optimizer = Muon().build(layer, SETTINGS)
    for verdict, value in ((0.0, 1.0), (1.0, bad), (0.0, 2.0)):
        before = [parameter.detach().clone() for parameter in layer.parameters()]
        state = {(id(p), name): held.clone() for p in layer.parameters() for name, held in optimizer.state[p].items()}
        for parameter in layer.parameters():
            parameter.grad = torch.full_like(parameter, value)
        Muon().skip(optimizer, torch.tensor(verdict))
        optimizer.step()
        same = all(map(torch.equal, before, (parameter.detach() for parameter in layer.parameters())))
        assert same == bool(verdict)
        if verdict:
            assert all(
                torch.equal(optimizer.state[p][name], state[id(p), name])
                for p in layer.parameters()
                for name in optimizer.state[p]
            )


def test_experts_that_hold_several_matrices_are_refused_by_their_own_name() -> None:
    settings = {
        "family": "mixtral",
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    settings |= {"num_key_value_heads": 2, "num_local_experts": 4, "vocab_size": 32}
    with pytest.raises(CodeparrotError, match=r"optim\.name muon: .*experts\.gate_up_proj of a mixtral model holds several"):
        parameter_groups(without_weights(model_config(settings)), SETTINGS)


def test_a_matrix_without_a_gradient_leaves_the_others_their_parts() -> None:
    torch.manual_seed(0)
    whole, partly = (build_model(model_config(GPT2), seed=0).model for _ in range(2))
    left = "transformer.h.0.ln_1.weight", "transformer.h.0.attn.c_attn.weight"  # its three parts are no part of the next one's
    gradients = {name: torch.randn_like(parameter) for name, parameter in whole.named_parameters()}
    for model, unused in ((whole, ()), (partly, left)):
        optimizer = Muon().build(model, SETTINGS)
        for name, parameter in model.named_parameters():
            parameter.grad = None if name in unused else gradients[name]
        optimizer.step()
    changed = dict(whole.named_parameters())
    for name, parameter in partly.named_parameters():
        assert torch.equal(parameter, changed[name]) is (name not in left), name
