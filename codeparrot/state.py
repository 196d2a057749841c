"""What is in a checkpoint, and going on from one.

The weights are kept once, as the Hugging Face model that everything else loads; `state/` holds what only training needs.
"""

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from codeparrot import checkpoint
from codeparrot.checkpoint import Progress
from codeparrot.config import Config
from codeparrot.errors import CodeparrotError
from codeparrot.stream import ConstantLengthDataset, merge_states
from codeparrot.world import Agreement

logger = logging.getLogger("codeparrot")


@dataclass(frozen=True)
class Training:
    """The parts of a run that change as it goes on."""

    config: Config
    accelerator: Any
    agreement: Agreement
    model: Any
    """The LanguageModel, as Accelerate has wrapped it."""
    tokenizer: Any
    stream: ConstantLengthDataset

    @property
    def checkpoints(self) -> Path:
        return self.config.run_directory / "checkpoints"

    @property
    def language_model(self) -> Any:
        """The transformers model inside all wrappers."""
        return self.accelerator.unwrap_model(self.model, keep_torch_compile=False).model


class Saver:
    """Writes the run's checkpoints. One that cannot be written is reported; training goes on and older ones stay."""

    def __init__(self, training: Training, begin: Progress) -> None:
        self.saved_step = begin.step
        """Step of the newest complete checkpoint; 0: none."""
        self._training = training
        self._last_time = time.monotonic()

    def due_by_time(self) -> bool:
        """Whether `checkpoint.every_minutes` have passed since the last save, by the main process's clock."""
        minutes = self._training.config.checkpoint.every_minutes
        main = self._training.accelerator.is_main_process
        return main and minutes > 0 and time.monotonic() - self._last_time >= 60 * minutes

    def save(self, progress: Progress) -> None:
        """Write a checkpoint, if this step has none. All processes call this."""
        if progress.step == self.saved_step:
            return
        start = time.perf_counter()
        error = _save(self._training, progress)
        self._last_time = time.monotonic()
        if error:
            free = shutil.disk_usage(self._training.checkpoints).free
            text = "checkpoint of step %d was not written: %s (%s bytes free); training goes on, older ones are kept"
            logger.error(text, progress.step, error, f"{free:,}")
            return
        self.saved_step = progress.step
        logger.info("checkpoint of step %d written in %.1f s", progress.step, time.perf_counter() - start)


def _save(training: Training, progress: Progress) -> str | None:
    """Write a checkpoint; return what went wrong on any process, or None."""
    accelerator, folder = training.accelerator, training.checkpoints
    stream_state = merge_states(training.agreement.gather(training.stream.state_dict()))
    partial = checkpoint.partial_of(folder, progress.step)
    # One process makes the folder before any writes into it.
    error = _attempt(lambda: checkpoint.begin(partial)) if accelerator.is_main_process else None
    error = training.agreement.from_main(error) or _attempt(lambda: _write_share(training, partial, stream_state))
    errors = [error for error in training.agreement.gather(error) if error]
    if not errors and accelerator.is_main_process:
        facts = {
            **progress._asdict(),
            "world_size": accelerator.num_processes,
            "tokenizer_sha256": tokenizer_digest(training.tokenizer),
            "config": asdict(training.config),
        }
        error = _attempt(lambda: checkpoint.publish(partial, facts))
        errors = [error] if error else []
    errors = training.agreement.from_main(errors)
    if accelerator.is_main_process:
        kept = training.config.checkpoint
        checkpoint.prune(folder, kept.keep_last, kept.keep_every_steps)
    return "; ".join(dict.fromkeys(errors)) or None


def _write_share(training: Training, partial: Path, stream_state: dict[str, Any]) -> None:
    training.accelerator.save_state(str(partial / "state"))
    if training.accelerator.is_main_process:
        training.language_model.save_pretrained(partial / "model", max_shard_size="1TB")
        training.tokenizer.save_pretrained(partial / "model")
        (partial / "stream.json").write_text(json.dumps(stream_state), encoding="utf-8")


def _attempt(action: Callable[[], object]) -> str | None:
    """Return the error of writing files, or None. torch and safetensors have their own for a full disk."""
    try:
        action()
    except (OSError, RuntimeError, SafetensorError) as error:
        return " ".join(str(error).split())[:300]
    return None


