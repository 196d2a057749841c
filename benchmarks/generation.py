"""Completions a second: 164 HumanEval prompts, 4 samples each, a GPT-2 of 10M parameters.

The peer is the text-generation pipeline of transformers with the same temperature, top-p, longest length and stop texts, its
prompts sorted by length, at the best of several batch sizes. The model is first trained for some minutes on this machine's
Python sources, because batching depends on realistic lengths of completions. Each side runs in a process of its own.

What healing costs is measured on the same prompts, all of which end inside a token, with completions that nothing ends before
their longest length: healed and exact ones do the same work but for what healing adds, the tokens written once more included.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.common import DATA, Ratio, corpus, report, tokenizer

SAMPLES, MAX_NEW_TOKENS, TEMPERATURE, TOP_P = 4, 128, 0.8, 0.95
BATCH_SIZES = (16, 64, 164)
"""Batch sizes of the pipeline, in sequences; the one that is fastest on a quarter of the prompts is used."""
MODEL = {"family": "gpt2", "vocab_size": 16384, "n_positions": 1024, "n_embd": 256, "n_layer": 8, "n_head": 8}
MODEL |= {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
RUN = DATA / "runs" / "generation"
ROUNDS = 5
"""Healed and exact completions take turns so often; the medians are compared."""


def model() -> Path:
    """Train the model once."""
    import yaml

    from codeparrot.loading import find_model

    if not (RUN / "checkpoints").exists():
        path = DATA / "generation.yaml"
        sections = {
            "run": {"name": RUN.name, "dir": str(RUN.parent)},
            "tokenizer": {"path": str(tokenizer(16384))},
            "stream": {"train": str(corpus()), "seq_length": 256, "lanes": 8},
            "model": MODEL,
            "train": {"global_batch_size": 8, "micro_batch_size": 8, "max_steps": 150, "precision": "fp32"},
            "optim": {"lr": 3e-3},
            "schedule": {"warmup_steps": 20},
            "checkpoint": {"every_steps": 0},
        }
        path.write_text(yaml.safe_dump(sections))
        subprocess.run(["codeparrot", "train", "--config", str(path)], check=True)
    return Path(find_model(str(RUN)))


def ours() -> tuple[float, dict[str, Any]]:
    from codeparrot.eval.sampling import Sampling, generate, wanted
    from codeparrot.eval.tasks.humaneval import HumanEval
    from codeparrot.loading import load_model
    from codeparrot.model.hardware import keep_freed_memory

    keep_freed_memory()
    loaded, words = load_model(str(model()), "cpu")
    task = HumanEval()
    problems = task.load()
    keys = wanted(problems, [TEMPERATURE], SAMPLES)
    sampling = Sampling(top_p=TOP_P, max_new_tokens=MAX_NEW_TOKENS)
    list(generate(loaded, words, task, problems, keys[:8], Sampling(top_p=TOP_P, max_new_tokens=4)))
    start = time.perf_counter()
    done = list(generate(loaded, words, task, problems, keys, sampling))
    seconds = time.perf_counter() - start
    assert len(done) == len(keys)
    return len(done) / seconds, {"tokens": sum(each.num_tokens for each in done), "seconds": seconds}


def pipeline(batch_size: int, every: int = 1) -> tuple[float, dict[str, Any]]:
    """Run the pipeline on one in `every` prompts."""
    import logging

    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers import pipeline as make

    from codeparrot.eval.problems.sets import load_problems
    from codeparrot.generation.texts import cut
    from codeparrot.model.hardware import keep_freed_memory

    keep_freed_memory()
    logging.disable(logging.WARNING)
    words: Any = AutoTokenizer.from_pretrained(model(), padding_side="left")
    words.pad_token = words.eos_token
    loaded = AutoModelForCausalLM.from_pretrained(model()).eval()
    generate: Any = make("text-generation", model=loaded, tokenizer=words, device="cpu")
    problems = sorted(load_problems("humaneval"), key=lambda problem: -len(problem.prompt))[::every]
    options: dict[str, Any] = {"do_sample": True, "temperature": TEMPERATURE, "top_p": TOP_P, "top_k": 0}
    options |= {"max_new_tokens": MAX_NEW_TOKENS, "num_return_sequences": SAMPLES, "return_full_text": False}
    options |= {"stop_strings": list(problems[0].stop), "tokenizer": words}
    prompts = [problem.prompt for problem in problems]
    generate(prompts[:2], batch_size=2, **options | {"max_new_tokens": 4})
    torch.manual_seed(0)
    start = time.perf_counter()
    # A pipeline counts its batch size in prompts.
    done = generate(prompts, batch_size=max(1, batch_size // SAMPLES), **options)
    texts = [cut(each["generated_text"], problems[0].stop) for samples in done for each in samples]
    seconds = time.perf_counter() - start
    assert len(texts) == len(prompts) * SAMPLES
    return len(texts) / seconds, {"seconds": seconds}


def healing() -> tuple[float, dict[str, Any]]:
    """Return samples a second, healed; and exact ones among the facts."""
    import statistics

    from codeparrot.eval.problems.sets import load_problems
    from codeparrot.generation.engine import Engine
    from codeparrot.generation.requests import Request
    from codeparrot.generation.sampling import Nucleus
    from codeparrot.loading import load_model
    from codeparrot.model.hardware import keep_freed_memory

    keep_freed_memory()
    loaded, words = load_model(str(model()), "cpu")
    prompts = sorted((problem.prompt for problem in load_problems("humaneval")), key=len, reverse=True)
    seconds: dict[bool, list[float]] = {True: [], False: []}
    num_healed = 0
    for _ in range(ROUNDS):
        for heal in (True, False):
            start = time.perf_counter()
            with Engine(loaded, words) as engine:
                for prompt in prompts:
                    sampler = Nucleus(TEMPERATURE, TOP_P, (prompt,))
                    engine.submit(Request(prompt, sampler, MAX_NEW_TOKENS, ends=frozenset(), heal=heal))
                done = list(engine.run())
            seconds[heal].append(time.perf_counter() - start)
            num_healed += sum(each.healed for each in done)
    rates = {heal: len(prompts) / statistics.median(found) for heal, found in seconds.items()}
    return rates[True], {"exact": rates[False], "healed": num_healed / ROUNDS}


def measure(*arguments: object) -> tuple[float, dict[str, Any]]:
    """Run a part of this script in a process of its own."""
    answer = DATA / "generation.json"
    subprocess.run(
        [sys.executable, "-m", "benchmarks.generation", str(answer), *map(str, arguments)], check=True, capture_output=True
    )
    return json.loads(answer.read_text())


def main() -> None:
    if len(sys.argv) > 1:
        answer, name, *numbers = sys.argv[1:]
        result = {"ours": ours, "healing": healing, "pipeline": pipeline}[name](*map(int, numbers))
        Path(answer).write_text(json.dumps(result))
        return
    model()
    tried = {size: measure("pipeline", size, 4)[0] for size in BATCH_SIZES}
    best = max(tried, key=lambda size: tried[size])
    own, facts = measure("ours")
    theirs, _ = measure("pipeline", best)
    healed, healing_facts = measure("healing")
    shown = {
        "pipeline's batch sizes, on a quarter": ", ".join(f"{size}: {rate:.1f}/s" for size, rate in tried.items()),
        "mean length of our completions, tokens": f"{facts['tokens'] / (164 * SAMPLES):.1f}",
        "prompts healed": f"{healing_facts['healed']:.0f} of 164",
        "threads": os.environ.get("OMP_NUM_THREADS", str(os.cpu_count())),
    }
    ratios = [
        Ratio("against the pipeline of transformers", own, theirs, "samples/s", 1.5),
        Ratio(f"healed against exact, {MAX_NEW_TOKENS} new tokens", healed, healing_facts["exact"], "samples/s", 0.97),
    ]
    report(f"generation: HumanEval's 164 prompts x {SAMPLES}, GPT-2 of 10M parameters, fp32", ratios, shown)


if __name__ == "__main__":
    main()
