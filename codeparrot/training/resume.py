"""How a run goes on from a checkpoint.

A checkpoint does not depend on world size or strategy: the weights are the Hugging Face model that everything else loads, the
optimizer's moments are whole tensors, the stream's state is a position a lane. Only the dropout masks differ between
processes, and each step draws them from (seed, step, process).
"""

import json
import logging
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from transformers import AutoConfig

from codeparrot.config import Config, StreamConfig
from codeparrot.errors import CodeparrotError
from codeparrot.loading import tokenizer_digest
from codeparrot.location import HUB, path_of
from codeparrot.model.families import without_weights
from codeparrot.objectives import with_defaults
from codeparrot.optim.average import AVERAGE
from codeparrot.run import checkpoint, parent
from codeparrot.run.origin import WEIGHTS, same_order
from codeparrot.run.progress import Progress
from codeparrot.stream import merge_states
from codeparrot.stream.mixture import windows_before
from codeparrot.stream.opened import identities
from codeparrot.stream.position import saved_sources
from codeparrot.stream.readers.patience import until_broken_off
from codeparrot.stream.shuffle import default_block_windows
from codeparrot.training.child import at_parent, refused
from codeparrot.training.fetching import fetch_in_one
from codeparrot.training.parts import Start, Training
from codeparrot.training.preemption import StopRequest
from codeparrot.training.sharding import MODELS, WEIGHT, begin_average, has_average
from codeparrot.training.source import without_zero3

logger = logging.getLogger("codeparrot")

TRAINING = "training.json"


def moments_name(rank: int) -> str:
    return f"moments-{rank:05d}.safetensors"


def settled(config: Config, place: Path | None) -> Config:
    """Return the configuration with the order of the stream settled: that of a stream which goes on, or what is asked for."""
    stream = config.stream
    saved = _stream_that_goes_on(config, place) if place else {}
    order: Any = saved.get("order", "windows") if stream.order == "auto" else stream.order
    if order == "documents" and saved and stream.order == "auto":
        logger.info("the run was begun with stream.order documents and goes on in it")
    unused = "block_windows" if order == "documents" else "block_documents"
    if getattr(stream, unused) != getattr(StreamConfig(), unused):
        logger.warning("stream.%s does nothing with stream.order %s", unused, order)
    if order == "documents":
        return replace(config, stream=replace(stream, order=order))
    size = stream.block_windows or saved.get("block_windows") or default_block_windows(stream)
    return replace(config, stream=replace(stream, order=order, block_windows=size))


def _stream_that_goes_on(config: Config, place: Path) -> dict[str, Any]:
    """Return the checkpoint's settings of the stream, or nothing if its position will mean nothing in this run's data."""
    stream = config.stream
    saved = checkpoint.completed(checkpoint.read_manifest(place)["config"])["stream"]
    state = json.loads((place / "stream.json").read_text(encoding="utf-8"))
    # In the order of the documents a place is one among documents, whatever the length of a window.
    same = saved["order"] == "documents" or saved["seq_length"] == stream.seq_length
    data = [each["data"] for each in saved_sources(state)]
    same = same and saved["packing"] == stream.packing
    return saved if same and saved["lanes"] == stream.lanes and data == identities(stream) else {}


def resume(training: Training, place: Path | None) -> tuple[Progress, dict[str, Any]]:
    """Go on from a checkpoint, or begin.

    Returns:
        Where the run is, and the origin of its stream (run/origin.py).

    Raises:
        CodeparrotError: the checkpoint does not fit the model or the data.
    """
    if place is None:
        begin_average(training.sharded)
        return Progress(), _new_origin(training, 0, None) | _first_weights(training)
    manifest = checkpoint.read_manifest(place)
    progress = Progress(manifest["step"], manifest["tokens"])
    loaded = _load_stream(training, place)
    training.stream.goes_on_at(windows_before(training.config, progress.step))
    goes_on = loaded and same_order(manifest["config"], training.config)
    origin = manifest.get("origin") if goes_on else None
    if origin is None:
        origin = _new_origin(training, progress.step, str(place))
        origin |= {key: value for key, value in (manifest.get("origin") or {}).items() if key == WEIGHTS}
    if place.parent.resolve() == training.checkpoints.resolve():
        begun = parent.of_origin(manifest.get("origin"))
        origin = origin | {"parent": begun} if begun else origin
    elif place.parent.name == "checkpoints":
        origin = origin | {"parent": parent.facts_of(place)}
    load_weights(training, place / "model")
    _load_state(training, place / "state")
    if (place / MODELS[AVERAGE]).is_dir() and has_average(training.sharded):
        load_weights(training, place / MODELS[AVERAGE], AVERAGE)
    elif has_average(training.sharded):
        logger.info("%s holds no average of the weights: it begins there", place)
        begin_average(training.sharded)
    return progress, origin


