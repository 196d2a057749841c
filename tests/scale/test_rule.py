"""A series has one dial: all else of a run follows from its depth and its tokens a parameter."""

import math
from dataclasses import asdict
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codeparrot.config import Config
from codeparrot.errors import CodeparrotError
from codeparrot.model.families import model_config, num_parameters
from codeparrot.scale.rule import Rule, Run, depths_of, ratios_of, series, shape_of, tokens_of
from codeparrot.scale.rule import resized as resized_of

GPT2 = {"family": "gpt2", "vocab_size": 64, "n_positions": 16, "n_embd": 32, "n_layer": 4, "n_head": 4}
LLAMA = {
    **{"family": "llama", "vocab_size": 64, "hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 6},
    **{"num_key_value_heads": 2, "intermediate_size": 120},
}


def base(model: dict[str, Any] = GPT2, **changes: Any) -> Config:
    config = Config(model=dict(model))
    config.run.name, config.stream.valid, config.stream.seq_length, config.stream.lanes = "base", ["valid"], 16, 2
    config.train.global_batch_size, config.train.micro_batch_size, config.train.max_steps = 8, 4, 1000
    config.schedule.warmup_steps = 200
    for name, value in changes.items():
        section, _, key = name.partition("__")
        setattr(getattr(config, section), key, value)
    return config


def resized(model: dict[str, Any], depth: int) -> dict[str, Any]:
    return resized_of(model, model_config(model), depth)


def runs_of(config: Config, sizes: int = 3, lengths: int = 2, lr: float = 0.5, batch: float = 0.0, **named: Any) -> list[Run]:
    depths, ratios, tokens = (named.get(name, ()) for name in ("depths", "ratios", "tokens"))
    return series(config, Rule.of(config, sizes, lengths, depths, ratios, lr, batch, tokens))


@given(st.integers(1, 100), st.data())
def test_depths_rise_to_that_of_the_base(deepest: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, deepest))
    depths = depths_of(deepest, count)
    assert len(depths) == count and depths[-1] == deepest and depths[0] >= 1
    assert all(low < high for low, high in pairwise(depths))


def test_depths_of_a_deep_base_have_four_times_the_parameters_each() -> None:
    assert depths_of(24, 4) == (6, 10, 15, 24)
    assert depths_of(4, 4) == (1, 2, 3, 4)
    with pytest.raises(CodeparrotError, match="--sizes 5: a base of 4 layers has 4 depths"):
        depths_of(4, 5)


@pytest.mark.slow
@settings(max_examples=10, deadline=None)
@given(
    st.integers(1, 3),
    st.integers(1, 4),
    st.sampled_from([2, 6, 8]),
    st.lists(st.floats(0.5, 50), min_size=1, max_size=2, unique_by=lambda ratio: f"{ratio:.3g}"),
    st.lists(st.integers(1, 5), min_size=2, max_size=2, unique=True),
)
def test_widths_divide_by_the_head_size_parameters_rise_and_tokens_are_as_asked(layers, heads, head, ratios, depths) -> None:
    config = base({**GPT2, "n_layer": layers, "n_head": heads, "n_embd": heads * head})
    found = runs_of(config, depths=depths, ratios=ratios)
    assert len(found) == len(depths) * len(ratios) == len({run.name for run in found})
    for run in found:
        assert run.shape.width == run.shape.heads * head and run.shape == shape_of(model_config(run.config.model))
        assert abs(run.shape.width - heads * head * run.shape.depth / layers) <= max(head / 2, head - heads * head / layers)
        assert run.parameters == num_parameters(model_config(run.config.model))
        half_a_step = run.config.train.global_batch_size * 16 / 2
        assert abs(run.tokens - run.asked) <= half_a_step * (1 + 1e-9)
        assert any(math.isclose(run.asked, ratio * run.parameters) for ratio in ratios)
        assert run.flops == 6 * run.parameters * run.tokens
    parameters = {run.shape.depth: run.parameters for run in found}
    assert parameters[min(depths)] < parameters[max(depths)]
    assert [run.cost for run in found] == sorted(run.cost for run in found)


@pytest.mark.parametrize("model", [GPT2, LLAMA])
def test_the_last_run_is_the_base_setting_for_setting(model: dict[str, Any]) -> None:
    config = base(model, optim__lr=1.2345678e-3, evaluate__every_steps=70)
    last = runs_of(config, batch=0.383)[-1]
    config.run.name = last.name
    assert asdict(last.config) == asdict(config)
    assert last.name.startswith(f"base-d{shape_of(model_config(model)).depth}-t")


def test_lengths_end_at_the_base_and_double() -> None:
    config = base()
    own = tokens_of(config) / num_parameters(model_config(config.model))
    assert ratios_of(config, 3) == pytest.approx((own / 4, own / 2, own))


