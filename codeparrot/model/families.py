"""Any language model of transformers, from the `model` section of the configuration to a training loss.

Guarantees: a wrong key or an impossible value is a one-line error before any weight is allocated; parameters are float32 and a
function of (config, seed).

Costs: `model_config` and `num_parameters` build the model on the meta device (0.2 s for 48 layers, no memory).
"""

import copy
import dataclasses
import logging
import re
import typing
from collections.abc import Mapping
from typing import Any, cast

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import nn
from transformers import CONFIG_MAPPING, PreTrainedConfig, PreTrainedModel

from codeparrot.errors import CodeparrotError, from_outside, nearest
from codeparrot.model import blocks
from codeparrot.model.encoder_decoder import EncoderDecoder
from codeparrot.model.kinds import OBJECTIVES, Kind, check_family, classes, families, kind_of, mark, model_class
from codeparrot.model.language_model import LanguageModel
from codeparrot.model.loss import compile_loss, set_z_loss
from codeparrot.model.masked_model import MaskedModel

logger = logging.getLogger("codeparrot")

WRAPPERS: dict[Kind, Any] = {"causal": LanguageModel, "masked": MaskedModel, "encoder-decoder": EncoderDecoder}
"""What makes the forward pass of a model its loss, by the model's kind."""
_ACCEPTED_BESIDE_FIELDS = ("attn_implementation", "experts_implementation")
_LEGACY_ROPE = ("rope_theta", "rope_scaling")
_OURS = {
    "dtype": "parameters are kept in float32; train.precision sets the type of the computation",
    "model_type": "the family is model.family",
}
_SIZES = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "max_position_embeddings")


def model_config(settings: Mapping[str, Any], kind: Kind = "causal") -> PreTrainedConfig:
    """Return the transformers config for the `model` section of a configuration.

    Fields that `settings` does not name keep the family's default, except the ids of special tokens: those belong to the
    family's own tokenizer, and are None until the run's tokenizer sets them.

    Args:
        settings: `family` (a model type of transformers that has a model of this kind: gpt2, llama, ...) and any fields of
            that family's config, under their own names or their common aliases (n_layer or num_hidden_layers).
        kind: of the model, which the config then says.

    Raises:
        CodeparrotError: an unknown family or field (the nearest valid one is named), a value of the wrong type, values from
            which no model can be built.
    """
    family, fields = _family(settings, kind), {key: value for key, value in settings.items() if key != "family"}
    config_class = CONFIG_MAPPING[family]
    names = _canonical_names(config_class, fields)
    try:
        values: dict[str, Any] = _no_token_ids(config_class, kind) | {names[key]: value for key, value in fields.items()}
        config = config_class(**values)
    except (StrictDataclassError, ValueError, TypeError) as error:
        raise CodeparrotError(_value_error(error, names)) from error
    _check_sizes(config, names)
    mark(config, kind)
    if kind == "encoder-decoder" and not isinstance(getattr(config, "d_model", None), int):
        raise CodeparrotError(
            f"model.family {family}: its encoder and decoder have settings of their own, which cannot be given here; "
            f"choose {classes()[kind].usual}"
        )
    try:
        empty = [name for name, weight in without_weights(config).named_parameters() if not weight.numel()]
    except KeyError as error:
        key = next((key for key, value in fields.items() if value == error.args[0]), None)
        raise CodeparrotError(f"model{f'.{key}' if key else ''}: {family} knows no {error}") from error
    except (ValueError, TypeError, RuntimeError, ArithmeticError, AssertionError, ImportError) as error:
        raise _not_built(family, error) from error
    if empty:
        raise CodeparrotError(f"model: {empty[0]} of this {family} would hold no numbers: a size among its settings is 0")
    return config


_HARMLESS = (
    *("attn_implementation", "experts_implementation", "bos_token_id", "eos_token_id", "pad_token_id"),
    *("use_cache", "initializer_range", "output_router_logits", "router_aux_loss_coef"),
)
"""Fields that leave alone what a model with given weights computes; so do all kinds of dropout."""
BESIDE_FROM = ("family", "from", "resize_embeddings")
"""Keys of the `model` section that are no fields of a config where it names a source of weights."""


