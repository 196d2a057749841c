"""The directory of a run: one trainer at a time, its log, its resolved configuration."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from codeparrot.config import Config
from codeparrot.errors import CodeparrotError
from codeparrot.tracking import set_up_logging


@contextmanager
def run_directory(config: Config, accelerator: Any) -> Iterator[Path]:
    """Make the run directory and hold it while the run lasts.

    Raises:
        CodeparrotError: it cannot be written, or another process trains in it.
    """
    folder = config.run_directory
    try:
        (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
        lock = _lock(folder) if accelerator.is_main_process else None
    except OSError as error:
        raise CodeparrotError(f"cannot write the run directory {folder}: {error.strerror}; set run.dir") from error
    try:
        set_up_logging(folder, accelerator.process_index)
        yield folder
    finally:
        if lock:
            lock.close()


def write_config(config: Config) -> None:
    """Write the resolved configuration: enough to repeat the run."""
    path = config.run_directory / "config.yaml"
    fresh = path.with_suffix(".new")
    fresh.write_text(config.to_yaml(), encoding="utf-8")
    fresh.replace(path)


def _lock(folder: Path) -> IO[str]:
    """The lock goes with the process, however it ends."""
    file = (folder / ".lock").open("w", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise CodeparrotError(f"another process trains in {folder}; wait for it, or choose another run.name") from None
    return file
