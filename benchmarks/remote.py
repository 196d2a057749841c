"""Windows a second from a local S3 server, beside the same files on the disk: 64 lanes, one process.

Text in Parquet is read and encoded, windows that were tokenised before are only read. Both streams take turns, and the best of
several rounds of each counts, since other work can only slow them down. The clock starts behind the first block of each lane.
The server (s3_server.py) has a process of its own; what it gives to one plain connection is printed beside, as its limit.
"""

import http.client
import os
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import DATA, Ratio, corpus, report, tokenizer
from benchmarks.stream import Counting

LANES, SEQ_LENGTH = 64, 1024
CORPUS_BYTES = 100_000_000
ROUNDS = 3
TOKENIZED_WINDOWS = 256 * LANES
"""In a round of windows that are only read; a round of text is one call of the encoder for each lane."""


def main() -> None:
    texts, windows = corpus(CORPUS_BYTES), tokenized()
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.s3_server", str(DATA)], stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stdout is not None
            port = int(server.stdout.readline())
            use(port)
            ratios = [
                Ratio(f"{what}: S3 / disk", *compared(folder), "windows/s", 0.8)
                for what, folder in (("text in Parquet", texts), ("tokenised windows", windows))
            ]
            report("Streams from a local S3 server, 64 lanes", ratios, plain(port, texts))
        finally:
            server.kill()


def tokenized() -> Path:
    folder = DATA / f"windows-{CORPUS_BYTES}"
    if not folder.exists():
        command = ["codeparrot", "corpus", "tokenize", "--corpus", str(corpus(CORPUS_BYTES)), "--tokenizer", str(tokenizer())]
        subprocess.run([*command, "--seq_length", str(SEQ_LENGTH), "--output", str(folder)], check=True)
    return folder


def use(port: int) -> None:
    """Have this process find the server, and nothing outside of the machine."""
    os.environ |= {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s"}
    os.environ |= {"AWS_EC2_METADATA_DISABLED": "true", "AWS_DEFAULT_REGION": "us-east-1"}


def compared(folder: Path) -> tuple[float, float]:
    """Return the windows a second from the server and from the disk, and say what a window costs this process."""
    streams = [begun(f"s3://bucket/{folder.name}"), begun(str(folder))]
    best, least = [0.0, 0.0], [float("inf")] * 2
    for _ in range(ROUNDS):
        for index, stream in enumerate(streams):
            speed, cost = measured(*stream)
            best[index], least[index] = max(best[index], speed), min(least[index], cost)
    print(f"{folder.name}: {least[0]:.2f} ms of a core a window from S3, {least[1]:.2f} from the disk", flush=True)
    return best[0], best[1]


def begun(place: str) -> tuple[Counting, Any]:
    from transformers import AutoTokenizer

    from codeparrot.config import StreamConfig
    from codeparrot.stream import ConstantLengthDataset, make_encoder
    from codeparrot.stream.shuffle import default_block_windows

    loaded: Any = AutoTokenizer.from_pretrained(tokenizer())
    encoder = Counting(make_encoder(loaded.backend_tokenizer.to_str(), loaded.eos_token_id))
    config = StreamConfig(train=place, seq_length=SEQ_LENGTH, lanes=LANES)
    stream = iter(ConstantLengthDataset(config, encoder))
    for _ in islice(stream, LANES * default_block_windows(config)):
        pass
    return encoder, stream


def measured(encoder: Counting, stream: Any) -> tuple[float, float]:
    """Return windows a second, and milliseconds of a core a window."""
    start, used, until, count = time.perf_counter(), time.process_time(), encoder.calls + LANES, 0
    while encoder.calls < until if encoder.calls else count < TOKENIZED_WINDOWS:
        next(stream)
        count += 1
    return count / (time.perf_counter() - start), 1e3 * (time.process_time() - used) / count


def plain(port: int, folder: Path) -> dict[str, str]:
    """Return what one connection gets, without S3's protocol around it."""
    file = max(folder.glob("train-*.parquet"), key=lambda each: each.stat().st_size)
    connection = http.client.HTTPConnection("127.0.0.1", port)
    facts: dict[str, str] = {}
    for size in (16_384, 524_288):
        times: list[float] = []
        for _ in range(200):
            start = time.perf_counter()
            connection.request("GET", f"/bucket/{folder.name}/{file.name}", headers={"Range": f"bytes=0-{size - 1}"})
            connection.getresponse().read()
            times.append(time.perf_counter() - start)
        middle = float(np.median(times))
        facts[f"plain GET of {size >> 10} kB"] = (
            f"{1e3 * middle:.2f} ms, {1 / middle:,.0f} a second, {size / middle / 1e6:,.0f} MB/s"
        )
    return facts


if __name__ == "__main__":
    main()
