"""Training the runs of a series, one after the other or side by side, each in a process of its own as a user would start it.

A signal goes on to the runs that are at work: they save and end, and so does the series. Side by side each has its share of
the cores, and one of the GPUs in turn, and what it says goes to a file.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from importlib.resources import files
from pathlib import Path
from statistics import mean

from codeparrot.errors import CodeparrotError
from codeparrot.result import STOPPED, say
from codeparrot.run.metrics import read_lines
from codeparrot.scale.rule import Run
from codeparrot.scale.state import config_file, finished, status_of
from codeparrot.stream.cores import available_cores

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
INTERRUPTED = (130, -signal.SIGINT)


def command_of(config: Path) -> list[str]:
    return [sys.executable, str(Path(str(files("codeparrot"))) / "train.py"), "--config", str(config), "--json"]


class Runner:
    """Trains what is not finished.

    Args:
        runs: all runs of the series, in the order in which they are trained.
        output: folder of the series.
        workers: runs that are trained side by side.
    """

    def __init__(self, runs: list[Run], output: Path, workers: int = 1) -> None:
        self._runs, self._output, self._workers = runs, output, workers
        self._processes: set[subprocess.Popen[str]] = set()
        self._asked = 0
        """The first signal that asked to stop."""
        self._beside: list[float] = []
        """Seconds that runs took besides their steps: to start, to be measured and saved."""
        self._seconds_per_cost = 0.0
        """Of the steps of the last run, which is the most like those to come."""

    def run(self) -> str:
        """Train; return where the series was stopped, in words, or nothing if all runs are finished.

        Raises:
            CodeparrotError: a run failed. Those beside it have saved and ended.
            KeyboardInterrupt: a run was interrupted without saving.
        """
        left = [run for run in self._runs if not finished(run)]
        if done := len(self._runs) - len(left):
            say(f"{done} of {len(self._runs)} runs are finished already")
        numbers = {run.name: f"{done + index} of {len(self._runs)}" for index, run in enumerate(left, 1)}
        free, at_work, stopped = [*range(self._workers)], {}, []
        with self._forwarding(), ThreadPoolExecutor(self._workers) as pool:
            while at_work or (left and not stopped):
                while left and free and not stopped and not self._asked:
                    run = left[0]
                    say(f"\n[{numbers[run.name]}] {run.name}: {run.config.train.max_steps:,} steps{self._time_left(left)}")
                    worker = free.pop(0)
                    at_work[pool.submit(self._train, left.pop(0), worker)] = run, worker
                if self._asked and not at_work:
                    return f"before run {numbers[left[0].name]}" if left and not stopped else _where(stopped, numbers)
                ended, _ = wait(at_work, return_when=FIRST_COMPLETED)
                for each in ended:
                    run, worker = at_work.pop(each)
                    free.append(worker)
                    if not self._result(each, at_work):
                        stopped.append(run)
        return _where(stopped, numbers)

    def _result(self, ended: "Future[bool]", at_work: dict["Future[bool]", tuple[Run, int]]) -> bool:
        """Return whether a run got to its end; if it failed, end those beside it first."""
        if ended.exception():
            self._forward(signal.SIGTERM)
            wait(at_work)
        return ended.result()

    def _time_left(self, runs: list[Run]) -> str:
        if not self._beside:
            return ""
        seconds = (len(runs) * mean(self._beside) + sum(run.cost for run in runs) * self._seconds_per_cost) / self._workers
        minutes = max(1, round(seconds / 60))
        amount = f"{seconds / 3600:.1f} hours" if minutes > 90 else f"{minutes} minute{'s' if minutes > 1 else ''}"
        return f"; about {amount} left, at the speed of the run before"

    def _note_time(self, run: Run, seconds: float) -> None:
        """Note how long a run took that began here."""
        lines = [line for line in read_lines(run.config.run_directory / "metrics.jsonl") if line.get("tokens_per_second")]
        rates = [line["tokens_per_second"] for line in lines[len(lines) > 1 :]]  # the first is slower
        in_steps = min(seconds, run.tokens / mean(rates)) if rates else 0.0
        self._beside.append(seconds - in_steps)
        self._seconds_per_cost = in_steps / run.cost

    def _train(self, run: Run, worker: int) -> bool:
        """Train a run to its end; return whether it got there."""
        start = time.perf_counter()
        words = self._output / "log" / f"{run.name}.log"
        with ExitStack() as stack:
            stderr = None
            if self._workers > 1:
                words.parent.mkdir(exist_ok=True)
                stderr = stack.enter_context(words.open("a", encoding="utf-8"))
            # In this process group: what kills all of it, as the end of a terminal, leaves no training behind.
            process = subprocess.Popen(
                command_of(config_file(run, self._output)),
                **{"stdout": subprocess.PIPE, "stderr": stderr, "text": True, "env": environment(worker, self._workers)},
            )
            self._processes.add(process)
            if self._asked:
                process.send_signal(self._asked)
            said = process.communicate()[0]
        self._processes.discard(process)
        status = process.returncode
        if status in INTERRUPTED:
            raise KeyboardInterrupt
        if status == STOPPED.code or (self._asked and status < 0):
            return False
        if status or not finished(run):
            reason = status_of(run).get("reason") or f"it ended with status {status}"
            where = f"in {words}" if self._workers > 1 else "above"
            raise CodeparrotError(
                f"the run {run.config.run_directory} failed ({reason}): its own words are {where}, and in its log/"
            )
        if not json.loads(said)["resumed_from_step"]:
            self._note_time(run, time.perf_counter() - start)
        return True

    def _forward(self, number: int) -> None:
        self._asked = self._asked or number
        for process in tuple(self._processes):
            process.send_signal(number)

    @contextmanager
    def _forwarding(self) -> Iterator[None]:
        """Pass signals on while entered. A run takes one that it gets twice within seconds, as from a terminal, for one."""
        before = {number: signal.signal(number, lambda number, _: self._forward(number)) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _where(stopped: list[Run], numbers: dict[str, str]) -> str:
    """Return where a series was stopped: in one run, or in several."""
    # In the order of the series, and not in that of their ends.
    return " and ".join(f"in run {number}, {name}" for name, number in numbers.items() if name in {run.name for run in stopped})


def environment(worker: int, workers: int) -> dict[str, str]:
    """Return the environment of a run: side by side, each has its share of the cores and one GPU."""
    own = dict(os.environ)
    if workers > 1:
        own.setdefault("OMP_NUM_THREADS", str(max(1, available_cores() // workers)))
        if gpus := _gpus():
            own["CUDA_VISIBLE_DEVICES"] = gpus[worker % len(gpus)]
    return own


def _gpus() -> list[str]:
    import torch

    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    return chosen.split(",") if chosen else [str(number) for number in range(torch.cuda.device_count())]
