"""What a command tells its user: what it does before a wait, how far it is, and its result.

The result is a text for people, the same facts as data for programs, and how the command ended. It alone goes to stdout.
"""

import sys
import time
from collections.abc import Iterable
from typing import Any, NamedTuple

from codeparrot.launcher import rank

FIRST_AFTER_SECONDS, LINE_EVERY_SECONDS = 2.0, 30.0
"""When lines of progress come where there is no terminal: in a log or a pipe."""


class Status(NamedTuple):
    """How a command ended."""

    code: int
    """Exit status of the process."""
    problem: str = ""
    """What failed, in the words of the error that follows the result."""


DONE = Status(0)
STOPPED = Status(75)
"""EX_TEMPFAIL of sysexits.h: unfinished, and everything is saved; the same command goes on."""


def failed(problem: str) -> Status:
    """Return the status of a command that did its work and whose result is bad."""
    return Status(1, problem)


class Result(NamedTuple):
    """Printed as `text`, or as one JSON object with `--json`. A command never prints its result itself."""

    text: str
    data: dict[str, Any]
    status: Status = DONE


def say(what: str) -> None:
    """Say on stderr what comes next, before a wait of more than two seconds. Of several processes, only the first does."""
    if rank() == 0:
        print(what, file=sys.stderr, flush=True)
    spoken()


def spoken() -> None:
    """Note that a line was printed: the next line of progress is due some time later."""
    _Lines.last = time.monotonic()


def progress_bar(work: Iterable[Any] | None = None, *, shown: bool = True, **options: Any) -> Any:
    """Return a tqdm bar on stderr. Without a terminal it is a line after two seconds and then every 30.

    Args:
        work: what to go through, as for tqdm.
        shown: whether this process shows it; the others of a run do not.
        options: of tqdm; `unit` is a word in the singular, or "B" for bytes.
    """
    from tqdm import tqdm

    if not shown:
        return tqdm(work, **{**options, "disable": True})
    if sys.stderr.isatty():
        return tqdm(work, **options)
    unit = options.get("unit", "part")
    sign, words = ("B", "") if unit == "B" else ("", f" {_plural(unit)}")
    amount = f"{{n_fmt}}{sign} of {{total_fmt}}{sign}{words} ({{percentage:.0f}}%), {{elapsed}} so far, {{remaining}} left"
    if not (options.get("total") or hasattr(work, "__len__")):
        amount = f"{{n_fmt}}{sign}{words}, {{elapsed}} so far"
    # tqdm moves the cursor from the place of one bar to that of another: lines have one place.
    lines = {"file": _Lines(), "leave": False, "position": 0, "bar_format": f"{{desc}}: {amount}{{postfix}}"}
    return tqdm(work, **{**options, **lines})


def _plural(unit: str) -> str:
    return unit + ("es" if unit.endswith(("ch", "s", "x")) else "s")


class _Lines:
    """Where tqdm writes without a terminal: of what would replace the bar, now and then a line."""

    encoding = "utf-8"

    last = 0.0
    """When something was printed."""

    def __init__(self) -> None:
        spoken()
        self._what = ""

    def write(self, text: str) -> None:
        line = text.strip()
        what = line.partition(":")[0]
        wait = LINE_EVERY_SECONDS if what == self._what else FIRST_AFTER_SECONDS
        if line and time.monotonic() >= self.last + wait:
            print(line, file=sys.stderr)
            spoken()
            self._what = what

    def flush(self) -> None:
        sys.stderr.flush()
