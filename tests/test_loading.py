"""A tokenizer fits a model if its ids do, however many tokens it has."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BloomConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    MambaConfig,
    MptConfig,
)

from codeparrot.config import Config, StreamConfig
from codeparrot.errors import CodeparrotError
from codeparrot.loading import largest_id, load_model, load_tokenizer
from codeparrot.model.context import context_of
from codeparrot.model.families import model_config
from codeparrot.training.fitting import fit_vocabulary
from tests.conftest import with_end_at

SIZES: Any = {"n_positions": 16, "n_embd": 8, "n_layer": 1, "n_head": 2}


def model_folder(place: Path, vocab_size: int, tokenizer: Path) -> str:
    GPT2LMHeadModel(GPT2Config(vocab_size=vocab_size, **SIZES)).save_pretrained(place)
    for file in tokenizer.iterdir():
        shutil.copy(file, place)
    return str(place)


def test_the_largest_id_is_not_the_number_of_tokens_less_one(tokenizer_folder, tmp_path) -> None:
    assert largest_id(load_tokenizer(str(tokenizer_folder))) == 511
    assert largest_id(load_tokenizer(str(with_end_at(tokenizer_folder, 620, tmp_path / "t")))) == 620


def test_a_run_needs_a_row_for_every_id(tokenizer_folder, tmp_path) -> None:
    tokenizer = load_tokenizer(str(with_end_at(tokenizer_folder, 620, tmp_path / "t")))
    config = Config(stream=StreamConfig(seq_length=16))
    with pytest.raises(
        CodeparrotError, match=r"model\.vocab_size 512 is smaller than the 621 ids, .*; set model\.vocab_size 621"
    ):
        fit_vocabulary(model_config({"family": "gpt2", "vocab_size": 512, **SIZES}), tokenizer, config)
    assert fit_vocabulary(model_config({"family": "gpt2", "vocab_size": 621, **SIZES}), tokenizer, config).eos_token_id == 620


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ({"eos_token_id": 512}, r"model\.eos_token_id 512 is no id: model\.vocab_size is 512"),
        ({"eos_token_id": [0, 700]}, r"model\.eos_token_id 700 is no id"),
        ({"bos_token_id": -2}, r"model\.bos_token_id -2 is no id"),
        ({"eos_token_id": 5}, r"model\.eos_token_id 5 is not the tokenizer's 0, which ends every document"),
    ],
    ids=str,
)
def test_an_id_that_the_model_names_exists_and_ends_documents(ids, message, tokenizer_folder) -> None:
    tokenizer, config = load_tokenizer(str(tokenizer_folder)), Config(stream=StreamConfig(seq_length=16))
    assert tokenizer.eos_token_id == 0
    settings = {"family": "gpt2", "vocab_size": 512, **SIZES}
    with pytest.raises(CodeparrotError, match=message):
        fit_vocabulary(model_config(settings | ids), tokenizer, config)
    assert fit_vocabulary(model_config(settings | {"eos_token_id": 0, "bos_token_id": 3}), tokenizer, config).bos_token_id == 3


def test_lack_of_memory_is_no_fault_of_the_checkpoint(tokenizer_folder, tmp_path, monkeypatch) -> None:
    def lack(*_: object, **__: object) -> None:
        raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", lack)
    with pytest.raises(CodeparrotError, match=r"there is not enough memory for 2\.00 GiB"):
        load_model(model_folder(tmp_path / "big", 512, tokenizer_folder), "cpu")


def test_a_model_is_loaded_if_the_ids_of_texts_fit_it(tokenizer_folder, tmp_path) -> None:
    _, tokenizer = load_model(model_folder(tmp_path / "fits", 512, tokenizer_folder), "cpu")
    # A padding token of its own, for which the model has no row: nothing here ever reads it.
    padded = AutoTokenizer.from_pretrained(tokenizer_folder)
    padded.add_special_tokens({"pad_token": "<pad>"})
    padded.save_pretrained(tmp_path / "padded")
    _, tokenizer = load_model(model_folder(tmp_path / "model", 512, tmp_path / "padded"), "cpu")
    assert len(tokenizer) == 513 and largest_id(tokenizer) == 512
    words = AutoTokenizer.from_pretrained(tokenizer_folder)
    words.add_tokens(["lambda"])
    words.save_pretrained(tmp_path / "words")
    for other in (tmp_path / "words", with_end_at(tokenizer_folder, 620, tmp_path / "gap")):
        with pytest.raises(CodeparrotError, match="not that of its model"):
            load_model(model_folder(tmp_path / f"{other.name}-model", 512, other), "cpu")


@pytest.mark.parametrize(
    ("config", "context"),
    [
        (GPT2Config(n_positions=16), 16),
        (LlamaConfig(max_position_embeddings=32), 32),
        (MptConfig(max_seq_len=64), 64),
        (BloomConfig(), None),
        (MambaConfig(), None),
    ],
    ids=lambda value: getattr(value, "model_type", None),
)
def test_the_context_is_what_the_family_calls_so(config, context) -> None:
    assert context_of(config) == context


@pytest.mark.parametrize("length", [16, 17])
def test_a_window_has_the_positions_that_its_objective_reads_and_writes(tokenizer_folder, length) -> None:
    sizes = {"d_model": 8, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
    sizes |= {"encoder_ffn_dim": 8, "decoder_ffn_dim": 8, "max_position_embeddings": 16, "pad_token_id": 1}
    settings = model_config({"family": "bart", "vocab_size": 700, **sizes}, "encoder-decoder")
    config, tokenizer = Config(stream=StreamConfig(seq_length=18)), load_tokenizer(str(tokenizer_folder))
    if length <= 16:
        assert fit_vocabulary(settings, tokenizer, config, length) is settings
        return
    expected = r"^what is read or written of a window \(17\) is longer than model\.max_position_embeddings 16; "
    expected += r"set model\.max_position_embeddings 17$"
    with pytest.raises(CodeparrotError, match=expected):
        fit_vocabulary(settings, tokenizer, config, length)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["roberta", "mpnet", "ibert", "luke", "esm", "longformer", "camembert"])
def test_the_context_of_a_family_is_what_it_reads(family) -> None:
    import torch
    from transformers import AutoConfig, AutoModel

    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 64}
    sizes |= {"max_position_embeddings": 24, "pad_token_id": 3}
    sizes |= {"position_embedding_type": "absolute"} if family == "esm" else {}
    sizes |= {"attention_window": 4} if family == "longformer" else {}
    sizes |= {"entity_vocab_size": 8, "entity_emb_size": 8} if family == "luke" else {}
    model = AutoModel.from_config(AutoConfig.for_model(family, **sizes)).eval()
    length = context_of(model.config)
    assert length is not None
    with torch.no_grad():
        assert model(torch.full((1, length), 5)).last_hidden_state.shape[1] == length
        with pytest.raises((IndexError, RuntimeError)):
            model(torch.full((1, length + 1), 5))
