"""`codeparrot inspect`: the global batch of a step, and the documents that it is made of.

Guarantees: the windows of a step are exactly those that the step trained on (or will train on), on one process without a GPU;
where the data, the tokenizer or the beginning of the stream are not those of the run any more, that is an error.
Cost: encoding what lies between the newest checkpoint before the step and the step. Nothing in the run directory is changed.
"""

import json
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from codeparrot import checkpoint
from codeparrot.config import Config, StreamConfig, as_list, load
from codeparrot.errors import CodeparrotError
from codeparrot.location import local_folder
from codeparrot.result import Result

if TYPE_CHECKING:
    from codeparrot.stream import ConstantLengthDataset
    from codeparrot.stream.provenance import TracedWindow

SHOWN_FIRST = ("repo_name", "path", "license")
"""Columns of a document that the text shows; the others are in the data."""


class Saved(NamedTuple):
    """What a checkpoint says of the stream."""

    place: Path
    step: int
    state: dict[str, Any]
    manifest: dict[str, Any]


def inspect(run: str, step: int, text: bool = True) -> Result:
    """Show the global batch of an optimizer step: its windows and the documents they are made of.

    Args:
        run: Run folder. Relative paths in its configuration are taken from the current folder.
        step: Optimizer step, counted from 1 as in metrics.jsonl; it can be one that is still to come.
        text: Whether to decode the windows, or to show only where they are from.
    """
    from codeparrot.stream import ConstantLengthDataset, make_encoder

    if step < 1:
        raise CodeparrotError(f"--step is {step}; steps are counted from 1, as in metrics.jsonl")
    folder, config = _open_run(run)
    saves = [saved for saved in map(_read, checkpoint.steps(folder / "checkpoints")) if saved]
    tokenizer = _tokenizer(config, saves)
    encoder = make_encoder(tokenizer.backend_tokenizer.to_str(), tokenizer.eos_token_id, config.stream.encoder)
    try:
        dataset = ConstantLengthDataset(config.stream, encoder, seed=config.run.seed)
    except CodeparrotError as error:
        if all(Path(name).exists() for name in as_list(config.stream.train)):
            raise
        raise CodeparrotError(f"{error}; relative paths are taken from the current folder") from error
    begin = _enter(dataset, step, folder, config, saves)
    size = config.train.global_batch_size
    _skip(dataset, (step - 1 - begin) * size)
    windows = dataset.traced(dataset.states, size)
    facts = [_facts(window, tokenizer, text) for window in windows]
    head = f"{folder}, step {step}: {size} windows of {config.stream.seq_length} tokens from {config.stream.lanes} lanes"
    shown = [_text(window, tokenizer, text) for window in windows]
    return Result("\n".join([head, *shown]), {"run": str(folder), "step": step, "windows": facts})


def _open_run(name: str) -> tuple[Path, Config]:
    folder = local_folder(name)
    if folder is None or not (folder / "config.yaml").is_file():
        raise CodeparrotError(f'"{name}" is no run: there is no {Path(name) / "config.yaml"}; name a run folder, as runs/nano')
    return folder, load(folder / "config.yaml")


def _read(place: Path) -> Saved | None:
    """Return what the checkpoint at `place` says, or None where it is not complete."""
    try:
        manifest = checkpoint.read_manifest(place)
        state = json.loads((place / "stream.json").read_text(encoding="utf-8"))
    except (CodeparrotError, OSError, ValueError):
        return None
    return Saved(place, manifest["step"], state, manifest)


def _tokenizer(config: Config, saves: list[Saved]) -> Any:
    """Return the tokenizer that the run was trained with: the configuration's, or the one in its newest checkpoint.

    Raises:
        CodeparrotError: neither can be loaded, or it is another one than the checkpoint's.
    """
    from codeparrot.vocabulary import load_tokenizer, tokenizer_digest

    expected = saves[0].manifest["tokenizer_sha256"] if saves else None
    try:
        tokenizer = load_tokenizer(config.tokenizer.path)
        if expected in (None, tokenizer_digest(tokenizer)):
            return tokenizer
    except CodeparrotError:
        if not saves:
            raise
    tokenizer = load_tokenizer(str(saves[0].place / "model"))
    if tokenizer_digest(tokenizer) != expected:
        raise CodeparrotError(
            f"tokenizer.path: {config.tokenizer.path} is not the tokenizer of {saves[0].place} any more; put that one back"
        )
    return tokenizer


