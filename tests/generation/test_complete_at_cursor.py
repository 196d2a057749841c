"""`codeparrot complete` at a cursor: behind a prompt, or in the middle; it ends where its options say."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

from codeparrot.cli import main
from codeparrot.run.checkpoint import MANIFEST_VERSION
from codeparrot.stream.sentinels import SENTINELS, require_sentinels

BEFORE, MIDDLE, BEHIND = "def add(a, b):\n    total = ", "a + b", "\n    return total\n\n\ndef mul(a, b):\n    return a * b\n"
SOURCE = BEFORE + MIDDLE + BEHIND
PLAIN = "def sub(a, b):"
BODY, REST = "\n    if a:\n        b = -b\n\n    return a - b", "\n\n\nx = sub(1, 2)\n\n\ndef f():\n    pass"


def save(folder: Path, tokenizer: Any, rows: list[list[int]]) -> Path:
    """Write a GPT-2 that has learned rows of tokens by heart."""
    torch.manual_seed(0)
    size: Any = {"vocab_size": 520, "n_layer": 1, "n_head": 2, "n_positions": 160, "n_embd": 48}
    model = GPT2LMHeadModel(GPT2Config(**size, bos_token_id=0, eos_token_id=0))
    longest = max(map(len, rows))
    ids = torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    model.eval()
    for _ in range(120):
        model(ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def middle(tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that has learned to fill one middle in, in both orders."""
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    tokenizer.add_special_tokens({"additional_special_tokens": list(SENTINELS)})
    prefix, infix, suffix = require_sentinels(tokenizer, "this test")
    before, text, behind = (tokenizer(each)["input_ids"] for each in (BEFORE, MIDDLE, BEHIND))
    joined = tokenizer(BEFORE + MIDDLE)["input_ids"]
    rows = [[prefix, *before, suffix, *behind, infix, *text, 0], [prefix, suffix, *behind, infix, *joined, 0]]
    return save(tmp_path_factory.mktemp("middle"), tokenizer, rows)


