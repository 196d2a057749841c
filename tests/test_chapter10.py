"""The snippets of docs/chapter10.md run, in their order, on a corpus of the standard library's modules."""

import gzip
import json
import re
import shlex
import sys
from pathlib import Path

import pytest

from codeparrot.config import Config
from tests.conftest import python_sources
from tests.launching import ROOT, completed

PAGE = (ROOT / "docs" / "chapter10.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"^```(bash|python)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
SMALLER = {
    "codeparrot tokenizer train": "--vocab_size 2048",
    "codeparrot train": (
        "--model.vocab_size 2048 --model.n_layer 1 --model.n_embd 32 --model.n_head 2 --model.n_positions 64 "
        "--stream.seq_length 64 --stream.lanes 4 --train.global_batch_size 4 --train.micro_batch_size 2 --train.max_steps 2 "
        "--train.precision fp32 --train.log_every_steps 1 --schedule.warmup_steps 1 --evaluate.max_tokens 512"
    ),
    "codeparrot eval perplexity": "--seq_length 64",
}
"""What makes a command small enough for a test."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an export of the query, as BigQuery writes it."""
    place = tmp_path_factory.mktemp("chapter")
    (place / "export").mkdir()
    (place / "configs").symlink_to(ROOT / "configs")
    rows = [
        {"repo_name": f"owner/{number}", "path": f"{number}.py", "copies": "1", "content": text, "license": "mit"}
        for number, text in enumerate(python_sources(80))
    ]
    for part in range(2):
        lines = "".join(json.dumps(row) + "\n" for row in rows[part::2])
        (place / "export" / f"{part:012}.json.gz").write_bytes(gzip.compress(lines.encode()))
    return place


def run(folder: Path, command: list[str]) -> str:
    done = completed(command, folder)
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout


@pytest.mark.slow
def test_the_snippets_run(folder: Path) -> None:
    commands = 0
    for kind, text in SNIPPETS:
        if kind == "python":
            run(folder, [sys.executable, "-c", text])
            continue
        for line in text.replace("\\\n", " ").splitlines():
            smaller = " ".join(flags for name, flags in SMALLER.items() if line.startswith(name))
            run(folder, [sys.executable, "-m", *shlex.split(line), *shlex.split(smaller)])
            commands += 1
    assert commands == 8 and (folder / "runs" / "codeparrot-small" / "plots" / "loss.png").is_file()


def test_the_values_of_the_recipe_are_those_of_the_table() -> None:
    from codeparrot.arguments import load_config

    recipe: Config = load_config(ROOT / "configs" / "codeparrot-small.yaml")
    values = {
        "train.micro_batch_size": (recipe.train.micro_batch_size, "12, per process"),
        "train.global_batch_size": (recipe.train.global_batch_size, "192 windows a step, over all processes"),
        "train.max_steps": (recipe.train.max_steps, "150,000"),
        "optim.lr": (recipe.optim.lr, "5e-4"),
        "stream.seq_length": (recipe.stream.seq_length, "1,024"),
        "run.seed": (recipe.run.seed, "0"),
    }
    for name, (value, words) in values.items():
        assert re.search(rf"^\|.*\| .*`{re.escape(name)}` \| {re.escape(words)} \|$", PAGE, re.MULTILINE), name
        assert value == float(re.split(r"[ ,](?!\d)", words)[0].replace(",", "")), name


def test_the_defaults_of_completions_are_those_of_the_table() -> None:
    from inspect import signature

    from codeparrot.generation.complete import complete

    defaults = {name: parameter.default for name, parameter in signature(complete).parameters.items()}
    for name, words in {
        "temperature": "0.2",
        "top_p": "0.95",
        "max_new_tokens": "--max_new_tokens 128",
        "num_completions": "| 1 |",
        "seed": "| 0, of each",
    }.items():
        assert words in PAGE and str(defaults[name]) in words, name