def test_lengths_in_tokens_are_the_same_for_every_size() -> None:
    config = base()
    found = runs_of(config, sizes=2, tokens=[64_000, tokens_of(config)])
    assert {run.name: run.tokens for run in found} == {
        **{"base-d3-64k": 64_000, "base-d4-64k": 64_000},
        **{"base-d3-128k": 128_000, "base-d4-128k": 128_000},
    }
    last = next(run for run in found if run.name == "base-d4-128k")
    config.run.name = last.name
    assert asdict(last.config) == {**asdict(config), "evaluate": asdict(last.config.evaluate)}


def test_layers_keep_the_base_s_proportions_under_the_names_of_the_recipe() -> None:
    assert resized({**LLAMA, "num_hidden_layers": 6}, 3) == {
        **{"family": "llama", "vocab_size": 64, "hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 3},
        **{"num_key_value_heads": 1, "intermediate_size": 60, "initializer_range": pytest.approx(0.02 * 2**0.5, rel=1e-5)},
    }
    assert resized({**GPT2, "n_inner": 96, "initializer_range": 0.1}, 2) == {
        **{**GPT2, "n_layer": 2, "n_embd": 16, "n_head": 2},
        **{"n_inner": 48, "initializer_range": pytest.approx(0.1 * 2**0.5, rel=1e-5)},
    }
    assert "n_inner" not in resized(GPT2, 2)
    # Names that transformers takes as well as the family's own.
    other = {"family": "gpt2", "vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4}
    assert resized(other, 2).keys() == {*other, "initializer_range"}


@pytest.mark.parametrize("groups", [1, 2, 3, 6])
def test_groups_of_heads_divide_the_heads_at_every_depth(groups: int) -> None:
    model = {**LLAMA, "num_key_value_heads": groups, "num_hidden_layers": 6}
    for depth in range(1, 9):
        found = resized(model, depth)
        assert found["num_attention_heads"] % found["num_key_value_heads"] == 0
        model_config(found)  # transformers builds it


def test_the_rate_goes_with_the_width_and_the_root_of_the_batch() -> None:
    config = base(optim__name="muon", optim__lr=0.01, optim__embedding_lr=0.1)
    small = runs_of(config, depths=[1], ratios=[10.0])[0].config
    assert (small.optim.lr, small.optim.embedding_lr, small.optim.head_lr) == (0.02, 0.2, 0.0)
    assert runs_of(config, depths=[1], ratios=[10.0], lr=0.0)[0].config.optim.lr == 0.01
    assert small.train.global_batch_size == 8
    grown = runs_of(config, depths=[4], ratios=[16 * tokens_of(config) / num_parameters(model_config(GPT2))], batch=0.5)[0]
    assert grown.config.train.global_batch_size == 32 and grown.config.optim.lr == pytest.approx(0.02)
    odd = runs_of(config, depths=[4], ratios=[50.0], batch=0.3)[0].config.train
    assert odd.global_batch_size % math.lcm(2, odd.micro_batch_size) == 0


def test_what_counts_steps_keeps_its_share_and_short_runs_are_not_measured_more_often() -> None:
    config = base(checkpoint__every_steps=100, checkpoint__keep_every_steps=300, hub__every=200, evaluate__every_steps=50)
    config.train.log_every_steps = 10
    own = tokens_of(config) / num_parameters(model_config(GPT2))
    half, double = (run.config for run in runs_of(config, depths=[4], ratios=[own / 2, 2 * own]))
    assert (half.train.max_steps, half.schedule.warmup_steps, half.train.log_every_steps) == (500, 100, 5)
    assert (half.evaluate.every_steps, half.checkpoint.every_steps, half.checkpoint.keep_every_steps) == (50, 100, 300)
    assert (double.train.max_steps, double.schedule.warmup_steps, double.train.log_every_steps) == (2000, 400, 20)
    assert (double.evaluate.every_steps, double.checkpoint.every_steps) == (100, 200)
    assert (double.checkpoint.keep_every_steps, double.hub.every) == (600, 400)


def test_a_base_without_evaluations_is_measured_at_its_ends() -> None:
    for run in runs_of(base(evaluate__every_steps=0)):
        assert run.config.evaluate.every_steps == run.config.train.max_steps


@pytest.mark.parametrize(
    ("model", "named", "message"),
    [
        ({"family": "mamba", "vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2}, {}, "mamba has no single num_att"),
        (LLAMA, {"depths": [2, 2]}, "stands for two runs: give depths and lengths once each"),
        (LLAMA, {"ratios": [1.0001, 1.0002]}, "stands for two runs"),
        (LLAMA, {"tokens": [1_000_001, 1_000_002]}, "stands for two runs"),
        (LLAMA, {"ratios": [1e-6]}, "tokens are less than a step; give more --tokens_per_parameter"),
        (
            {**LLAMA, "family": "qwen3", "head_dim": 8, "num_attention_heads": 5, "num_key_value_heads": 5},
            {},
            "5 heads do not divide",
        ),
        (
            {**LLAMA, "family": "qwen3", "head_dim": 8, "layer_types": ["full_attention"] * 3},
            {},
            "layer_types names each of the 3",
        ),
    ],
)
def test_a_base_of_which_no_series_can_be_made_is_refused(model, named, message) -> None:
    with pytest.raises(CodeparrotError, match=message):
        runs_of(base(model), **named)
