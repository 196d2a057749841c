"""The longest context of a model, by its transformers config."""

from typing import Any, NamedTuple

_NAMES = ("max_position_embeddings", "max_seq_len")
_BEHIND_PADDING = (
    *("camembert", "data2vec-text", "esm", "ibert", "longformer", "luke", "roberta", "roberta-prelayernorm", "xlm-roberta"),
    *("xlm-roberta-xl", "xmod"),
)
"""Families whose first position has the number of the padding token plus 1."""
_BEHIND_1 = ("mpnet",)
"""Families whose first position is 2, whatever the padding token is."""


class Context(NamedTuple):
    """How many tokens a model reads at once."""

    tokens: int
    name: str
    """The setting that says so."""
    unused: int
    """How much larger the setting is: positions that no token has."""


def context(settings: Any) -> Context | None:
    """Return the context of a transformers config; None for a family without one (ALiBi, recurrent)."""
    text = settings.get_text_config()
    for name in _NAMES:
        room = getattr(text, name, None)
        if isinstance(room, int) and room > 0:
            padding = getattr(text, "pad_token_id", None) if text.model_type in _BEHIND_PADDING else None
            padding = 1 if text.model_type in _BEHIND_1 else padding
            unused = padding + 1 if isinstance(padding, int) and padding >= 0 else 0
            return Context(room - unused, name, unused)
    return None


def context_of(settings: Any) -> int | None:
    """Return the longest context of a transformers config, in tokens; None for a family without one (ALiBi, recurrent)."""
    found = context(settings)
    return found.tokens if found else None
