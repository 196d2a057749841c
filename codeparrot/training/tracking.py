"""Where a run reports: one log a process, trackers, and the terminal.

Nothing here can stop training. A log line that cannot be written is dropped; a tracker that fails is reported once and left
out. A run that is gone on with is one run in each tracker.
"""

import logging
import sys
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from tqdm import tqdm

from codeparrot.config import Config
from codeparrot.result import progress_bar, spoken
from codeparrot.run.metrics import log_file
from codeparrot.training.weights_and_biases import WandbRun

logger = logging.getLogger("codeparrot")
SHOWN_BY_BAR = {"terminal": "without a bar"}
"""`extra` of log records that a progress bar shows if there is one."""
ONLY_IN_FILE = {"terminal": "never"}
"""`extra` of log records that only go to the log file."""


class Trackers:
    """TensorBoard and W&B through Accelerate's classes for them, on the main process. A tracker that fails is left out.

    This class holds them and not the Accelerator: there, one tracker's failure ends the others, and `end_training` destroys
    the process group that the end of the run still needs.
    """

    def __init__(self, accelerator: Any, config: Config, settings: dict[str, Any], resumed_step: int = 0) -> None:
        self._trackers: dict[str, Any] = {}
        if not accelerator.is_main_process:
            return
        values = _flattened(settings)
        for name in dict.fromkeys(config.tracking.trackers):
            if _installed(name):
                self._guard(name, lambda _, name=name: self._start(name, config, values, resumed_step))
            else:
                remedy = "pip install -e '.[wandb]'" if name == "wandb" else "pip install -e ."
                logger.warning("%s is not installed, the run goes on without it; install it with: %s", name, remedy)

    def _start(self, name: str, config: Config, values: dict[str, Any], resumed_step: int) -> None:
        tracker: Any = WandbRun(config, resumed_step) if name == "wandb" else _tensorboard(config, resumed_step)
        self._trackers[name] = tracker
        # TensorBoard shows each set of settings as a run of its own: that of the first start is enough.
        if not (name == "tensorboard" and resumed_step and any(Path(tracker.logging_dir).rglob("hparams.yml"))):
            tracker.store_init_configuration(values)

    def log(self, values: dict[str, Any], step: int) -> None:
        for name in list(self._trackers):
            self._guard(name, lambda tracker: tracker.log(values, step=step))

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], step: int) -> None:
        """Send a table to W&B; TensorBoard has none."""
        if "wandb" in self._trackers:
            self._guard("wandb", lambda tracker: tracker.table(name, columns, rows, step))

    def close(self) -> None:
        for name in list(self._trackers):
            self._guard(name, lambda tracker: tracker.finish())

    def _guard(self, name: str, action: Callable[[Any], object]) -> None:
        """Call a tracker, and go on whatever it raises: it is somebody else's program talking to somebody else's server."""
        try:
            action(self._trackers.get(name))
        except Exception as error:  # noqa: BLE001 - see the docstring; it is reported
            self._trackers.pop(name, None)
            logger.warning("%s is off from here on: %s: %s", name, type(error).__name__, error)


def _tensorboard(config: Config, resumed_step: int) -> Any:
    """Return Accelerate's tracker, started. Steps that the run repeats are shown once."""
    from accelerate.tracking import TensorBoardTracker

    first = resumed_step + 1 if resumed_step else 0
    tracker = TensorBoardTracker(config.tracking.project, str(config.run_directory), purge_step=first)
    _put_before_now(config.run_directory / config.tracking.project)
    tracker.start()
    return tracker


_EVENTS = "events.out.tfevents."


def _put_before_now(folder: Path) -> None:
    """Move the times in the names of TensorBoard's files back if one is not in the past: their order is the order of reading.

    After a start on a node whose clock was ahead, TensorBoard would take what comes now for older, and drop it.
    """
    times = {file: file.name.removeprefix(_EVENTS).partition(".")[0] for file in folder.rglob(f"{_EVENTS}*")}
    named = sorted((int(written), file) for file, written in times.items() if written.isdecimal())
    ahead = named[-1][0] + 1 - int(time.time()) if named else 0
    if ahead > 0:
        for written, file in named:
            file.rename(file.with_name(file.name.replace(str(written), f"{written - ahead:010d}", 1)))


def _installed(package: str) -> bool:
    """Whether a package is installed. An import cannot tell: a folder ./wandb of earlier runs is an (empty) package too."""
    try:
        return bool(metadata.version(package))
    except metadata.PackageNotFoundError:
        return False


def _flattened(settings: dict[str, Any], prefix: str = "") -> dict[str, int | float | str]:
    """Return settings as trackers take them: dotted names, and values other than numbers and text as text."""
    flat: dict[str, int | float | str] = {}
    for key, value in settings.items():
        if isinstance(value, dict):
            flat |= _flattened(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value if isinstance(value, int | float | str) else str(value)
    return flat


class Bar:
    """A progress bar on a terminal. Without a terminal, log lines are shown instead, and lines of progress between them."""

    def __init__(self, max_steps: int, step: int, shown: bool) -> None:
        options = {"desc": "training", "total": max_steps, "initial": step, "unit": "step", "dynamic_ncols": True}
        self._bar = progress_bar(shown=shown, **options)

    def advance(self, text: str = "") -> None:
        if text:
            self._bar.set_postfix_str(text, refresh=sys.stderr.isatty())
        self._bar.update()

    def close(self) -> None:
        self._bar.close()


def set_up_logging(folder: Path, rank: int) -> None:
    """Send the log of this process to `log/rank_00000.log`, and the main process's also to the terminal."""
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    logger.setLevel(logging.INFO)
    logger.propagate = False
    # A log line that cannot be written must not stop training or fill the terminal with tracebacks.
    logging.raiseExceptions = False
    to_terminal = _TerminalHandler()
    to_terminal.setLevel(logging.INFO if rank == 0 else logging.ERROR)
    logger.addHandler(to_terminal)
    try:
        (folder / "log").mkdir(parents=True, exist_ok=True)
        to_file = logging.FileHandler(log_file(folder, rank), encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        logger.warning("cannot write %s: %s", log_file(folder, rank), error)
        return
    to_file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger.addHandler(to_file)


class _TerminalHandler(logging.Handler):
    """Writes above the progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        shown = getattr(record, "terminal", "always")
        if shown == "never" or (shown == "without a bar" and sys.stderr.isatty()):
            return
        mark = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
        tqdm.write(mark + record.getMessage(), file=sys.stderr)
        sys.stderr.flush()
        spoken()
