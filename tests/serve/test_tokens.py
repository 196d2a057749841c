"""Texts become the tokenizer's tokens and back, for both kinds of clients."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.serve.conftest import Served


@given(st.text(max_size=60))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_text_comes_back(served: Served, text: str) -> None:
    ids = served.post("/tokenize", content=text)["tokens"]
    assert served.post("/detokenize", tokens=ids) == {"content": text, "prompt": text}


def test_special_tokens_are_text_where_that_is_asked_for(served: Served) -> None:
    tokenizer = served.service.tokenizer
    word = "<fim_prefix>"
    assert served.post("/tokenize", content=word)["tokens"] == [tokenizer.convert_tokens_to_ids(word)]
    assert len(served.post("/tokenize", content=word, parse_special=False)["tokens"]) > 1
    # What one client asks for is not what the next one gets.
    assert served.post("/completion", prompt=f"a {word} b", n_predict=0)["tokens_evaluated"] > 3


def test_pieces_are_texts_or_bytes(served: Served) -> None:
    pieces = [each["piece"] for each in served.post("/tokenize", content="a🙂", with_pieces=True)["tokens"]]
    assert pieces[0] == "a"
    assert b"".join(piece.encode() if isinstance(piece, str) else bytes(piece) for piece in pieces) == "a🙂".encode()


def test_token_texts_are_vllms(served: Served) -> None:
    answer = served.post("/tokenize", prompt="a b", return_token_strs=True)
    assert answer["token_strs"] == served.service.tokenizer.convert_ids_to_tokens(answer["tokens"])


@pytest.mark.parametrize("tokens", [[-1], [10**6], ["a"], [True], "a", [1.5]])
def test_tokens_that_are_none_are_refused(served: Served, tokens: Any) -> None:
    assert "tokens" in served.refused(400, "/detokenize", tokens=tokens)["message"]


def test_a_text_must_be_there(served: Served) -> None:
    assert "content" in served.refused(400, "/tokenize", text="a")["message"]
