"""What best-fit packing costs and leaves, and what a document mask costs on a CPU.

Packing: tokens a second of the stream, packed best-fit and concatenated, from the same documents. Both take turns, and the
sums over all rounds count: single ones decode one row group more or less. A round is as many windows as the blocks of all lanes
hold. Compared is the processor time of all threads, which other work on the machine moves less than the clock. Padding and cut
documents are those of all rounds; of concatenation, a document is cut where it lies in two windows.

The mask: the time of a forward and backward pass of GPT-2 in float32, with and without, in turns; the fastest of each counts.
"""

import sys
import time
from collections.abc import Iterator
from itertools import islice
from typing import Any

from benchmarks.common import Ratio, corpus, report, tokenizer

SEQ_LENGTH = 1024
LANES = 2
BLOCK = 2048
"""That of the default at two lanes."""
ROUNDS = 24
MASK_ROUNDS = 7
MAX_BYTES = 100_000_000
SHAPES = ((4, 128, 256, 8), (6, 384, 512, 4), (12, 768, 1024, 1))
"""Layers, width, tokens of a window, windows: those of nano and mini, and of the small GPT-2."""
DOCUMENT = 400
"""Tokens of a document under the mask, about the median of a file."""


class Stream:
    """An endless stream, behind its first block."""

    def __init__(self, packing: Any, train: str, encoder: Any) -> None:
        from codeparrot.config import StreamConfig
        from codeparrot.stream import ConstantLengthDataset

        stream = StreamConfig(train=train, seq_length=SEQ_LENGTH, lanes=LANES, block_windows=BLOCK, packing=packing)
        self.dataset = ConstantLengthDataset(stream, encoder)
        self._windows: Iterator[Any] = iter(self.dataset)
        self.tokens = self.windows = 0
        self.round()

    def round(self) -> tuple[int, float, float]:
        """Pull as many windows as the blocks hold; return their tokens, and the seconds of the processor and by the clock."""
        before = sum(read.tokens for read in self.dataset.read)
        clock, processor = time.perf_counter(), time.process_time()
        for _ in islice(self._windows, LANES * BLOCK):
            pass
        tokens = sum(read.tokens for read in self.dataset.read) - before
        return tokens, time.process_time() - processor, time.perf_counter() - clock


def cut_by_concatenation(train: str, encoder: Any) -> float:
    """Return the share of documents that lie in several windows where they are concatenated."""
    import numpy as np

    from codeparrot.config import StreamConfig
    from codeparrot.stream import ConstantLengthDataset

    stream = StreamConfig(train=train, seq_length=SEQ_LENGTH, lanes=1, order="documents")
    tokens = np.stack([window.numpy() for window in islice(ConstantLengthDataset(stream, encoder), LANES * BLOCK)]).ravel()
    windows = np.flatnonzero(tokens == encoder.end_of_document) // SEQ_LENGTH
    begins = (np.flatnonzero(tokens == encoder.end_of_document)[:-1] + 1) // SEQ_LENGTH
    return float((begins != windows[1:]).mean())


def milliseconds(model: Any, ids: Any) -> float:
    start = time.perf_counter()
    model(ids, ids).backward()
    return 1000 * (time.perf_counter() - start)


def masks() -> Iterator[Ratio]:
    import torch

    from codeparrot.model.families import build_model, model_config

    for layers, width, length, windows in SHAPES:
        sizes = {"n_layer": layers, "n_embd": width, "n_head": width // (64 if width > 128 else 32), "n_positions": length}
        settings = {"family": "gpt2", "vocab_size": 4096, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0, **sizes}
        model = build_model(model_config(settings), seed=0, end_of_document=0)
        ids = torch.randint(1, 4096, (windows, length))
        ids[:, DOCUMENT - 1 :: DOCUMENT] = 0
        times = {0: float("inf"), None: float("inf")}
        for _ in range(MASK_ROUNDS):
            for end in times:
                model.end_of_document = end
                times[end] = min(times[end], milliseconds(model, ids))
        name = f"a step with the mask, {layers} layers of {width}, {length} tokens"
        yield Ratio(name, times[0], times[None], "ms", 1.5, higher_is_better=False)


def main() -> None:
    from codeparrot.launcher import wait_asleep

    wait_asleep()  # what every command does before torch is loaded
    from transformers import AutoTokenizer

    from codeparrot.stream import make_encoder

    max_bytes = int(sys.argv[1]) if len(sys.argv) > 1 else MAX_BYTES
    loaded: Any = AutoTokenizer.from_pretrained(tokenizer())
    encoder = make_encoder(loaded.backend_tokenizer.to_str(), loaded.eos_token_id)
    train = str(corpus(max_bytes))
    concatenated, best_fit = Stream("concatenate", train, encoder), Stream("best_fit", train, encoder)
    rounds = [(concatenated.round(), best_fit.round()) for _ in range(ROUNDS)]
    plain, best = ([sum(column) for column in zip(*each, strict=True)] for each in zip(*rounds, strict=True))
    processor, clock = (best[0] / best[which] / (plain[0] / plain[which]) for which in (1, 2))
    windows, tokens, documents, cut = best_fit.dataset.sources[0].packed.counts.tolist()
    report(
        "packing: best-fit against concatenated, and a document mask against none, on the CPU",
        [Ratio("tokens a second of processor time, best-fit", processor, 1.0, "times", 0.95), *masks()],
        {
            "tokens a second of processor time, concatenated": f"{plain[0] / plain[1]:,.0f}",
            "tokens a second of processor time, best-fit": f"{best[0] / best[1]:,.0f}",
            "by the clock": f"{clock:.3f}",
            "padding": f"{1 - tokens / windows / SEQ_LENGTH:.3%}",
            "documents cut": f"{cut / documents:.1%}; concatenated {cut_by_concatenation(train, encoder):.1%}",
        },
    )


if __name__ == "__main__":
    main()
