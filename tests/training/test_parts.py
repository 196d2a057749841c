"""What is refused before a run directory exists, because its parts do not fit together."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from codeparrot.arguments import parse_config
from codeparrot.config import Config
from codeparrot.corpus.tokenize import tokenize
from codeparrot.errors import CodeparrotError
from codeparrot.training import parts
from codeparrot.training.parts import compiles, fit


def config_of(tokenizer: Path, train: Path, valid: Path) -> Config:
    words = ["--tokenizer.path", str(tokenizer), "--stream.train", str(train), "--stream.valid", str(valid)]
    return parse_config([*words, "--stream.seq_length", "16", "--model", '{"family": "gpt2", "n_embd": 8, "n_head": 2}'])


def test_a_run_that_would_validate_on_what_it_learns_is_refused(tmp_path: Path, tokenizer_folder: Path, corpus: Path) -> None:
    assert fit(config_of(tokenizer_folder, corpus, corpus)).tokenizer is not None
    (tmp_path / "a.jsonl").write_text('{"content": "a = 1"}\n', encoding="utf-8")
    with pytest.raises(CodeparrotError, match=r"in common with stream\.train"):
        fit(config_of(tokenizer_folder, tmp_path / "a.jsonl", tmp_path / "a.jsonl"))


def test_windows_of_another_tokenizer_are_refused(tmp_path: Path, tokenizer_folder: Path, corpus: Path) -> None:
    tokenize(str(corpus), str(tokenizer_folder), str(tmp_path / "w"), seq_length=16)
    assert fit(config_of(tokenizer_folder, tmp_path / "w", tmp_path / "w")).tokenizer is not None
    manifest = tmp_path / "w" / "windows.json"
    facts = json.loads(manifest.read_text(encoding="utf-8")) | {"tokenizer_sha256": "0" * 64}
    manifest.write_text(json.dumps(facts), encoding="utf-8")
    with pytest.raises(CodeparrotError, match="holds windows of another tokenizer"):
        fit(config_of(tokenizer_folder, tmp_path / "w", tmp_path / "w"))


@pytest.mark.parametrize(
    ("asked", "capability", "triton", "expected"),
    [
        ("auto", (9, 0), True, "each layer, in the first step"),
        ("auto", (7, 0), True, "each layer, in the first step"),
        ("auto", (6, 1), True, "no (auto: Triton needs compute capability 7.0)"),
        ("auto", (9, 0), False, "no (auto: Triton or a C compiler for it is not installed)"),
        (True, (6, 1), False, "each layer, in the first step"),  # asked for: the error says what is missing
        (False, (9, 0), True, "no"),
    ],
)
def test_layers_are_compiled_by_themselves_where_triton_works(monkeypatch, asked, capability, triton, expected) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    monkeypatch.setattr(parts, "find_spec", lambda _: triton or None)
    monkeypatch.setattr(parts, "which", lambda name: name == "gcc" or None)
    accelerator: Any = SimpleNamespace(
        device=torch.device("cuda"), distributed_type=SimpleNamespace(name="NO"), num_processes=1
    )
    assert compiles(asked, accelerator).why == expected
    assert compiles(asked, accelerator).on == expected.startswith("each")
