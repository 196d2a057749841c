"""Models and a tokenizer for the tests of what a server asks of the engine."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from codeparrot.stream.sentinels import SENTINELS

END: Any = {"bos_token_id": 0, "eos_token_id": 0}
SIZE = 518


@pytest.fixture(scope="session")
def filling(tokenizer_folder: Path) -> Any:
    """A tokenizer with sentinels, whose ids are 512 to 517."""
    made = AutoTokenizer.from_pretrained(tokenizer_folder)
    made.add_special_tokens({"additional_special_tokens": list(SENTINELS)})
    return made


@pytest.fixture(scope="session")
def long_gpt2() -> Any:
    """Reads several blocks; sharp enough that no two tokens are equally likely."""
    torch.manual_seed(0)
    shape: Any = {"vocab_size": SIZE, "n_positions": 640, "n_embd": 48, "n_layer": 2, "n_head": 3}
    return GPT2LMHeadModel(GPT2Config(**shape, initializer_range=0.3, **END)).eval()


@pytest.fixture(scope="session")
def long_llama() -> Any:
    torch.manual_seed(0)
    shape: Any = {"vocab_size": SIZE, "max_position_embeddings": 640, "hidden_size": 64, "intermediate_size": 100}
    heads: Any = {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    return LlamaForCausalLM(LlamaConfig(**shape, **heads, initializer_range=0.15, **END)).eval()
