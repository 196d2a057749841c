"""Settings that are understood but cannot work together are refused here, with the key and the nearest valid choice.

What needs a tokenizer or a model is checked where those are.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from codeparrot.errors import CodeparrotError
from codeparrot.objectives import load_objective
from codeparrot.optim import load_optimizer

if TYPE_CHECKING:
    from codeparrot.config import Config

REPOSITORY = re.compile(r"[\w\-][\w.\-]*/[\w\-][\w.\-]*")
"""owner/name, as the Hub spells it."""


def check(config: "Config") -> None:
    """Check all that does not need the number of processes, a tokenizer or a model.

    Raises:
        CodeparrotError: naming the key and the nearest valid choice.
    """
    _check_ranges(config)
    stream, train, schedule = config.stream, config.train, config.schedule
    if not stream.train:
        raise CodeparrotError("stream.train is empty; name the training documents (--stream.train data/corpus)")
    if not config.tokenizer.path:
        raise CodeparrotError("tokenizer.path is empty; train one with `codeparrot tokenizer train` and name its folder")
    if not config.run.name or Path(config.run.name).name != config.run.name or config.run.name in (".", ".."):
        raise CodeparrotError(f'run.name "{config.run.name}" is not a plain folder name; choose one without "/"')
    if train.global_batch_size % stream.lanes:
        near = _nearest_multiple(train.global_batch_size, stream.lanes)
        raise CodeparrotError(
            f"train.global_batch_size {train.global_batch_size} is not a multiple of stream.lanes {stream.lanes}; "
            f"nearest: train.global_batch_size {near}, or "
            f"stream.lanes {_nearest_divisor(train.global_batch_size, stream.lanes)}"
        )
    if config.hub.repo and not REPOSITORY.fullmatch(config.hub.repo):
        raise CodeparrotError(f'hub.repo "{config.hub.repo}" is no name of a repository; write owner/name')
    if schedule.warmup_steps > train.max_steps:
        raise CodeparrotError(
            f"schedule.warmup_steps {schedule.warmup_steps} is longer than the run; at most train.max_steps {train.max_steps}"
        )
    load_objective(config.objective)
    load_optimizer({"name": config.optim.name})
    if config.model.get("family") is None:
        raise CodeparrotError("model.family is missing; name a transformers model type, e.g. model.family: gpt2")


def check_world_size(config: "Config", world_size: int) -> None:
    """Check that `world_size` processes can share the lanes and the batch.

    Raises:
        CodeparrotError: naming the key and the nearest valid choice.
    """
    lanes, train = config.stream.lanes, config.train
    if lanes % world_size:
        divisors = ", ".join(str(n) for n in range(1, lanes + 1) if lanes % n == 0)
        near = _nearest_multiple(lanes, world_size)
        raise CodeparrotError(
            f"{world_size} processes do not divide stream.lanes {lanes}; start one of {divisors} processes, "
            f"or begin the run with stream.lanes a multiple of {world_size} (e.g. {near})"
        )
    share = train.global_batch_size // world_size
    if share % train.micro_batch_size:
        raise CodeparrotError(
            f"train.micro_batch_size {train.micro_batch_size} does not divide the {share} windows a step of each of "
            f"{world_size} processes; nearest: {_nearest_divisor(share, train.micro_batch_size)}"
        )


_AT_LEAST_ONE = (
    "stream.seq_length stream.lanes stream.block_documents stream.prefetch_batches train.global_batch_size "
    "train.micro_batch_size train.max_steps train.log_every_steps train.max_skipped_steps checkpoint.keep_last "
    "evaluate.humaneval_samples"
).split()
_NOT_NEGATIVE = (
    "run.seed optim.weight_decay optim.clip_norm schedule.warmup_steps evaluate.every_steps evaluate.micro_batch_size "
    "evaluate.sample_tokens evaluate.humaneval_every_steps evaluate.humaneval_limit checkpoint.every_steps "
    "checkpoint.every_minutes checkpoint.keep_every_steps train.outlier_sigmas checkpoint.time_limit_margin_seconds "
    "hub.every hub.finish_minutes"
).split()
_FRACTIONS = "schedule.final_fraction schedule.decay_fraction".split()
_BETAS = "optim.beta1 optim.beta2".split()
_POSITIVE = "optim.lr optim.eps train.startup_minutes train.timeout_minutes hub.timeout_seconds hub.retry_seconds".split()


def _check_ranges(config: "Config") -> None:
    rules: list[tuple[Sequence[str], Callable[[float], bool], str]] = [
        (_AT_LEAST_ONE, lambda value: value >= 1, "at least 1"),
        (_NOT_NEGATIVE, lambda value: value >= 0, "0 or more"),
        (_FRACTIONS, lambda value: 0 <= value <= 1, "from 0 to 1"),
        (_BETAS, lambda value: 0 <= value < 1, "0 or more and below 1"),
        (_POSITIVE, lambda value: value > 0, "above 0"),
    ]
    for names, holds, words in rules:
        for name in names:
            section, _, key = name.partition(".")
            value = getattr(getattr(config, section), key)
            if not holds(value):
                raise CodeparrotError(f"{name} is {value}; it must be {words}")
    if config.train.outlier_window < 16:
        raise CodeparrotError(f"train.outlier_window is {config.train.outlier_window}; a standard deviation needs 16 or more")
    if config.stream.seq_length < 2:
        raise CodeparrotError("stream.seq_length is 1; a window needs at least 2 tokens, one to read and one to predict")


def _nearest_multiple(value: int, unit: int) -> int:
    return max(unit, round(value / unit) * unit)


def _nearest_divisor(value: int, wanted: int) -> int:
    """The divisor of `value` closest to `wanted`; the larger one of two equally close."""
    divisors = [n for n in range(1, value + 1) if value % n == 0]
    return min(divisors, key=lambda n: (abs(n - wanted), -n))
