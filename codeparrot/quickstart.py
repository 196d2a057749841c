"""`codeparrot quickstart`: the whole chain on this machine's own Python sources, in minutes, on a CPU, without a network.

Each stage runs the command that a real run uses, with `configs/nano.yaml`. What is already there is reused.
"""

import ast
import os
import shutil
import sys
import time
import warnings
from importlib.resources import files
from itertools import islice
from pathlib import Path
from typing import Any

from codeparrot.config import Config, as_list
from codeparrot.errors import CodeparrotError
from codeparrot.location import path_of
from codeparrot.result import STOPPED, Result, progress_bar
from codeparrot.run.metrics import SOLUTIONS
from codeparrot.stream.batches import batches_of

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
_MOST_COUNTED = 4_000_000
"""Training tokens that the n-gram model counts at most: a second a million."""
_SAMPLES = 32
"""Functions that are sampled to measure which share of them parses."""


def quickstart(directory: str = ".", max_steps: int = 0, max_bytes: int = 30_000_000) -> Result:
    """Build a corpus from this machine's Python sources, train a tokenizer and a small GPT-2, and complete code with it.

    Args:
        directory: Folder where data/nano and runs/nano are written.
        max_steps: Length of the training in optimizer steps; 0: as in configs/nano.yaml.
        max_bytes: Bytes of text to take from the sources.
    """
    start = time.perf_counter()
    root = path_of(directory)
    corpus, tokenizer = root / "data" / "nano" / "corpus", root / "data" / "nano" / "tokenizer"
    config = _config(root, corpus, tokenizer, max_steps)
    _stage(1, "corpus", "the Python sources on this machine", _build_corpus, corpus, max_bytes)
    _stage(
        2,
        "tokenizer",
        f"a byte-level BPE of {config.model['vocab_size']:,} tokens",
        _train_tokenizer,
        corpus,
        tokenizer,
        config,
    )
    trained = _stage(3, "training", f"a GPT-2 for {config.train.max_steps:,} steps", _train, config)
    if trained.status is STOPPED:
        return trained._replace(text="the quickstart was stopped; its corpus, tokenizer and training so far are used again")
    facts = _measure(config)
    facts |= _stage(4, "baselines", "the same validation text by xz and by a model that only counts", _baselines, config)
    facts |= _stage(
        5, "completions", "three prompts, and one place in the middle of a function", _complete, config.run_directory
    )
    sampled = _stage(
        6,
        "syntax",
        f"{_SAMPLES} functions, sampled from signatures of the validation set",
        _sample_functions,
        config.run_directory,
        corpus,
    )
    facts["parsed_share"] = sum(map(_parses, sampled)) / len(sampled)
    facts |= _stage(
        7,
        "unit tests",
        "easy problems: functions, and gaps in functions, run in a sandbox",
        _run_unit_tests,
        config.run_directory,
    )
    facts |= _stage(
        8, "likelihood", "the same problems' solutions: how likely the model finds them", _likelihood, config.run_directory
    )
    facts["seconds"] = time.perf_counter() - start
    return Result(_summary(config, facts), {"run": str(config.run_directory), **facts})


