"""The tokens of a text, as a model sees them.

Guarantees: text is encoded as in training, so special tokens are neither added nor recognised. The bytes of the tokens, joined,
are the text; where a tokenizer changes the text before it encodes it, the report says so.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from codeparrot.errors import CodeparrotError
from codeparrot.result import Result
from codeparrot.stream.token_bytes import BYTE_OF
from codeparrot.tokenizer.measures import encode
from codeparrot.tokenizer.report import load

USUAL = "data/tokenizer"


class Shown(NamedTuple):
    """One token."""

    id: int
    token: str
    """As the vocabulary spells it."""
    text: str | None
    """What it stands for; None: a part of a character."""
    start: int
    end: int
    """Characters of the text from `start` to before `end`; a character of several tokens belongs to each of them."""
    byte_start: int
    byte_end: int
    """The same in bytes of UTF-8."""
    bytes: str
    """In hexadecimal."""


def show(text: str, tokenizer: str = USUAL, other: list[str] = []) -> Result:  # noqa: B006 - see report
    """Show the tokens of a text: ids, places in characters and bytes, and the bytes themselves.

    Args:
        text: The text; special tokens in it are taken as text, as in training.
        tokenizer: Folder of a tokenizer, or a name on the Hub.
        other: More tokenizers to compare it with, each a folder or a name on the Hub.
    """
    if tokenizer == USUAL and not Path(USUAL).is_dir():
        raise CodeparrotError(f"there is no {USUAL} here: name a tokenizer with --tokenizer")
    try:
        num_bytes = len(text.encode())
    except UnicodeEncodeError as error:
        raise CodeparrotError(f"the text is no UTF-8 from its character {error.start} on: give it in UTF-8") from error
    found = [(name, *tokens_of(load(name), text)) for name in dict.fromkeys([tokenizer, *other])]
    head = f"{len(text):,} characters, {num_bytes:,} bytes"
    parts = [head, *(_table(name, tokens, changed, num_bytes) for name, tokens, changed in found)]
    rows = [
        {"tokenizer": name, "num_tokens": len(tokens), "changes_text": changed, "tokens": [token._asdict() for token in tokens]}
        for name, tokens, changed in found
    ]
    return Result("\n\n".join(parts), {"text": text, "characters": len(text), "num_bytes": num_bytes, "tokenizers": rows})


def tokens_of(tokenizer: Any, text: str) -> tuple[list[Shown], bool]:
    """Return the tokens of a text, and whether the tokenizer changed the text before it encoded it."""
    (ids,) = encode(tokenizer, [text])
    names = tokenizer.convert_ids_to_tokens(ids)
    pieces = _bytes(tokenizer, names)
    if pieces is None or b"".join(pieces) != text.encode():
        return _by_offsets(tokenizer, text, ids, names), pieces is not None
    shown: list[Shown] = []
    first, raw = 0, text.encode()
    # Character i begins at byte starts[i].
    starts = [place for place, byte in enumerate(raw) if byte & 0xC0 != 0x80]
    character = 0
    for index, name, piece in zip(ids, names, pieces, strict=True):
        last = first + len(piece)
        while character + 1 < len(starts) and starts[character + 1] <= first:
            character += 1
        end = character
        while end < len(starts) and starts[end] < last:
            end += 1
        shown.append(Shown(index, name, _decoded(piece), character, end, first, last, piece.hex(" ")))
        first = last
    return shown, False


def _bytes(tokenizer: Any, names: Sequence[str]) -> list[bytes] | None:
    """Return the bytes of byte-level tokens; None: the tokenizer works on characters."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or '"ByteLevel"' not in json.dumps(json.loads(backend.to_str()).get("decoder")):
        return None
    if any(character not in BYTE_OF for name in names for character in name):
        return None
    return [bytes(BYTE_OF[character] for character in name) for name in names]


def _by_offsets(tokenizer: Any, text: str, ids: Sequence[int], names: Sequence[str]) -> list[Shown]:
    options = {"add_special_tokens": False, "split_special_tokens": True, "return_offsets_mapping": True, "verbose": False}
    try:
        places = tokenizer(text, **options)["offset_mapping"]
    except NotImplementedError as error:
        raise CodeparrotError("the tokenizer does not say where its tokens lie: name one with a tokenizer.json") from error
    lengths = [0]
    for character in text:
        lengths.append(lengths[-1] + len(character.encode()))
    return [
        Shown(index, name, text[start:end], start, end, lengths[start], lengths[end], text[start:end].encode().hex(" "))
        for index, name, (start, end) in zip(ids, names, places, strict=True)
    ]


def _decoded(piece: bytes) -> str | None:
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return None


def _table(name: str, tokens: Sequence[Shown], changed: bool, num_bytes: int) -> str:
    rows = [("id", "characters", "bytes", "text", "bytes of it")]
    for token in tokens:
        characters, place = f"{token.start}-{token.end}", f"{token.byte_start}-{token.byte_end}"
        text = "part of a character" if token.text is None else repr(token.text)
        rows.append((str(token.id), characters, place, text, token.bytes))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = [
        "  ".join([row[0].rjust(widths[0]), *(row[column].ljust(widths[column]) for column in (1, 2, 3)), row[4]]).rstrip()
        for row in rows
    ]
    words = f"{name}: {len(tokens):,} {'token' if len(tokens) == 1 else 'tokens'}" + (
        f", {num_bytes / len(tokens):.2f} bytes a token" if tokens else ""
    )
    notes = ["it changes the text before it encodes it; places are those of the text"] if changed else []
    return "\n".join([words, *notes, *(lines if tokens else [])])
