"""What sources by language cost: windows a second of four languages of one corpus, and of the same documents as one source.

The documents are given four languages in turn, as a share each of 40, 30, 20 and 10%: once mixed in every row group, and once
sorted, so that a row group holds one. Of a corpus larger than decoded.DECODED_BYTES, each language decodes the mixed ones.
Streams take turns as in benchmarks/mixtures.py, and the processor time of all threads counts.
"""

import statistics
import sys
from pathlib import Path
from typing import Any

from benchmarks.common import DATA, Ratio, corpus, report, tokenizer
from benchmarks.mixtures import BLOCK, LANES, MAX_BYTES, Stream

NAMES = ("python", "rust", "go", "java")
PATTERN = (0, 0, 0, 0, 1, 1, 1, 2, 2, 3)
"""Languages of ten documents."""
ROUNDS = 3
ROW_GROUP = 512
TARGETS = {"mixed": 0.6, "sorted": 0.8}
"""Of one source: where they are not kept, languages that are mixed are decoded four times."""


def layouts(max_bytes: int) -> dict[str, Path]:
    """Write the training documents of the corpus with a language each, mixed and sorted, once."""
    import pyarrow as pa
    import pyarrow.parquet as parquet

    found = {name: DATA / f"languages-{max_bytes}" / name for name in ("mixed", "sorted")}
    if not (found["sorted"] / "train.parquet").exists():
        files = sorted(corpus(max_bytes).glob("train-*"))
        texts = [text for file in files for text in parquet.read_table(file)["content"].to_pylist()]
        rows = [{"content": text, "language": NAMES[PATTERN[index % len(PATTERN)]]} for index, text in enumerate(texts)]
        for name, own in (("mixed", rows), ("sorted", sorted(rows, key=lambda row: row["language"]))):
            found[name].mkdir(parents=True, exist_ok=True)
            parquet.write_table(pa.Table.from_pylist(own), found[name] / "train.parquet", row_group_size=ROW_GROUP)
    return found


def main() -> None:
    from transformers import AutoTokenizer

    from codeparrot.stream import make_encoder

    max_bytes = int(sys.argv[1]) if len(sys.argv) > 1 else MAX_BYTES
    loaded: Any = AutoTokenizer.from_pretrained(tokenizer())
    encoder = make_encoder(loaded.backend_tokenizer.to_str(), loaded.eos_token_id)
    places = layouts(max_bytes)
    natural = {name: PATTERN.count(index) / len(PATTERN) for index, name in enumerate(NAMES)}
    equal = dict.fromkeys(NAMES, 0.25)
    alone = Stream([str(places["mixed"])], encoder)
    several = {
        f"{layout}, {shares}": Stream({"path": str(places[layout]), "weights": weights}, encoder)
        for layout in places
        for shares, weights in (("as they are", natural), ("equal", equal))
    }
    rounds = [(alone.round()[1], {name: stream.round()[1] for name, stream in several.items()}) for _ in range(ROUNDS)]
    ratios = {name: statistics.median(one / each[name] for one, each in rounds) for name in several}
    rate = LANES * BLOCK / statistics.median(one for one, _ in rounds)
    report(
        "languages: four sources by language against the same documents as one, in one process",
        [
            Ratio(f"windows a second of processor time, {name}", ratio, 1.0, "times", TARGETS[name.partition(",")[0]])
            for name, ratio in ratios.items()
        ],
        {"windows a second of processor time, one source": f"{rate:,.0f}"},
    )


if __name__ == "__main__":
    main()