def _first_weights(training: Training) -> dict[str, Any]:
    """Return the part of the origin that says whose weights the run began with; nothing if they were drawn."""
    source = training.source
    if source is None:
        return {}
    facts = training.agreement.from_main(source.facts() if training.accelerator.is_main_process else None)
    return {WEIGHTS: facts}


def _new_origin(training: Training, step: int, place: str | None) -> dict[str, Any]:
    states = training.agreement.gather(training.stream.state_dict())
    return {"step": step, "stream": merge_states(states), "from": place}


def choose(training: Start, stop: StopRequest) -> Path | None:
    """Return the checkpoint that the configuration asks to go on from; all processes take the same one.

    Raises:
        CodeparrotError: the named checkpoint does not exist, or was trained with other settings. The same on all
            processes.
        Stopped: the run was asked to stop while it was fetched.
    """
    wanted = training.config.resume
    if wanted.startswith(HUB):
        _fetch(training, wanted, stop)
        wanted = "auto"
    named = wanted not in ("auto", "never")
    own = _newest(training, training.checkpoints) if named else None
    changes = training.agreement.from_main(_changes_since_it_began(training.config, own)) if own is not None else None
    if own is not None and changes is not None:
        place, error = own, _other_settings(own, changes) if changes else None
    elif named and not (path_of(wanted) / "checkpoints").is_dir():
        place = path_of(wanted)
        votes = training.agreement.gather(checkpoint.fault(place))
        error = next((f"cannot resume from {wanted}: {why}; {_NAME_ONE}" for why in votes if why), None)
    else:
        folder = path_of(wanted) / "checkpoints" if named else training.checkpoints
        place = _newest(training, folder) if wanted != "never" else None
        error = f"cannot resume from {wanted}: no complete checkpoint in it; {_NAME_ONE}" if named and place is None else None
        if wanted == "auto" and place is None and training.agreement.from_main(bool(checkpoint.steps(folder))):
            error = (
                f"{folder} holds checkpoints and none is complete (named above): the run would begin again at step 0; "
                f"move {folder.parent} away to do so, or choose another run.name"
            )
    if place is None and error is None and training.config.parent:
        place, error = at_parent(training)
    if error is None:
        error = training.agreement.from_main(_objection(training, place))
    if error is not None:
        raise CodeparrotError(error)
    return place


def _changes_since_it_began(config: Config, own: Path) -> list[str] | None:
    """Return the settings that changed since the run began from the checkpoint that is named again, or None if it did not.

    Without changes, the same command goes on from the run's own checkpoint. With changes, going back would lose its steps.
    """
    saved = checkpoint.read_manifest(own)["config"]
    return _changes(saved, config) if saved["resume"] == config.resume else None


def _changes(saved: dict[str, Any], config: Config) -> list[str]:
    """Return the settings that make a resumed run another run. One that an objective's section leaves out has its default."""
    old, new = ({**each, "objective": with_defaults(each.get("objective", {}))} for each in (saved, asdict(config)))
    return checkpoint.changes_that_matter(old, new)


def _other_settings(place: Path, changes: list[str], can_be_named: bool = True) -> str:
    said = f"{place} was trained with other settings ({'; '.join(changes)}); set them back to go on with it"
    if not can_be_named:
        return f"{said}, or choose another run.name to start afresh"
    return f"{said}, choose another run.name to start afresh, or go on with the new settings by --resume {place}"


def _fetch(training: Start, name: str, stop: StopRequest) -> None:
    """Fetch the checkpoint from which a run without checkpoints begins. Meanwhile all processes keep their watchdogs informed.

    Raises:
        CodeparrotError: the same on all processes.
        Stopped: the run was asked to stop meanwhile.
    """
    from codeparrot.hub.fetch import resumable

    absent = training.accelerator.is_main_process and not checkpoint.steps(training.checkpoints)
    fetch = (lambda: resumable(name, training.checkpoints, until_broken_off(lambda _: None))) if absent else None
    place = fetch_in_one(training.agreement, stop, fetch, lambda: training.watchdog.beat(0, "fetching"))
    if place is not None:
        logger.info("fetched %s from the Hub: %s", place.name, name)


def _newest(training: Start, folder: Path) -> Path | None:
    accelerator = training.accelerator
    return checkpoint.newest_complete(folder, training.agreement.gather, accelerator.process_index, accelerator.num_processes)


_NAME_ONE = "name a complete checkpoint, or a run directory"


