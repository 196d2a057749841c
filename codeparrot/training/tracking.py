"""What a run leaves behind to read: metrics.jsonl, one log a process, trackers, and the terminal.

Nothing here can stop training. A line that cannot be written (a full disk) is kept and written later; a tracker that fails is
reported once and left out.
"""

import errno
import json
import logging
import os
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

from tqdm import tqdm

from codeparrot.config import Config

logger = logging.getLogger("codeparrot")
SHOWN_BY_BAR = {"terminal": "without a bar"}
"""`extra` of log records that the progress bar shows where there is one."""
ONLY_IN_FILE = {"terminal": "never"}
"""`extra` of log records for the log file alone."""


class MetricsLog:
    """Appends JSON lines to a file. A resumed run continues the file from its step on, so there is one line a step.

    A run that begins at step 0 does step 0 again too: it begins with an empty file.

    What was written of a line that did not fit the disk is cut off again before the next.
    """

    def __init__(self, path: Path, resumed_step: int) -> None:
        self._path = path
        self._pending: list[bytes] = []
        self._warned = False
        if path.exists():
            self._drop_after(resumed_step)

    def append(self, values: dict[str, Any]) -> None:
        self._pending.append(json.dumps(values).encode() + b"\n")
        try:
            self._write(b"".join(self._pending))
        except OSError as error:
            if not self._warned:
                logger.warning(
                    "cannot write %s (%s): its lines are kept and written when it is possible again", self._path, error
                )
            self._warned = True
            return
        self._pending, self._warned = [], False

    def _write(self, lines: bytes) -> None:
        with self._path.open("ab", buffering=0) as file:
            end = file.seek(0, os.SEEK_END)
            try:
                if file.write(lines) != len(lines):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except OSError:
                file.truncate(end)
                raise

    def _drop_after(self, step: int) -> None:
        """Remove lines of steps that are done again, and a line that was cut."""
        kept = [line for line in read_lines(self._path) if line["step"] <= step] if step else []
        whole = "".join(json.dumps(line) + "\n" for line in kept)
        fresh = self._path.with_suffix(".new")
        fresh.write_text(whole, encoding="utf-8")
        fresh.replace(self._path)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the objects of a JSON-lines file; a last line that was cut is left out."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


class Trackers:
    """TensorBoard and W&B through Accelerate's classes for them, on the main process; one that fails is left out.

    Each is held here and not by the Accelerator, which lets the failure of one end the others, and whose `end_training` takes
    down the process group that the end of the run still needs.
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
        """A tracker is somebody else's program talking to somebody else's server: whatever it raises, training goes on."""
        try:
            action(self._trackers[name])
        except Exception as error:  # noqa: BLE001 - see the docstring; it is reported
            del self._trackers[name]
            logger.warning("%s is off from here on: %s: %s", name, type(error).__name__, error)


def _tracker(name: str, config: Config) -> Any:
    """Return a tracker of Accelerate that is not started."""
    from accelerate.tracking import TensorBoardTracker, WandBTracker

    project, folder = config.tracking.project, str(config.run_directory)
    if name == "wandb":
        return WandBTracker(project, name=config.run.name, dir=folder, resume="allow")
    return TensorBoardTracker(project, folder)


def _installed(package: str) -> bool:
    """Whether a package is there. An import would not tell: a folder ./wandb of earlier runs is an (empty) package too."""
    try:
        return bool(metadata.version(package))
    except metadata.PackageNotFoundError:
        return False


def _flattened(settings: dict[str, Any], prefix: str = "") -> dict[str, int | float | str]:
    """Return settings as trackers take them: dotted names, and text for what is neither a number nor text."""
    flat: dict[str, int | float | str] = {}
    for key, value in settings.items():
        if isinstance(value, dict):
            flat |= _flattened(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value if isinstance(value, int | float | str) else str(value)
    return flat


class Bar:
    """A progress bar on a terminal, and lines in the log; without a terminal the lines are shown instead."""

    def __init__(self, max_steps: int, step: int, shown: bool) -> None:
        self._bar = tqdm(total=max_steps, initial=step, unit="step", disable=None if shown else True, dynamic_ncols=True)

    def advance(self, text: str = "") -> None:
        self._bar.update()
        if text:
            self._bar.set_postfix_str(text)

    def close(self) -> None:
        self._bar.close()


def log_file(folder: Path, rank: int) -> Path:
    """Return the log of a process of the run in `folder`."""
    return folder / "log" / f"rank_{rank:05d}.log"


def set_up_logging(folder: Path, rank: int) -> None:
    """Send the log of this process to `log/rank_00000.log`, and the main process's also to the terminal."""
    (folder / "log").mkdir(parents=True, exist_ok=True)
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    logger.setLevel(logging.INFO)
    logger.propagate = False
    to_file = logging.FileHandler(log_file(folder, rank), encoding="utf-8")
    to_file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger.addHandler(to_file)
    # A log line that cannot be written must neither stop training nor fill the terminal with tracebacks.
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
    """Whether W&B could log in. The key itself is never read into a variable that might be logged."""
    netrc = Path(os.environ.get("NETRC", Path.home() / ".netrc"))
    return bool(os.environ.get("WANDB_API_KEY")) or (netrc.is_file() and "api.wandb.ai" in netrc.read_text(encoding="utf-8"))
