"""The bytes that each token of a tokenizer stands for.

Known for byte-level tokenizers (GPT-2's) and those that spell a space as U+2581 and an unknown character as bytes (Llama's).
"""

import re
from typing import Any

_PRINTABLE = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
_OTHERS = [byte for byte in range(256) if byte not in _PRINTABLE]
BYTE_OF = {chr(byte): byte for byte in _PRINTABLE} | {chr(256 + index): byte for index, byte in enumerate(_OTHERS)}
"""The byte that a character of a byte-level token stands for, as in GPT-2."""
_SPACE = "\u2581"
_BYTE = re.compile("<0x([0-9A-F]{2})>")


def token_bytes(tokenizer: Any) -> dict[int, bytes] | None:
    """Return the bytes of each token by its id, special tokens left out; None: the tokenizer works on characters.

    Args:
        tokenizer: a tokenizer of transformers.
    """
    decoder = getattr(getattr(tokenizer, "backend_tokenizer", None), "decoder", None)
    kind = decoder.__getstate__().decode() if decoder is not None else ""
    if '"ByteLevel"' in kind:
        spelled = _of_byte_level
    elif '"ByteFallback"' in kind and _SPACE in kind:
        spelled = _of_fallback
    else:
        return None
    added = tokenizer.added_tokens_decoder
    special = {*tokenizer.all_special_ids, *(index for index, token in added.items() if token.special)}
    # A byte-level tokenizer spells added tokens as they are; the other one, its spaces as in any token (Gemma's indentations).
    plain = {index: str(token).encode() for index, token in added.items()} if spelled is _of_byte_level else {}
    found = {
        index: plain.get(index) or spelled(token) for token, index in tokenizer.get_vocab().items() if index not in special
    }
    return {index: data for index, data in found.items() if data}


def is_byte(name: str) -> bool:
    """Return whether a token is spelled as the number of a byte: a part of a character that the tokenizer does not have."""
    return _BYTE.fullmatch(name) is not None


def _of_byte_level(token: str) -> bytes:
    try:
        return bytes(BYTE_OF[character] for character in token)
    except KeyError:  # the model never learned such a token from text
        return b""


def _of_fallback(token: str) -> bytes:
    byte = _BYTE.fullmatch(token)
    return bytes.fromhex(byte[1]) if byte else token.replace(_SPACE, " ").encode()
