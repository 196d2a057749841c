"""Training the runs of a series, one after the other, each in a process of its own as a user would start it.

A signal goes on to the run that is at work: it saves and ends, and so does the series.
"""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from statistics import mean
from types import FrameType

from codeparrot.errors import CodeparrotError
from codeparrot.result import STOPPED, say
from codeparrot.run.metrics import read_lines
from codeparrot.scale.rule import Run
from codeparrot.scale.state import config_file, finished, status_of

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
INTERRUPTED = (130, -signal.SIGINT)


def command_of(config: Path) -> list[str]:
    return [sys.executable, str(Path(str(files("codeparrot"))) / "train.py"), "--config", str(config), "--json"]


class Runner:
    """Trains what is not finished.

    Args:
        runs: all runs of the series, in the order in which they are trained.
        output: folder of the series.
    """

    def __init__(self, runs: list[Run], output: Path) -> None:
        self._runs, self._output = runs, output
        self._process: subprocess.Popen[str] | None = None
        self._asked = 0
        """The first signal that asked to stop."""
        self._beside: list[float] = []
        """Seconds that runs took besides their steps: to start, to be measured and saved."""
        self._seconds_per_cost = 0.0
        """Of the steps of the last run, which is the most like those to come."""

    def run(self) -> str:
        """Train; return where the series was stopped, in words, or nothing if all runs are finished.

        Raises:
            CodeparrotError: a run failed.
            KeyboardInterrupt: a run was interrupted without saving.
        """
        left = [run for run in self._runs if not finished(run)]
        if done := len(self._runs) - len(left):
            say(f"{done} of {len(self._runs)} runs are finished already")
        with self._forwarding():
            for index, run in enumerate(left):
                number = f"{done + index + 1} of {len(self._runs)}"
                if self._asked:
                    return f"before run {number}"
                say(f"\n[{number}] {run.name}: {run.config.train.max_steps:,} steps{self._time_left(left[index:])}")
                if not self._train(run):
                    return f"in run {number}, {run.name}"
        return ""

    def _time_left(self, runs: list[Run]) -> str:
        if not self._beside:
            return ""
        seconds = len(runs) * mean(self._beside) + sum(run.cost for run in runs) * self._seconds_per_cost
        amount = f"{seconds / 3600:.1f} hours" if seconds > 5400 else f"{max(1, round(seconds / 60))} minutes"
        return f"; about {amount} left, at the speed of the run before"

    def _note_time(self, run: Run, seconds: float) -> None:
        """Note how long a run took that began here."""
        lines = [line for line in read_lines(run.config.run_directory / "metrics.jsonl") if line.get("tokens_per_second")]
        rates = [line["tokens_per_second"] for line in lines[len(lines) > 1 :]]  # the first is slower
        in_steps = min(seconds, run.tokens / mean(rates)) if rates else 0.0
        self._beside.append(seconds - in_steps)
        self._seconds_per_cost = in_steps / run.cost

    def _train(self, run: Run) -> bool:
        """Train a run to its end; return whether it got there."""
        start = time.perf_counter()
        place = config_file(run, self._output)
        # In this process group: what kills all of it, as the end of a terminal, leaves no training behind.
        self._process = subprocess.Popen(command_of(place), stdout=subprocess.PIPE, text=True)
        if self._asked:
            self._process.send_signal(self._asked)
        said = self._process.communicate()[0]
        status, self._process = self._process.returncode, None
        if status in INTERRUPTED:
            raise KeyboardInterrupt
        if status == STOPPED.code or (self._asked and status < 0):
            return False
        if status or not finished(run):
            reason = status_of(run).get("reason") or f"it ended with status {status}"
            raise CodeparrotError(
                f"the run {run.config.run_directory} failed ({reason}): its own words are above, and in its log/"
            )
        if not json.loads(said)["resumed_from_step"]:
            self._note_time(run, time.perf_counter() - start)
        return True

    @contextmanager
    def _forwarding(self) -> Iterator[None]:
        """Pass signals on while entered. A run takes one that it gets twice within seconds, as from a terminal, for one."""

        def forward(number: int, _: FrameType | None) -> None:
            self._asked = self._asked or number
            if self._process is not None:
                self._process.send_signal(number)

        before = {number: signal.signal(number, forward) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
