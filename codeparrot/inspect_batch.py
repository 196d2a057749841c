"""`codeparrot inspect`: the global batch of a step, and the documents that it is made of.

Guarantees: the windows are exactly those that the step trained on, or will train on; one process without a GPU finds them.
Data or a tokenizer that have changed since are an error. Nothing in the run directory is changed.
Cost: all documents between the step and the newest checkpoint before it (or the origin of the stream) are encoded.
"""

import json
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from codeparrot.arguments import load_config
from codeparrot.config import Config
from codeparrot.errors import CodeparrotError
from codeparrot.location import is_address, local_folder, path_of
from codeparrot.result import Result, progress_bar
from codeparrot.run import checkpoint
from codeparrot.run.origin import ORIGIN, read_origin
from codeparrot.setting import LARGEST
from codeparrot.stream.batches import batches_of

if TYPE_CHECKING:
    from codeparrot.objectives.objective import Objective
    from codeparrot.stream import ConstantLengthDataset
    from codeparrot.stream.provenance import TracedWindow

SHOWN_FIRST = ("repo_name", "path", "license")
"""Columns of a document that the text shows; `--json` has the others too."""


class Saved(NamedTuple):
    """A checkpoint and its position in the stream."""

    place: Path
    step: int
    state: dict[str, Any]
    manifest: dict[str, Any]


