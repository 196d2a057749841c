"""Time of the training loop while its checkpoints are copied to S3, against the same loop without a mirror.

The S3 server is the tests' own (moto), on this machine, at the lowest priority, since it stands for another machine.
Checkpoints are so frequent that there is nearly always one to copy. The time is the wall-clock time between two steps,
checkpoints included; how much longer start and end take is printed separately. Rounds alternate in their order and the best of
each side counts, as in benchmarks/hub.py. All pairs are printed.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from benchmarks.common import DATA, Ratio, corpus, report, tokenizer
from benchmarks.hub import step_times
from tests.s3_server.fixture import S3Server

ROUNDS, STEPS, WARM_UP, SAVE_EVERY = 4, 240, 20, 40


class Loop(NamedTuple):
    seconds: float
    """From step WARM_UP to step STEPS."""
    whole_seconds: float
    """From the start of the command to its end."""
    copied: int
    """Copies that are there at the end."""


def train(s3: S3Server | None) -> Loop:
    name = f"mirror_{time.time_ns()}"
    folder = DATA / "runs" / name
    command = [*("codeparrot", "train", "--config", "configs/nano.yaml", "--run.dir", str(DATA / "runs"), "--run.name", name)]
    command += ["--tokenizer.path", str(tokenizer(4096)), "--stream.train", str(corpus()), "--stream.valid", "[]", "--json"]
    command += ["--train.max_steps", str(STEPS), "--train.log_every_steps", "10", "--schedule.warmup_steps", "10"]
    command += ["--checkpoint.every_steps", str(SAVE_EVERY), "--checkpoint.keep_last", "2"]
    command += ["--checkpoint.mirror", f"s3://bucket/{name}"] if s3 else []
    environment = {**os.environ, **s3.environment} if s3 else None
    start = time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, env=environment)
    whole = time.perf_counter() - start
    times = step_times(folder / "log" / "rank_00000.log")
    return Loop(times[STEPS] - times[WARM_UP], whole, json.loads(done.stdout)["mirror"]["copied"] if s3 else 0)


def pair(s3: S3Server, mirror_first: bool) -> tuple[Loop, Loop]:
    """Return a run with a mirror and one without."""
    if mirror_first:
        return train(s3), train(None)
    alone = train(None)
    return train(s3), alone


def main() -> None:
    corpus()
    tokenizer(4096)
    with tempfile.TemporaryDirectory() as place:
        s3 = S3Server(Path(place))
        s3.start()
        try:
            for thread in Path(f"/proc/{s3.pid}/task").iterdir():
                os.sched_setscheduler(int(thread.name), os.SCHED_IDLE, os.sched_param(0))
            runs = [pair(s3, mirror_first=bool(index % 2)) for index in range(ROUNDS)]
        finally:
            s3.kill()
    copying, alone = [pair[0] for pair in runs], [pair[1] for pair in runs]
    ours, theirs = (min(run.seconds for run in each) for each in (copying, alone))
    ratio = Ratio("the loop with a mirror against without", ours, theirs, "s", 1.03, higher_is_better=False)
    wait = statistics.median(run.whole_seconds - run.seconds for run in copying)
    wait -= statistics.median(run.whole_seconds - run.seconds for run in alone)
    report(
        f"mirror: configs/nano.yaml, {STEPS} steps, a checkpoint every {SAVE_EVERY}, S3 on this machine",
        [ratio],
        {
            "each pair of runs": ", ".join(f"{a.seconds:.1f} / {b.seconds:.1f} s" for a, b in runs),
            "copies at the end": sum(run.copied for run in copying),
            "start and end longer by": f"{wait:.1f} s",
        },
    )
    sys.exit(0 if ratio.reached and all(run.copied == 2 for run in copying) else 1)


if __name__ == "__main__":
    main()
