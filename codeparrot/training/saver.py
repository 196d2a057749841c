"""Writing checkpoints beside the training.

The loop waits only for the copy to the host's memory. Then a thread in each process writes, flushes and hashes its share. The
processes learn that all have finished from the flags that they exchange at each step anyway; the main one then gives the
checkpoint its manifest and its name and removes old ones. A failed write is tried again, then reported; training goes on and
older checkpoints stay.

Cost: 12 bytes a parameter of host memory, shared by the processes, and 4 more of the main one with
`train.ema_decay`; on GPUs up to twice as much (GPT-2 xl: 18), because torch
rounds each pinned tensor up to a power of two. benchmarks/checkpoint.py measures the stall.
"""

import json
import logging
import shutil
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from codeparrot.files import give_usual_modes
from codeparrot.loading import tokenizer_digest
from codeparrot.run import checkpoint
from codeparrot.run.progress import Progress
from codeparrot.stream import merge_states
from codeparrot.stream.entries import is_mixture
from codeparrot.training import sources_read
from codeparrot.training.parts import Training
from codeparrot.training.preemption import StopRequest, TimeLimit
from codeparrot.training.resume import TRAINING, moments_name
from codeparrot.training.sharding import MODELS, WEIGHT, ShardedState, has_average

logger = logging.getLogger("codeparrot")

RETRY_SECONDS = (1.0, 4.0)
"""Waits before each new try of a failed write."""


@dataclass
class _Unfinished:
    """A checkpoint that is being written."""

    progress: Progress
    partial: Path
    facts: dict[str, Any]
    start: float
    stall_seconds: float = 0.0
    """How long training waited."""
    published: bool = False
    """Whether all shares are written and publishing has begun."""


@dataclass
class HostCopy:
    """This process's share of the state in the host's memory. Buffers are kept from save to save."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    """`kind/name` to a whole tensor."""

    def take(self, state: ShardedState, rank: int, world_size: int, device: torch.device) -> None:
        """Copy this process's share. All processes call this; it returns when the copy is done."""
        sizes = {name: state.shape(name).numel() for name in state.names}
        models = 1 + has_average(state)
        owners = deal(sizes, world_size, {name: 1 + len(kept) - models for name, kept in state.moments.items()}, models)
        for name in state.names:
            for kind in (WEIGHT, *state.moments[name]):
                value = state.whole(name, kind)
                if rank == (0 if kind in MODELS else owners[name]):
                    self._buffer(f"{kind}/{name}", value).copy_(value, non_blocking=True)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    def model(self, kind: str) -> dict[str, Tensor]:
        """Return a model's tensors by name: the weights, or their average."""
        return {key.split("/", 1)[1]: value for key, value in self.tensors.items() if key.split("/", 1)[0] == kind}

    def moments(self) -> dict[str, Tensor]:
        return {key: value for key, value in self.tensors.items() if key.split("/", 1)[0] not in MODELS}

    def _buffer(self, key: str, value: Tensor) -> Tensor:
        if key not in self.tensors:
            self.tensors[key] = torch.empty(value.shape, dtype=torch.float32, pin_memory=value.device.type == "cuda")
        return self.tensors[key]


def deal(sizes: dict[str, int], world_size: int, num_moments: dict[str, int], models: int = 1) -> dict[str, int]:
    """Return which process writes the moments of each parameter, so that all write about as much; process 0 has the models."""
    loads = [0] * world_size
    loads[0] = models * sum(sizes.values()) if world_size > 1 else 0
    owners: dict[str, int] = {}
    for name, size in sorted(sizes.items(), key=lambda item: (-item[1], item[0])):
        owners[name] = min(range(world_size), key=lambda rank: (loads[rank], rank))
        loads[owners[name]] += num_moments[name] * size
    return owners


