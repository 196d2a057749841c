"""Config errors, construction, and the loss of a LanguageModel against the family's own."""

import logging
import os
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn
from transformers import AutoModelForCausalLM

from codeparrot.errors import CodeparrotError
from codeparrot.model import IGNORED
from codeparrot.model.families import (
    build_model,
    model_config,
    num_parameters,
)
from codeparrot.model.language_model import LanguageModel
from codeparrot.model.loss import LossHead, num_predicted

SMALL = {"vocab_size": 97, "num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 32}
MIDDLE = {**SMALL, "intermediate_size": 48, "max_position_embeddings": 32}
NO_DROPOUT = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
GPT2 = {"family": "gpt2", **SMALL, **NO_DROPOUT, "n_positions": 32}
LLAMA = {"family": "llama", **MIDDLE, "num_key_value_heads": 2}
MIXTRAL = {**LLAMA, "family": "mixtral", "num_local_experts": 4}
LINEAR_HEADS = {
    "gpt2, tied": GPT2,
    "gpt2, untied": {**GPT2, "tie_word_embeddings": False},
    "llama, untied": LLAMA,
    "llama, tied": {**LLAMA, "tie_word_embeddings": True},
    "phi, bias on the head": {"family": "phi", **MIDDLE, "resid_pdrop": 0.0},
    "mixtral, experts": MIXTRAL,
}
OWN_LOSSES = {
    "gemma2, capped logits": {**LLAMA, "family": "gemma2", "head_dim": 8},
    "cohere, scaled logits": {**LLAMA, "family": "cohere"},
    "granite, divided logits": {**LLAMA, "family": "granite", "logits_scaling": 8.0},
    "mixtral, router loss": {**MIXTRAL, "output_router_logits": True},
}


def build(settings: dict[str, Any], **options: Any) -> LanguageModel:
    merged: dict[str, Any] = {"seed": 0} | options
    return build_model(model_config(settings), **merged)


def windows(count: int = 2, length: int = 17, seed: int = 0) -> Tensor:
    return torch.randint(97, (count, length), generator=torch.Generator().manual_seed(seed))


def with_some_ignored(labels: Tensor) -> Tensor:
    labels = labels.clone()
    labels[0, :5] = IGNORED
    labels[:, -1] = IGNORED
    return labels


def gradients(loss: Tensor, model: nn.Module) -> dict[str, Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def assert_same_training(found: Tensor, right: Tensor, model: nn.Module) -> None:
    torch.testing.assert_close(found, right, rtol=1e-5, atol=0)
    torch.testing.assert_close(gradients(found, model), gradients(right, model), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("layers", "width", "heads", "millions"), [(12, 768, 12, "111.0"), (48, 1600, 25, "1529.6")], ids=["small", "xl"]
)
def test_the_recipes_have_the_published_numbers_of_parameters(layers, width, heads, millions):
    config = model_config({"family": "gpt2", "n_layer": layers, "n_embd": width, "n_head": heads, "vocab_size": 32768})
    assert f"{num_parameters(config) / 1e6:.1f}" == millions


def test_a_config_and_its_model_have_the_same_number_of_parameters():
    for family in (GPT2, LLAMA):
        assert num_parameters(model_config(family)) == num_parameters(build(family))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "model.family is missing: name a model type of transformers, for example gpt2"),
        ({"family": "lama"}, 'model.family: "lama" is not a model type of transformers; did you mean "llama"?'),
        ({"family": "vit"}, 'model.family: "vit" is not a causal language model'),
        ({"n_lyer": 2}, 'model.n_lyer is not a setting of gpt2; did you mean "n_layer"?'),
        ({"num_hiden_layers": 2}, 'model.num_hiden_layers is not a setting of gpt2; did you mean "num_hidden_layers"?'),
        ({"family": "llama", "n_layer": 2}, "model.n_layer is not a setting of llama"),
        ({"n_layer": 2, "num_hidden_layers": 2}, "are two names of one setting: keep one"),
        ({"n_layer": "12"}, "model.n_layer expected int, got str (value: '12')"),
        ({"num_hidden_layers": "12"}, "model.num_hidden_layers expected int, got str (value: '12')"),
        ({"n_layer": -1}, "model.n_layer must be at least 1, not -1"),
        ({"num_hidden_layers": 0}, "model.num_hidden_layers must be at least 1, not 0"),
        ({"n_head": 0}, "model.n_head must be at least 1, not 0"),
        ({"n_embd": 100, "n_head": 12}, "must be divisible by num_heads (got `embed_dim`: 100 and `num_heads`: 12)"),
        ({"family": "llama", "num_key_value_heads": 5}, "model.num_key_value_heads (5) must divide the number of attention"),
        ({"n_inner": 0}, "mlp.c_fc.weight of this gpt2 would hold no numbers: a size among its settings is 0"),
        ({"family": "llama", "intermediate_size": 0}, "mlp.gate_proj.weight of this llama would hold no numbers"),
        ({"resid_pdrop": 1.5}, "dropout probability has to be between 0 and 1, but got 1.5"),
        ({"activation_function": "gelu_nwe"}, "model.activation_function: gpt2 knows no 'gelu_nwe'"),
        ({"dtype": "bfloat16"}, "model.dtype cannot be set: parameters are kept in float32"),
    ],
    ids=str,
)
def test_wrong_settings_are_one_line_that_names_the_key(settings, message):
    with pytest.raises(CodeparrotError) as caught:
        model_config({"family": "gpt2", **settings} if settings else {})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"initializer_range": -0.5}, "model: no gpt2 can be built from these values: normal expects std >= 0.0"),
        ({"vocab_size": 10**15}, "there is not enough memory for .* bytes; take less at once"),
    ],
    ids=str,
)
def test_values_from_which_no_weights_can_be_drawn_are_one_line(settings, message):
    with pytest.raises(CodeparrotError, match=message):
        build(GPT2 | settings)


