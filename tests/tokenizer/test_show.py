"""`tokenizer show`: the tokens of a text, joined, are the text, and each says where it lies."""

import json
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from codeparrot.cli import main
from codeparrot.errors import CodeparrotError
from codeparrot.tokenizer.show import show, tokens_of


@pytest.fixture(scope="module")
def tokenizer(tokenizer_folder):
    return AutoTokenizer.from_pretrained(tokenizer_folder)


@pytest.fixture(scope="module")
def words_folder(tmp_path_factory):
    """A tokenizer of lower-case words, without bytes."""
    words = Tokenizer(models.WordLevel({"[UNK]": 0, "def": 1, "é": 2, "x": 3}, unk_token="[UNK]"))
    words.normalizer = normalizers.Lowercase()
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    folder = tmp_path_factory.mktemp("words") / "tokenizer"
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]").save_pretrained(folder)
    return str(folder)


@given(st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from(string.printable), max_size=40))
def test_the_tokens_are_the_text(tokenizer, text):
    tokens, changed = tokens_of(tokenizer, text)
    assert not changed
    assert bytes.fromhex("".join(token.bytes for token in tokens)) == text.encode()
    assert [token.id for token in tokens] == tokenizer(text, split_special_tokens=True)["input_ids"]
    place = 0
    for token in tokens:
        assert token.byte_start == place
        place = token.byte_end
        inside = text[token.start : token.end]
        if token.text is None:
            assert bytes.fromhex(token.bytes) in inside.encode() and inside
        else:
            assert token.text == inside
    assert place == len(text.encode())


def test_places_of_characters_of_several_bytes(tokenizer):
    tokens, _ = tokens_of(tokenizer, "aé👩")
    places = [(token.text, token.start, token.end, token.byte_start, token.byte_end, token.bytes) for token in tokens]
    assert places[0] == ("a", 0, 1, 0, 1, "61")
    assert places[1:3] == [(None, 1, 2, 1, 2, "c3"), (None, 1, 2, 2, 3, "a9")]
    assert [place[1:3] for place in places[3:]] == [(2, 3)] * len(places[3:])


def test_tokenizers_side_by_side(tokenizer_folder, words_folder):
    found = show("DEF é\n<|endoftext|>", str(tokenizer_folder), [words_folder])
    first, words = found.data["tokenizers"]
    assert "".join(token["text"] or "" for token in first["tokens"]).startswith("DEF ")
    assert 0 not in [token["id"] for token in first["tokens"]], "a special token in a text is text"
    assert [(token["id"], token["text"], token["byte_start"], token["byte_end"]) for token in words["tokens"][:2]] == [
        (1, "DEF", 0, 3),
        (2, "é", 4, 6),
    ]
    assert words["tokens"][1]["bytes"] == "c3 a9"
    lines = found.text.splitlines()
    assert lines[0] == f"19 characters, {found.data['num_bytes']} bytes"
    assert any(line.split() == ["2", "4-5", "4-6", "'é'", "c3", "a9"] for line in lines)


def test_the_command_takes_the_text_as_it_is(tokenizer_folder, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    for text in ("null", "123", "[x, y]", '{"a": 1}', ""):
        assert main(["tokenizer", "show", text, "--tokenizer", str(tokenizer_folder), "--json"]) == 0
        data = json.loads(capfd.readouterr().out)
        assert data["text"] == text and bool(data["tokenizers"][0]["tokens"]) == bool(text)
    assert main(["tokenizer", "show", "x"]) == 1
    assert "there is no data/tokenizer here: name a tokenizer with --tokenizer" in capfd.readouterr().err


def test_what_is_no_text_is_named(tokenizer_folder):
    with pytest.raises(CodeparrotError, match="no UTF-8 from its character 1 on"):
        show("a\udcff", str(tokenizer_folder))