def config_of_weights(config: PreTrainedConfig, settings: Mapping[str, Any], kind: Kind = "causal") -> PreTrainedConfig:
    """Return the config with which a run begins from given weights.

    Args:
        config: of the source; it is changed.
        settings: a `model` section with `from`. Its fields may change dropout and the like, or repeat what the source has.
        kind: of the model.

    Raises:
        CodeparrotError: the source is no model of this kind, or is quantized; a field is not known or
            contradicts the weights.
    """
    source, family = settings["from"], config.model_type
    if family not in families(kind):
        raise CodeparrotError(f"model.from: {source} is a {family or 'model without a type'}, no {classes()[kind].words}")
    if kind == "causal" and (own := kind_of(config)) != kind:
        words = f"a {classes()[own].words}, no causal one; set objective.name {OBJECTIVES[own]} to train it on"
        raise CodeparrotError(f"model.from: {source} is {words}")
    if kind != "causal":
        mark(config, kind)
    if getattr(config, "quantization_config", None) is not None:
        raise CodeparrotError(f"model.from: {source} is quantized; name a model in float32, bfloat16 or float16")
    if settings.get("family", family) != family:
        raise CodeparrotError(
            f"model.family {settings['family']} contradicts model.from: {source} is a {family}; leave it out "
            "(--model '{\"from\": ...}' replaces what a recipe says of its model)"
        )
    config = _class_of(config)[1]
    fields = {key: value for key, value in settings.items() if key not in BESIDE_FROM}
    names = _canonical_names(type(config), fields)
    try:
        for key, name in names.items():
            _set(config, name, key, fields[key], source)
        # As `model_config`: what cannot be built is said before any weight is read.
        without_weights(config)
    except (StrictDataclassError, ValueError, TypeError, KeyError) as error:
        raise CodeparrotError(_value_error(error, names)) from error
    return config


def _set(config: PreTrainedConfig, name: str, key: str, value: Any, source: str) -> None:
    held = getattr(config, name, None)
    if held == value:
        return
    if name in _ACCEPTED_BESIDE_FIELDS:
        name = f"_{name}"
    elif "drop" not in name and name not in _HARMLESS:
        raise CodeparrotError(
            f"model.{key} {value} contradicts model.from: {source} has {held}; leave it out (--model '{{\"from\": ...}}' "
            "replaces what a recipe says of its model)"
        )
    setattr(config, name, value)


def _not_built(family: str, error: Exception) -> CodeparrotError:
    return CodeparrotError(f"model: no {family} can be built from these values: {_last_line(error)}")


def _family(settings: Mapping[str, Any], kind: Kind) -> str:
    family = settings.get("family")
    if family is None:
        raise CodeparrotError("model.family is missing: name a model type of transformers, for example gpt2")
    check_family(family, kind)
    return str(family)


def _canonical_names(config_class: type[PreTrainedConfig], keys: Mapping[str, Any]) -> dict[str, str]:
    """Map each key to the field that it sets. Aliases are resolved here because transformers does not check their types."""
    own = {field.name for field in dataclasses.fields(config_class)} | set(_ACCEPTED_BESIDE_FIELDS)
    own |= set(_LEGACY_ROPE) if "rope_parameters" in own else set()
    known = (own | set(config_class.attribute_map)) - set(_OURS)
    names: dict[str, str] = {}
    for key in keys:
        if key in _OURS:
            raise CodeparrotError(f"model.{key} cannot be set: {_OURS[key]}")
        if key not in known:
            raise CodeparrotError(f"model.{key} is not a setting of {config_class.model_type}{nearest(key, known)}")
        name = config_class.attribute_map.get(key, key)
        if name in names.values():
            raise CodeparrotError(f"model.{key} and model.{name} are two names of one setting: keep one")
        names[key] = name
    return names


def _no_token_ids(config_class: type[PreTrainedConfig], kind: Kind) -> dict[str, None]:
    fields = {field.name: field.type for field in dataclasses.fields(config_class)}
    further = {"masked": ("cls_token_id", "sep_token_id"), "encoder-decoder": ("decoder_start_token_id", "forced_eos_token_id")}
    names = ("bos_token_id", "eos_token_id", "pad_token_id", *further.get(kind, ()))
    return {name: None for name in names if type(None) in typing.get_args(fields.get(name))}


def _check_sizes(config: PreTrainedConfig, names: Mapping[str, str]) -> None:
    """Refuse sizes that transformers accepts, but that build no layer or fail in the first step."""
    written = {name: key for key, name in names.items()}
    text = config.get_text_config()
    for alias in _SIZES:
        name, value = text.attribute_map.get(alias, alias), getattr(text, alias, None)
        if isinstance(value, int) and value < 1:
            raise CodeparrotError(f"model.{written.get(name, name)} must be at least 1, not {value}")
    heads, groups = getattr(text, "num_attention_heads", None), getattr(text, "num_key_value_heads", None)
    if isinstance(heads, int) and isinstance(groups, int) and (groups < 1 or heads % groups):
        raise CodeparrotError(f"model.num_key_value_heads ({groups}) must divide the number of attention heads ({heads})")


def _value_error(error: Exception, names: Mapping[str, str]) -> str:
    """Return an error such as `Field 'n_layer' expected int, got str`, with the key as the user wrote it."""
    text = _last_line(error.__cause__ if isinstance(error.__cause__, Exception) else error)
    field = re.match(r"Field '(\w+)' (.*?)(\. Errors: .*)?$", text)
    if field is None:
        return f"model: {text}"
    return f"model.{next((key for key, name in names.items() if name == field[1]), field[1])} {field[2]}"


