import logging

import numpy as np
import pytest
from tokenizers import AddedToken, Tokenizer

from codeparrot.errors import CodeparrotError
from codeparrot.stream import encode
from codeparrot.stream.encode import FastEncoder, ReferenceEncoder, make_encoder, probe_texts
from tests.conftest import STANDARD_LIBRARY


@pytest.mark.slow
def test_both_encoders_give_equal_ids_over_the_whole_standard_library(tokenizer_json) -> None:
    reference, fast = ReferenceEncoder(tokenizer_json, 0), FastEncoder(tokenizer_json, 0)
    files = [file for file in sorted(STANDARD_LIBRARY.rglob("*.py")) if "site-packages" not in file.parts]
    texts = [file.read_text(encoding="utf-8", errors="replace") for file in files]
    assert len(texts) > 1000
    for start in range(0, len(texts), 100):
        part = texts[start : start + 100]
        for ours, theirs in zip(fast.encode(part), reference.encode(part), strict=True):
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("kind", ["tokenizers", "fastokens"])
def test_text_of_a_special_token_is_never_a_control_token(tokenizer_json, kind) -> None:
    encoder = make_encoder(tokenizer_json, 0, kind)
    text = "<|endoftext|> x <|endoftext|><|endoftext|>\n" * 50
    ids, offsets = encoder.encode([text, text])
    assert 0 not in ids
    assert offsets.tolist() == [0, len(ids) // 2, len(ids)]
    assert Tokenizer.from_str(tokenizer_json).decode(ids[: offsets[1]].tolist()) == text


@pytest.mark.parametrize("kind", ["tokenizers", "fastokens"])
def test_no_texts_and_empty_texts(tokenizer_json, kind) -> None:
    encoder = make_encoder(tokenizer_json, 0, kind)
    assert [part.tolist() for part in encoder.encode([])] == [[], [0]]
    assert [part.tolist() for part in encoder.encode(["", ""])] == [[], [0, 0, 0]]


def test_auto_takes_the_fast_encoder(tokenizer_json) -> None:
    assert make_encoder(tokenizer_json, 0).name == "fastokens"


def test_auto_falls_back_and_says_so_when_the_ids_differ(tokenizer_json, monkeypatch, caplog) -> None:
    class Wrong(FastEncoder):
        def encode(self, texts):
            ids, offsets = super().encode(texts)
            return np.where(ids == ids.max(), 5, ids).astype(np.uint32), offsets

    monkeypatch.setattr(encode, "FastEncoder", Wrong)
    with caplog.at_level(logging.WARNING, logger="codeparrot"):
        assert make_encoder(tokenizer_json, 0).name == "tokenizers"
    assert "different ids from tokenizers" in caplog.text
    with pytest.raises(CodeparrotError, match=r"--stream\.encoder tokenizers"):
        make_encoder(tokenizer_json, 0, "fastokens")


def test_the_probe_spells_every_added_token(tokenizer_json) -> None:
    tokenizer = Tokenizer.from_str(tokenizer_json)
    tokenizer.add_tokens([AddedToken("<fim_middle>", special=True)])
    assert any("<fim_middle>" in text for text in probe_texts(tokenizer.to_str()))
