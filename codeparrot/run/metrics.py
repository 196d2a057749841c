"""`metrics.jsonl` and the logs: what a run leaves behind to read.

A metrics line that cannot be written (a full disk) is kept and written later. There is one line a step, however often the run
was interrupted. Lines that no run wrote (the zeros of a crashed node, a blank line, a note) are passed over, and one warning
counts them; they end neither a run nor a command.
"""

import json
import logging
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from codeparrot import files
from codeparrot.setting import LARGEST

logger = logging.getLogger("codeparrot")

SOLUTIONS = "solution_bits_per_byte"
"""Name of how likely the model finds the reference solutions of problems, as a mean over the problems."""
SET = "set"
"""Key of the name of a further validation set; its measures begin with it, too."""
_NUMBERS = f"step tokens loss lr grad_norm tokens_per_second eval_loss perplexity bits_per_byte middle_loss {SOLUTIONS}".split()
_NUMBERS += ["ema_loss", "ema_bits_per_byte", "pseudo_perplexity"]
_NUMBERS += [f"{SET}_{name}" for name in ("loss", "perplexity", "pseudo_perplexity", "bits_per_byte")]
"""What is a number, or null, wherever it stands."""
BEFORE = ".before"
"""Ends the name of the file that holds what an earlier start measured and left no checkpoint of."""
DAMAGED = ".damaged"
"""Ends the name of the file to which a resumed run moves lines that no run wrote."""


def problems_of(line: dict[str, Any]) -> str:
    """Return what a line of unit tests was measured on, in words; `limit` is there where it was only the first problems."""
    part = f"the first {line['limit']} of " if "limit" in line else ""
    return f"{part}{line.get('problems', 'problems')}"


class Line(NamedTuple):
    text: bytes
    """With its end."""
    values: dict[str, Any] | None
    """None: it is not ours."""


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
            if step:
                keep_foreign(self._path)
        except OSError as error:
            logger.warning("cannot tidy %s (%s): lines of repeated steps may stand in it twice", self._path, error.strerror)
            return
        lines = _lines(content if step else b"", is_of_a_run)
        whole = b"".join(line.text for line in lines if line.values is not None and line.values["step"] <= step)
        if whole != content:
            self._content = whole
            self._write()


def begin_again(path: Path) -> None:
    """Keep what an earlier start measured before a run begins at step 0 again. A warning says how far that start had come."""
    try:
        reached = max((line["step"] for line in read_lines(path)), default=0)
        if reached:
            aside = path.with_name(path.name + BEFORE)
            path.replace(aside)
            text = "%s: step %d was reached and there is no checkpoint: the run begins again, and what it had measured is in %s"
            logger.warning(text, path, reached, aside.name)
    except FileNotFoundError:
        return
    except OSError as error:
        logger.warning("cannot keep %s (%s): the run begins again and writes it anew", path, error.strerror)


def is_score(name: str) -> bool:
    """Whether a value of this name is a score by unit tests: pass@k, or one of infilling's."""
    return name.startswith(("pass@", "infilling_"))


def is_of_a_run(line: dict[str, Any]) -> bool:
    """Whether a run may have written a line: it has a step, and numbers where numbers belong."""
    return type(line.get("step")) is int and all(_may_be(name, value) for name, value in line.items())


def _may_be(name: str, value: Any) -> bool:
    """Whether a run may have written a value. A loss may be infinite or NaN; a perplexity must have a logarithm."""
    if value is None or not (name in _NUMBERS or is_score(name)):
        return True
    if type(value) not in (int, float) or (type(value) is int and abs(value) > LARGEST):
        return False
    return 0 <= value <= LARGEST if name in ("step", "tokens") else not (name == "perplexity" and value <= 0)


def read_lines(
    path: Path, is_ours: Callable[[dict[str, Any]], bool] = is_of_a_run, *, at_once: bool = False
) -> list[dict[str, Any]]:
    """Return the objects in a file of JSON lines that are ours. A warning counts the others, once for each path.

    Args:
        path: of the file.
        is_ours: of an object.
        at_once: whether the file was written at once. If not, a last line without an end is being written, or was cut by a
            kill, and is left out without a word.

    Raises:
        OSError: the file cannot be read.
    """
    content = path.read_bytes()
    lines = list(_lines(content + b"\n" if at_once and content and not content.endswith(b"\n") else content, is_ours))
    if any(line.values is None for line in lines):
        _warn(_passed_over(path, lines))
    return [line.values for line in lines if line.values is not None]


def keep_foreign(path: Path, is_ours: Callable[[dict[str, Any]], bool] = is_of_a_run) -> None:
    """Copy the lines that are not ours to a file beside, before the file is written anew without them.

    Raises:
        OSError: the file cannot be read, or the one beside it cannot be written.
    """
    lines = list(_lines(path.read_bytes(), is_ours))
    foreign = [line.text for line in lines if line.values is None]
    if foreign:
        aside = path.with_name(path.name + DAMAGED)
        files.append(aside, b"".join(foreign))
        logger.warning("%s; they are in %s now", _passed_over(path, lines), aside.name)


def _lines(content: bytes, is_ours: Callable[[dict[str, Any]], bool]) -> Iterator[Line]:
    """Yield the lines that are finished."""
    for text in content.split(b"\n")[:-1]:
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            found = None
        yield Line(text + b"\n", found if isinstance(found, dict) and is_ours(found) else None)


def _passed_over(path: Path, lines: list[Line]) -> str:
    numbers = [number for number, line in enumerate(lines, 1) if line.values is None]
    count = "1 line that is" if len(numbers) == 1 else f"{len(numbers):,} lines that are"
    return f"{path}: passed over {count} damaged, blank or foreign, the first is line {numbers[0]:,}"


@cache
def _warn(text: str) -> None:
    logger.warning("%s", text)


def log_file(folder: Path, rank: int) -> Path:
    """Return the log of a process of the run in `folder`."""
    return folder / "log" / f"rank_{rank:05d}.log"