def inspect(run: str, step: int, text: bool = True) -> Result:
    """Show the global batch of an optimizer step: its windows and the documents they are made of.

    Args:
        run: Run folder. Relative paths in its configuration are taken from the current folder.
        step: Optimizer step, counted from 1 as in metrics.jsonl; it may lie in the future.
        text: Decode the windows; false: show only where they come from.
    """
    if step < 1:
        raise CodeparrotError(f"--step is {step}; steps are counted from 1, as in metrics.jsonl")
    folder, config = _open_run(run)
    batches = batches_of(config.train)
    if step > (most := LARGEST // batches.largest):
        raise CodeparrotError(f"--step is {step}; it must be at most {most}")
    import numpy as np

    from codeparrot.objectives import load_objective
    from codeparrot.objectives.objective import fitted, kind_trained, transforms_of
    from codeparrot.stream import ConstantLengthDataset, make_encoder
    from codeparrot.stream.entries import places_of
    from codeparrot.stream.mixture import mixture_of, windows_before

    saves = [saved for saved in map(_read, checkpoint.steps(folder / "checkpoints")) if saved]
    tokenizer = _tokenizer(config, saves)
    encoder = make_encoder(tokenizer.backend_tokenizer.to_str(), tokenizer.eos_token_id, config.stream.encoder)
    try:
        objective = fitted(load_objective(config.objective), tokenizer)
        transforms = transforms_of(objective, config, tokenizer)
        how: Any = {"seed": config.run.seed, "transform": transforms, "mixture": mixture_of(config)}
        dataset = ConstantLengthDataset(config.stream, encoder, **how)
    except CodeparrotError as error:
        if all(is_address(name) or path_of(name).exists() for name in places_of(config.stream.train)):
            raise
        raise CodeparrotError(f"{error}; relative paths are taken from the current folder") from error
    begin = _enter(dataset, step, folder, saves)
    dataset.goes_on_at(windows_before(config, begin))
    size = batches.size(step - 1)
    _skip(dataset, batches.before(step - 1) - batches.before(begin))
    windows = dataset.traced(dataset.states, size)
    facts = [_facts(window, tokenizer, text) for window in windows]
    shown = [_text(window, tokenizer, text) for window in windows]
    if kind_trained(objective) != "causal":
        first = batches.before(step - 1)
        for number, window in enumerate(windows):
            padding = np.full(config.stream.seq_length - len(window.tokens), tokenizer.eos_token_id)
            tokens = np.concatenate([window.tokens.astype(np.int64), padding])  # as training/packing.py fills it
            made = _made(objective, tokens, first + window.position, config.run.seed)
            facts[number] |= made
            shown[number] += _of_examples(made, tokenizer, text)
    head = f"{folder}, step {step}: {size} windows of {config.stream.seq_length} tokens from {config.stream.lanes} lanes"
    if config.stream.packing == "best_fit":
        padding = sum(window.padding for window in windows) / (size * config.stream.seq_length)
        documents = [document for window in windows for document in window.documents]
        cut = sum("cut" in each for each in documents)
        head += f"; {padding:.2%} padding, {cut} of {len(documents)} pieces are of cut documents"
    return Result("\n".join([head, *shown]), {"run": str(folder), "step": step, "windows": facts})


def _open_run(name: str) -> tuple[Path, Config]:
    folder = local_folder(name)
    if folder is None or not (folder / "config.yaml").is_file():
        raise CodeparrotError(f'"{name}" is not a run: there is no {Path(name) / "config.yaml"}; name a run folder: runs/nano')
    config = load_config(folder / "config.yaml")
    if config.stream.order == "auto":
        config.stream.order = "documents"  # the only one there was, when a run did not record it
    return folder, config


def _read(place: Path) -> Saved | None:
    """Return the checkpoint at `place`, or None if it is incomplete."""
    try:
        manifest = checkpoint.read_manifest(place)
        state = json.loads((place / "stream.json").read_text(encoding="utf-8"))
    except (CodeparrotError, OSError, ValueError):
        return None
    return Saved(place, manifest["step"], state, manifest)


def _tokenizer(config: Config, saves: list[Saved]) -> Any:
    """Return the tokenizer that the run was trained with: the configuration's, or the one in its newest checkpoint.

    Raises:
        CodeparrotError: neither can be loaded, or the one that can is not the checkpoint's.
    """
    from codeparrot.loading import load_tokenizer, tokenizer_digest
    from codeparrot.training.source import source_of, tokenizer_of

    expected = saves[0].manifest["tokenizer_sha256"] if saves else None
    try:
        tokenizer = tokenizer_of(config, source_of(config, weights=False))
        if expected in (None, tokenizer_digest(tokenizer)):
            return tokenizer
    except CodeparrotError:
        if not saves:
            raise
    tokenizer = load_tokenizer(str(saves[0].place / "model"))
    if tokenizer_digest(tokenizer) != expected:
        raise CodeparrotError(
            f"tokenizer.path: {config.tokenizer.path} is no longer the tokenizer of {saves[0].place}; put that one back"
        )
    return tokenizer


def _enter(dataset: "ConstantLengthDataset", step: int, folder: Path, saves: list[Saved]) -> int:
    """Move the stream to the newest saved position before `step`; return the number of steps up to there.

    Raises:
        CodeparrotError: the data have changed since the run, or `step` belongs to another run.
    """
    origin = read_origin(folder)
    if step <= origin["step"]:
        raise CodeparrotError(f"{folder} begins at step {origin['step'] + 1}: inspect the run that {origin['from']} belongs to")
    # A run that went back to one of its own checkpoints with another order leaves checkpoints of another origin behind.
    before = [saved for saved in saves if saved.step < step and saved.manifest.get("origin") == origin]
    own = max(before, key=lambda saved: saved.step, default=None)
    place, begin, state = (own.place, own.step, own.state) if own else (folder / ORIGIN, origin["step"], origin["stream"])
    try:
        dataset.load_state_dict(state)
    except CodeparrotError as error:
        raise CodeparrotError(f"{place}: {error}") from error
    return begin


def _skip(dataset: "ConstantLengthDataset", num_windows: int) -> None:
    for _ in progress_bar(islice(dataset, num_windows), total=num_windows, desc="skipping", unit="window"):
        pass


def _facts(window: "TracedWindow", tokenizer: Any, text: bool) -> dict[str, Any]:
    from codeparrot.stream.given import unmarked

    tokens = unmarked(window.tokens).tolist()
    decoded = {"text": tokenizer.decode(tokens, clean_up_tokenization_spaces=False)} if text else {}
    return {**window.facts(), "input_ids": tokens, **decoded}


def _made(objective: "Objective", tokens: Any, number: int, seed: int) -> dict[str, Any]:
    """Return what the model sees of the tokens of a window, and what it should predict: `inputs` and `targets`."""
    from codeparrot.model import IGNORED

    examples = objective.examples(tokens[None], [number], seed)
    inputs, labels = examples.input_ids[0].tolist(), examples.labels[0].tolist()
    return {
        "inputs": inputs,
        "targets": [{"token": place, "target": label} for place, label in enumerate(labels) if label != IGNORED],
    }


def _of_examples(made: dict[str, Any], tokenizer: Any, text: bool) -> str:
    if not text:
        return ""
    inputs = tokenizer.decode(made["inputs"], clean_up_tokenization_spaces=False)
    targets = [repr(tokenizer.decode([each["target"]], clean_up_tokenization_spaces=False)) for each in made["targets"]]
    return f"\n--- inputs\n{inputs}\n--- targets: {' '.join(targets)}"


def _text(window: "TracedWindow", tokenizer: Any, text: bool) -> str:
    from codeparrot.stream.given import unmarked

    tokens = unmarked(window.tokens)
    source = f", source {window.source}" if window.source else ""
    padding = f", {window.padding} tokens of padding" if window.padding else ""
    lines = [f"\n=== row {window.position}: lane {window.lane}, window {window.window}{source}{padding}"]
    for document in window.documents:
        start, stop = document["tokens"]
        place = next(f"{name} {document[name]}" for name in ("row", "byte", "window") if name in document)
        columns = [f"{name} {document[name]}" for name in SHOWN_FIRST if document.get(name) is not None]
        columns += ["cut"] if "cut" in document else []
        lines.append(f"--- tokens {start} to {stop}: {', '.join([document['file'], place, *columns])}")
        for part in document.get("parts", [{"tokens": [start, stop]}]):
            start, stop = part["tokens"]
            lines += [f"- {part['name']}, tokens {start} to {stop}"] if "name" in part else []
            lines += [tokenizer.decode(tokens[start:stop].tolist(), clean_up_tokenization_spaces=False)] if text else []
    return "\n".join(lines)
