"""The rule of a miniseries: one dial, the depth, from which everything else about a run follows.

Guarantees: the deepest model at the greatest length is the base, setting for setting. Widths are multiples of the base's head
size, parameters rise with depth, and every run has the tokens, or tokens a parameter, that it was asked for, to half a step.

- width = base width * depth / base depth; heads = width / head size; feed-forward layers keep their ratio to the width; the
  range of the initial weights goes with width^-0.5, as nano's and micro's recipes have it. So N grows with depth^3, not
  counting embeddings. nanochat has this dial.
- lr = base lr * (width / base width)^-lr_exponent * (batch / base batch)^0.5. nanochat scales AdamW's rates with width^-0.5.
  muP (Yang et al., 2022) has width^-1 for hidden matrices and width^0 for embeddings: one rate for both lies between. DeepSeek
  LLM (Bi et al., 2024) has C^-0.125, which is width^-0.75 at equal tokens a parameter. This project's recipes go with
  width^-0.6 from nano to mini. Muon's updates are as large as AdamW's here (optim/muon.py), so the rule is the same.
- batch = base batch * (tokens / base tokens)^batch_exponent; 0.383 is that of Bergsma et al. (2025, "Power Lines"). By default
  it is constant: over two powers of ten of tokens a batch that suits the middle suits all.
- warm-up and lines of the log keep their share of the steps. Evaluations and checkpoints come as often in a longer run as in
  the base, and no more often in a shorter one, where they would take more time than the steps.

Costs: each size is built once on the meta device (0.2 s).
"""

import copy
import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from transformers import PreTrainedConfig

from codeparrot.config import Config
from codeparrot.errors import CodeparrotError
from codeparrot.figures import count_in_words
from codeparrot.model.families import model_config, num_parameters
from codeparrot.model.flops import flops_per_token
from codeparrot.scale.law import FLOPS_PER_TOKEN_AND_PARAMETER
from codeparrot.stream.batches import SCHEDULE

PARAMETERS_A_SIZE, TOKENS_A_LENGTH = 4, 2
"""Times that a size has the parameters of the one before, not counting embeddings, and a length its tokens."""
_SHAPE = ("num_hidden_layers", "hidden_size", "num_attention_heads")
_WITH_WIDTH = "intermediate_size n_inner ffn_dim ffn_hidden_size moe_intermediate_size shared_expert_intermediate_size".split()
"""Sizes of feed-forward layers, under the names that families have for them."""
_RATES = ("lr", "embedding_lr", "head_lr", "vector_lr")
_STEPS = (("schedule", "warmup_steps"), ("train", "log_every_steps"))
_OFTEN_ENOUGH = (
    *(("evaluate", name) for name in ("every_steps", "humaneval_every_steps", "infilling_every_steps")),
    ("checkpoint", "every_steps"),
)
_OF_CHECKPOINTS = (("checkpoint", "keep_every_steps"), ("hub", "every"))
"""Multiples of `checkpoint.every_steps`, which they stay."""


class Rule(NamedTuple):
    """What a series is made of, besides its base."""

    depths: tuple[int, ...]
    ratios: tuple[float, ...]
    """Tokens a parameter; all parameters count. Empty where there are `tokens`."""
    lr_exponent: float
    batch_exponent: float
    tokens: tuple[float, ...] = ()
    """The same for every size."""

    @classmethod
    def of(
        cls,
        base: Config,
        sizes: int,
        lengths: int,
        depths: Sequence[int] = (),
        ratios: Sequence[float] = (),
        lr: float = 0.0,
        batch: float = 0.0,
        tokens: Sequence[float] = (),
    ) -> "Rule":
        """Return the rule of the depths and lengths that were named, or of as many as were asked for, ending at the base."""
        chosen = tuple(sorted(depths)) or depths_of(shape_of(model_config(base.model)).depth, sizes)
        own = () if tokens else tuple(sorted(ratios)) or ratios_of(base, lengths)
        return cls(chosen, own, lr, batch, tuple(sorted(tokens)))

    def lengths_of(self, parameters: int) -> list[tuple[str, float]]:
        """Return the lengths of the runs of a size in tokens, each with its name."""
        ratios = [(f"t{_short(ratio)}", ratio * parameters) for ratio in self.ratios]
        return ratios or [(count_in_words(tokens), tokens) for tokens in self.tokens]