def _last_line(error: Exception) -> str:
    """Return the last line of an error, where transformers puts the reason."""
    lines = str(error).strip().splitlines()
    return lines[-1].strip() if lines else type(error).__name__


def _new_model(config: PreTrainedConfig) -> PreTrainedModel:
    """Return a model with float32 weights on the current device. The config is copied, because building a model changes it.

    Not `AutoModelForCausalLM.from_config`: in a DeepSpeed ZeRO-3 process it spreads the weights over the ranks at once, and
    draws different ones.
    """
    config = copy.deepcopy(config)
    config.dtype = torch.float32
    own, config = _class_of(config)
    return own(config)


def _class_of(config: PreTrainedConfig) -> tuple[type[PreTrainedModel], PreTrainedConfig]:
    """Return the class of a language model, and its part of the config where that describes more than a text model."""
    found, text = model_class(config), config.get_text_config()
    return found, text if found.config_class is type(text) else config


def load_weights(config: PreTrainedConfig, folder: str, gguf_file: str | None = None) -> tuple[PreTrainedModel, dict[str, Any]]:
    """Return a model with the weights in a folder or a GGUF file, as float32 in memory of its own, and how the loading went.

    Only safetensors are read, and no code is run. Errors are those of transformers.

    Args:
        config: of the weights; it is not changed.
        folder: holds them.
        gguf_file: name of a file in it.
    """
    own, config = _class_of(copy.deepcopy(config))
    file: dict[str, Any] = {"gguf_file": gguf_file} if gguf_file else {"use_safetensors": True}
    options: Any = {"config": config, "dtype": torch.float32, "local_files_only": True, "trust_remote_code": False, **file}
    model, found = cast(Any, own).from_pretrained(folder, output_loading_info=True, **options)
    for parameter in model.parameters():
        # Otherwise they would be pages of the file, which may change or vanish while the run goes on.
        parameter.data = parameter.data.clone()
    return model.train(), found


def without_weights(config: PreTrainedConfig) -> PreTrainedModel:
    """Return the model on the meta device: its structure and names, no memory."""
    with torch.device("meta"):
        return _new_model(config)


def num_parameters(model_or_config: nn.Module | PreTrainedConfig) -> int:
    """Return the number of parameters; tied weights count once. For a config, nothing is allocated."""
    model = model_or_config if isinstance(model_or_config, nn.Module) else without_weights(model_or_config)
    return sum(parameter.numel() for parameter in model.parameters())


def num_non_embedding_parameters(config: PreTrainedConfig) -> int:
    """Return the number of parameters besides embeddings, of tokens and positions, and the head (Kaplan et al., 2020)."""
    model = without_weights(config)
    tables = {module.weight for module in model.modules() if isinstance(module, nn.Embedding)}
    head = model.get_output_embeddings()
    tables |= {head.weight} if head is not None else set()
    return sum(parameter.numel() for parameter in model.parameters() if parameter not in tables)


def build_model(
    config: PreTrainedConfig,
    *,
    activation_checkpointing: blocks.Checkpointing = "none",
    seed: int,
    compile: bool = False,
    z_loss: float = 0.0,
    loaded: PreTrainedModel | None = None,
    end_of_document: int | None = None,
) -> Any:
    """Build a model with new float32 weights on the CPU, all of them in every process, wrapped as its kind is (WRAPPERS).

    Global random state is not touched.

    Args:
        config: from `model_config`; it is not changed.
        activation_checkpointing: what the backward pass computes again (blocks.py).
        seed: of the weights.
        compile: compile each block, all of them as one graph, and the pointwise part of the loss, at the first step. Names in
            the state dict stay the same.
        z_loss: weight of the z-loss (loss.py).
        loaded: a model of this config whose weights are taken instead of new ones.
        end_of_document: the token that ends documents, if those of a window do not see each other (documents.py).

    Raises:
        CodeparrotError: no weights can be drawn from these values, or there is no memory for them; the family has a loss of its
            own, and so no z-loss; it cannot keep documents apart.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        try:
            model = loaded or _new_model(config)
        except (ValueError, RuntimeError) as error:
            raise from_outside(error) or _not_built(config.model_type, error) from error
    if config._attn_implementation is None and model.config._attn_implementation == "eager":
        logger.warning("model.family %s has no SDPA attention in transformers, so attention runs eagerly", config.model_type)
    language_model = WRAPPERS[kind_of(model.config)](model)
    if z_loss and language_model.own_loss:
        raise CodeparrotError(
            f"train.z_loss: model.family {config.model_type} has a loss of its own, without z-loss; set it to 0"
        )
    set_z_loss(model, z_loss)
    if end_of_document is not None:
        language_model.mask_documents(end_of_document)
    blocks.checkpoint(model, activation_checkpointing)
    if compile:
        blocks.compile_blocks(model, whole=language_model.way == "gpt2")
        compile_loss(model)
    return language_model
