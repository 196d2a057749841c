"""Tiny runs of models that are not causal."""

from pathlib import Path
from typing import Any

import yaml

from tests.launching import TINY, write_config


def tokenizer_with(tokens: dict[str, Any], tokenizer_folder: Path, folder: Path) -> Path:
    """Save the tokenizer of the tests with further special tokens."""
    from transformers import AutoTokenizer

    loaded: Any = AutoTokenizer.from_pretrained(tokenizer_folder)
    loaded.add_special_tokens(tokens)
    loaded.save_pretrained(folder)
    return folder


def write(folder: Path, corpus: Path, tokenizer: Path, model: dict[str, Any], **sections: Any) -> Path:
    """Write the configuration of a tiny run of a model. `train` is merged into that of TINY."""
    folder.mkdir(exist_ok=True)
    sections["train"] = {**TINY["train"], **sections.get("train", {})}
    data = yaml.safe_load(write_config(folder / "c.yaml", corpus, tokenizer, **sections).read_text(encoding="utf-8"))
    data["model"] = model
    (folder / "c.yaml").write_text(yaml.safe_dump(data), encoding="utf-8")
    return folder / "c.yaml"
