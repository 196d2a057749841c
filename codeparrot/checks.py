"""Settings that are valid one by one but cannot work together are refused here, with the key and the nearest valid choice.

The range of one setting stands at its field (config.py). What needs a tokenizer or a model is checked where those are loaded.
"""

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codeparrot.errors import CodeparrotError
from codeparrot.objectives import load_objective
from codeparrot.optim import load_optimizer
from codeparrot.setting import check_ranges
from codeparrot.stream.batches import SCHEDULE, batches_of
from codeparrot.stream.mixture import check_mixture, further_sets

if TYPE_CHECKING:
    from codeparrot.config import Config

REPOSITORY = re.compile(r"[\w\-][\w.\-]*/[\w\-][\w.\-]*")
"""`owner/name`, as the Hub spells it."""
OF_MUON = ("momentum", "embedding_lr", "head_lr", "vector_lr")
SET_NAME = re.compile(r"[\w.-]+")
"""Trackers group measures by it."""


def check(config: "Config") -> None:
    """Check all that does not need the number of processes, a tokenizer or a model.

    Raises:
        CodeparrotError: naming the key and the nearest valid choice.
    """
    check_ranges(config)
    stream, train, schedule = config.stream, config.train, config.schedule
    if not stream.train:
        raise CodeparrotError(
            "stream.train is empty; name a recipe (--config configs/nano.yaml) or documents (--stream.train data/corpus)"
        )
    check_mixture(config)
    if not config.tokenizer.path and not config.model.get("from"):
        raise CodeparrotError("tokenizer.path is empty; train one with `codeparrot tokenizer train` and name its folder")
    if not config.run.name or Path(config.run.name).name != config.run.name or config.run.name in (".", ".."):
        raise CodeparrotError(f'run.name "{config.run.name}" is not a plain folder name; choose one without "/"')
    for key, text in (("run.name", config.run.name), ("run.dir", config.run.dir)):
        try:
            text.encode()
        except UnicodeEncodeError:  # config.yaml, the log and the Hub hold it
            raise CodeparrotError(f"{key} {text!a} is not UTF-8; choose another name") from None
    for step, size in batches_of(train).stretches:
        if size % stream.lanes:
            name = f"{SCHEDULE} {size} after step {step}" if step else f"train.global_batch_size {size}"
            nearest = f"{_nearest_multiple(size, stream.lanes)}, or stream.lanes {_nearest_divisor(size, stream.lanes)}"
            nearest = nearest if step else f"train.global_batch_size {nearest}"
            raise CodeparrotError(f"{name} is not a multiple of stream.lanes {stream.lanes}; nearest: {nearest}")
    if stream.packing == "best_fit" and stream.order == "documents":
        raise CodeparrotError("stream.packing best_fit packs blocks of windows; set stream.order windows, or leave it out")
    if config.hub.repo and not REPOSITORY.fullmatch(config.hub.repo):
        raise CodeparrotError(f'hub.repo "{config.hub.repo}" is not the name of a repository; write owner/name')
    if schedule.warmup_steps > train.max_steps:
        raise CodeparrotError(
            f"schedule.warmup_steps {schedule.warmup_steps} is longer than the run; at most train.max_steps {train.max_steps}"
        )
    if config.evaluate.also and not (stream.valid and config.evaluate.every_steps):
        raise CodeparrotError(
            "evaluate.also is measured together with stream.valid: name documents there too, and evaluate.every_steps above 0"
        )
    for name in further_sets(config):
        if not SET_NAME.fullmatch(name) or name == "validation":
            where = "evaluate.also" if name in config.evaluate.also else "stream.train: a source with valid,"
            raise CodeparrotError(
                f'{where} "{name}" is no name for a set (stream.valid is the set "validation"); use letters and digits'
            )
    if config.optim.name == "adamw" and (given := next((name for name in OF_MUON if _differs(config.optim, name)), None)):
        raise CodeparrotError(f"optim.{given} is for optim.name muon, and this run's is adamw; leave it out")
    kept, saved = config.checkpoint.keep_every_steps, config.checkpoint.every_steps
    if saved and kept % saved:
        raise CodeparrotError(
            f"checkpoint.keep_every_steps {kept} is not a multiple of checkpoint.every_steps {saved}, so that few checkpoints "
            f"or none would be kept; nearest: {_nearest_multiple(kept, saved)}"
        )
    if schedule.decay_now and schedule.name != "wsd":
        remedy = "add --schedule.name wsd, or leave it out"
        raise CodeparrotError(f"schedule.decay_now is for schedule.name wsd, and this run's is {schedule.name}; {remedy}")
    if schedule.decay_now and not config.parent:
        raise CodeparrotError("schedule.decay_now decays from a checkpoint of another run; name it: --from runs/a@step_1000")
    load_objective(config.objective)
    load_optimizer({"name": config.optim.name})
    _check_model(config.model)


def _differs(section: Any, name: str) -> bool:
    """Whether a setting has another value than its default."""
    return getattr(section, name) != getattr(type(section)(), name)


def _check_model(model: dict[str, Any]) -> None:
    source = model.get("from")
    if source is not None and (not isinstance(source, str) or not source):
        raise CodeparrotError(f"model.from is {source!r}; name a folder, a run, a .gguf file, or owner/name on the Hub")
    if not isinstance(resized := model.get("resize_embeddings", False), bool):
        raise CodeparrotError(f"model.resize_embeddings is {resized!r}; it is true or false")
    if resized and source is None:
        raise CodeparrotError("model.resize_embeddings is for weights that model.from names; set model.vocab_size")
    if model.get("family") is None and source is None:
        raise CodeparrotError("model.family is missing; name a transformers model type, e.g. model.family: gpt2")


def check_world_size(config: "Config", world_size: int) -> None:
    """Check that `world_size` processes can share the lanes and the batch.

    Raises:
        CodeparrotError: naming the key and the nearest valid choice.
    """
    lanes, train = config.stream.lanes, config.train
    if lanes % world_size:
        divisors = ", ".join(map(str, _divisors(lanes)))
        near = _nearest_multiple(lanes, world_size)
        raise CodeparrotError(
            f"{world_size} processes do not divide stream.lanes {lanes}; start one of {divisors} processes, "
            f"or begin the run with stream.lanes a multiple of {world_size} (e.g. {near})"
        )
    shares = [size // world_size for size in batches_of(train).sizes]
    if share := next((share for share in shares if share % train.micro_batch_size), None):
        name = f"train.global_batch_size {train.global_batch_size}" if share == shares[0] else SCHEDULE
        raise CodeparrotError(
            f"train.micro_batch_size {train.micro_batch_size} does not divide {share}, the windows of a step on each process "
            f"({name} over {world_size}); nearest: {_nearest_divisor(math.gcd(*shares), train.micro_batch_size)}"
        )


def _nearest_multiple(value: int, unit: int) -> int:
    return max(unit, round(value / unit) * unit)


def _nearest_divisor(value: int, wanted: int) -> int:
    """The divisor of `value` closest to `wanted`; the larger one of two equally close."""
    return min(_divisors(value), key=lambda n: (abs(n - wanted), -n))


def _divisors(value: int) -> list[int]:
    """Return the divisors in order; beyond 10^12 only those below a million, and what these leave of the value."""
    small = [n for n in range(1, min(math.isqrt(value), 1 << 20) + 1) if value % n == 0]
    return sorted({*small, *(value // n for n in small)})
