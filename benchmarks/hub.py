"""Time of the training loop while its checkpoints are pushed to a slow Hub, against the same loop without pushes.

The Hub is the tests' own, on this machine, and takes 1 MB/s; checkpoints are so frequent that there is nearly always one to
push. The time is the wall-clock time between two steps, checkpoints included; the wait for the last uploads after the loop is
printed separately. Rounds alternate in their order and the best of each side counts, as in the other benchmarks: on a machine
of two cores one pair of runs differs by several percent either way. All pairs are printed.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from benchmarks.common import DATA, Ratio, corpus, report, tokenizer
from tests.hub_server.fixture import HubServer, serve

ROUNDS, STEPS, WARM_UP, SAVE_EVERY, BYTES_PER_SECOND = 4, 240, 20, 40, 1_000_000


class Loop(NamedTuple):
    seconds: float
    """From step WARM_UP to step STEPS."""
    whole_seconds: float
    """From the start of the command to its end."""
    pushed: int
    pushed_meanwhile: int
    """Checkpoints that were on the Hub before the last step."""


def train(hub: HubServer | None) -> Loop:
    name = f"hub_{time.time_ns()}"
    folder = DATA / "runs" / name
    command = [*("codeparrot", "train", "--config", "configs/nano.yaml", "--run.dir", str(DATA / "runs"), "--run.name", name)]
    command += ["--tokenizer.path", str(tokenizer(4096)), "--stream.train", str(corpus()), "--stream.valid", "[]"]
    command += ["--train.max_steps", str(STEPS), "--train.log_every_steps", "10", "--schedule.warmup_steps", "10"]
    command += ["--checkpoint.every_steps", str(SAVE_EVERY)]
    command += ["--hub.repo", "me/model"] if hub else []
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, env=hub.environment() if hub else None)
    whole = time.perf_counter() - start
    times = step_times(folder / "log" / "rank_00000.log")
    ledger = json.loads((folder / "hub.json").read_text())["pushed"] if hub else []
    meanwhile = sum(each["pushed_at"] < times[STEPS] for each in ledger)
    return Loop(times[STEPS] - times[WARM_UP], whole, len(ledger), meanwhile)


def step_times(log: Path) -> dict[int, float]:
    """Return the time of each logged step, in seconds since 1970."""
    times = {}
    for line in log.read_text(encoding="utf-8").splitlines():
        words = line.split()
        if len(words) > 4 and words[3] == "step" and "/" in words[4]:
            moment = datetime.strptime(f"{words[0]} {words[1]}", "%Y-%m-%d %H:%M:%S,%f")
            times[int(words[4].split("/")[0])] = moment.timestamp()
    return times


def pair(hub: HubServer, pushes_first: bool) -> tuple[Loop, Loop]:
    """Return a run with pushes and one without."""
    if pushes_first:
        return train(hub), train(None)
    alone = train(None)
    return train(hub), alone


def main() -> None:
    corpus()
    tokenizer(4096)
    with tempfile.TemporaryDirectory() as place, serve(Path(place)) as hub:
        # It stands for another machine, so its work must not take time from training.
        for thread in Path(f"/proc/{hub.pid}/task").iterdir():
            os.sched_setscheduler(int(thread.name), os.SCHED_IDLE, os.sched_param(0))
        hub.faults.limit_uploads(BYTES_PER_SECOND)
        runs = [pair(hub, pushes_first=bool(index % 2)) for index in range(ROUNDS)]
    pushing, alone = [pair[0] for pair in runs], [pair[1] for pair in runs]
    ours, theirs = (min(run.seconds for run in each) for each in (pushing, alone))
    pushed, during = sum(run.pushed for run in pushing), sum(run.pushed_meanwhile for run in pushing)
    ratio = Ratio("the loop with pushes against without", ours, theirs, "s", 1.03, higher_is_better=False)
    wait = statistics.median(run.whole_seconds - run.seconds for run in pushing)
    wait -= statistics.median(run.whole_seconds - run.seconds for run in alone)
    report(
        f"hub: configs/nano.yaml, {STEPS} steps, a checkpoint every {SAVE_EVERY}, a Hub that takes 1 MB/s",
        [ratio],
        {
            "each pair of runs": ", ".join(f"{a.seconds:.1f} / {b.seconds:.1f} s" for a, b in runs),
            "checkpoints pushed, of which before the last step": f"{pushed}, {during}",
            "wait for the rest after the loop": f"{wait:.1f} s",
        },
    )
    sys.exit(0 if ratio.reached and pushed == ROUNDS * STEPS // SAVE_EVERY else 1)


if __name__ == "__main__":
    main()
