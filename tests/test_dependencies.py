"""The package's dependencies: each library has a reason and a tested version, and training needs none of the corpus's."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from docs.draw_rooms import modules
from tests.launching import ROOT, write_config

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
CORPUS_ONLY = {
    "ahocorasick-rs": "ahocorasick_rs",
    "detect-secrets": "detect_secrets",
    "identify": "identify",
    "license-expression": "license_expression",
    "rensa": "rensa",
    "tree-sitter": "tree_sitter",
    "tree-sitter-language-pack": "tree_sitter_language_pack",
}
"""The import name of each library of the extra."""
SHARED = {"jinja2", "packaging"}
"""Libraries of the extra that the base install brings along, so nothing shows whether this package needs them."""
WITHOUT = f"""
import sys
for name in {sorted(CORPUS_ONLY.values())!r}:
    sys.modules[name] = None  # importing it fails as if it were not installed
"""


def name_of(requirement: str) -> str:
    (name,) = re.findall(r"^[\w-]+", requirement)
    return name


def requirements() -> set[str]:
    return {name_of(line) for lines in (PROJECT["dependencies"], *EXTRAS.values()) for line in lines} - {"codeparrot"}


def run(program: str, *arguments: str) -> None:
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


def test_every_dependency_has_its_reason_in_the_contributing_guide() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    reasons = re.findall(r"^\| `([\w-]+)` \| \S.* \|$", text, re.MULTILINE)
    assert sorted(reasons) == sorted(requirements())


def test_every_dependency_has_a_tested_version() -> None:
    pinned = re.findall(r"^([\w-]+)==", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    assert requirements() - set(pinned) == set()
    assert pinned == sorted(pinned)


def test_the_extra_holds_what_only_the_corpus_needs() -> None:
    assert {name_of(line) for line in EXTRAS["corpus"]} == CORPUS_ONLY.keys() | SHARED


@pytest.mark.slow
def test_no_other_room_imports_what_only_the_corpus_needs() -> None:
    names = sorted(name for name in modules() if not name.startswith("codeparrot.corpus.") and not name.endswith("__main__"))
    run(f"{WITHOUT}import importlib\nfor name in {names!r}:\n    importlib.import_module(name)")


@pytest.mark.slow
def test_training_and_completing_need_no_library_of_the_corpus(tmp_path: Path, corpus: Path, tokenizer_folder: Path) -> None:
    # One process for all commands: half of its time it would import the same again.
    program = f"{WITHOUT}import json\nfrom codeparrot.cli import main\nsys.exit(any(map(main, json.loads(sys.argv[1]))))"
    evaluate = {"every_steps": 2, "micro_batch_size": 64}
    short: dict[str, Any] = {"train": {"max_steps": 2}, "schedule": {"warmup_steps": 1}, "evaluate": evaluate}
    config = write_config(tmp_path / "c.yaml", corpus, tokenizer_folder, **short)
    checkpoint = ("--checkpoint", str(tmp_path / "runs" / "tiny"))
    commands = [
        ("train", "--config", str(config)),
        ("complete", *checkpoint, "--prompt", "def f(", "--max_new_tokens", "4"),
        ("eval", "perplexity", *checkpoint, "--data", str(corpus)),
        ("plot", checkpoint[1]),
    ]
    run(program, json.dumps(commands))
