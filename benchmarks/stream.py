"""Windows a second of the stream from raw text, in one process.

The peers are (a) the tokenizer's bare `encode_batch` on the same text with the same threads, and (b) a rewrite of the original
CodeParrot script's algorithm (fill a list of texts, tokenise it, join, slice, drop the tail), fed from the same files. Then
comes the default encoder, without and with fill-in-the-middle. Stream and peers take turns, and the best of several rounds of
each counts, since other work can only slow them down.

A lane encodes some 70 windows in one call and hands them out one by one. So the stream is measured over whole rounds of calls,
one for each lane, behind the first blocks of windows: as much is encoded before the clock starts as is left when it stops.
Memory is measured in processes of their own.
"""

import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.common import Ratio, corpus, report, tokenizer

SEQ_LENGTH = 1024
ROUNDS = 2


class Counting:
    """An encoder that counts its calls."""

    def __init__(self, encoder: Any) -> None:
        self.name, self.end_of_document, self.calls = encoder.name, encoder.end_of_document, 0
        self._encoder = encoder

    def encode(self, texts: list[str]) -> Any:
        self.calls += 1
        return self._encoder.encode(texts)


class Measured:
    """A stream of `lanes` lanes, after the small calls at its start."""

    def __init__(self, lanes: int, kind: str, fim_rate: float = 0.0) -> None:
        start = time.perf_counter()
        self.lanes = lanes
        self.encoder, self.windows = stream(lanes, kind, fim_rate)
        next(self.windows)
        self.first_seconds = time.perf_counter() - start
        skip_blocks(self.windows, lanes)

    def windows_per_second(self, seconds: float) -> float:
        """Measure over whole rounds of calls, for at least this long."""
        count, start = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - start) < seconds:
            count += self._pull_until(self.encoder.calls + self.lanes)
        return count / elapsed

    def _pull_until(self, calls: int) -> int:
        count = 0
        while self.encoder.calls < calls:
            next(self.windows)
            count += 1
        return count


def skip_blocks(windows: Iterator[Any], lanes: int) -> None:
    """Pull a block of each lane: the small calls at the start are behind it."""
    from codeparrot.stream.shuffle import default_block_windows

    for _ in islice(windows, lanes * default_block_windows(settings(lanes))):
        pass


def settings(lanes: int) -> Any:
    from codeparrot.config import StreamConfig

    return StreamConfig(train=str(corpus()), seq_length=SEQ_LENGTH, lanes=lanes)


def memory(lanes: int) -> float:
    """Return the MB by which the stream makes this process grow."""
    from transformers import AutoTokenizer

    AutoTokenizer.from_pretrained(tokenizer())  # what this imports is no cost of the stream
    before = peak_megabytes()
    _, windows = stream(lanes, "fastokens")
    for _ in range(3):
        skip_blocks(windows, lanes)
    return peak_megabytes() - before


