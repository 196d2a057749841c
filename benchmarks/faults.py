"""SIGKILLs at random moments over one run on two processes, half of them during a save.

The run must end with the weights of the uninterrupted one, to the last bit. Prints the repeated steps and the time from a start
to its first new step.

    python -m benchmarks.faults [NUMBER OF KILLS, 100]
"""

import contextlib
import hashlib
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.common import DATA, corpus, machine, report, tokenizer

KILLS, STEPS_A_KILL, SAVE_EVERY = 100, 14, 4


class Fault(NamedTuple):
    """One start of the run that was killed."""

    during_save: bool
    seconds_to_first_step: float
    lost_steps: int


def last_step(run: Path) -> int:
    from codeparrot.run.metrics import read_lines

    path = run / "metrics.jsonl"
    lines = read_lines(path) if path.exists() else []
    return lines[-1]["step"] if lines else 0


def newest(run: Path) -> int:
    """Return the step of the newest complete checkpoint, or 0."""
    return max((int(path.parent.name[5:]) for path in run.glob("checkpoints/step_*/manifest.json")), default=0)


def weights(run: Path, step: int) -> str:
    path = run / "checkpoints" / f"step_{step:08d}" / "model" / "model.safetensors"
    return hashlib.sha256(path.read_bytes()).hexdigest()


def kill_at_random(
    start: Callable[[], "subprocess.Popen[Any]"], run: Path, during_save: bool, draw: random.Random, wait_seconds: float
) -> Fault | None:
    """Start the run, let it write at least one more checkpoint, then kill all of it; return None if it ended before.

    A kill outside a save comes up to `wait_seconds` after the first new step.
    """
    import psutil

    begin, started, process = time.perf_counter(), time.time(), start()
    resumed, metrics = newest(run), run / "metrics.jsonl"
    first, moment = None, draw.uniform(0, wait_seconds)
    while process.poll() is None:
        # A resumed run first removes the lines of steps that it repeats; until then the last line is an old one.
        if first is None and metrics.exists() and metrics.stat().st_mtime > started and last_step(run) > resumed:
            first = time.perf_counter()
        if newest(run) > resumed and first is not None:
            saving = any(run.glob("checkpoints/.partial_*"))
            if (saving and draw.random() < 0.5) if during_save else time.perf_counter() - first > moment:
                break
        time.sleep(0.001)
    if process.poll() is not None:
        assert process.returncode == 0, "training failed"
        return None
    for child in psutil.Process(process.pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
    process.kill()
    process.wait()
    return Fault(during_save, (first or begin) - begin, last_step(run) - newest(run))


def torture(
    start: Callable[[], "subprocess.Popen[Any]"], run: Path, kills: int, wait_seconds: float = 1.5, seed: int = 0
) -> list[Fault]:
    """Kill a run again and again, then let it finish; return the faults."""
    draw, faults = random.Random(seed), []
    for number in range(kills):
        fault = kill_at_random(start, run, number % 2 == 1, draw, wait_seconds)
        if fault is None:
            break
        faults.append(fault)
    assert start().wait() == 0, "training failed"
    return faults


def main() -> None:
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else KILLS
    steps = kills * STEPS_A_KILL + 16
    name = f"faults_{time.time_ns()}"

    def command(run_name: str) -> list[str]:
        launch = [
            "accelerate",
            "launch",
            "--config_file",
            "launch/ddp.yaml",
            "--main_process_port",
            "0",
            "--num_processes",
            "2",
        ]
        changes = ["--run.dir", str(DATA / "runs"), "--run.name", run_name, "--tokenizer.path", str(tokenizer(4096))]
        changes += ["--stream.train", str(corpus()), "--stream.valid", "[]", "--train.max_steps", str(steps)]
        changes += ["--train.log_every_steps", "1", "--checkpoint.every_steps", str(SAVE_EVERY)]
        return [*launch, "codeparrot/train.py", "--config", "configs/nano.yaml", *changes]

    def start(run_name: str) -> "subprocess.Popen[Any]":
        return subprocess.Popen(command(run_name), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    print(machine(), flush=True)
    assert start(f"{name}_whole").wait() == 0, "training failed"
    run = DATA / "runs" / name
    faults = torture(lambda: start(name), run, kills)
    same = weights(run, steps) == weights(DATA / "runs" / f"{name}_whole", steps)
    lost, times = [fault.lost_steps for fault in faults], [fault.seconds_to_first_step for fault in faults]
    report(
        f"faults: configs/nano.yaml on two processes, a checkpoint every {SAVE_EVERY} steps",
        [],
        {
            "SIGKILLs, of which during a save": f"{len(faults)}, {sum(fault.during_save for fault in faults)}",
            "resumes": len(faults),
            "final weights equal to the uninterrupted run's": "to the last bit" if same else "NO",
            "steps done again: median, most": f"{statistics.median(lost):.0f}, {max(lost)}",
            "start to first new step: median, most": f"{statistics.median(times):.1f} s, {max(times):.1f} s",
        },
    )
    sys.exit(0 if same and len(faults) == kills else 1)


if __name__ == "__main__":
    main()