def resume(training: Training) -> Progress:
    """Go on from the checkpoint that the configuration asks for; all processes take the same one.

    Raises:
        CodeparrotError: there is none where one was named, or it is of a run with other settings.
    """
    _keep_weights_out_of_state(training.accelerator)
    chosen = training.agreement.from_main(_choose(training) if training.accelerator.is_main_process else None)
    if isinstance(chosen, CodeparrotError):
        raise chosen
    if chosen is None:
        return Progress()
    place = Path(chosen)
    manifest = checkpoint.read_manifest(place)
    _load_stream(training, place)
    _load_weights(training.language_model, place / "model")
    training.accelerator.load_state(str(place / "state"))
    # Steps of accumulation are counted from the checkpoint on: the number of micro-batches may have changed.
    training.accelerator.step = 0
    return Progress(manifest["step"], manifest["tokens"])


def _keep_weights_out_of_state(accelerator: Any) -> None:
    """Have Accelerate save and load everything but the weights: they are in `model/` already."""
    accelerator.register_save_state_pre_hook(lambda models, weights, folder: weights.clear())
    accelerator.register_load_state_pre_hook(lambda models, folder: models.clear())


def tokenizer_digest(tokenizer: Any) -> str:
    """Return the SHA-256 of what determines the ids."""
    return hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest()


def _choose(training: Training) -> str | CodeparrotError | None:
    """Return the checkpoint to go on from. An error is returned, for all processes to raise it."""
    try:
        wanted = training.config.resume
        if wanted == "never":
            return _none_there(training.checkpoints)
        if wanted != "auto":
            return str(_named(Path(wanted), training))
        newest = checkpoint.newest_complete(training.checkpoints)
        if newest is not None:
            _refuse_changes(training, newest)
        return str(newest) if newest else None
    except CodeparrotError as error:
        return error


def _none_there(folder: Path) -> None:
    present = checkpoint.steps(folder)
    if present:
        raise CodeparrotError(
            f"resume is never, but {folder} holds {len(present)} checkpoints (newest {present[0].name}); "
            "choose another run.name, or move that run away"
        )


def _named(path: Path, training: Training) -> Path:
    """Return the checkpoint at `path`, or the newest complete one of the run at `path`."""
    place = checkpoint.newest_complete(path / "checkpoints") if (path / "checkpoints").is_dir() else path
    why = f"no complete checkpoint in {path}" if place is None else checkpoint.fault(place)
    if place is None or why:
        raise CodeparrotError(f"cannot resume from {path}: {why}; name a complete checkpoint, or a run directory")
    if checkpoint.read_manifest(place)["tokenizer_sha256"] != tokenizer_digest(training.tokenizer):
        raise CodeparrotError(f"{place} was trained with another tokenizer than {training.config.tokenizer.path}")
    return place


def _refuse_changes(training: Training, newest: Path) -> None:
    manifest = checkpoint.read_manifest(newest)
    changes = checkpoint.changes_that_matter(manifest["config"], asdict(training.config))
    if manifest["tokenizer_sha256"] != tokenizer_digest(training.tokenizer):
        changes.append("tokenizer.path: another vocabulary than the checkpoint's")
    if changes:
        raise CodeparrotError(
            f"{newest} is of a run with other settings ({'; '.join(changes)}); set them back to go on with it, "
            f"choose another run.name to start anew, or go on with the new settings by --resume {newest}"
        )


def _load_stream(training: Training, place: Path) -> None:
    try:
        training.stream.load_state_dict(json.loads((place / "stream.json").read_text(encoding="utf-8")))
    except CodeparrotError as error:
        if training.config.resume == "auto":
            raise
        # Another phase of training on other data, asked for by naming the checkpoint.
        logger.warning("%s: the stream starts at its beginning", error)


def _load_weights(model: Any, folder: Path) -> None:
    from safetensors.torch import load_file

    weights = load_file(folder / "model.safetensors")
    missing, unexpected = model.load_state_dict(weights, strict=False)
    model.tie_weights()
    untied = set(missing) - set(model.all_tied_weights_keys)
    if untied or unexpected:
        raise CodeparrotError(f"{folder} is another model: missing {sorted(untied)[:3]}, unexpected {sorted(unexpected)[:3]}")