def _enter(dataset: "ConstantLengthDataset", step: int, folder: Path, config: Config, saves: list[Saved]) -> int:
    """Put the stream at the newest known place before `step`; return the number of steps that lie behind it.

    Raises:
        CodeparrotError: the data are not those of the run any more, or the place cannot be known.
    """
    start = dataset.state_dict()
    own = [saved for saved in saves if _same_order(saved, config)]
    source = _source(step, folder, config, own)
    latest = max(own, key=lambda saved: saved.manifest["time"], default=None)
    if latest and (source is None or latest.manifest["config"]["stream"]["train"] == config.stream.train):
        # Whichever place is gone on from: the data must be those that the run was trained on last.
        _load(dataset, latest)
    for saved in own:
        if saved.step < step and (source is None or saved.step > source.step) and _loads(dataset, saved):
            return saved.step
    if source is not None:
        if not _loads(dataset, source):
            # Another phase of training on other data: its stream began at its beginning.
            dataset.load_state_dict(start)
        return source.step
    if own and _num_windows(own[-1]) * config.stream.lanes != own[-1].step * config.train.global_batch_size:
        raise CodeparrotError(
            f"{folder} was begun from another run's checkpoint, which is not known any more; "
            f"of its steps those behind {own[-1].place.name} can be inspected"
        )
    dataset.load_state_dict(start)
    return 0


def _source(step: int, folder: Path, config: Config, own: list[Saved]) -> Saved | None:
    """Return the checkpoint that was named for the run to go on from, if there was one.

    Raises:
        CodeparrotError: there was one, and it is gone or behind `step`.
    """
    named = [config.resume, *(saved.manifest["config"]["resume"] for saved in own)]
    path = next((Path(name) for name in named if name not in ("auto", "never")), None)
    if path is None or path.resolve() == folder.resolve():
        return None
    if (path / "checkpoints").is_dir():
        # The run that was named may have gone on since: what was taken lies before the first step of this one.
        first = _first_step(folder)
        saves = [saved for saved in map(_read, checkpoint.steps(path / "checkpoints")) if saved]
        source = next((saved for saved in saves if first is None or saved.step < first), None)
    else:
        source = _read(path)
    if source is None and any(saved.step < step for saved in own):
        return None
    if source is None:
        raise CodeparrotError(
            f"{folder} was begun from {path}, which is gone: put it back, or inspect a step behind a checkpoint of {folder}"
        )
    if source.step < step:
        return source
    if path.resolve().parent == (folder / "checkpoints").resolve() and _same_order(source, config):
        return None  # the run went back to a checkpoint of its own, in the same order
    raise CodeparrotError(f"{folder} begins at step {source.step + 1}: inspect the run that {source.place} is of")


def _first_step(folder: Path) -> int | None:
    """Return the first step in metrics.jsonl: the run was begun from an earlier one."""
    try:
        with (folder / "metrics.jsonl").open(encoding="utf-8") as file:
            return json.loads(file.readline())["step"]
    except (OSError, ValueError):
        return None


def _same_order(saved: Saved, config: Config) -> bool:
    """Whether a checkpoint is of the stream that `config` describes, wherever its files lie."""
    free = {"train": None, "valid": None, "encoder": None, "prefetch_batches": None}
    theirs = saved.manifest["config"]
    return (
        {**asdict(StreamConfig()), **theirs["stream"], **free} == {**asdict(config.stream), **free}
        and theirs["run"]["seed"] == config.run.seed
        and theirs["train"]["global_batch_size"] == config.train.global_batch_size
    )


def _load(dataset: "ConstantLengthDataset", saved: Saved) -> None:
    try:
        dataset.load_state_dict(saved.state)
    except CodeparrotError as error:
        raise CodeparrotError(f"{saved.place}: {error}") from error


def _loads(dataset: "ConstantLengthDataset", saved: Saved) -> bool:
    try:
        dataset.load_state_dict(saved.state)
    except CodeparrotError:
        return False
    return True


def _num_windows(saved: Saved) -> int:
    """Windows a lane that were consumed: the same in all lanes behind a step."""
    return next(iter(saved.state["lanes"].values()))[0]


def _skip(dataset: "ConstantLengthDataset", num_windows: int) -> None:
    from tqdm import tqdm

    for _ in tqdm(islice(dataset, num_windows), total=num_windows, desc="skipping", unit=" windows", disable=None):
        pass


def _facts(window: "TracedWindow", tokenizer: Any, text: bool) -> dict[str, Any]:
    tokens = window.tokens.tolist()
    decoded = {"text": tokenizer.decode(tokens, clean_up_tokenization_spaces=False)} if text else {}
    return {**window.facts(), "input_ids": tokens, **decoded}


def _text(window: "TracedWindow", tokenizer: Any, text: bool) -> str:
    lines = [f"\n=== row {window.position}: lane {window.lane}, window {window.window}"]
    for document in window.documents:
        start, stop = document["tokens"]
        place = next(f"{name} {document[name]}" for name in ("row", "byte", "window") if name in document)
        columns = [f"{name} {document[name]}" for name in SHOWN_FIRST if document.get(name) is not None]
        lines.append(f"--- tokens {start} to {stop}: {', '.join([document['file'], place, *columns])}")
        if text:
            lines.append(tokenizer.decode(window.tokens[start:stop].tolist(), clean_up_tokenization_spaces=False))
    return "\n".join(lines)
