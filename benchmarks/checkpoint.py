"""How long training waits for a checkpoint of the small recipe (111.0M parameters): written beside it, and by itself.

Each run is the real loop in a fresh process. The time is that of `Saver.save` as the loop calls it. Saves are far enough apart
that none waits for the one before. The first save also makes the buffers and is shown on its own.
"""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.common import DATA, Ratio, corpus, report, tokenizer

STEPS, EVERY = 20, 4


def settings(background: bool) -> Any:
    from codeparrot.arguments import parse_config

    arguments = [
        "--config",
        "configs/small.yaml",
        "--run.dir",
        str(DATA / "runs"),
        "--run.name",
        f"checkpoint_{time.time_ns()}",
    ]
    arguments += ["--tokenizer.path", str(tokenizer()), "--stream.train", str(corpus()), "--stream.valid", "[]"]
    arguments += ["--train.global_batch_size", "4", "--train.micro_batch_size", "4", "--stream.lanes", "4"]
    arguments += ["--stream.seq_length", "256", "--train.precision", "fp32", "--train.log_every_steps", "1"]
    arguments += ["--train.max_steps", str(STEPS), "--schedule.warmup_steps", "1", "--evaluate.every_steps", "0"]
    arguments += ["--checkpoint.every_steps", str(EVERY), "--checkpoint.keep_last", "1", "--checkpoint.every_minutes", "0"]
    return parse_config([*arguments, "--checkpoint.background", str(background).lower()])


def measure(background: bool) -> dict[str, Any]:
    """Train; return the stalls of the saves and the seconds of the steps."""
    from codeparrot.run.metrics import read_lines
    from codeparrot.train import train
    from codeparrot.training.saver import Saver

    stalls: list[float] = []
    original = Saver.save

    def timed(self: Saver, progress: Any) -> None:
        start = time.perf_counter()
        original(self, progress)
        stalls.append(time.perf_counter() - start)

    Saver.save = timed  # type: ignore[method-assign]
    config = settings(background)
    train(config)
    rates = [line["tokens_per_second"] for line in read_lines(config.run_directory / "metrics.jsonl")]
    tokens = config.train.global_batch_size * config.stream.seq_length
    size = sum(path.stat().st_size for path in config.run_directory.glob("checkpoints/step_*/**/*") if path.is_file())
    return {"stalls": stalls, "step_seconds": [tokens / rate for rate in rates], "bytes": size}


def main() -> None:
    if len(sys.argv) > 1:
        Path(sys.argv[2]).write_text(json.dumps(measure(sys.argv[1] == "background")))
        return
    corpus()
    tokenizer()
    answer = DATA / "checkpoint.json"
    found = {}
    for how in ("background", "waiting"):
        subprocess.run([sys.executable, "-m", "benchmarks.checkpoint", how, str(answer)], check=True, capture_output=True)
        found[how] = json.loads(answer.read_text())
    ours, peer = ([*found[how]["stalls"][1:]] for how in ("background", "waiting"))
    steps = found["background"]["step_seconds"]
    beside = [seconds for index, seconds in enumerate(steps) if index % EVERY == 0 and index]
    alone = [seconds for index, seconds in enumerate(steps) if index % EVERY == EVERY - 1]
    report(
        "checkpoint: how long training waits, GPT-2 12x768 (111.0M parameters)",
        [Ratio("stall, written beside training / by itself", sum(ours) / len(ours), sum(peer) / len(peer), "s", 0.25, False)],
        {
            "size of a checkpoint": f"{found['background']['bytes'] / 1e9:.2f} GB",
            "first stall, which makes the buffers": f"{found['background']['stalls'][0]:.2f} s",
            "a step while one is written / otherwise": f"{sum(beside) / len(beside):.2f} s / {sum(alone) / len(alone):.2f} s",
        },
    )


if __name__ == "__main__":
    main()
