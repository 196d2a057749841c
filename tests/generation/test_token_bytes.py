"""The bytes of tokens are those of the text that they stand for."""

from typing import Any

import pytest

from codeparrot.generation.healing import vocabulary_of
from codeparrot.generation.prompts import resolved
from codeparrot.generation.requests import Request
from tests.generation.test_healing import SPACE, made


@pytest.fixture(scope="module")
def gemma(tmp_path_factory) -> Any:
    """A tokenizer like Gemma's: its indentations are added tokens, spelled with U+2581 as all the others."""
    names = ["<unk>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *"defx ()nump", SPACE, SPACE * 2, SPACE * 4, "\n\n"]
    model = {"type": "BPE", "byte_fallback": True, "fuse_unk": True, "unk_token": "<unk>"}
    vocab = {name: index for index, name in enumerate(dict.fromkeys(names))}
    model |= {"vocab": vocab, "merges": [(SPACE, SPACE), (SPACE * 2, SPACE * 2)]}
    plain = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), False)
    back = {"type": "Replace", "pattern": {"String": SPACE}, "content": " "}
    return made(
        model,
        tmp_path_factory.mktemp("gemma"),
        added_tokens=[{"id": vocab[name], "content": name, **plain} for name in (SPACE * 2, SPACE * 4, "\n\n")],
        normalizer={"type": "Replace", "pattern": {"String": " "}, "content": SPACE},
        decoder={"type": "Sequence", "decoders": [back, {"type": "ByteFallback"}, {"type": "Fuse"}]},
    )


def test_the_bytes_of_added_tokens_are_those_of_their_text(gemma) -> None:
    vocabulary = vocabulary_of(gemma)
    assert vocabulary is not None
    for text in ("  ", "    ", "\n\n"):
        (index,) = gemma(text)["input_ids"]
        assert vocabulary.bytes_of[index] == text.encode() == gemma.decode([index]).encode()
    found = resolved(Request("def  "), gemma, None)
    assert found.begin == b"  ", "two spaces may go on into four"
