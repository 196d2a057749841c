"""`codeparrot quickstart`: the whole chain on this machine's own Python sources, in minutes, on a CPU, without a network.

Each stage runs the command that a real run uses, with `configs/nano.yaml`, or `configs/nano-bert.yaml` for a masked model.
What is already there is reused.
"""

import os
import shutil
import sys
import time
from importlib.resources import files
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from codeparrot.config import Config, as_list
from codeparrot.errors import CodeparrotError
from codeparrot.location import path_of
from codeparrot.quickstart import masked
from codeparrot.quickstart.written import SAMPLES, complete, parses, sample_functions
from codeparrot.result import STOPPED, Result
from codeparrot.run.metrics import SOLUTIONS
from codeparrot.stream.batches import batches_of

_MOST_COUNTED = 4_000_000
"""Training tokens that the n-gram model counts at most: a second a million."""


def quickstart(
    directory: str = ".",
    max_steps: int = 0,
    max_bytes: int = 30_000_000,
    objective: Literal["causal", "masked"] = "causal",
) -> Result:
    """Build a corpus from this machine's Python sources, train a tokenizer and a small model, and complete code with it.

    Args:
        directory: Folder where data/nano and runs/nano are written; for a masked model, data/nano-bert and runs/nano-bert too.
        max_steps: Length of the training in optimizer steps; 0: as in the recipe.
        max_bytes: Bytes of text to take from the sources.
        objective: What is trained: causal, a GPT-2 that writes code; masked, a BERT that fills in hidden tokens.
    """
    start = time.perf_counter()
    root = path_of(directory)
    if objective == "masked":
        return _masked(root, max_steps, max_bytes, start)
    corpus, tokenizer = root / "data" / "nano" / "corpus", root / "data" / "nano" / "tokenizer"
    config = _config(root, corpus, tokenizer, max_steps)
    _stage("1/8", "corpus", "the Python sources on this machine", _build_corpus, corpus, max_bytes)
    _stage(
        "2/8",
        "tokenizer",
        f"a byte-level BPE of {config.model['vocab_size']:,} tokens",
        _train_tokenizer,
        corpus,
        tokenizer,
        config,
    )
    trained = _stage("3/8", "training", f"a GPT-2 for {config.train.max_steps:,} steps", _train, config)
    if trained.status is STOPPED:
        return trained._replace(text="the quickstart was stopped; its corpus, tokenizer and training so far are used again")
    facts = _measure(config)
    facts |= _stage("4/8", "baselines", "the same validation text by xz and by a model that only counts", _baselines, config)
    facts |= _stage(
        "5/8", "completions", "three prompts, and one place in the middle of a function", complete, config.run_directory
    )
    sampled = _stage(
        "6/8",
        "syntax",
        f"{SAMPLES} functions, sampled from signatures of the validation set",
        sample_functions,
        config.run_directory,
        corpus,
    )
    facts["parsed_share"] = sum(map(parses, sampled)) / len(sampled)
    facts |= _stage(
        "7/8",
        "unit tests",
        "easy problems: functions, and gaps in functions, run in a sandbox",
        _run_unit_tests,
        config.run_directory,
    )
    facts |= _stage(
        "8/8", "likelihood", "the same problems' solutions: how likely the model finds them", _likelihood, config.run_directory
    )
    facts["seconds"] = time.perf_counter() - start
    return Result(_summary(config, facts), {"run": str(config.run_directory), **facts})


def _masked(root: Path, max_steps: int, max_bytes: int, start: float) -> Result:
    """Train a masked model on the same corpus."""
    corpus, tokenizer = root / "data" / "nano" / "corpus", root / "data" / "nano-bert" / "tokenizer"
    config = _config(root, corpus, tokenizer, max_steps, "nano-bert")
    _stage("1/4", "corpus", "the Python sources on this machine", _build_corpus, corpus, max_bytes)
    what = f"a byte-level BPE of {config.model['vocab_size']:,} tokens, with <mask> and <pad>"
    _stage("2/4", "tokenizer", what, _train_tokenizer, corpus, tokenizer, config, ["masked"])
    trained = _stage("3/4", "training", f"a BERT for {config.train.max_steps:,} steps", _train, config)
    if trained.status is STOPPED:
        return trained._replace(text="the quickstart was stopped; its corpus, tokenizer and training so far are used again")
    facts = masked.measure(config)
    facts |= _stage("4/4", "hidden tokens", "what the model takes for hidden tokens of four lines", masked.fill, config)
    facts["seconds"] = time.perf_counter() - start
    return Result(masked.summary(config, facts, _program()), {"run": str(config.run_directory), **facts})


def _config(root: Path, corpus: Path, tokenizer: Path, max_steps: int, recipe: str = "nano") -> Config:
    from codeparrot.arguments import parse_config

    arguments = ["--config", str(files("codeparrot.configs") / f"{recipe}.yaml"), "--run.dir", str(root / "runs")]
    arguments += ["--tokenizer.path", str(tokenizer), "--stream.train", str(corpus), "--stream.valid", str(corpus)]
    if max_steps:
        arguments += ["--train.max_steps", str(max_steps), "--schedule.warmup_steps", str(max(1, max_steps // 5))]
    return parse_config(arguments)


def _stage(number: str, name: str, what: str, action: Any, *arguments: Any) -> Any:
    print(f"\n[{number}] {name}: {what}", file=sys.stderr, flush=True)
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


def _train_tokenizer(corpus: Path, tokenizer: Path, config: Config, objectives: Any = ("causal",)) -> Result | None:
    from codeparrot.loading import load_tokenizer
    from codeparrot.stream.sentinels import sentinels_of
    from codeparrot.tokenizer.train import train

    if (tokenizer / "tokenizer.json").is_file():
        if sentinels_of(load_tokenizer(str(tokenizer))) is None:
            older = f"{tokenizer} is of an older version, which knew no fill-in-the-middle"
            raise CodeparrotError(f"{older}: remove it and {config.run_directory}, or name another --directory")
        return _reused(tokenizer)
    return train(str(corpus), str(tokenizer), vocab_size=config.model["vocab_size"], objectives=list(objectives))


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


def _program() -> str:
    """Return how to call codeparrot: `make quickstart` runs from an environment that the user's shell has not activated."""
    return "codeparrot" if shutil.which("codeparrot") else os.path.relpath(Path(sys.executable).with_name("codeparrot"))


def _summary(config: Config, facts: dict[str, Any]) -> str:
    run = config.run_directory
    program = _program()
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
