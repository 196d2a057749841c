"""Files that a tokenizer cuts into small pieces: data, or another language. Each process loads the tokenizer once."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from codeparrot.corpus.filters.filter import Filter
from codeparrot.corpus.filters.text import Text


@dataclass(frozen=True)
class Limits:
    tokenizer: str = ""
    """Tokenizer for min_characters_per_token: a folder, or a name on the Hub (empty: that filter is off)."""
    min_characters_per_token: float = 1.5
    """Fewest characters per token, on average over the file."""


@lru_cache(maxsize=4)
def encoder(tokenizer: str) -> Any:
    """Return the encoder of a tokenizer: a folder, or a name on the Hub.

    Raises:
        CodeparrotError: it cannot be loaded.
    """
    # Imported here: these take seconds to import, and most corpora are built without a tokenizer.
    from codeparrot.loading import load_tokenizer
    from codeparrot.stream import make_encoder

    loaded = load_tokenizer(tokenizer)
    return make_encoder(loaded.backend_tokenizer.to_str(), loaded.eos_token_id)


def num_tokens(content: str, tokenizer: str) -> int:
    """Return the number of tokens in a text, without the end of the document."""
    ids, _ = encoder(tokenizer).encode([content])
    return len(ids)


def is_on(limits: Limits) -> bool:
    return bool(limits.tokenizer and limits.min_characters_per_token)


def passes(text: Text, limits: Limits) -> bool:
    return len(text.content) >= limits.min_characters_per_token * num_tokens(text.content, limits.tokenizer)


def check(limits: Limits) -> None:
    if is_on(limits):
        encoder(limits.tokenizer)


def files(limits: Limits) -> dict[str, str]:
    if not is_on(limits):
        return {}
    from codeparrot.loading import load_tokenizer, tokenizer_digest

    return {"filters.tokenizer": tokenizer_digest(load_tokenizer(limits.tokenizer))}


FILTER = Filter(
    Limits,
    passes,
    order=120,
    rule="fewer than {min_characters_per_token:g} characters a token",
    is_on=is_on,
    check=check,
    files=files,
)
