"""What the quickstart shows of a masked model: the loss on hidden tokens, and what it takes for some of them."""

from pathlib import Path
from typing import Any

from codeparrot.config import Config
from codeparrot.stream.batches import batches_of

SHOWN = (
    "import os\n\nfor name in os.<mask>(path):\n    print(name)\n",
    "def area(width, height):\n    return width * <mask>\n",
    "with open(path) <mask> file:\n    text = file.read()\n",
    "try:\n    value = int(text)\nexcept <mask> as error:\n    raise\n",
)
MOST = 3
"""Tokens that are shown for a hidden one."""


def measure(config: Config) -> dict[str, Any]:
    """Return the pseudo-perplexities before training and at its end; None where one was not measured."""
    from codeparrot.run.metrics import read_lines

    lines = read_lines(config.run_directory / "metrics.jsonl")
    found = {line["step"]: line["pseudo_perplexity"] for line in lines if "pseudo_perplexity" in line}
    return {
        "pseudo_perplexity_before": found.get(0),
        "pseudo_perplexity_after": found.get(config.train.max_steps),
        "tokens": batches_of(config.train).before(config.train.max_steps) * config.stream.seq_length,
    }


def fill(config: Config) -> dict[str, Any]:
    """Return lines with a hidden token, and the likeliest tokens for it with their probabilities."""
    import torch

    from codeparrot.loading import find_model, load_model

    model, tokenizer = load_model(find_model(str(config.run_directory)), kind="masked")
    shown = []
    for text in SHOWN:
        ids = torch.tensor([tokenizer(text)["input_ids"]], device=model.device)
        with torch.no_grad():
            logits = model(input_ids=ids).logits[ids == tokenizer.mask_token_id][0]
        likeliest = logits.float().softmax(0).topk(MOST)
        pairs = zip(likeliest.indices.tolist(), likeliest.values.tolist(), strict=True)
        shown.append({"text": text, "found": [[tokenizer.decode([index]), share] for index, share in pairs]})
    return {"filled": shown}


def summary(config: Config, facts: dict[str, Any], program: str) -> str:
    """Return the end of the quickstart in words. `program`: how to call codeparrot."""
    run: Path = config.run_directory
    texts = []
    for each in facts["filled"]:
        guesses = ", ".join(f"{token!r} {share:.0%}" for token, share in each["found"])
        texts.append("    " + each["text"].rstrip().replace("\n", "\n    ") + f"\n    <mask>: {guesses}")
    before, after = facts["pseudo_perplexity_before"], facts["pseudo_perplexity_after"]
    first, last = ("not measured" if value is None else f"{value:,.1f}" for value in (before, after))
    shown = "\n\n".join(texts)
    return f"""
{shown}

pseudo-perplexity   {first} before training (on a sample), {last} after {facts["tokens"]:,} tokens: of hidden tokens
time                {facts["seconds"]:.0f} s

run                 {run}/            config.yaml, metrics.jsonl, log/, checkpoints/
picture             {run}/plots/loss.png
model               {_newest(run)}: AutoModelForMaskedLM.from_pretrained loads it
data                {Path(config.tokenizer.path).parent}/       tokenizer/

next                {program} train --config {run}/config.yaml --run.name longer --train.max_steps 3000
                    {program} inspect --run {run} --step 1"""


def _newest(run: Path) -> Path:
    return next(iter(sorted((run / "checkpoints").glob("step_*"), reverse=True))) / "model"