def test_what_is_not_set_keeps_the_familys_default_except_token_ids():
    config = model_config({"family": "gpt2", "n_layer": 3})
    assert (config.num_hidden_layers, config.n_embd, config.resid_pdrop, config.use_cache) == (3, 768, 0.1, True)
    assert (config.bos_token_id, config.eos_token_id, config.pad_token_id) == (None, None, None)
    assert model_config({"family": "gpt2", "eos_token_id": 0}).eos_token_id == 0


def test_weights_are_float32_and_depend_on_the_seed_alone():
    state = torch.get_rng_state()
    first, again, other = build(GPT2), build(GPT2), build(GPT2, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    assert {parameter.dtype for parameter in first.parameters()} == {torch.float32}
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))


def test_building_leaves_the_config_alone_and_trains_with_sdpa():
    config = model_config(GPT2)
    before = config.to_dict()
    model = build_model(config, seed=0)
    assert config.to_dict() == before
    assert model.config._attn_implementation == "sdpa"
    assert model.training
    assert model.config.use_cache


@pytest.mark.parametrize("settings", LINEAR_HEADS.values(), ids=LINEAR_HEADS)
def test_loss_and_gradients_equal_transformers_own(settings):
    model = build(settings)
    assert not model.own_loss
    head = model.get_output_embeddings()
    assert isinstance(head, LossHead)
    if head.bias is not None:
        nn.init.normal_(head.bias)
    for labels in (windows(), with_some_ignored(windows())):
        assert_same_training(model(windows(), labels), model.model(windows(), labels=labels).loss, model)


@pytest.mark.parametrize("settings", OWN_LOSSES.values(), ids=OWN_LOSSES)
def test_families_with_another_loss_keep_it_and_say_so_once(settings, caplog):
    with caplog.at_level(logging.WARNING, logger="codeparrot"):
        model = build(settings)
    assert sum("uses its own loss" in record.message for record in caplog.records) == 1
    labels = with_some_ignored(windows())
    torch.testing.assert_close(model(windows(), labels), model.model(windows(), labels=labels).loss, rtol=0, atol=0)


def test_the_sum_of_a_family_with_its_own_loss_is_the_cross_entropy_alone():
    plain, routed = build(MIXTRAL), build(OWN_LOSSES["mixtral, router loss"])
    labels = with_some_ignored(windows())
    torch.testing.assert_close(routed(windows(), labels, "sum"), plain(windows(), labels, "sum"), rtol=1e-5, atol=0)
    assert routed(windows(), labels) > plain(windows(), labels)


def test_eager_attention_is_announced_where_the_family_has_no_other(caplog):
    with caplog.at_level(logging.WARNING, logger="codeparrot"):
        assert build(OWN_LOSSES["gemma2, capped logits"]).config._attn_implementation == "eager"
    assert "model.family gemma2 has no SDPA attention" in caplog.text


def test_a_family_that_sees_the_future_is_refused():
    bert = {"family": "bert", **MIDDLE}
    with pytest.raises(CodeparrotError, match=r"sees the tokens that it is to predict; set model\.is_decoder: true"):
        build(bert)
    assert build({**bert, "is_decoder": True}).own_loss


def test_sums_over_batches_give_the_mean_over_all_tokens():
    model = build(GPT2).eval()
    labels = with_some_ignored(windows(5))
    with torch.no_grad():
        parts = [(windows(5)[part], labels[part]) for part in (slice(0, 1), slice(1, 4), slice(4, 5))]
        total = sum(model(inputs, part, reduction="sum") for inputs, part in parts)
        count = sum(num_predicted(part) for _, part in parts)
        torch.testing.assert_close(total / count, model(windows(5), labels), rtol=1e-6, atol=0)


def test_nothing_to_predict_is_a_loss_of_zero_with_zero_gradients():
    model = build(GPT2)
    loss = model(windows(), torch.full((2, 17), IGNORED))
    assert loss.item() == 0
    assert all(gradient.count_nonzero() == 0 for gradient in gradients(loss, model).values())