def peak_megabytes() -> float:
    """Return this process's peak memory since it was started; getrusage would begin with its parent's."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1e3


def stream(lanes: int, kind: str, fim_rate: float = 0.0) -> tuple[Counting, Iterator[Any]]:
    from transformers import AutoTokenizer

    from codeparrot.objectives.fim import Middles
    from codeparrot.stream import ConstantLengthDataset, make_encoder
    from codeparrot.stream.sentinels import Sentinels

    loaded: Any = AutoTokenizer.from_pretrained(tokenizer())
    encoder = Counting(make_encoder(loaded.backend_tokenizer.to_str(), loaded.eos_token_id, kind))
    # Any three ids do for sentinels: they are not encoded.
    middles = Middles(fim_rate, 0.5, "character", 0, SEQ_LENGTH, Sentinels(1, 2, 3), loaded.eos_token_id) if fim_rate else None
    return encoder, iter(ConstantLengthDataset(settings(lanes), encoder, transform=middles))


def documents() -> list[str]:
    import pyarrow.parquet as parquet

    return [text for file in sorted(corpus().glob("train-*")) for text in parquet.read_table(file)["content"].to_pylist()]


def original(texts: Iterator[str], loaded: Any, num_of_sequences: int = 1024, chars_per_token: float = 3.6) -> Iterator[Any]:
    """Fill a buffer of characters, tokenise it as a list, join with the end token, slice, drop a short last slice."""
    import torch

    wanted = SEQ_LENGTH * chars_per_token * num_of_sequences
    while True:
        buffer, size = [], 0
        while size < wanted:
            buffer.append(next(texts))
            size += len(buffer[-1])
        ids: list[int] = []
        for row in loaded(buffer, truncation=False)["input_ids"]:
            ids.extend([*row, loaded.eos_token_id])
        for start in range(0, len(ids), SEQ_LENGTH):
            window = ids[start : start + SEQ_LENGTH]
            if len(window) == SEQ_LENGTH:
                yield torch.tensor(window)


def endless(texts: list[str]) -> Iterator[str]:
    while True:
        yield from texts


def windows_per_second(windows: Iterator[Any], seconds: float) -> float:
    """Pull windows for about this long. The measurement includes work done in bulk."""
    count, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        count += sum(1 for _ in islice(windows, 64))
    return count / elapsed


def bare(loaded: Any, texts: list[str], seconds: float) -> tuple[float, float]:
    """Return the speed of bare `encode_batch`: tokens a second, counted in windows, and MB a second."""
    tokens, num_bytes, start = 0, 0, time.perf_counter()
    position = 0
    while (elapsed := time.perf_counter() - start) < seconds:
        batch = texts[position : position + 256] or texts[:256]
        position = position + 256 if position + 256 < len(texts) else 0
        tokens += sum(map(len, loaded.backend_tokenizer.encode_batch(batch)))
        num_bytes += sum(map(len, batch))
    return tokens / SEQ_LENGTH / elapsed, num_bytes / 1e6 / elapsed


def main() -> None:
    from transformers import AutoTokenizer

    if len(sys.argv) > 1:
        print(memory(int(sys.argv[1])))
        return
    loaded: Any = AutoTokenizer.from_pretrained(tokenizer(), model_max_length=10**12)
    texts = documents()
    peer = original(endless(texts), loaded)
    reference = {lanes: Measured(lanes, "tokenizers") for lanes in (2, 64)}
    fast = {lanes: Measured(lanes, "fastokens") for lanes in (2, 64)}
    middles = Measured(2, "fastokens", fim_rate=0.5)
    bare_best, original_best = (0.0, 0.0), 0.0
    best: dict[tuple[str, int], float] = {}
    for _ in range(ROUNDS):
        bare_best = max(bare_best, bare(loaded, texts, 10))
        original_best = max(original_best, windows_per_second(peer, 15))
        for lanes in (2, 64):
            for name, measured, seconds in (("tokenizers", reference[lanes], 15), ("fastokens", fast[lanes], 8)):
                best[name, lanes] = max(best.get((name, lanes), 0.0), measured.windows_per_second(seconds))
        best["middles", 2] = max(best.get(("middles", 2), 0.0), middles.windows_per_second(8))
    ratios: list[Ratio] = []
    facts: dict[str, object] = {"bare encode_batch": f"{bare_best[1]:.1f} MB/s"}
    bytes_per_token = sum(map(len, texts[:2000])) / sum(map(len, loaded(texts[:2000])["input_ids"]))
    for lanes in (2, 64):
        slow, quick = best["tokenizers", lanes], best["fastokens", lanes]
        facts[f"tokenizers, {lanes} lanes, against the original"] = f"{slow / original_best:.2f} times"
        facts[f"fastokens (the default), {lanes} lanes"] = (
            f"{quick * SEQ_LENGTH * bytes_per_token / 1e6:.0f} MB/s, {quick * SEQ_LENGTH / 1e6:.1f}M tokens/s, "
            f"first window after {fast[lanes].first_seconds:.2f} s"
        )
        ratios.append(Ratio(f"tokenizers, {lanes} lanes, against bare encode_batch", slow, bare_best[0], "windows/s", 0.90))
        ratios.append(Ratio(f"default encoder, {lanes} lanes, against the original", quick, original_best, "windows/s", 1.5))
    with_middles, without = best["middles", 2], best["fastokens", 2]
    facts["with objective.fim_rate 0.5, 2 lanes"] = (
        f"{with_middles * SEQ_LENGTH / 1e6:.1f}M tokens/s, {with_middles / without:.2f} of without"
    )
    for lanes in (8, 64):
        command = [sys.executable, "-m", "benchmarks.stream", str(lanes)]
        grown = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        facts[f"memory of the stream, {lanes} lanes, one process"] = f"{grown:,.0f} MB, the encoder included"
    report("stream: windows a second from raw text, one process", ratios, facts)


if __name__ == "__main__":
    main()
