"""What a mixture costs: windows a second of four sources with weights, and of the same documents as one source.

The documents are dealt to four files in turn, so that all sources hold text of the same kind. Both streams take turns, and the
sums over all rounds count: single ones decode one row group more or less. A round is whole blocks of windows: as much is
encoded before the clock starts as is left when it stops. Besides the clock, the processor time of all threads is compared,
which other work on the machine moves less.
"""

import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.common import DATA, Ratio, corpus, report, tokenizer

SEQ_LENGTH = 1024
LANES = 2
BLOCK = 2048
"""That of the default at two lanes."""
WEIGHTS = (0.4, 0.3, 0.2, 0.1)
ROUNDS = 24
MAX_BYTES = 100_000_000


def parts(max_bytes: int) -> list[Path]:
    """Deal the training documents of the corpus to a folder for each source, once."""
    import pyarrow as pa
    import pyarrow.parquet as parquet

    folders = [DATA / f"mixture-{max_bytes}" / f"source-{number}" for number in range(len(WEIGHTS))]
    if not folders[-1].exists():
        texts = [
            text
            for file in sorted(corpus(max_bytes).glob("train-*"))
            for text in parquet.read_table(file)["content"].to_pylist()
        ]
        for number, folder in enumerate(folders):
            folder.mkdir(parents=True)
            parquet.write_table(
                pa.table({"content": texts[number :: len(folders)]}), folder / "train.parquet", row_group_size=512
            )
    return folders


class Stream:
    """An endless stream, behind its first block."""

    def __init__(self, train: Any, encoder: Any) -> None:
        from codeparrot.config import StreamConfig
        from codeparrot.stream import ConstantLengthDataset

        stream = StreamConfig(train=train, seq_length=SEQ_LENGTH, lanes=LANES, block_windows=BLOCK)
        self.windows: Iterator[Any] = iter(ConstantLengthDataset(stream, encoder))
        self.round()

    def round(self) -> tuple[float, float]:
        """Pull a block of each lane; return the seconds by the clock and of the processor."""
        clock, processor = time.perf_counter(), time.process_time()
        for _ in islice(self.windows, LANES * BLOCK):
            pass
        return time.perf_counter() - clock, time.process_time() - processor


def main() -> None:
    from transformers import AutoTokenizer

    from codeparrot.stream import make_encoder

    max_bytes = int(sys.argv[1]) if len(sys.argv) > 1 else MAX_BYTES
    loaded: Any = AutoTokenizer.from_pretrained(tokenizer())
    encoder = make_encoder(loaded.backend_tokenizer.to_str(), loaded.eos_token_id)
    folders = [str(folder) for folder in parts(max_bytes)]
    one = Stream(folders, encoder)
    several = Stream([{"path": path, "weight": weight} for path, weight in zip(folders, WEIGHTS, strict=True)], encoder)
    rounds = [(one.round(), several.round()) for _ in range(ROUNDS)]
    clock, processor = (sum(alone[by] for alone, _ in rounds) / sum(mixed[by] for _, mixed in rounds) for by in (0, 1))
    alone, mixed = (ROUNDS * LANES * BLOCK / sum(each[which][0] for each in rounds) for which in (0, 1))
    report(
        "mixtures: four sources against the same documents as one, in one process",
        [Ratio("windows a second of processor time, of one source", processor, 1.0, "times", 0.98)],
        {
            "windows a second, one source": f"{alone:,.0f}",
            "windows a second, four": f"{mixed:,.0f}",
            "by the clock": f"{clock:.3f}",
        },
    )


if __name__ == "__main__":
    main()
