"""`status.json`: the state of a run, which its trainer writes (training/run_directory.py), and whether it still lives.

{"state": "running" | "stopped" | "finished" | "failed", "step", "max_steps", "reason", "time"}
"""

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from codeparrot import files

STATUS = "status.json"
LOCK = ".lock"
"""Held by the main process of a run while it trains, wherever the machine is from which the file system takes locks."""
LOCK_TRIES, LOCK_SECONDS = 10, 0.1
"""Tries to lock the directory, and seconds between two."""
DIED = "died"
"""State of a run that was running when its process ended without a word: killed, or its machine went down."""


def lock(run: Path, stack: ExitStack) -> bool:
    """Lock a run directory until the stack ends; return whether nobody else trains in it. `codeparrot runs` locks it too, for
    an instant, to see who trains: that is waited for."""
    for _ in range(LOCK_TRIES):
        if stack.enter_context(files.locked(run / LOCK)):
            return True
        time.sleep(LOCK_SECONDS)
    return False


def read_status(run: Path) -> dict[str, Any]:
    """Return the status of a run; `state` is `died` where the process that wrote "running" is gone.

    Raises:
        OSError: there is no status, or it cannot be read.
        ValueError: it is damaged.
    """
    found = files.read_object(run / STATUS)
    if not isinstance(found.get("state"), str) or not isinstance(found.get("step"), int):
        raise ValueError("it is not what a run writes")
    if found["state"] == "running" and files.is_free(run / LOCK):
        found["state"] = DIED
    return found
