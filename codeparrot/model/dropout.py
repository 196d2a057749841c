"""Dropout that nobody asked for.

A family's own default may be above 0 (GPT-2: 0.1). It slows training down, and each process draws its own masks, so that one
and two processes train different models: a run says so at its start.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

_NOT_OF_THE_MODEL = ("summary_", "classifier_", "encoder_")
"""Beginnings of names that concern heads for classification, and encoders."""


def unasked(settings: Mapping[str, Any], config: Any) -> dict[str, float]:
    """Return the probabilities above 0 that a transformers config has for dropout without the settings naming them.

    Args:
        settings: the `model` section of a configuration.
        config: what `families.model_config` makes of it.
    """
    text = config.get_text_config()
    named = {text.attribute_map.get(key, key) for key in settings}
    names = [field.name for field in dataclasses.fields(text) if "drop" in field.name and field.name not in named]
    found = {name: getattr(text, name, None) for name in names if not name.startswith(_NOT_OF_THE_MODEL)}
    return {name: float(value) for name, value in found.items() if isinstance(value, int | float) and value > 0}
