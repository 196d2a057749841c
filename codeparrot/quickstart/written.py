"""What the quickstart's model writes: completed prompts, a middle, and functions of which some parse."""

import ast
import warnings
from pathlib import Path
from typing import Any

from codeparrot.errors import CodeparrotError
from codeparrot.result import progress_bar

SHOWN_PROMPTS = (
    "import os\n\n\ndef list_files(path):",
    "class Stack:\n    def __init__(self):\n        self.items = []\n\n    def push(self, item):",
    'def read_lines(filename):\n    """Return the lines of a text file."""',
)
"""They end before a newline, because a newline and the indentation after it are one token."""
SHOWN_MIDDLE = (
    "def count_words(path):\n    counts = {}\n    with open(path) as file:\n        for line in ",
    ":\n            for word in line.split():\n                counts[word] = counts.get(word, 0) + 1\n    return counts\n",
)
"""What stands in front of the cursor in a function, and behind it."""
SAMPLES = 32
"""Functions that are sampled to measure which share of them parses."""


def complete(run: Path) -> dict[str, Any]:
    """Return three completed prompts, and a function whose line at a cursor is completed, as prefix, middle and suffix."""
    from codeparrot.generation.complete import draw
    from codeparrot.generation.requests import Request
    from codeparrot.loading import find_model, load_model

    model, tokenizer = load_model(find_model(str(run)))
    prefix, suffix = SHOWN_MIDDLE
    request = Request(prefix, max_new_tokens=16, stop=("\n",), suffix=suffix, order="spm")
    (middle,) = draw(model, tokenizer, request, 1, 0.5, 0.95, seed=0)
    return {
        "completions": [prompt + complete_once(model, tokenizer, prompt, seed=0) for prompt in SHOWN_PROMPTS],
        "middle": [prefix, middle.text, suffix],
    }


def complete_once(model: Any, tokenizer: Any, prompt: str, seed: int) -> str:
    from codeparrot.generation.complete import generate_completions

    return generate_completions(model, tokenizer, prompt, temperature=0.5, max_new_tokens=48, seed=seed)[0]


def sample_functions(run: Path, corpus: Path) -> list[str]:
    """Complete the signatures of the validation set in turn, until there are enough functions."""
    from codeparrot.loading import find_model, load_model

    model, tokenizer = load_model(find_model(str(run)))
    signatures = _signatures(corpus)
    functions = []
    for number in progress_bar(range(SAMPLES), desc="writing", unit="function"):
        signature = signatures[number % len(signatures)]
        functions.append(signature + complete_once(model, tokenizer, signature, seed=number))
    return functions


def _signatures(corpus: Path) -> list[str]:
    import pyarrow.parquet as parquet

    found: dict[str, None] = {}
    # The validation set comes first; a very small one may hold no function.
    for file in sorted(corpus.glob("*.parquet"), reverse=True):
        if found:
            break
        for text in parquet.read_table(file, columns=["content"])["content"].to_pylist():
            lines = (line for line in text.splitlines() if line.startswith("def ") and line.endswith("):"))
            found.update((line, None) for line in lines)
    if not found:
        raise CodeparrotError(f"{corpus} holds no functions; build it with more --max_bytes")
    return list(found)


def parses(function: str) -> bool:
    """Whether a sampled function is Python. Its last line may be unfinished where the tokens ran out, and is left out then."""
    for text in (function, function[: function.rfind("\n")]):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", SyntaxWarning)  # of what the model wrote: nothing to tell the user
                tree = ast.parse(text)
        except (SyntaxError, ValueError):
            continue
        return bool(tree.body)
    return False
