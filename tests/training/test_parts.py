"""What is refused before a run directory exists, because its parts do not fit together."""

import json
from pathlib import Path
from types import SimpleNamespace

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
    ("asked", "capability", "strategy", "compiler", "on"),
    [
        ("auto", (8, 0), "MULTI_GPU", "/usr/bin/gcc", True),
        ("auto", (7, 0), "FSDP", "/usr/bin/gcc", True),
        ("auto", (6, 1), "MULTI_GPU", "/usr/bin/gcc", False),  # a GTX 1080: Triton would refuse it in the first step
        ("auto", (8, 0), "MULTI_GPU", None, False),
        ("auto", (8, 0), "DEEPSPEED", "/usr/bin/gcc", False),
        ("auto", None, "MULTI_CPU", "/usr/bin/gcc", False),
        (True, (8, 0), "DEEPSPEED", "/usr/bin/gcc", False),
        (True, None, "NO", None, True),
        (False, (8, 0), "MULTI_GPU", "/usr/bin/gcc", False),
    ],
)
def test_layers_are_compiled_only_where_that_works(asked, capability, strategy, compiler, on, monkeypatch) -> None:
    monkeypatch.setattr(parts, "which", lambda name: compiler if name == "gcc" else None)
    monkeypatch.setattr(parts, "find_spec", lambda name: object())
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    accelerator = SimpleNamespace(
        device=torch.device("cuda" if capability else "cpu"),
        distributed_type=SimpleNamespace(name=strategy),
        state=SimpleNamespace(deepspeed_plugin=SimpleNamespace(zero_stage=3)),
        num_processes=2,
    )
    found = compiles(asked, accelerator)
    assert found.on == on and found.why.startswith("each layer" if on else "no")
