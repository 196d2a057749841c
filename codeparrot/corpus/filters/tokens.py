"""How many tokens a text has, by a tokenizer that is loaded once a process."""

from functools import lru_cache
from typing import Any


@lru_cache(maxsize=4)
def encoder(tokenizer: str) -> Any:
    """Return the encoder of a tokenizer: a folder, or a name on the Hub.

    Raises:
        CodeparrotError: it cannot be loaded.
    """
    # Here, because a corpus is built without a tokenizer more often than with one, and these take seconds to import.
    from codeparrot.loading import load_tokenizer
    from codeparrot.stream import make_encoder

    loaded = load_tokenizer(tokenizer)
    return make_encoder(loaded.backend_tokenizer.to_str(), loaded.eos_token_id)


def num_tokens(content: str, tokenizer: str) -> int:
    """Return the number of tokens of a text, the end of the document not counted."""
    ids, _ = encoder(tokenizer).encode([content])
    return len(ids)