def _config(root: Path, corpus: Path, tokenizer: Path, max_steps: int) -> Config:
    from codeparrot.arguments import parse_config

    arguments = ["--config", str(files("codeparrot.configs") / "nano.yaml"), "--run.dir", str(root / "runs")]
    arguments += ["--tokenizer.path", str(tokenizer), "--stream.train", str(corpus), "--stream.valid", str(corpus)]
    if max_steps:
        arguments += ["--train.max_steps", str(max_steps), "--schedule.warmup_steps", str(max(1, max_steps // 5))]
    return parse_config(arguments)


def _stage(number: int, name: str, what: str, action: Any, *arguments: Any) -> Any:
    print(f"\n[{number}/8] {name}: {what}", file=sys.stderr, flush=True)
    start = time.perf_counter()
    result = action(*arguments)
    if isinstance(result, Result):
        print(result.text, file=sys.stderr)
    print(f"      {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
    return result


def _build_corpus(corpus: Path, max_bytes: int) -> Result | None:
    from codeparrot.cli import prepare

    if (corpus / "statistics.json").is_file():
        return _reused(corpus)
    arguments = ["--recipe", "codeparrot", "--source", "python", "--output", str(corpus), "--max_bytes", str(max_bytes)]
    return prepare(["corpus", "build", *arguments, "--valid_fraction", "0.03"])()


def _train_tokenizer(corpus: Path, tokenizer: Path, config: Config) -> Result | None:
    from codeparrot.loading import load_tokenizer
    from codeparrot.stream.sentinels import sentinels_of
    from codeparrot.tokenizer.train import train

    if (tokenizer / "tokenizer.json").is_file():
        if sentinels_of(load_tokenizer(str(tokenizer))) is None:
            older = f"{tokenizer} is of an older version, which knew no fill-in-the-middle"
            raise CodeparrotError(f"{older}: remove it and {config.run_directory}, or name another --directory")
        return _reused(tokenizer)
    return train(str(corpus), str(tokenizer), vocab_size=config.model["vocab_size"])


def _train(config: Config) -> Result:
    from codeparrot.train import train

    trained = train(config)
    # How to go on from here is what the quickstart's own end says.
    return trained._replace(text=trained.text.splitlines()[0])


def _reused(path: Path) -> None:
    print(f"      {path} is already there and is used again", file=sys.stderr)


def _measure(config: Config) -> dict[str, Any]:
    """Return the perplexities before training and at its end; None for the first where the run was stopped before it."""
    from codeparrot.run.metrics import read_lines

    scores = [line for line in read_lines(config.run_directory / "metrics.jsonl") if "perplexity" in line]
    last = scores[-1] if scores and scores[-1]["step"] == config.train.max_steps else None
    if last is None:
        # It was stopped during its last evaluation.
        from codeparrot.eval.tasks.perplexity import perplexity

        last = perplexity(str(config.run_directory), as_list(config.stream.valid)).data
    return {
        "perplexity_before": scores[0]["perplexity"] if scores and scores[0]["step"] == 0 else None,
        "perplexity_after": last["perplexity"],
        "bits_per_byte": last["bits_per_byte"],
        "tokens": batches_of(config.train).before(config.train.max_steps) * config.stream.seq_length,
    }


def _perplexities(facts: dict[str, Any]) -> str:
    before = facts["perplexity_before"]
    first = (
        "not measured before training, where it was stopped"
        if before is None
        else f"{before:,.0f} before training (on a sample)"
    )
    return f"{first}, {facts['perplexity_after']:.1f} after {facts['tokens']:,} tokens"


def _baselines(config: Config) -> dict[str, float]:
    """Return the bits that xz and an n-gram model of the tokens that were trained on need for a byte of the validation text."""
    import numpy as np

    from codeparrot.arguments import load_config
    from codeparrot.eval.baselines import NGrams, xz_bits_per_byte
    from codeparrot.eval.tasks.perplexity import bytes_per_token
    from codeparrot.loading import largest_id, load_tokenizer
    from codeparrot.stream import ConstantLengthDataset, load_validation_set, make_encoder

    stream = load_config(config.run_directory / "config.yaml").stream  # with the order that the run was begun in
    tokenizer = load_tokenizer(config.tokenizer.path)
    encoder = make_encoder(tokenizer.backend_tokenizer.to_str(), tokenizer.eos_token_id)
    num_windows = batches_of(config.train).before(config.train.max_steps)
    seen = ConstantLengthDataset(stream, encoder, seed=config.run.seed)
    windows = np.stack(list(islice(seen, min(num_windows, _MOST_COUNTED // stream.seq_length))))
    counted = NGrams(windows, len(tokenizer))
    valid = load_validation_set(stream, encoder)
    options = {"skip_special_tokens": True, "clean_up_tokenization_spaces": False}
    texts = [tokenizer.decode(np.concatenate(valid.windows), **options)]
    token_bytes = bytes_per_token(tokenizer, largest_id(tokenizer) + 1).numpy()
    return {
        "xz_bits_per_byte": xz_bits_per_byte(texts),
        "ngram_bits_per_byte": counted.bits_per_byte(valid.windows, token_bytes),
        "ngram_tokens": windows.size,
    }


def _complete(run: Path) -> dict[str, Any]:
    """Return three completed prompts, and a function whose line at a cursor is completed, as prefix, middle and suffix."""
    from codeparrot.generation.complete import draw
    from codeparrot.generation.requests import Request
    from codeparrot.loading import find_model, load_model

    model, tokenizer = load_model(find_model(str(run)))
    prefix, suffix = SHOWN_MIDDLE
    request = Request(prefix, max_new_tokens=16, stop=("\n",), suffix=suffix, order="spm")
    (middle,) = draw(model, tokenizer, request, 1, 0.5, 0.95, seed=0)
    return {
        "completions": [prompt + _complete_once(model, tokenizer, prompt, seed=0) for prompt in SHOWN_PROMPTS],
        "middle": [prefix, middle.text, suffix],
    }


def _complete_once(model: Any, tokenizer: Any, prompt: str, seed: int) -> str:
    from codeparrot.generation.complete import generate_completions

    return generate_completions(model, tokenizer, prompt, temperature=0.5, max_new_tokens=48, seed=seed)[0]


def _sample_functions(run: Path, corpus: Path) -> list[str]:
    """Complete the signatures of the validation set in turn, until there are enough functions."""
    from codeparrot.loading import find_model, load_model

    model, tokenizer = load_model(find_model(str(run)))
    signatures = _signatures(corpus)
    functions = []
    for number in progress_bar(range(_SAMPLES), desc="writing", unit="function"):
        signature = signatures[number % len(signatures)]
        functions.append(signature + _complete_once(model, tokenizer, signature, seed=number))
    return functions


def _run_unit_tests(run: Path) -> dict[str, Any]:
    """Return pass@1 and pass@10 of the project's own problems and gaps, or why there is none: a sandbox needs bubblewrap."""
    from codeparrot.eval.tasks.humaneval import humaneval
    from codeparrot.eval.tasks.infilling import infilling

    try:
        functions = humaneval(str(run), problems="codeparrot", samples=10, max_new_tokens=48)
        often = {"samples": 10, "temperature": [0.2], "k": [1, 10], "max_new_tokens": 48}
        gaps = infilling(str(run), kind="own", fim_order="spm", **often)
    except CodeparrotError as error:
        print(f"      skipped: {error}", file=sys.stderr)
        return {"unit_tests": str(error)}
    print(f"{functions.text}\n{gaps.text}", file=sys.stderr)
    facts = {name: functions.data[name] for name in ("pass@1", "pass@10")}
    return facts | {f"infilling_{name}": gaps.data[name] for name in ("pass@1", "pass@10", "exact_match")}


def _likelihood(run: Path) -> dict[str, Any]:
    from codeparrot.eval.tasks.likelihood import likelihood
    from codeparrot.run.metrics import read_lines

    result = likelihood(str(run), problems="codeparrot")
    print(result.text, file=sys.stderr)
    first = next((line for line in read_lines(run / "metrics.jsonl") if SOLUTIONS in line), {"step": None})
    return {SOLUTIONS: result.data[SOLUTIONS], f"{SOLUTIONS}_before": first[SOLUTIONS] if first["step"] == 0 else None}


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


def _parses(function: str) -> bool:
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


def _solved(facts: dict[str, Any]) -> str:
    if "unit_tests" in facts:
        return f"skipped ({facts['unit_tests']})"
    return f"""pass@1 {facts["pass@1"]:.1%}, pass@10 {facts["pass@10"]:.1%} of the project's easy problems
gaps         pass@1 {facts["infilling_pass@1"]:.1%}, pass@10 {facts["infilling_pass@10"]:.1%} of 20 easy gaps in functions; \
{facts["infilling_exact_match"]:.1%} of the middles are the original's"""


def _likely(facts: dict[str, Any]) -> str:
    before = facts[f"{SOLUTIONS}_before"]
    first = "" if before is None else f"{before:.3f} before training, "
    return f"""{first}{facts[SOLUTIONS]:.3f} bits a byte now, of the easy problems' solutions given their prompts;
             it falls long before a program passes: watch solution_bits_per_byte in metrics.jsonl"""


def _summary(config: Config, facts: dict[str, Any]) -> str:
    run = config.run_directory
    # `make quickstart` runs it from an environment that the user's shell has not activated.
    program = "codeparrot" if shutil.which("codeparrot") else os.path.relpath(Path(sys.executable).with_name("codeparrot"))
    prefix, middle, suffix = facts["middle"]
    texts = [*facts["completions"], f"{prefix}[{middle}]{suffix}".rstrip()]
    shown = "\n\n".join("    " + text.replace("\n", "\n    ") for text in texts)
    return f"""
{shown}

in [brackets]: what it wrote at a cursor in the middle of a function, given both sides

perplexity   {_perplexities(facts)}
bits a byte  {facts["bits_per_byte"]:.3f}; for the same text xz needs {facts["xz_bits_per_byte"]:.3f}, and a 5-gram model of \
{facts["ngram_tokens"]:,} training tokens {facts["ngram_bits_per_byte"]:.3f}
syntax       {facts["parsed_share"]:.0%} of the sampled functions parse as Python
unit tests   {_solved(facts)}
solutions    {_likely(facts)}
time         {facts["seconds"]:.0f} s

run          {run}/            config.yaml, metrics.jsonl, log/, checkpoints/
picture      {run}/plots/loss.png
data         {Path(config.tokenizer.path).parent}/       corpus/ (README.md is its card), tokenizer/

next         {program} complete --checkpoint {run} --prompt "def fibonacci(n):"
             {program} serve --checkpoint {run}
             {program} train --config {run}/config.yaml --run.name longer --train.max_steps 3000
             {program} plot {run} {run.parent}/longer
             {program} train --help"""
