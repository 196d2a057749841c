"""Tiny models that make vectors."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM, AutoTokenizer

CAUSAL = {
    "gpt2": {"n_positions": 64, "n_embd": 32, "n_layer": 2, "n_head": 2},
    "llama": {
        "max_position_embeddings": 64,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
    },
}
MASKED = {
    "roberta": {
        "max_position_embeddings": 66,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    },
}


def tiny(family: str, tokenizer: Any, seed: int = 0) -> Any:
    """Return a model of a family in evaluation mode, its weights large enough that texts differ."""
    settings = {**CAUSAL, **MASKED}[family]
    ids = {"bos_token_id": tokenizer.eos_token_id, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": 1}
    config = AutoConfig.for_model(family, vocab_size=512, initializer_range=0.2, **settings, **ids)
    torch.manual_seed(seed)
    kind = AutoModelForMaskedLM if family in MASKED else AutoModelForCausalLM
    model = kind.from_config(config)
    model.config.architectures = [type(model).__name__]
    return model.eval()


@pytest.fixture(scope="session")
def tokenizer(tokenizer_folder: Path) -> Any:
    return AutoTokenizer.from_pretrained(tokenizer_folder)


@pytest.fixture(scope="session")
def checkpoint(tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny GPT-2 with its tokenizer."""
    folder = tmp_path_factory.mktemp("search") / "tiny-gpt2"
    tiny("gpt2", tokenizer).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
