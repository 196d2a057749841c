"""Whether the shape of a model fits the tokenizer and the windows of a run, before any weight is drawn."""

from typing import Any

from codeparrot.config import Config
from codeparrot.errors import CodeparrotError
from codeparrot.loading import largest_id
from codeparrot.model.context import context
from codeparrot.model.kinds import kind_of


def fit_vocabulary(settings: Any, tokenizer: Any, config: Config, length: int | None = None) -> Any:
    """Check that a transformers config fits the tokenizer and the windows; return it with the tokenizer's special ids.

    Args:
        settings: the transformers config; it is changed.
        tokenizer: of transformers.
        config: of the run.
        length: positions that the model needs for a window; None: its tokens.

    Raises:
        CodeparrotError: naming the key and the nearest valid value.
    """
    text = settings.get_text_config()
    size = largest_id(tokenizer) + 1
    if text.vocab_size < size:
        ids = f"the {size} tokens" if size == len(tokenizer) else f"the {size} ids, from 0 to {size - 1},"
        raise CodeparrotError(
            f"model.vocab_size {text.vocab_size} is smaller than {ids} of {config.tokenizer.path}; set model.vocab_size {size}"
        )
    # Nothing is padded in training, but families after RoBERTa count positions from behind the padding token.
    further = () if kind_of(settings) == "causal" else ("pad_token_id",)
    for name in ("bos_token_id", "eos_token_id", *further):
        if getattr(settings, name, None) is None:
            setattr(settings, name, getattr(tokenizer, name))
    room, seq_length = context(settings), config.stream.seq_length
    length = length or seq_length
    if room is not None and room.tokens < length:
        name = text.attribute_map.get(room.name, room.name)
        told = f"stream.seq_length {seq_length}" if length == seq_length else f"what is read or written of a window ({length})"
        raise CodeparrotError(
            f"{told} is longer than model.{name} {room.tokens + room.unused}"
            f"{f', of which {room.unused} are never used' if room.unused else ''}; "
            f"set {f'stream.seq_length {room.tokens} or ' if room.tokens > 1 and length == seq_length else ''}"
            f"model.{name} {length + room.unused}"
        )
    if further and settings.pad_token_id == tokenizer.eos_token_id:
        raise CodeparrotError(
            f"model.pad_token_id {settings.pad_token_id} is the tokenizer's end of documents, which would not be learned; "
            "leave it out, and take a tokenizer with a padding token (codeparrot tokenizer train --objectives)"
        )
    if kind_of(settings) == "encoder-decoder" and getattr(settings, "decoder_start_token_id", None) is None:
        settings.decoder_start_token_id = settings.pad_token_id  # as T5
    _check_special_ids(settings, tokenizer)
    return settings


def _check_special_ids(settings: Any, tokenizer: Any) -> None:
    """Check the ids that `model` names itself: whoever generates with the model reads and waits for them."""
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        value = getattr(settings, name, None)
        ids = value if isinstance(value, list | tuple) else [value]
        size = settings.get_text_config().vocab_size
        # -1 is how some families write that there is none.
        if beyond := [each for each in ids if each is not None and not -1 <= each < size]:
            raise CodeparrotError(f"model.{name} {beyond[0]} is no id: model.vocab_size is {size}; leave it out")
        if name == "eos_token_id" and tokenizer.eos_token_id not in ids:
            own = tokenizer.eos_token_id
            raise CodeparrotError(f"model.{name} {value} is not the tokenizer's {own}, which ends every document; leave it out")
