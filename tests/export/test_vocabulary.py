"""A tokenizer is exported under llama.cpp's name for how it splits a text, or refused."""

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Regex, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from codeparrot.errors import CodeparrotError
from codeparrot.export.vocabulary import LLAMA_3, NAMED, vocabulary_of
from codeparrot.loading import load_tokenizer
from tests.conftest import with_end_at

BYTES = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
WORDS = pre_tokenizers.ByteLevel(add_prefix_space=False)
DIGITS = pre_tokenizers.Digits(individual_digits=True)


@pytest.fixture
def tokenizer(trained_tokenizer: Path) -> Any:
    return load_tokenizer(str(trained_tokenizer))


def test_a_tokenizer_that_this_package_trains_is_gpt_2s(tokenizer) -> None:
    assert vocabulary_of(tokenizer, 1000).pre == "gpt-2"


@pytest.mark.parametrize(
    ("pre", "name"),
    [
        (pre_tokenizers.Sequence([WORDS]), "gpt-2"),
        (pre_tokenizers.Sequence([DIGITS, WORDS]), "starcoder"),
        (pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(LLAMA_3), "isolated"), BYTES]), "llama-bpe"),
    ],
)
def test_a_way_to_split_has_its_name(pre, name, tokenizer) -> None:
    tokenizer.backend_tokenizer.pre_tokenizer = pre
    if name == "llama-bpe":
        tokenizer.backend_tokenizer.model.ignore_merges = True
    assert vocabulary_of(tokenizer, 1000).pre == name


@pytest.mark.parametrize(
    "pre",
    [
        None,
        BYTES,
        pre_tokenizers.ByteLevel(add_prefix_space=True),
        pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=False), WORDS]),
        pre_tokenizers.Sequence([WORDS, DIGITS]),
        pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(r"\d{1,3}"), "isolated"), BYTES]),
        pre_tokenizers.Sequence([pre_tokenizers.Split("x", "isolated"), BYTES]),
        pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(LLAMA_3), "isolated", invert=True), BYTES]),
        pre_tokenizers.Sequence([pre_tokenizers.Punctuation(), WORDS]),
    ],
    ids=str,
)
def test_another_way_to_split_is_refused(pre, tokenizer) -> None:
    tokenizer.backend_tokenizer.pre_tokenizer = pre
    with pytest.raises(CodeparrotError, match="splits a text in a way that has no name there") as raised:
        vocabulary_of(tokenizer, 1000)
    assert all(name in str(raised.value) for name, _ in NAMED.values())


def test_what_changes_a_text_or_merges_otherwise_is_refused(tokenizer) -> None:
    tokenizer.backend_tokenizer.model.ignore_merges = True
    with pytest.raises(CodeparrotError, match="splits as gpt-2, but does not merge words that are tokens"):
        vocabulary_of(tokenizer, 1000)
    tokenizer.backend_tokenizer.normalizer = normalizers.NFC()
    with pytest.raises(CodeparrotError, match=r"changes a text before it splits it \(NFC\)"):
        vocabulary_of(tokenizer, 1000)


def test_another_kind_of_tokenizer_is_refused(tokenizer) -> None:
    content = json.loads(tokenizer.backend_tokenizer.to_str())
    content["decoder"] = None
    other = PreTrainedTokenizerFast(tokenizer_object=type(tokenizer.backend_tokenizer).from_str(json.dumps(content)))
    with pytest.raises(CodeparrotError, match="is no byte-level BPE"):
        vocabulary_of(other, 1000)


def test_a_begin_token_is_written_where_it_stands_before_each_text(tokenizer) -> None:
    assert not vocabulary_of(tokenizer, 1000).begins
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", 0)]
    )
    assert vocabulary_of(tokenizer, 1000).begins
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<fim_pad> $A", special_tokens=[("<fim_pad>", 4)]
    )
    with pytest.raises(CodeparrotError, match="puts the ids"):
        vocabulary_of(tokenizer, 1000)


def test_gaps_among_the_ids_are_rows_without_a_token(tokenizer_folder, tmp_path) -> None:
    found = vocabulary_of(load_tokenizer(str(with_end_at(tokenizer_folder, 620, tmp_path / "t"))), 640)
    assert found.ids["eos"] == found.ids["bos"] == 620 and found.tokens[620] == "<|endoftext|>"
    assert len(set(found.tokens)) == 640 and found.num_tokens == 512 and not found.fills


def test_a_token_that_is_called_as_a_row_without_one_stays_the_only_one_of_its_name(tokenizer) -> None:
    tokenizer.add_tokens(["[PAD1001]"])
    found = vocabulary_of(tokenizer, 1002)
    assert found.tokens[1000:] == ["[PAD1001]", "[[PAD1001]]"]
