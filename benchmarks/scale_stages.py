"""`python -m benchmarks.scale_stages FILE ARGUMENTS`: `codeparrot corpus build ARGUMENTS`, with the seconds of each stage.

FILE gets, by the name of a stage, its seconds, those of processor time, the most memory of the process during it, the memory at
its end that is not of files, and what lay on the disk then. The build has one worker (`--workers 1`), so that all stages run in
this process. Linux only: the kernel is asked for the most memory, and forgets it between stages.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from codeparrot.cli import entry
from codeparrot.corpus import pipeline
from codeparrot.corpus.duplicates import pairs
from codeparrot.corpus.workers import Workers

STAGES = ("open_source", "_read", "_find_duplicates", "choose", "_clean", "tally_of", "_divided", "_write", "_write_removed")
"""Functions of codeparrot/corpus/pipeline.py; some lie inside of others."""
TASKS = {"read": "_read", "find_pairs": "_find_duplicates", "clean": "_clean", "write_piece": "_write"}
"""Functions there that workers run, whatever the executor, and the stage that hands them out."""


def memory(pid: int | str = "self") -> dict[str, int]:
    """Return the bytes of a process that are in memory (rss), were at most (peak), and belong to no file (own)."""
    names = {"VmRSS": "rss", "VmHWM": "peak", "RssAnon": "own"}
    lines = (line.split() for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines())
    return {names[line[0][:-1]]: int(line[1]) * 1024 for line in lines if line and line[0][:-1] in names}


def disk(folder: Path) -> int:
    """Return the bytes that the files below a folder take, each once."""
    files: dict[int, int] = {}
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                found = Path(parent, name).stat()
                files[found.st_ino] = found.st_blocks * 512
    return sum(files.values())


class Stages:
    """Measures stages that may lie inside of each other."""

    def __init__(self, place: Path) -> None:
        self.found: dict[str, dict[str, float]] = {}
        self._place = place
        self._peak = 0

    def measured(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function, measured under a name."""

        def run(*arguments: Any, **named: Any) -> Any:
            outer = max(self._peak, memory()["peak"])
            self._forget_peak()
            self._peak = 0
            start, cpu = time.perf_counter(), time.process_time()
            result = function(*arguments, **named)
            seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu
            now = memory()
            peak = max(self._peak, now["peak"])
            known = self.found.setdefault(name, {"seconds": 0.0, "cpu_seconds": 0.0, "peak": 0})
            known["seconds"] += seconds
            known["cpu_seconds"] += cpu_seconds
            known["peak"] = max(known["peak"], peak)
            known["own_at_end"], known["disk"] = now["own"], disk(self._place)
            self._peak = max(outer, peak)
            return result

        return run

    def added_up(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function, which runs very often: only its seconds are measured."""

        def run(*arguments: Any, **named: Any) -> Any:
            start, cpu = time.perf_counter(), time.process_time()
            try:
                return function(*arguments, **named)
            finally:
                known = self.found.setdefault(name, {"seconds": 0.0, "cpu_seconds": 0.0})
                known["seconds"] += time.perf_counter() - start
                known["cpu_seconds"] += time.process_time() - cpu

        return run

    def _forget_peak(self) -> None:
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


def _cpu_seconds() -> float:
    """Return the seconds of processor time of this process and of those it has waited for."""
    return sum(os.times()[:4])


def main(file: str, *arguments: str) -> None:
    output = Path(arguments[arguments.index("--output") + 1])
    stages = Stages(output.parent)
    for name in STAGES:
        setattr(pipeline, name, stages.measured(name.strip("_"), getattr(pipeline, name)))
    for name, stage in TASKS.items():
        setattr(pipeline, name, stages.added_up(f"tasks of {stage.strip('_')}", getattr(pipeline, name)))
    pairs.find_pairs = stages.added_up("tasks of near_pairs", pairs.find_pairs)
    Workers.near_pairs = stages.measured("near_pairs", Workers.near_pairs)
    sys.argv = ["codeparrot", "corpus", "build", *arguments]
    start = time.perf_counter()
    try:
        entry()
    except SystemExit as end:
        if end.code:
            raise
    finally:
        stages.found["whole"] = {"seconds": time.perf_counter() - start, "cpu_seconds": _cpu_seconds(), **memory()}
        Path(file).write_text(json.dumps(stages.found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
