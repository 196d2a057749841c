"""Where a run reports: one log a process, trackers, and the terminal.

Nothing here can stop training. A log line that cannot be written is dropped; a tracker that fails is reported once and left
out.
"""

import logging
import os
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

from tqdm import tqdm

from codeparrot.config import Config
from codeparrot.run.metrics import log_file

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

    def __init__(self, accelerator: Any, config: Config, settings: dict[str, Any]) -> None:
        self._trackers: dict[str, Any] = {}
        if not accelerator.is_main_process:
            return
        values = _flattened(settings)
        for name in dict.fromkeys(config.tracking.trackers):
            if not _installed(name):
                remedy = "pip install -e '.[wandb]'" if name == "wandb" else "pip install -e ."
                logger.warning("%s is not installed, the run goes on without it; install it with: %s", name, remedy)
                continue
            if name == "wandb" and not _wandb_key():
                os.environ.setdefault("WANDB_MODE", "offline")
                logger.info("W&B has no key here: it works offline; `wandb sync` sends the run later")
            self._trackers[name] = _tracker(name, config)
            self._guard(name, lambda tracker: (tracker.start(), tracker.store_init_configuration(values)))

    def log(self, values: dict[str, Any], step: int) -> None:
        for name in list(self._trackers):
            self._guard(name, lambda tracker: tracker.log(values, step=step))

    def close(self) -> None:
        for name in list(self._trackers):
            self._guard(name, lambda tracker: tracker.finish())

    def _guard(self, name: str, action: Callable[[Any], object]) -> None:
        """Call a tracker, and go on whatever it raises: it is somebody else's program talking to somebody else's server."""
        try:
            action(self._trackers[name])
        except Exception as error:  # noqa: BLE001 - see the docstring; it is reported
            del self._trackers[name]
            logger.warning("%s is off from here on: %s: %s", name, type(error).__name__, error)


def _tracker(name: str, config: Config) -> Any:
    """Return one of Accelerate's trackers, not yet started."""
    from accelerate.tracking import TensorBoardTracker, WandBTracker

    project, folder = config.tracking.project, str(config.run_directory)
    if name == "wandb":
        return WandBTracker(project, name=config.run.name, dir=folder, resume="allow")
    return TensorBoardTracker(project, folder)


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
    """A progress bar on a terminal. Without a terminal, log lines are shown instead."""

    def __init__(self, max_steps: int, step: int, shown: bool) -> None:
        self._bar = tqdm(total=max_steps, initial=step, unit="step", disable=None if shown else True, dynamic_ncols=True)

    def advance(self, text: str = "") -> None:
        self._bar.update()
        if text:
            self._bar.set_postfix_str(text)

    def close(self) -> None:
        self._bar.close()


def set_up_logging(folder: Path, rank: int) -> None:
    """Send the log of this process to `log/rank_00000.log`, and the main process's also to the terminal."""
    (folder / "log").mkdir(parents=True, exist_ok=True)
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    logger.setLevel(logging.INFO)
    logger.propagate = False
    to_file = logging.FileHandler(log_file(folder, rank), encoding="utf-8", errors="backslashreplace")
    to_file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger.addHandler(to_file)
    # A log line that cannot be written must not stop training or fill the terminal with tracebacks.
    logging.raiseExceptions = False
    to_terminal = _TerminalHandler()
    to_terminal.setLevel(logging.INFO if rank == 0 else logging.ERROR)
    logger.addHandler(to_terminal)


class _TerminalHandler(logging.Handler):
    """Writes above the progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        shown = getattr(record, "terminal", "always")
        if shown == "never" or (shown == "without a bar" and sys.stderr.isatty()):
            return
        mark = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
        tqdm.write(mark + record.getMessage(), file=sys.stderr)
        sys.stderr.flush()


def _wandb_key() -> bool:
    """Whether W&B could log in. The key is never read into a variable that might be logged."""
    netrc = Path(os.environ.get("NETRC", Path.home() / ".netrc"))
    return bool(os.environ.get("WANDB_API_KEY")) or (netrc.is_file() and "api.wandb.ai" in netrc.read_text(encoding="utf-8"))
