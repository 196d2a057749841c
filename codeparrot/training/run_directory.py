"""The directory of a run: one trainer at a time, its log, its resolved configuration, and its status.

Job scripts read `status.json`: `state` is "running", "stopped" (saved; the same command goes on), "finished" or "failed"
(`reason` holds the error), with `step`, `max_steps`, `reason` and `time`. A killed process leaves "running" behind.
"""

import json
import logging
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from codeparrot import files
from codeparrot.config import Config
from codeparrot.errors import CodeparrotError, writing
from codeparrot.run.metrics import log_file
from codeparrot.run.origin import ORIGIN
from codeparrot.run.status import STATUS, lock, read_status
from codeparrot.training.preemption import StopRequest
from codeparrot.training.tracking import set_up_logging
from codeparrot.training.watchdog import Watchdog

logger = logging.getLogger("codeparrot")


class RunDirectory:
    """What a process writes about itself into the run directory."""

    def __init__(self, config: Config, main: bool) -> None:
        self.path = config.run_directory
        self._config, self._main = config, main
        self.step = 0
        """The last step known to be done."""
        self.unmeasured = False
        """Whether the last step was reached and its evaluation interrupted."""

    def log(self, rank: int) -> Path:
        """Return the log of a process."""
        return log_file(self.path, rank)

    @contextmanager
    def status(self, stop: StopRequest, begin: int, watchdog: Watchdog) -> Iterator[None]:
        """Keep status.json true while the run lasts, from step `begin` on."""
        self.step = begin
        self._write("running")
        watchdog.last_words = lambda text: self._write("failed", text)
        try:
            yield
        except BaseException as error:
            self._write("failed", " ".join(str(error).split()) or type(error).__name__)
            raise
        finished = self.step >= self._config.train.max_steps and not self.unmeasured
        self._write("finished" if finished else "stopped", "" if finished else stop.reason)

    def write_origin(self, origin: dict[str, Any]) -> None:
        """Write down where the order of the stream began.

        Raises:
            CodeparrotError: it cannot be written.
        """
        if self._main:
            _write_or_warn(self.path / ORIGIN, json.dumps(origin), to_begin=True)

    def _write(self, state: str, reason: str = "") -> None:
        """Write the status; only the main process does."""
        if not self._main:
            return
        status = {"state": state, "step": self.step, "max_steps": self._config.train.max_steps}
        status |= {"reason": reason, "time": time.time()}
        _write_or_warn(self.path / STATUS, json.dumps(status))


@contextmanager
def run_directory(config: Config, accelerator: Any) -> Iterator[RunDirectory]:
    """Make the run directory and lock it while the run lasts.

    Raises:
        CodeparrotError: it cannot be written, or another process is training in it.
    """
    folder, main = config.run_directory, accelerator.is_main_process
    with ExitStack() as stack:
        with writing(folder, "run.dir"):
            (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
            if main and not lock(folder, stack):
                raise CodeparrotError(f"another process is training in {folder}; wait for it, or choose another run.name")
            set_up_logging(folder, accelerator.process_index)
        yield RunDirectory(config, main)


def write_stopped(config: Config, reason: str) -> None:
    """Write down that a start was stopped before the run began, so that a job script starts it again.

    The step is the one that an earlier start has reached. Nothing is written about a run that another process trains, that is
    finished, or of which there is no directory.
    """
    place = config.run_directory / STATUS
    try:
        before = read_status(place.parent)
    except (OSError, ValueError):
        before = {"state": "", "step": 0}
    finished = before["state"] == "finished" and before["step"] >= config.train.max_steps
    if place.parent.is_dir() and before["state"] != "running" and not finished:
        status = {"state": "stopped", "step": before["step"], "max_steps": config.train.max_steps}
        _write_or_warn(place, json.dumps(status | {"reason": reason, "time": time.time()}))


def write_config(config: Config) -> None:
    """Write the resolved configuration: enough to repeat the run.

    Raises:
        CodeparrotError: it cannot be written.
    """
    _write_or_warn(config.run_directory / "config.yaml", config.to_yaml(), to_begin=True)


def _write_or_warn(place: Path, text: str, to_begin: bool = False) -> None:
    """Write a file that others read. It is no part of the training, so a failure (a full disk) is only reported.

    With `to_begin`, a run that has no checkpoint yet does not begin without it.
    """
    try:
        with writing(place, "run.dir"):
            files.write_text(place, text)
    except (CodeparrotError, OSError) as error:
        if to_begin and not any((place.parent / "checkpoints").glob("*")):
            raise
        logger.warning("%s", error if isinstance(error, CodeparrotError) else f"cannot write {place}: {error}")
