"""Kinds of models: what each predicts, and the classes of transformers that are of it.

A transformers config says its kind as config.json does, by the class in `architectures`; without one it is causal. So nothing
that has a config needs to be told the kind as well. Of a config.json by others, `kind_stored` says more.
"""

from functools import cache
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

from codeparrot.errors import CodeparrotError, nearest

if TYPE_CHECKING:  # settings are checked before transformers is imported
    from transformers import PreTrainedConfig, PreTrainedModel

Kind = Literal["causal", "masked", "encoder-decoder"]
"""causal: each token from those before it; masked: tokens that are hidden, from those on both sides; encoder-decoder: a text
from another one."""


class Classes(NamedTuple):
    """The models of transformers that are of a kind."""

    of_config: Any
    """Maps the class of a config to that of the model."""
    names: Any
    """Maps model types to the names of these classes."""
    auto: str
    """The class of transformers that loads any of them."""
    words: str
    usual: str
    """Families to name where a wrong one is like none of them."""


@cache
def classes() -> dict[Kind, Classes]:
    """Return the models of transformers by their kind."""
    from transformers.models.auto import modeling_auto as auto

    causal = (auto.MODEL_FOR_CAUSAL_LM_MAPPING, auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, "AutoModelForCausalLM")
    masked = (auto.MODEL_FOR_MASKED_LM_MAPPING, auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES, "AutoModelForMaskedLM")
    both = (auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING, auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES)
    return {
        "causal": Classes(*causal, "causal language model", "gpt2, llama or qwen3"),
        "masked": Classes(*masked, "masked language model", "bert, roberta or modernbert"),
        "encoder-decoder": Classes(*both, "AutoModelForSeq2SeqLM", "sequence-to-sequence model", "t5, mt5 or bart"),
    }


OBJECTIVES: dict[Kind, str] = {"causal": "causal", "masked": "masked", "encoder-decoder": "span"}
"""`objective.name` that trains a kind, for errors."""


def families(kind: Kind) -> list[str]:
    """Return the model types of a kind. BART and the like also have a class for masked models, but are encoder-decoders."""
    from transformers import CONFIG_MAPPING

    found = [name for name in classes()[kind].names if name in CONFIG_MAPPING]
    return [name for name in found if kind != "masked" or name not in classes()["encoder-decoder"].names]


def kind_of(config: "PreTrainedConfig") -> Kind:
    """Return the kind of the model that a config describes."""
    written = (getattr(config, "architectures", None) or [""])[0]
    found = [kind for kind in classes() if classes()[kind].names.get(config.model_type) == written]
    if written and not found and not getattr(config, "is_decoder", False):
        # A class without a head, or with another one: RobertaModel, T5EncoderModel.
        found = [kind for kind in classes() if config.model_type in families(kind)]
        found = [kind for kind in found if kind != "causal"] or found
    # Where one class is of two kinds, it is an encoder-decoder.
    order: list[Kind] = ["causal", "encoder-decoder", "masked"]
    for kind in order:
        if kind in found:
            return kind
    return "causal"


def kind_stored(config: "PreTrainedConfig") -> Kind:
    """Return the kind of the model in a folder. Its config may lack `architectures`, as no config that a run wrote does."""
    if getattr(config, "architectures", None):
        return kind_of(config)
    if getattr(config, "is_encoder_decoder", False):
        return "encoder-decoder"
    both_sides = config.model_type in families("masked") and not getattr(config, "is_decoder", False)
    return "masked" if both_sides else "causal"


def reader_of(model: "PreTrainedModel") -> "PreTrainedModel":
    """Return the part of a model that makes hidden states of a text: no head, and of an encoder-decoder the encoder."""
    part: Any = model.get_encoder() if kind_stored(model.config) == "encoder-decoder" else model.base_model
    return part


def mark(config: "PreTrainedConfig", kind: Kind) -> None:
    """Have a config describe a model of a kind. A causal one needs no mark."""
    config.architectures = None if kind == "causal" else [classes()[kind].names[config.model_type]]


def model_class(config: "PreTrainedConfig") -> "type[PreTrainedModel]":
    """Return the class of the model that a config describes.

    Raises:
        KeyError: transformers has none.
    """
    return cast("type[PreTrainedModel]", classes()[kind_of(config)].of_config[type(config)])


def check_family(family: Any, kind: Kind) -> None:
    """Check that transformers has a model of this family and kind.

    Raises:
        CodeparrotError: naming the nearest family, or the objective that trains this one.
    """
    from transformers import CONFIG_MAPPING

    if family in families(kind):
        return
    own = classes()[kind]
    if family not in CONFIG_MAPPING:
        hint = nearest(str(family), families(kind))
        raise CodeparrotError(f'model.family: "{family}" is not a model type of transformers{hint}')
    others: list[Kind] = [other for other in classes() if family in families(other)]
    hint = nearest(str(family), families(kind), closeness=0.6) or f"; name {own.usual}"
    hint += f" (objective.name {OBJECTIVES[others[0]]} trains a {family})" if others else ""
    raise CodeparrotError(f'model.family: "{family}" is not a {own.words}{hint}')


def predicted(labels: Any, kind: Kind) -> Any:
    """Return the part of labels that a model of this kind predicts: a causal one has nothing to predict the first token from.

    Args:
        labels: [windows, length], an array or a tensor; what is IGNORED in it is not predicted.
        kind: of the model.
    """
    return labels[..., 1:] if kind == "causal" else labels