@pytest.fixture(scope="module")
def plain(tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that has learned one text from left to right; its tokenizer has no sentinels."""
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    return save(tmp_path_factory.mktemp("plain"), tokenizer, [[*tokenizer(PLAIN + BODY + REST)["input_ids"], 0]])


@pytest.fixture
def module(tmp_path: Path) -> str:
    (tmp_path / "module.py").write_text(SOURCE, encoding="utf-8")
    return str(tmp_path / "module.py")


def completed(capsys: Any, *arguments: Any) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["complete", *map(str, arguments), "--temperature", "0", "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def refused(capsys: Any, *arguments: Any) -> str:
    capsys.readouterr()
    assert main(["complete", *map(str, arguments)]) == 1
    *said, error = capsys.readouterr().err.splitlines()
    assert all(line.startswith("loading ") for line in said)
    return error


CURSOR = f"2:{len('    total = ') + 1}"


@pytest.mark.parametrize("order", ["psm", "spm"])
def test_the_middle_is_filled_in_and_ends_with_the_end_token(middle, tmp_path, capsys, monkeypatch, order) -> None:
    (tmp_path / "behind.py").write_text(BEHIND, encoding="utf-8")
    (tmp_path / "whole.py").write_text(BEFORE + BEHIND, encoding="utf-8")
    asked = ("--checkpoint", middle, "--fim_order", order)
    found = completed(capsys, *asked, "--prompt", BEFORE, "--suffix", BEHIND)
    assert (found["completions"], found["ended"]) == ([MIDDLE], ["end"])
    assert (found["prompt"], found["suffix"], found["fim_order"], found["stop"]) == (BEFORE, BEHIND, order, "none")
    assert completed(capsys, *asked, "--prompt", BEFORE, "--suffix_file", tmp_path / "behind.py") == found
    assert completed(capsys, *asked, "--file", tmp_path / "whole.py", "--cursor", CURSOR) == found
    again = completed(capsys, *asked, "--prompt", BEFORE, "--suffix", BEHIND, "--stop", "block")
    assert again == {**found, "stop": "block"}
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert main(["complete", *map(str, asked), "--prompt", BEFORE, "--suffix", BEHIND, "--temperature", "0"]) == 0
    assert capsys.readouterr().out == MIDDLE + "\n"


def test_a_model_without_sentinels_says_so_in_one_line(plain, module, capsys) -> None:
    error = refused(capsys, "--checkpoint", plain, "--file", module, "--cursor", "2:5")
    assert "<fim_prefix>" in error and "codeparrot tokenizer train" in error


def test_a_run_that_has_not_learned_middles_says_so_before_it_is_loaded(middle, module, tmp_path, capsys) -> None:
    """The sentinels of its tokenizer are untrained: what it would write in the middle is noise."""
    checkpoint = tmp_path / "step_1"
    shutil.copytree(middle, checkpoint / "model")
    asked = ("--checkpoint", checkpoint, "--file", module, "--cursor", "2:5")
    half, never = {"fim_rate": 0.5}, {"fim_rate": 0.5, "fim_spm_rate": 0.0}
    for objective, order in ({}, ""), ({"fim_rate": 0.0}, ""), (half, "spm"), (never, "psm"), ({"name": "own"}, "psm"):
        manifest = {"version": MANIFEST_VERSION, "step": 1, "tokens": 1, "config": {"objective": objective}, "files": {}}
        (checkpoint / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
        if order:
            assert completed(capsys, *asked)["fim_order"] == order
        else:
            error = refused(capsys, *asked)
            assert f"{checkpoint} was trained with objective.fim_rate 0" in error and "fim_rate 0.5" in error


def test_nothing_behind_the_cursor_is_a_plain_completion(plain, tmp_path, capsys) -> None:
    (tmp_path / "x.py").write_text(PLAIN, encoding="utf-8")
    found = completed(capsys, "--checkpoint", plain, "--prompt", PLAIN)
    for options in (["--prompt", PLAIN, "--suffix", ""], ["--file", tmp_path / "x.py", "--cursor", f"1:{len(PLAIN) + 1}"]):
        assert completed(capsys, "--checkpoint", plain, *options) == found
    assert "suffix" not in found


@pytest.mark.parametrize(
    ("options", "text", "ended"),
    [
        ([], BODY + "\n\n\nx = sub(1, 2)", "stop"),
        (["--stop", "language"], BODY + "\n\n\nx = sub(1, 2)", "stop"),
        (["--stop_at_block_end", "true"], BODY + "\n\n\nx = sub(1, 2)", "stop"),
        (["--stop", "block"], BODY, "stop"),
        (["--stop", "none"], BODY + REST, "end"),
        (["--stop_at_block_end", "false"], BODY + REST, "end"),
        (["--language", "go"], BODY + REST, "end"),
        (["--stop", "function"], BODY, "stop"),
        (["--stop", "function", "--language", "yaml"], BODY, "stop"),
    ],
)
def test_a_completion_ends_where_the_options_say(plain, capsys, monkeypatch, options, text, ended) -> None:
    asked = ["--checkpoint", str(plain), "--prompt", PLAIN, *options]
    found = completed(capsys, *asked)
    assert (found["completions"], found["ended"]) == ([text], [ended])
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert main(["complete", *asked, "--temperature", "0"]) == 0
    assert capsys.readouterr().out == text + "\n", "what is streamed is what is returned"


@pytest.mark.parametrize(
    ("before", "end"),
    [
        ("def sub(a,", "return a - b"),
        (PLAIN + "\n  ", "return a - b"),
        (PLAIN + "\n    if a:\n   ", "b = -b"),
        (PLAIN + "\n    if a:\n        b = -b", "b = -b"),
        (PLAIN + "\n    if a:\n        b = -b\n\n", "return a - b"),
    ],
)
def test_the_block_is_that_of_the_line_at_the_cursor(plain, capsys, before, end) -> None:
    (text,) = completed(capsys, "--checkpoint", plain, "--prompt", before, "--stop", "block")["completions"]
    whole = PLAIN + BODY
    assert before + text == whole[: whole.index(end) + len(end)]


def test_a_prompt_that_ends_inside_a_token_is_healed_unless_that_is_turned_off(plain, capsys) -> None:
    found = completed(capsys, "--checkpoint", plain, "--prompt", PLAIN + "\n", "--stop", "block")
    assert (found["completions"], found["healed"]) == ([BODY[1:]], True)
    off = completed(capsys, "--checkpoint", plain, "--prompt", PLAIN + "\n", "--stop", "block", "--heal", "false")
    assert off["healed"] is False


def test_the_name_of_a_file_tells_the_language_unless_it_is_told(plain, tmp_path, capsys, caplog) -> None:
    for name, options, language, text in (
        ("x.py", [], "python", BODY + "\n\n\nx = sub(1, 2)"),
        ("x.go", [], "go", BODY + REST),
        ("x.go", ["--language", "py"], "python", BODY + "\n\n\nx = sub(1, 2)"),
        ("x.py", ["--stop", "function"], "python", BODY),
        ("x.txt", [], None, BODY),
    ):
        (tmp_path / name).write_text(PLAIN, encoding="utf-8")
        found = completed(capsys, "--checkpoint", plain, "--file", tmp_path / name, *options)
        assert (found.get("language"), found["completions"]) == (language, [text])
    assert completed(capsys, "--checkpoint", plain, "--prompt", PLAIN)["language"] == "python"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            ["--stop", "function", "--language", "pythn"],
            'there is no language "pythn" (--stop block needs none); did you mean "python"?',
        ),
        (["--stop", "block", "--stop_at_block_end", "false"], "give --stop alone"),
        (["--language", "cobol"], 'the stop texts of "cobol" are not known'),
        (["--suffix", "x", "--cursor", "1:1"], "--cursor says where the suffix begins"),
        (["--cursor", "9:1"], "its last line is 1"),
        (["--cursor", "1"], "write LINE:COLUMN"),
    ],
)
def test_mistakes_are_one_line_before_anything_is_loaded(capsys, options, words) -> None:
    assert words in refused(capsys, "--checkpoint", "/nowhere/run", "--prompt", "x", *options)
