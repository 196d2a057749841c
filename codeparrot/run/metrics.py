"""`metrics.jsonl` and the logs: what a run leaves behind to read.

A metrics line that cannot be written (a full disk) is kept and written later. There is one line a step, however often the run
was interrupted.
"""

import json
import logging
from pathlib import Path
from typing import Any

from codeparrot import files

logger = logging.getLogger("codeparrot")


class MetricsLog:
    """Appends JSON lines to a file. A resumed run continues the file from its step on, so there is one line a step.

    A run that starts at step 0 also repeats step 0, so it begins with an empty file.
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
            files.append(self._path, b"".join(self._pending))
        except OSError as error:
            if not self._warned:
                logger.warning("cannot write %s (%s): its lines are kept, and written once that works again", self._path, error)
            self._warned = True
            return
        self._pending, self._warned = [], False

    def _drop_after(self, step: int) -> None:
        """Remove lines of steps that will be repeated, and a truncated line."""
        kept = [line for line in read_lines(self._path) if line["step"] <= step] if step else []
        whole = "".join(json.dumps(line) + "\n" for line in kept)
        files.write_text(self._path, whole)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the objects of a JSON-lines file, without a truncated last line."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def log_file(folder: Path, rank: int) -> Path:
    """Return the log of a process of the run in `folder`."""
    return folder / "log" / f"rank_{rank:05d}.log"
