"""Time to the first batch of a stream: at the start of a run, and when resuming it early and late; and the size of its state.

The stream runs to the late position once. Fresh processes then start, and resume from both positions, in turns.
"""

import importlib
import json
import statistics
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.common import DATA, Ratio, corpus, report, tokenizer

LANES, SEQ_LENGTH, BATCH = 64, 1024, 64
POSITIONS = (1_000, 100_000)
ROUNDS = 5


def make_encoder() -> Any:
    from codeparrot.stream import make_encoder

    return make_encoder((tokenizer() / "tokenizer.json").read_text(encoding="utf-8"), end_of_document=0)


def dataset(encoder: Any) -> Any:
    from codeparrot.config import StreamConfig
    from codeparrot.stream import ConstantLengthDataset

    return ConstantLengthDataset(StreamConfig(train=str(corpus()), seq_length=SEQ_LENGTH, lanes=LANES), encoder)


def resume(state: Path) -> float:
    """Return the seconds from opening the data to the first batch, in this fresh process."""
    # Not measured: imports and the encoder are the same for any position and would hide a difference (training has torch).
    importlib.import_module("codeparrot.stream.dataset")
    encoder = make_encoder()
    stored = json.loads(state.read_text())
    start = time.perf_counter()
    stream = dataset(encoder)
    if stored:
        stream.load_state_dict(stored)
    with stream.batches(BATCH) as batches:
        next(batches)
        return time.perf_counter() - start


def main() -> None:
    if len(sys.argv) > 1:
        print(resume(Path(sys.argv[1])))
        return
    stream, states, consumed = dataset(make_encoder()), {}, 0
    windows = iter(stream)
    for position in POSITIONS:
        for _ in islice(windows, position - consumed):
            pass
        consumed = position
        states[position] = DATA / f"state-{position}.json"
        states[position].write_text(json.dumps(stream.state_dict()))
    states[0] = DATA / "state-0.json"
    states[0].write_text("{}")
    times: dict[int, list[float]] = {position: [] for position in states}
    for _ in range(ROUNDS):
        for position, path in states.items():
            command = [sys.executable, "-m", "benchmarks.resume", str(path)]
            times[position].append(float(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    late, early, start = (statistics.median(times[position]) for position in (*reversed(POSITIONS), 0))
    facts: dict[str, object] = {
        f"state of {LANES} lanes at window {position:,}": f"{path.stat().st_size:,} bytes"
        for position, path in states.items()
        if position
    }
    ratios = [
        Ratio(f"resume at window {POSITIONS[1]:,} against {POSITIONS[0]:,}", late, early, "seconds", 1.3, False),
        Ratio(f"first batch at the start, {LANES} lanes, against 1.5 s", start, 1.5, "seconds", 1.0, False),
    ]
    report("resume: time to the first batch", ratios, facts)


if __name__ == "__main__":
    main()