class Shape(NamedTuple):
    depth: int
    width: int
    heads: int


class Run(NamedTuple):
    """A run of a series."""

    name: str
    config: Config
    shape: Shape
    asked: float
    """Tokens that were asked for."""
    parameters: int
    cost: float
    """FLOPs with attention, for the time."""

    @property
    def tokens(self) -> int:
        return tokens_of(self.config)

    @property
    def flops(self) -> float:
        """As a law counts: 6 N D."""
        return FLOPS_PER_TOKEN_AND_PARAMETER * self.parameters * self.tokens


def tokens_of(config: Config) -> int:
    return config.train.max_steps * config.train.global_batch_size * config.stream.seq_length


def shape_of(config: PreTrainedConfig) -> Shape:
    """Return depth, width and heads of a model.

    Raises:
        CodeparrotError: its family has no such single numbers, or its heads do not divide its width.
    """
    values = [getattr(config, alias, None) if alias in _fields(config) else None for alias in _SHAPE]
    lacking = [alias for alias, value in zip(_SHAPE, values, strict=True) if not isinstance(value, int)]
    if lacking:
        raise CodeparrotError(
            f"model.family {config.model_type} has no single {' and no '.join(lacking)}: a series is made of families that "
            "have a depth, a width and a number of heads, as gpt2 and llama"
        )
    shape = Shape(*(int(value) for value in values if value is not None))
    if shape.width % shape.heads:
        raise CodeparrotError(f"model: {shape.heads} heads do not divide a width of {shape.width}, so there is no head size")
    return shape


def _fields(config: Any) -> set[str]:
    """Return the names of a family's settings, aliases as well."""
    own = {field.name for field in dataclasses.fields(config)}
    return own | {alias for alias, name in config.attribute_map.items() if name in own}


def depths_of(deepest: int, count: int) -> tuple[int, ...]:
    """Return so many depths that end at `deepest`: each with four times the parameters of the one before, where that is whole.

    Raises:
        CodeparrotError: there are fewer depths than that.
    """
    if count > deepest:
        raise CodeparrotError(
            f"--sizes {count}: a base of {deepest} layers has {deepest} depths; take a deeper base, or fewer sizes"
        )
    depths = [deepest]
    for number in range(1, count):
        wished = deepest * PARAMETERS_A_SIZE ** (-number / 3)
        depths.append(max(count - number, min(round(wished), depths[-1] - 1)))
    return tuple(reversed(depths))


def ratios_of(base: Config, count: int) -> tuple[float, ...]:
    """Return so many lengths that end at the base's own, in tokens a parameter, each with half the tokens of the next."""
    own = tokens_of(base) / num_parameters(model_config(base.model))
    return tuple(own / TOKENS_A_LENGTH**number for number in reversed(range(count)))


def series(base: Config, rule: Rule) -> list[Run]:
    """Return the runs of a series, the cheapest first. Their `run.dir` is still the base's.

    Raises:
        CodeparrotError: its batches grow, no model can be built, two runs would have one name, or a length is less than a step.
    """
    if base.train.global_batch_schedule:
        raise CodeparrotError(f"{SCHEDULE} is not for a series, whose batches follow the rule; leave it out")
    base_config = model_config(base.model)
    own = shape_of(base_config)
    _check_layers(base.model, own.depth)
    runs = []
    for depth in rule.depths:
        model = resized(base.model, base_config, depth)
        built = model_config(model)
        shape = shape_of(built)
        parameters, flops = num_parameters(built), flops_per_token(built, base.stream.seq_length)
        for length, tokens in rule.lengths_of(parameters):
            is_base = depth == own.depth and math.isclose(tokens, tokens_of(base))
            config = copy.deepcopy(base)
            config.run.name = f"{base.run.name}-d{depth}-{length}"
            config.model = model
            if not is_base:
                _resize_batch(config, base, tokens, rule.batch_exponent)
                _set_length(config, base, tokens)
                batches = config.train.global_batch_size / base.train.global_batch_size
                _scale_rates(config, (shape.width / own.width) ** -rule.lr_exponent * math.sqrt(batches))
            config.evaluate.every_steps = config.evaluate.every_steps or config.train.max_steps
            runs.append(Run(config.run.name, config, shape, tokens, parameters, flops * tokens_of(config)))
    names = [run.name for run in runs]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise CodeparrotError(f"{twice} stands for two runs: give depths and lengths once each")
    return sorted(runs, key=lambda run: run.cost)


