"""`metrics.jsonl` and the logs: what a run leaves behind to read.

A metrics line that cannot be written (a full disk) is kept and written later. There is one line a step, however often the run
was interrupted. Lines that no run wrote (the zeros of a crashed node, a blank line, a note) are passed over, and one warning
counts them; they end neither a run nor a command.
"""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from codeparrot import files

logger = logging.getLogger("codeparrot")

_NUMBERS = "tokens loss lr grad_norm tokens_per_second eval_loss perplexity bits_per_byte".split()
"""What is a number, or null, wherever it stands."""
DAMAGED = ".damaged"
"""Ends the name of the file to which a resumed run moves lines that no run wrote."""


class Line(NamedTuple):
    text: bytes
    """With its end."""
    values: dict[str, Any] | None
    """None: no run wrote it."""


class MetricsLog:
    """Appends JSON lines to a file. A resumed run continues the file from its step on, so there is one line a step.

    A run that starts at step 0 also repeats step 0, so it begins with an empty file.
    """

    _content: bytes | None = None
    """What the file must hold before lines are appended; None: what it holds."""

    def __init__(self, path: Path, resumed_step: int) -> None:
        self._path = path
        self._pending: list[bytes] = []
        self._warned = False
        if path.exists():
            self._drop_after(resumed_step)

    def append(self, values: dict[str, Any]) -> None:
        self._pending.append(json.dumps(values).encode() + b"\n")
        self._write()

    def _write(self) -> None:
        try:
            if self._content is not None:
                with files.new_file(self._path) as fresh:
                    fresh.write_bytes(self._content)
                self._content = None
            if self._pending:
                files.append(self._path, b"".join(self._pending))
        except OSError as error:
            if not self._warned:
                logger.warning("cannot write %s (%s): its lines are kept, and written once that works again", self._path, error)
            self._warned = True
            return
        self._pending, self._warned = [], False

    def _drop_after(self, step: int) -> None:
        """Remove lines of steps that will be repeated, and a truncated line. Those that no run wrote go to another file."""
        try:
            content = self._path.read_bytes()
            lines = list(_lines(content)) if step else []
            foreign = [line.text for line in lines if line.values is None]
            if foreign:
                aside = self._path.with_name(self._path.name + DAMAGED)
                files.append(aside, b"".join(foreign))
                logger.warning("%s; they are in %s now", _passed_over(self._path, lines), aside.name)
        except OSError as error:
            logger.warning("cannot tidy %s (%s): lines of repeated steps may stand in it twice", self._path, error.strerror)
            return
        whole = b"".join(line.text for line in lines if line.values is not None and line.values["step"] <= step)
        if whole != content:
            self._content = whole
            self._write()


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a run in a file: objects with a step, and numbers where numbers belong.

    A warning counts the others. One that is being written, or was cut by a kill, is left out without a word.

    Raises:
        OSError: the file cannot be read.
    """
    lines = list(_lines(path.read_bytes()))
    if any(line.values is None for line in lines):
        logger.warning("%s", _passed_over(path, lines))
    return [line.values for line in lines if line.values is not None]


def _lines(content: bytes) -> Iterator[Line]:
    """Yield the lines that are finished."""
    for text in content.split(b"\n")[:-1]:
        yield Line(text + b"\n", _values(text))


def _values(text: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or type(found.get("step")) is not int:
        return None
    numbers = (value for name, value in found.items() if name in _NUMBERS or name.startswith("pass@"))
    return found if all(number is None or type(number) in (int, float) for number in numbers) else None


def _passed_over(path: Path, lines: list[Line]) -> str:
    numbers = [number for number, line in enumerate(lines, 1) if line.values is None]
    count = "1 line" if len(numbers) == 1 else f"{len(numbers):,} lines"
    return f"{path}: passed over {count} that no run wrote (damaged, blank or foreign), the first is line {numbers[0]:,}"


def log_file(folder: Path, rank: int) -> Path:
    """Return the log of a process of the run in `folder`."""
    return folder / "log" / f"rank_{rank:05d}.log"
