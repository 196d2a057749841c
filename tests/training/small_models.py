"""Models with weights that a run may begin with."""

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from codeparrot.model.families import model_config

SIZES: dict[str, dict[str, Any]] = {
    "gpt2": {"vocab_size": 512, "n_positions": 32, "n_embd": 32, "n_layer": 2, "n_head": 2},
    "llama": {
        **{"vocab_size": 512, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2},
        **{"num_key_value_heads": 1, "max_position_embeddings": 32, "tie_word_embeddings": False},
    },
}


def model_of(family: str, **settings: Any) -> Any:
    config = model_config({"family": family, **SIZES[family], **settings})
    config.bos_token_id = config.eos_token_id = 0
    torch.manual_seed(3)
    return AutoModelForCausalLM.from_config(config)


def write_sources(folder: Path, tokenizer: Path) -> dict[str, Path]:
    """Return a folder with a model and its tokenizer, by family."""
    for family in SIZES:
        model_of(family).save_pretrained(folder / family)
        AutoTokenizer.from_pretrained(tokenizer).save_pretrained(folder / family)
    return {family: folder / family for family in SIZES}
