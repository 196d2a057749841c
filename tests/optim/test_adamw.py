"""What decays, and the learning rate as a function of the step."""

import math
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from codeparrot.config import OptimConfig
from codeparrot.errors import CodeparrotError
from codeparrot.optim.adamw import AdamW, parameter_groups
from codeparrot.optim.optimizer import set_learning_rate
from codeparrot.optim.schedule import DECAY_SHAPES, SCHEDULES, learning_rate

NO_IDS = {"bos_token_id": None, "eos_token_id": None}


def names_by_decay(model: nn.Module) -> tuple[set[str], set[str]]:
    names = {parameter: name for name, parameter in model.named_parameters()}
    decays, stays = parameter_groups(model, 0.1)
    assert (decays["weight_decay"], stays["weight_decay"]) == (0.1, 0.0)
    return {names[p] for p in decays["params"]}, {names[p] for p in stays["params"]}


def gpt2() -> GPT2LMHeadModel:
    sizes = {"vocab_size": 11, "n_embd": 8, "n_layer": 1, "n_head": 2, "n_positions": 4}
    return GPT2LMHeadModel(GPT2Config.from_dict(sizes | NO_IDS))


def test_gpt2_decays_its_matrices_and_embeddings_and_nothing_else():
    decays, stays = names_by_decay(gpt2())
    block = "transformer.h.0."
    assert decays == {"transformer.wte.weight", "transformer.wpe.weight"} | {
        f"{block}{name}.weight" for name in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
    }
    norms = {f"{norm}.{kind}" for norm in (f"{block}ln_1", f"{block}ln_2", "transformer.ln_f") for kind in ("weight", "bias")}
    biases = {f"{block}{name}.bias" for name in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")}
    assert stays == norms | biases


def test_llama_decays_its_matrices_and_embeddings_and_nothing_else():
    sizes = {"vocab_size": 11, "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 1, "num_attention_heads": 2}
    decays, stays = names_by_decay(LlamaForCausalLM(LlamaConfig.from_dict(sizes | NO_IDS)))
    attention = {f"model.layers.0.self_attn.{name}_proj.weight" for name in "qkvo"}
    feed_forward = {f"model.layers.0.mlp.{name}_proj.weight" for name in ("gate", "up", "down")}
    assert decays == attention | feed_forward | {"model.embed_tokens.weight", "lm_head.weight"}
    block_norms = {f"model.layers.0.{name}_layernorm.weight" for name in ("input", "post_attention")}
    assert stays == block_norms | {"model.norm.weight"}


def test_a_tied_parameter_is_listed_once_and_a_frozen_one_not_at_all():
    model = gpt2()
    model.transformer.wpe.weight.requires_grad_(False)
    listed = [p for group in parameter_groups(model, 0.1) for p in group["params"]]
    assert len(listed) == len(set(listed)) == len(list(model.parameters())) - 1
    assert model.lm_head.weight is model.transformer.wte.weight


def test_one_step_is_adamw_and_decays_matrices_alone():
    layer = nn.Linear(3, 2)
    before = {name: value.detach().clone() for name, value in layer.named_parameters()}
    optimizer = AdamW().build(layer, vars(OptimConfig(lr=0.1, beta2=0.95, weight_decay=0.5)))
    layer.weight.grad, layer.bias.grad = torch.full((2, 3), 2.0), torch.full((2,), -3.0)
    optimizer.step()
    # The first step of Adam moves by lr against the sign of the gradient.
    torch.testing.assert_close(layer.weight, before["weight"] * (1 - 0.1 * 0.5) - 0.1)
    torch.testing.assert_close(layer.bias, before["bias"] + 0.1)


def test_the_learning_rate_is_set_in_every_group():
    optimizer = AdamW().build(gpt2(), vars(OptimConfig(lr=1.0, beta2=0.95)))
    set_learning_rate(optimizer, 0.25)
    assert [group["lr"] for group in optimizer.param_groups] == [0.25, 0.25]


RUNS = st.fixed_dictionaries(
    {
        "peak": st.floats(1e-6, 1.0),
        "warmup_steps": st.integers(0, 200),
        "max_steps": st.integers(1, 400),
        "name": st.sampled_from(SCHEDULES),
        "final_fraction": st.floats(0, 1),
        "decay_fraction": st.floats(0.01, 1),
        "decay_shape": st.sampled_from(DECAY_SHAPES),
    }
)


def rates(run: dict[str, Any]) -> list[float]:
    return [learning_rate(step, **run) for step in range(run["max_steps"])]


@given(RUNS)
def test_the_rate_stays_between_zero_and_the_peak_and_reaches_it(run):
    assume(run["warmup_steps"] <= run["max_steps"])
    values = rates(run)
    assert all(0 <= value <= run["peak"] * (1 + 1e-12) for value in values)
    assert values[max(run["warmup_steps"] - 1, 0)] == run["peak"]


@given(RUNS)
def test_warm_up_rises_in_equal_steps_from_its_first_share(run):
    assume(2 <= run["warmup_steps"] <= run["max_steps"])
    warm = rates(run)[: run["warmup_steps"]]
    share = run["peak"] / run["warmup_steps"]
    assert warm == pytest.approx([share * (step + 1) for step in range(run["warmup_steps"])])


@given(RUNS)
def test_after_warm_up_the_rate_never_rises(run):
    assume(run["warmup_steps"] <= run["max_steps"])
    after = rates(run)[max(run["warmup_steps"] - 1, 0) :]
    assert all(later <= earlier + 1e-12 * run["peak"] for earlier, later in pairwise(after))


@given(RUNS)
def test_the_last_step_uses_the_final_fraction_exactly_and_keeps_it(run):
    assume(run["warmup_steps"] < run["max_steps"] and run["max_steps"] > 1)
    final = run["peak"] * (1.0 if run["name"] == "constant" else run["final_fraction"])
    assert learning_rate(run["max_steps"] - 1, **run) == pytest.approx(final, rel=1e-12, abs=0)
    assert learning_rate(run["max_steps"] + 1000, **run) == learning_rate(run["max_steps"] - 1, **run)


@given(RUNS)
def test_the_rate_has_no_jumps(run):
    """No two steps differ by more than the steepest slope of the schedule allows."""
    assume(run["warmup_steps"] < run["max_steps"])
    values, last = rates(run), run["max_steps"] - 1
    decay = max(1, round(run["decay_fraction"] * run["max_steps"])) if run["name"] == "wsd" else run["max_steps"]
    decay_steps = max(1, min(decay, last - max(run["warmup_steps"] - 1, 0)))
    # The first step of a root is its steepest.
    steepest = (
        1 / math.sqrt(decay_steps) if (run["name"], run["decay_shape"]) == ("wsd", "1-sqrt") else math.pi / 2 / decay_steps
    )
    slope = run["peak"] * max(1 / max(run["warmup_steps"], 1) if run["warmup_steps"] else 0, steepest)
    assert all(abs(a - b) <= slope * (1 + 1e-9) for a, b in pairwise(values))


def test_wsd_is_stable_until_its_decay():
    run = {"peak": 1.0, "warmup_steps": 10, "max_steps": 100, "name": "wsd", "final_fraction": 0.1, "decay_fraction": 0.2}
    values = rates(run)
    assert set(values[9:80]) == {1.0}
    assert values[80] == pytest.approx(1 - 0.9 / 20)
    assert values[89] == pytest.approx(0.55)


@pytest.mark.parametrize(("shape", "half_way"), [("linear", 0.5), ("1-sqrt", 1 - math.sqrt(0.5)), ("cosine", 0.5)])
def test_wsd_decays_in_the_shape_that_is_asked_for(shape, half_way):
    run: dict[str, Any] = {"peak": 1.0, "warmup_steps": 10, "max_steps": 101, "name": "wsd", "decay_shape": shape}
    rate = partial(learning_rate, **run, final_fraction=0.0, decay_fraction=20 / 101)
    assert (rate(80), rate(100)) == (1.0, 0.0) and rate(90) == pytest.approx(half_way)
    assert rate(85) == pytest.approx({"linear": 0.75, "1-sqrt": 0.5, "cosine": 0.5 + math.sqrt(2) / 4}[shape])


def test_cosine_is_half_way_in_the_middle():
    run: dict[str, Any] = {"peak": 1.0, "warmup_steps": 0, "max_steps": 101, "name": "cosine"}
    rate = partial(learning_rate, **run, final_fraction=0.0, decay_fraction=0.2)
    assert rate(50) == pytest.approx(0.5)
    assert rate(25) == pytest.approx(0.5 + math.sqrt(2) / 4)


def test_an_unknown_schedule_names_the_nearest():
    run: dict[str, Any] = {"peak": 1.0, "warmup_steps": 0, "max_steps": 9, "name": "cosin"}
    with pytest.raises(CodeparrotError, match='unknown schedule "cosin"; did you mean "cosine"'):
        learning_rate(3, **run, final_fraction=0.0, decay_fraction=0.2)