@settings(deadline=None, max_examples=8)
@given(sizes=st.lists(st.integers(1, 4), min_size=1, max_size=5), data=st.data())
def test_any_split_into_micro_batches_gives_the_same_loss_and_gradients(accumulating, sizes, data):
    """The mean over the tokens of the global batch, with windows that predict different numbers of tokens."""
    batch = windows(sum(sizes))
    starts = st.lists(st.integers(0, 15), min_size=sum(sizes), max_size=sum(sizes))
    labels = torch.where(torch.arange(17) < torch.tensor(data.draw(starts)).unsqueeze(1), IGNORED, batch)
    whole = accumulating(batch, labels)
    right = gradients(whole, accumulating)
    accumulating.zero_grad()
    found = torch.zeros(())
    for inputs, part in zip(batch.split(sizes), labels.split(sizes), strict=True):
        loss = accumulating(inputs, part, reduction="sum") / num_predicted(labels)
        loss.backward()
        found += loss.detach()
    torch.testing.assert_close(found, whole.detach(), rtol=1e-5, atol=0)
    torch.testing.assert_close({name: p.grad for name, p in accumulating.named_parameters()}, right, rtol=1e-5, atol=1e-6)


@pytest.fixture(scope="module")
def accumulating() -> LanguageModel:
    return build(GPT2)


@pytest.mark.parametrize("what", ["selective", "full"])
@pytest.mark.parametrize("family", [GPT2, LLAMA], ids=["gpt2", "llama"])
def test_activation_checkpointing_computes_layers_twice_and_changes_nothing(family, what):
    plain, checkpointed = build(family), build(family, activation_checkpointing=what)
    calls = []
    norm = {"gpt2": "transformer.h.0.ln_2", "llama": "model.layers.0.post_attention_layernorm"}[family["family"]]
    checkpointed.model.get_submodule(norm).register_forward_pre_hook(lambda *_: calls.append(1))
    expected = gradients(plain(windows(), windows()), plain)
    torch.testing.assert_close(gradients(checkpointed(windows(), windows()), checkpointed), expected, rtol=1e-5, atol=1e-6)
    assert len(calls) == 2


def test_training_keeps_no_cache():
    model = build(LLAMA)
    kept = []
    model.get_submodule("model.model").register_forward_hook(lambda _, __, output: kept.append(output.past_key_values))
    model(windows(), windows())
    assert kept == [None]


def test_what_is_saved_is_the_transformers_model(tmp_path):
    model = build(GPT2)
    model(windows(), windows()).backward()
    model.model.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert set(model.state_dict()) == {f"model.{name}" for name in loaded.state_dict()}
    with torch.no_grad():
        torch.testing.assert_close(loaded(windows()).logits, model.eval().model(windows()).logits, rtol=0, atol=0)


def test_a_model_can_be_wrapped_again_after_loading_or_training():
    model = build(GPT2)
    again = LanguageModel(model.model)
    assert not again.own_loss
    torch.testing.assert_close(again(windows(), windows()), model(windows(), windows()), rtol=0, atol=0)


def test_a_model_without_weights_needs_to_be_told_about_its_loss():
    with torch.device("meta"):
        bare = AutoModelForCausalLM.from_config(model_config(GPT2))
    assert isinstance(LanguageModel(bare, own_loss=False).get_output_embeddings(), LossHead)


def test_a_bfloat16_autocast_step_trains_float32_weights():
    model = build(GPT2)
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(windows(), windows())
    assert loss.dtype == torch.float32
    assert {gradient.dtype for gradient in gradients(loss, model).values()} == {torch.float32}
    torch.testing.assert_close(loss, model(windows(), windows()), rtol=2e-3, atol=0)


@pytest.mark.slow
def test_compiling_changes_neither_the_loss_nor_the_names():
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    plain, compiled = build(GPT2), build(GPT2, compile=True)
    assert set(plain.state_dict()) == set(compiled.state_dict())
    expected = gradients(plain(windows(), windows()), plain)
    torch.testing.assert_close(gradients(compiled(windows(), windows()), compiled), expected, rtol=1e-4, atol=1e-6)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 2  # of the layers and of the loss


def _rank(rank: int, folder: str) -> None:
    """Two micro-batches a rank, gradients reduced once, as in training."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "GLOO_SOCKET_IFNAME": "lo"}
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    model = build(GPT2)
    parallel = nn.parallel.DistributedDataParallel(model)
    mine = windows(8)[rank::2]
    with parallel.no_sync():
        (parallel(mine[:2], mine[:2]) / 2).backward()
    (parallel(mine[2:], mine[2:]) / 2).backward()
    torch.save({name: p.grad for name, p in model.named_parameters()}, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_get_the_gradients_of_one(tmp_path):
    spawn(_rank, (str(tmp_path),), nprocs=2)
    model = build(GPT2)
    expected = gradients(model(windows(8), windows(8)), model)
    for rank in range(2):
        torch.testing.assert_close(torch.load(tmp_path / f"{rank}.pt"), expected, rtol=1e-5, atol=1e-6)
