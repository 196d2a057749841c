"""What the processes beside the training have in common: they listen to it, and take no time from it."""

import os
import subprocess
import threading
from typing import IO, Any


class Trainer:
    """What standard input says about the process that started this one."""

    def __init__(self, source: IO[bytes]) -> None:
        self._news, self.gone = threading.Event(), threading.Event()
        threading.Thread(target=self._listen, args=(source,), daemon=True).start()

    def wait_for_news(self, seconds: float) -> None:
        """Return when there is a new checkpoint, when the trainer is gone, or after this many seconds."""
        self._news.wait(seconds)
        self._news.clear()

    def _listen(self, source: IO[bytes]) -> None:
        while source.read(1):
            self._news.set()
        self.gone.set()
        self._news.set()


def step_back() -> None:
    """Take only processor time that nobody else wants. Even at the lowest priority each thread would get slices of a busy
    machine, and training waits for its slowest thread."""
    os.nice(19)
    if hasattr(os, "SCHED_IDLE"):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def tell(process: "subprocess.Popen[Any]") -> bool:
    """Tell a process beside the training that there is something new; return False if it has ended."""
    assert process.stdin is not None
    try:
        process.stdin.write(b"\n")
        process.stdin.flush()
    except BrokenPipeError:
        return False
    return True
