"""How the vectors of a text's tokens become one. Importing this module imports nothing heavy."""

from typing import Any, Literal

Pooling = Literal["auto", "mean", "last"]
"""auto: last for causal models, whose last token alone has seen all others, mean for
others."""


def pooling_of(pooling: Pooling, config: Any) -> Literal["mean", "last"]:
    """Return what auto means for a model."""
    return pooling if pooling != "auto" else "last" if is_causal(config) else "mean"


def is_causal(config: Any) -> bool:
    """Return whether each token of a model sees only those before it, by the class that its config names."""
    from transformers.models.auto import modeling_auto

    if config.is_encoder_decoder:
        return False
    # A class may be in both mappings (BertLMHeadModel is not): what is not masked is causal, as it is without a class.
    masked = set(modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES.values())
    return not masked & set(config.architectures or ())
