"""Tiny models that make vectors."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForSeq2SeqLM, AutoTokenizer

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
_ENCODER = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
MASKED = {"roberta": {"max_position_embeddings": 66, **_ENCODER}, "bert": {"max_position_embeddings": 64, **_ENCODER}}
ENCODER_DECODER = {"t5": {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2, "n_positions": 64}}

SOURCES = {
    "table.py": """'''Tables.'''


def read(path):
    return path


class Table:
    def rows(self):
        return 1
""",
    "deep/words.py": """import os


def split(text):
    return text.split()


def join(words):
    return ' '.join(words)
""",
    "notes.md": "# Notes\n\nRead a table, then split its words.\n",
}


def tiny(family: str, tokenizer: Any, seed: int = 0) -> Any:
    """Return a model of a family in evaluation mode, its weights large enough that texts differ."""
    settings = {**CAUSAL, **MASKED, **ENCODER_DECODER}[family]
    ids = {"bos_token_id": tokenizer.eos_token_id, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": 1}
    scale = {"initializer_factor": 1.0} if family in ENCODER_DECODER else {"initializer_range": 0.2}
    config = AutoConfig.for_model(family, vocab_size=512, **scale, **settings, **ids)
    torch.manual_seed(seed)
    kind: Any = AutoModelForSeq2SeqLM if family in ENCODER_DECODER else AutoModelForCausalLM
    kind = AutoModelForMaskedLM if family in MASKED else kind
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


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small source tree: SOURCES."""
    for name, text in SOURCES.items():
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path / "tree"


def more_functions(tree: Path) -> None:
    """Add functions to a tree, enough to whiten by."""
    words = ("alpha", "beta", "gamma", "delta", "omega", "sigma")
    names = [f"{one}_{other}" for one in words for other in words]
    text = "\n\n".join(f"def {name}({name[0]}):\n    return {name[0]} * {number}" for number, name in enumerate(names))
    (tree / "more.py").write_text(text, encoding="utf-8")