def _short(ratio: float) -> str:
    return f"{ratio:.3g}" if ratio < 1000 else f"{ratio:.0f}"


def _check_layers(model: Mapping[str, Any], depth: int) -> None:
    for key, value in model.items():
        if isinstance(value, list) and depth > 1 and len(value) == depth:
            raise CodeparrotError(
                f"model.{key} names each of the {depth} layers, which says nothing of other depths: leave it out"
            )


def resized(model: Mapping[str, Any], config: PreTrainedConfig, depth: int) -> dict[str, Any]:
    """Return the `model` section, of which `config` was made, at another depth, under the names that its user has written."""
    own = shape_of(config)
    if depth == own.depth:
        return dict(model)
    head = own.width // own.heads
    width = max(1, math.floor(own.width * depth / own.depth / head + 0.5)) * head
    times, heads = width / own.width, width // head
    values: dict[str, Any] = dict(zip(_SHAPE, (depth, width, heads), strict=True))
    fields = _fields(config)
    for name in _WITH_WIDTH:
        if name in fields and isinstance(size := getattr(config, name), int):
            values[name] = max(1, round(size * times))
    if "num_key_value_heads" in fields and isinstance(groups := getattr(config, "num_key_value_heads", None), int):
        wished = heads * groups / own.heads
        divisors = [number for number in range(1, heads + 1) if heads % number == 0]
        values["num_key_value_heads"] = min(divisors, key=lambda number: abs(number - wished))
    if "initializer_range" in fields and isinstance(spread := getattr(config, "initializer_range", None), float):
        values["initializer_range"] = _significant(spread * times**-0.5)
    names = {name: config.attribute_map.get(name, name) for name in values}
    written = {config.attribute_map.get(key, key): key for key in model}
    return dict(model) | {written.get(names[name], names[name]): value for name, value in values.items()}


def _significant(value: float) -> float:
    return float(f"{value:.6g}")


def _resize_batch(config: Config, base: Config, tokens: float, exponent: float) -> None:
    times = (tokens / tokens_of(base)) ** exponent
    if exponent:
        unit = math.lcm(base.stream.lanes, base.train.micro_batch_size)
        config.train.global_batch_size = max(1, round(base.train.global_batch_size * times / unit)) * unit


def _set_length(config: Config, base: Config, tokens: float) -> None:
    """Set the steps of a run, and what counts steps."""
    config.train.max_steps = round(tokens / config.train.global_batch_size / config.stream.seq_length)
    if config.train.max_steps < 1:
        raise CodeparrotError(
            f"{config.run.name}: {tokens:,.0f} tokens are less than a step; give more --tokens_per_parameter, fewer --lengths, "
            "more --tokens or a smaller train.global_batch_size"
        )
    times = config.train.max_steps / base.train.max_steps
    for section, name in (*_STEPS, *_OFTEN_ENOUGH):
        if steps := getattr(getattr(base, section), name):
            own = times if (section, name) in _STEPS else max(1, times)
            setattr(getattr(config, section), name, max(1, round(steps * own)))
    for section, name in _OF_CHECKPOINTS:
        steps, every = getattr(getattr(base, section), name), base.checkpoint.every_steps
        if steps and every and steps % every == 0:
            setattr(getattr(config, section), name, steps // every * config.checkpoint.every_steps)


def _scale_rates(config: Config, times: float) -> None:
    for name in _RATES:
        if times != 1:
            setattr(config.optim, name, _significant(getattr(config.optim, name) * times))
