"""What a command returns to the command line: a text for people, the same facts as data for programs, and how it ended."""

from typing import Any, NamedTuple


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