class Saver:
    """Writes the run's checkpoints. Every process makes one."""

    def __init__(
        self,
        training: Training,
        begin: Progress,
        origin: dict[str, Any],
        published: Callable[[], set[int]] = set,
        number: int = 0,
    ) -> None:
        """Begin after the step that training resumes from.

        Args:
            origin: of the stream, for the manifests.
            published: called on the main process after each checkpoint; returns the steps of those that must stay.
            number: the least number that a new checkpoint may have (run/checkpoint.py); read on the main process.
        """
        self.saved_step = begin.step
        """Step of the newest complete checkpoint; 0 if there is none."""
        self.longest_seconds = 0.0
        """The longest time from the beginning of a save to its end."""
        self._training, self._origin, self._published, self._number = training, origin, published, number
        self._last_time = time.monotonic()
        self._copy = HostCopy()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._unfinished: _Unfinished | None = None
        self._work: Future[Any] | None = None

    @property
    def busy(self) -> bool:
        """Whether this process is still writing."""
        return self._work is not None and not self._work.done()

    def due_by_time(self) -> bool:
        """Whether `checkpoint.every_minutes` have passed since the last save, by the main process's clock."""
        minutes = self._training.config.checkpoint.every_minutes
        main = self._training.accelerator.is_main_process
        return main and minutes > 0 and time.monotonic() - self._last_time >= 60 * minutes

    def stop_in_time(self, stop: StopRequest) -> None:
        """Have the run stop before the job's time limit, early enough for two saves and the configured margin."""
        if self._training.accelerator.is_main_process:
            limit, margin = TimeLimit(), self._training.config.checkpoint.time_limit_margin_seconds
            stop.at(lambda: limit.reached(margin + 2 * self.longest_seconds))

    def save(self, progress: Progress) -> None:
        """Begin a checkpoint unless this step has one. All processes call this."""
        if progress.step == (self._unfinished.progress.step if self._unfinished else self.saved_step):
            return
        if self._unfinished is not None:
            logger.warning("training waits for the checkpoint of step %d to be written", self._unfinished.progress.step)
            self.finish()
        self._begin(progress)
        if not self._training.config.checkpoint.background:
            self.finish()

    def advance(self) -> None:
        """Continue an unfinished checkpoint. All processes call this, when none of them is busy."""
        if self._unfinished is None:
            return
        assert self._work is not None
        results = self._training.agreement.gather(self._work.result())
        errors = [error for _, error in results if error]
        if errors:
            self._report("; ".join(dict.fromkeys(errors)))
        elif self._unfinished.published:
            self._complete()
        else:
            self._unfinished.published = True
            files = {name: file for described, _ in results for name, file in described.items()}
            main = self._training.accelerator.is_main_process
            self._work = self._thread.submit(_persist, lambda: self._publish(files) if main else {})

    def finish(self) -> None:
        """Wait until the unfinished checkpoint is done. All processes call this."""
        while self._unfinished is not None:
            while self._training.agreement.any(self.busy)[0]:
                self._training.watchdog.beat(self._unfinished.progress.step, "checkpoint")
                time.sleep(0.02)
            self.advance()

    def _begin(self, progress: Progress) -> None:
        training, self._last_time = self._training, time.monotonic()
        start = time.perf_counter()
        partial = checkpoint.partial_of(training.checkpoints, progress.step)
        main, rank = training.accelerator.is_main_process, training.accelerator.process_index
        # One process makes the folder before any writes into it.
        error = _attempt(lambda: checkpoint.begin(partial)) if main else None
        gathered = training.agreement.gather((training.stream.state_dict(), error, training.stream.read))
        mixed = is_mixture(training.config.stream.train)
        facts = {
            **progress._asdict(),
            "world_size": training.accelerator.num_processes,
            "tokenizer_sha256": tokenizer_digest(training.tokenizer),
            "config": asdict(training.config),
            "origin": self._origin,
            "number": self._number,
            **({"sources": sources_read.facts(training, [read for *_, read in gathered])} if mixed else {}),
        }
        self._unfinished = _Unfinished(progress, partial, facts, start)
        if gathered[0][1]:
            self._report(gathered[0][1])
            return
        self._copy.take(training.sharded, rank, training.accelerator.num_processes, training.accelerator.device)
        small = self._small_files(merge_states([state for state, *_ in gathered])) if main else {}
        self._work = self._thread.submit(_persist, lambda: self._write_share(partial, small))
        self._unfinished.stall_seconds = time.perf_counter() - start

    def _small_files(self, stream_state: dict[str, Any]) -> dict[str, Any]:
        training, scaler = self._training, self._training.accelerator.scaler
        state = {
            "num_updates": training.sharded.num_updates,
            "health": training.health.state_dict(),
            "scaler": scaler.state_dict() if scaler is not None else None,
        }
        return {"stream.json": stream_state, f"state/{TRAINING}": state}

    def _write_share(self, partial: Path, small: dict[str, Any]) -> dict[str, Any]:
        """Write this process's files; return their entries for the manifest."""
        rank, needed = self._training.accelerator.process_index, sum(t.nbytes for t in self._copy.tensors.values())
        free = shutil.disk_usage(partial).free
        if needed > free:
            raise OSError(f"no space: {needed:,} bytes to write and {free:,} free")
        (partial / "state").mkdir(exist_ok=True)
        moments = self._copy.moments()
        written = []
        if moments:
            save_file(moments, partial / "state" / moments_name(rank))
            written.append(f"state/{moments_name(rank)}")
        if self._training.accelerator.is_main_process:
            for kind, folder in MODELS.items():
                if weights := self._copy.model(kind):
                    self._training.skeleton.save_pretrained(partial / folder, state_dict=weights, max_shard_size="1TB")
                    self._training.tokenizer.save_pretrained(partial / folder)
                    written += [str(path.relative_to(partial)) for path in (partial / folder).rglob("*") if path.is_file()]
        for name, content in small.items():
            (partial / name).write_text(json.dumps(content), encoding="utf-8")
            written.append(name)
        give_usual_modes((partial / name for name in written), partial)
        return checkpoint.describe(partial, written)

    def _publish(self, files: dict[str, Any]) -> dict[str, Any]:
        assert self._unfinished is not None
        kept = self._training.config.checkpoint
        checkpoint.publish(self._unfinished.partial, self._unfinished.facts, files)
        # The checkpoint exists now, whatever happens to the older ones.
        folder, stay = self._training.checkpoints, {*self._published(), self._unfinished.facts["step"]}
        error = _attempt(lambda: checkpoint.prune(folder, kept.keep_last, kept.keep_every_steps, stay))
        if error:
            logger.warning("older checkpoints could not be removed: %s", error)
        return {}

    def _complete(self) -> None:
        assert self._unfinished is not None
        seconds = time.perf_counter() - self._unfinished.start
        self.saved_step, self.longest_seconds = self._unfinished.progress.step, max(self.longest_seconds, seconds)
        text = "checkpoint of step %d written in %.1f s; training waited %.2f s"
        logger.info(text, self.saved_step, seconds, self._unfinished.stall_seconds)
        self._unfinished = None

    def _report(self, error: str) -> None:
        """Log why a checkpoint failed and free its space."""
        assert self._unfinished is not None
        step, partial, self._unfinished = self._unfinished.progress.step, self._unfinished.partial, None
        if self._training.accelerator.is_main_process:
            shutil.rmtree(partial, ignore_errors=True)
            sharded = self._training.sharded
            needed = sum(4 * (1 + len(sharded.moments[name])) * sharded.shape(name).numel() for name in sharded.names)
            free = shutil.disk_usage(self._training.checkpoints).free
            text = "checkpoint of step %d was not written: %s (it needs %s bytes, %s bytes free); training goes on, older stay"
            logger.error(text, step, error, f"{needed:,}", f"{free:,}")


def _persist(action: Callable[[], dict[str, Any]]) -> tuple[dict[str, Any], str | None]:
    """Return the result of `action`, or the last error if every try failed."""
    error = None
    for wait in (*RETRY_SECONDS, None):
        result: dict[str, Any] = {}
        error = _attempt(lambda: result.update(action()))  # noqa: B023 - called at once
        if error is None:
            return result, None
        if wait is not None:
            logger.warning("writing a checkpoint failed (%s); again in %.0f s", error, wait)
            time.sleep(wait)
    return {}, error


def _attempt(action: Callable[[], object]) -> str | None:
    """Return the error of writing files, or None. torch and safetensors raise errors of their own on a full disk."""
    try:
        action()
    except (OSError, RuntimeError, SafetensorError) as error:
        return " ".join(str(error).split())[:300]
    return None
