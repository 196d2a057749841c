"""`codeparrot corpus tokenize`: cuts a corpus into windows of a fixed number of tokens, to train without running a tokenizer.

No token is dropped: windows run across documents and files. The tokens left over at the end of the training split are filled up
with the split's first tokens, as the next epoch would; those of the validation split stay short. The folder appears when it is
complete. Time: the encoder's speed. Memory: one file of windows.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from codeparrot.errors import CodeparrotError
from codeparrot.files import replaced_folder
from codeparrot.result import Result


def tokenize(
    corpus: str,
    tokenizer: str,
    output: str,
    seq_length: int = 1024,
    text_column: str = "content",
    file_windows: int = 65536,
    overwrite: bool = False,
) -> Result:
    """Encode and pack a corpus into windows that training memory-maps (`stream.train: OUTPUT`).

    Args:
        corpus: folder of a corpus, or any documents that `stream.train` takes.
        tokenizer: folder of a tokenizer, or a Hub name.
        output: folder to write.
        seq_length: tokens per window.
        text_column: column that holds the text of a document.
        file_windows: windows per file.
        overwrite: replace a folder that is already there.
    """
    from codeparrot.loading import largest_id, load_tokenizer, tokenizer_digest
    from codeparrot.stream import make_encoder
    from codeparrot.stream.tokenized import MANIFEST

    if seq_length < 2 or file_windows < 1:
        raise CodeparrotError("--seq_length must be at least 2 and --file_windows at least 1")
    place = Path(output)
    if place.exists() and not overwrite:
        raise CodeparrotError(f"{place} exists; choose another --output, or --overwrite true")
    if place.exists() and not (place / MANIFEST).is_file():
        raise CodeparrotError(f"{place} holds no windows, and is not replaced; choose another --output")
    loaded = load_tokenizer(tokenizer)
    encoder = make_encoder(loaded.backend_tokenizer.to_str(), loaded.eos_token_id)
    num_ids = largest_id(loaded) + 1
    with replaced_folder(place) as fresh:
        splits = {
            split: _write_split(corpus, split, text_column, encoder, num_ids, seq_length, file_windows, fresh)
            for split in ("train", "valid")
        }
        manifest = {
            "seq_length": seq_length,
            "vocab_size": num_ids,
            "end_of_document": encoder.end_of_document,
            "tokenizer_sha256": tokenizer_digest(loaded),
            "splits": {name: split for name, split in splits.items() if split["tokens"]},
        }
        if "train" not in manifest["splits"]:
            raise CodeparrotError(f"{corpus} holds no documents; build one with `codeparrot corpus build`")
        (fresh / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    counts = {name: split["tokens"] for name, split in manifest["splits"].items()}
    text = ", ".join(f"{name}: {count:,} tokens" for name, count in counts.items())
    return Result(f"{place}: windows of {seq_length} tokens; {text}", {"output": str(place), "tokens": counts, **manifest})


def _write_split(
    corpus: str,
    split: str,
    column: str,
    encoder: Any,
    num_ids: int,
    seq_length: int,
    file_windows: int,
    folder: Path,
) -> dict[str, Any]:
    """Write the windows of a split; return its entry in the manifest."""
    import numpy as np
    from tqdm import tqdm

    dtype = np.uint16 if num_ids <= 1 << 16 else np.uint32
    files: list[dict[str, Any]] = []
    first, tail, count = None, np.empty(0, dtype), 0
    with tqdm(desc=f"tokenize {split}", unit="token", unit_scale=True, disable=None) as bar:
        for batch in _batches(_packed(corpus, split, column, encoder, seq_length), file_windows):
            count += sum(map(len, batch))
            bar.update(sum(map(len, batch)))
            first = batch[0] if first is None else first
            if len(batch[-1]) < seq_length:
                tail = batch.pop().astype(dtype)
                if split == "train":
                    batch.append(np.concatenate([tail, np.resize(first, seq_length - len(tail))]))
                    tail = tail[:0]
            if batch:
                path = folder / f"{split}-{len(files):05d}.npy"
                np.save(path, np.stack(batch).astype(dtype))
                files.append({"name": path.name, "windows": len(batch), "bytes": path.stat().st_size})
    return {"files": files, "tail": tail.tolist(), "tokens": count}


def _packed(corpus: str, split: str, column: str, encoder: Any, seq_length: int) -> Iterator[Any]:
    """Yield the windows of a split in the order of its documents."""
    from codeparrot.stream.lane import Cursor, Order, Reading, windows
    from codeparrot.stream.sources import open_shards

    try:
        shards = open_shards([corpus], split=split, column=column, seq_length=seq_length)
    except CodeparrotError:
        if split == "valid":
            return  # a corpus may have no validation split
        raise
    if any(shard.packed for shard in shards):
        raise CodeparrotError(f"{corpus} holds windows already")
    order = Order(seed=0, lane=0, shuffle=False, epochs=1)
    for window, _ in windows(shards, order, Reading(1, 256), encoder, seq_length, Cursor()):
        yield window


def _batches(windows: Iterator[Any], size: int) -> Iterator[list[Any]]:
    batch: list[Any] = []
    for window in windows:
        batch.append(window.copy())
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
