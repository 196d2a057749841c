"""The weaker way, for tests that need live objects: program and test share one process.

It still withstands leaving early, exiting with any status, replaced builtins, and bytes written to every descriptor. At the
start the test's side sends a number, which stays in the socket, not in this interpreter, until `check` has run to its end; only
its echo counts. It cannot withstand a program that knows this file, reads the number from the socket and echoes it, nor one
whose objects are equal to everything. Therefore its verdicts are counted separately.
"""

import os
from collections.abc import Callable

from . import chance
from .candidate import define, describe
from .channel import Channel, Closed
from .codec import Malformed
from .tester import NO_ANSWER, printable

NOT_PASSED = ("failed", "error", "out_of_memory", "compile_error", "timed_out", "killed")


def run(channel: Channel, source: str, test: str, entry_point: str) -> None:
    """Execute program, test and check as one source, then send how it ended."""
    # Bound before the program can replace them.
    receive, send = channel.receive, channel.send
    joined = f"{source}\n{test}\ncheck({entry_point})\n"
    outcome, detail = "", ""
    chance.begin(source, test)
    try:
        define(joined)
    except MemoryError as error:
        outcome, detail = "out_of_memory", describe(error)
    except AssertionError as error:
        outcome, detail = "failed", describe(error)
    except BaseException as error:  # noqa: BLE001 - whatever the program raises is its result
        outcome, detail = "error", describe(error)
    # Always read it: a socket that is closed with unread data discards what was sent last.
    number = receive()[1]
    if outcome:
        send(outcome, detail)
    else:
        send("passed", number)


def observer() -> Callable[[Channel], dict[str, str]]:
    return observe


def observe(channel: Channel) -> dict[str, str]:
    """Return outcome and detail as the other process reports them, but `passed` only with the number of this run."""
    number = os.urandom(16).hex()
    try:
        channel.send("number", number)
        frame = channel.receive()
    except Closed:
        return {"outcome": "gone", "detail": ""}
    except Malformed as error:
        return {"outcome": "error", "detail": f"{NO_ANSWER}: {error}"}
    if frame == ("passed", number):
        return {"outcome": "passed", "detail": ""}
    if len(frame) == 2 and frame[0] in NOT_PASSED and type(frame[1]) is str:
        return {"outcome": frame[0], "detail": printable(frame[1])}
    return {"outcome": "error", "detail": NO_ANSWER}
