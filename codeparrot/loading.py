"""The tokenizer of a run, and that the model fits it."""

import hashlib
from typing import Any

from codeparrot.config import Config
from codeparrot.errors import CodeparrotError
from codeparrot.location import local_folder


def load_tokenizer(name: str) -> Any:
    """Load a tokenizer from a folder in the transformers format, or from the Hub: `owner/name[@revision]`.

    Raises:
        CodeparrotError: it cannot be loaded, or has no end-of-document token.
    """
    from transformers import AutoTokenizer

    folder = local_folder(name)
    if folder is not None and not (folder / "tokenizer.json").is_file():
        raise CodeparrotError(f"tokenizer.path: {name} holds no tokenizer.json; train one with `codeparrot tokenizer train`")
    if folder is None:
        from codeparrot.hub import fetch

        folder = fetch.tokenizer(name)
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:
        raise CodeparrotError(f"tokenizer.path: cannot load {name}: {' '.join(str(error).split())[:200]}") from error
    if tokenizer.eos_token_id is None:
        raise CodeparrotError(f"tokenizer.path: {name} has no eos_token, which ends each document; set it in its config")
    return tokenizer


def tokenizer_digest(tokenizer: Any) -> str:
    """Return the SHA-256 of what determines the ids."""
    return hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest()


def fit_vocabulary(settings: Any, tokenizer: Any, config: Config) -> Any:
    """Check a transformers config against the tokenizer and the windows; return it with the tokenizer's end of document.

    Raises:
        CodeparrotError: naming the key and the nearest valid value.
    """
    text = settings.get_text_config()
    size = len(tokenizer)
    if text.vocab_size < size:
        raise CodeparrotError(
            f"model.vocab_size {text.vocab_size} is smaller than the {size} tokens of {config.tokenizer.path}; "
            f"set model.vocab_size {size}"
        )
    context = getattr(text, "max_position_embeddings", None)
    if context is not None and context < config.stream.seq_length:
        name = text.attribute_map.get("max_position_embeddings", "max_position_embeddings")
        raise CodeparrotError(
            f"stream.seq_length {config.stream.seq_length} is longer than model.{name} {context}; "
            f"set stream.seq_length {context} or model.{name} {config.stream.seq_length}"
        )
    for name in ("bos_token_id", "eos_token_id"):
        if getattr(settings, name, None) is None:
            setattr(settings, name, getattr(tokenizer, name))
    return settings