def _objection(training: Start, place: Path | None) -> str | None:
    """Return why the run must not go on from `place`."""
    config = training.config
    if config.resume == "never":
        present = checkpoint.steps(training.checkpoints)
        if present:
            return (
                f"resume is never, but {training.checkpoints} holds {len(present)} checkpoints (newest {present[0].name}); "
                "choose another run.name, or move that run away"
            )
    if place is None:
        return None
    manifest = checkpoint.read_manifest(place)
    same_tokenizer = manifest["tokenizer_sha256"] == tokenizer_digest(training.tokenizer)
    weights = differing_weights(training.settings, place / "model")
    if config.resume not in ("auto", "never") and not config.resume.startswith(HUB):
        begins = config.model.get("from")
        if begins not in (None, manifest["config"]["model"].get("from")):
            return f"model.from {begins} and resume {config.resume} both name weights to begin with; leave one of them out"
        if not same_tokenizer:
            return f"{place} was trained with a tokenizer other than {config.tokenizer.path}"
        return _another_model(place, weights) if weights else None
    changes = _changes(manifest["config"], config)
    if not same_tokenizer:
        changes.append("tokenizer.path: not the checkpoint's vocabulary")
    if config.parent and place.parent != training.checkpoints and same_tokenizer and not weights:
        return refused(place, changes, phases=bool(config.stream.phases))
    if not changes:
        return _another_model(place, weights) if weights else None
    # With other weights or another tokenizer it cannot be gone on from, named or not.
    return _other_settings(place, changes, can_be_named=not weights and same_tokenizer)


def _another_model(place: Path, weights: list[str]) -> str:
    text = f"{place} holds another model: {weights[0]} differs (of {len(weights)})"
    return f"{text}; set model back, or choose another run.name to start afresh"


def differing_weights(settings: Any, model: Path) -> list[str]:
    """Return the parameters that the model in a folder lacks, has besides, or has in another shape than `settings` give it.

    Neither model is loaded: 0.2 s for 48 layers.
    """
    ours, theirs = _shapes(settings), _shapes(AutoConfig.from_pretrained(model, local_files_only=True, trust_remote_code=False))
    return [name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)]


def _shapes(settings: Any) -> dict[str, tuple[int, ...]]:
    return {name: tuple(parameter.shape) for name, parameter in without_weights(settings).named_parameters()}


def _load_stream(training: Training, place: Path) -> bool:
    """Load the stream's state; return whether the stream goes on from the checkpoint's position."""
    try:
        training.stream.load_state_dict(json.loads((place / "stream.json").read_text(encoding="utf-8")))
    except CodeparrotError as error:
        resume = training.config.resume
        if resume == "auto" or resume.startswith(HUB) or _changes_since_it_began(training.config, place) == []:
            raise
        # The user named the checkpoint to begin another phase of training, on other data.
        logger.warning("%s: the stream starts at its beginning", error)
        return False
    return True


def load_weights(training: Training, folder: Path, kind: str = WEIGHT) -> None:
    """Read the Hugging Face model in `folder` into the training's model, or into their average, whatever the strategy.

    Raises:
        CodeparrotError: the folder holds another model.
    """
    with without_zero3(training.accelerator):
        options: Any = {"dtype": torch.float32, "use_safetensors": True, "local_files_only": True, "trust_remote_code": False}
        weights = dict(type(training.skeleton).from_pretrained(folder, **options).named_parameters())
    sharded = training.sharded
    differing = [name for name in sharded.names if name not in weights or weights[name].shape != sharded.shape(name)]
    differing += [name for name in weights if name not in sharded.names]
    if differing:
        raise CodeparrotError(f"{folder} holds another model: {differing[0]} differs (of {len(differing)}); set model back")
    for name in sharded.names:
        sharded.put(name, kind, weights.pop(name).detach())


def _load_state(training: Training, folder: Path) -> None:
    state = json.loads((folder / TRAINING).read_text(encoding="utf-8"))
    files = [safe_open(path, framework="pt") for path in sorted(folder.glob("moments-*.safetensors"))]
    place_of = {key: file for file in files for key in file.keys()}  # noqa: SIM118 - safe_open is no dictionary
    for name in training.sharded.names:
        for kind in (kind for kind in training.sharded.moments[name] if kind not in MODELS):
            training.sharded.put(name, kind, place_of[f"{kind}/{name}"].get_tensor(f"{kind}/{name}"))
    training.sharded.num_updates = state["num_updates"]
    training.health.load_state_dict(state["health"])
    if training.accelerator.scaler is not None and state["scaler"] is not None:
        training.accelerator.scaler.load_state_dict(state["scaler"])
