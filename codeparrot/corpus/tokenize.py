"""`codeparrot corpus tokenize`: cuts a corpus into windows of a fixed number of tokens, to train without running a tokenizer.

Each split of the corpus becomes one of the windows. One without a validation split gets none, or what `valid_fraction` sets
aside (division.py). No token is dropped: windows run across documents and files. The tokens left over at the end of the
training split are filled up with the split's first tokens, as the next epoch would; those of the validation split stay short.
The folder appears when it is complete. Time: the encoder's speed. Memory: one file of windows.
"""

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Literal

from codeparrot.errors import CodeparrotError, writing
from codeparrot.files import replaced_folder
from codeparrot.location import is_address, path_of
from codeparrot.result import Result, progress_bar
from codeparrot.setting import FRACTION
from codeparrot.stream.losses import Losses, OnError, leave_out


def tokenize(
    corpus: str,
    tokenizer: str,
    output: str,
    seq_length: int = 1024,
    text_column: str = "content",
    valid_fraction: float = 0.0,
    file_windows: int = 65536,
    fim_rate: float = 0.0,
    fim_spm_rate: float = 0.5,
    fim_level: Literal["character", "line", "token"] = "character",
    seed: int = 0,
    on_error: OnError = "stop",
    overwrite: bool = False,
) -> Result:
    """Encode and pack a corpus into windows that training memory-maps (`stream.train: OUTPUT`).

    Args:
        corpus: Folder of a corpus, or any documents that `stream.train` takes.
        tokenizer: Folder of a tokenizer, or a name on the Hub.
        output: Folder to write. At an address (s3://...) it is made in .codeparrot-upload here first, and refused by all
            readers until all of it is there.
        seq_length: Tokens per window.
        text_column: Column that holds the text of a document.
        valid_fraction: Of a corpus without a validation split, the part to set aside for one: whole repositories where
            the documents name theirs, else documents by a hash of their texts (0: windows to train on alone).
        file_windows: Windows per file.
        fim_rate: Share of the training documents whose middle is taken out and put last, as objective.fim_rate. A run must
            have the same three settings; it sees the same middles in each epoch.
        fim_spm_rate: As objective.fim_spm_rate.
        fim_level: As objective.fim_level.
        seed: The middles are drawn from it.
        on_error: What becomes of damaged data: stop ends with their place, skip leaves them out and counts them.
        overwrite: Replace a folder that is already there.
    """
    from codeparrot.loading import largest_id, load_tokenizer, tokenizer_digest
    from codeparrot.objectives.causal import Causal
    from codeparrot.stream import make_encoder
    from codeparrot.stream.lane import chunks, pack, pieces
    from codeparrot.stream.tokenized import MANIFEST

    if seq_length < 2 or file_windows < 1:
        raise CodeparrotError("--seq_length must be at least 2 and --file_windows at least 1")
    if not 0 <= valid_fraction < 1:
        raise CodeparrotError(f"--valid_fraction {valid_fraction} is no part of the documents: from 0 to below 1")
    new_windows = _new_windows(output, overwrite)
    place = output if is_address(output) else path_of(output)
    for name, rate in (("fim_rate", fim_rate), ("fim_spm_rate", fim_spm_rate)):
        if not FRACTION.holds(rate):
            raise CodeparrotError(f"--{name} is {rate}; it must be {FRACTION.words}")
    loaded = load_tokenizer(tokenizer)
    middles = _middles(loaded, Causal(fim_rate, fim_spm_rate, fim_level), seed, seq_length)
    encoder = make_encoder(loaded.backend_tokenizer.to_str(), loaded.eos_token_id)
    num_ids = largest_id(loaded) + 1
    losses = Losses(on_error)

    def packed(documents: Iterator[tuple[str, Any]], transform: Any) -> Iterator[tuple[Any, Any]]:
        return pack(chunks(pieces(documents, 0, encoder.end_of_document, transform), encoder, 0), seq_length)

    sides, divided = _sides(corpus, text_column, seq_length, valid_fraction, losses)
    with new_windows as fresh:
        splits = {
            split: _write_split(
                packed(documents, middles if split == "train" else None),
                *(split, num_ids, seq_length, file_windows, fresh),
            )
            for split, documents in sides.items()
        }
        manifest = {
            "seq_length": seq_length,
            "vocab_size": num_ids,
            "end_of_document": encoder.end_of_document,
            "tokenizer_sha256": tokenizer_digest(loaded),
            **({"objective": dict(middles.settings), "seed": seed} if middles else {}),
            "splits": {name: split for name, split in splits.items() if split["tokens"]},
            **({"divided": divided.facts()} if divided else {}),
            **losses.facts,
        }
        if "train" not in manifest["splits"]:
            raise CodeparrotError(f"{corpus} holds no documents; build one with `codeparrot corpus build`")
        if divided and "valid" not in manifest["splits"]:
            raise CodeparrotError(
                f"--valid_fraction {valid_fraction} sets no document of {corpus} aside; give a larger one, or none"
            )
        (fresh / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    counts = {name: split["tokens"] for name, split in manifest["splits"].items()}
    in_words = ", ".join(f"{name}: {count:,} tokens" for name, count in counts.items())
    text = [f"{place}: windows of {seq_length} tokens; {in_words}{losses}"]
    if middles:
        text.append(
            f"train: fill-in-the-middle in {fim_rate:.0%} of the documents; a run needs the same objective.fim_* settings"
        )
    if divided:
        text.append(f"valid: {valid_fraction:g} of {corpus}, which has no validation split, by {divided.facts()['by']}")
    elif "valid" not in counts:
        text.append(f"nothing to validate on: {corpus} has no validation split; --valid_fraction 0.01 would set a part aside")
    return Result("\n".join(text), {"output": str(place), "tokens": counts, **manifest})


def _new_windows(output: str, overwrite: bool) -> AbstractContextManager[Path]:
    """Return what gives a folder for the windows, and puts it in its place.

    Raises:
        CodeparrotError: something else is there.
    """
    from codeparrot.corpus.remote_output import new_windows_at
    from codeparrot.stream.tokenized import MANIFEST

    if is_address(output):
        return new_windows_at(output, overwrite)
    place = path_of(output)
    if place.exists() and not overwrite:
        raise CodeparrotError(f"{place} exists; choose another --output, or --overwrite true")
    if place.exists() and not (place / MANIFEST).is_file():
        raise CodeparrotError(f"{place} holds no windows, and is not replaced; choose another --output")
    return _new_folder(place)


@contextmanager
def _new_folder(place: Path) -> Iterator[Path]:
    with writing(place, "--output"), replaced_folder(place) as fresh:
        yield fresh


def _middles(tokenizer: Any, objective: Any, seed: int, seq_length: int) -> Any:
    """Return what takes middles out, or None. Errors name the flag of this command."""
    from codeparrot.stream.sentinels import require_sentinels

    if objective.fim_rate:
        require_sentinels(tokenizer, f"--fim_rate {objective.fim_rate}")
    return objective.transform(tokenizer, seed, seq_length)


def _sides(
    corpus: str, text_column: str, seq_length: int, valid_fraction: float, losses: Losses
) -> tuple[dict[str, Iterator[tuple[str, Any]]], Any]:
    """Return the documents of each split, and the Division that makes one of a corpus without a validation split.

    Raises:
        CodeparrotError: the corpus cannot be read, holds windows, or is divided already.
    """
    from codeparrot.corpus.division import division, repository_column, side_of
    from codeparrot.stream.lane import Cursor, Order, Reading, blocks, items
    from codeparrot.stream.shards import check_all
    from codeparrot.stream.sources import has_split, open_shards

    def opened(split: str, column: str = text_column) -> list[Any]:
        return open_shards([corpus], split=split, column=column, seq_length=seq_length, setting="--corpus")

    def documents(split: str, column: str = text_column) -> Iterator[tuple[str, Any]]:
        order = Order(seed=0, lane=0, shuffle=False, epochs=1)
        reading = Reading(1, 256, losses if column == text_column else leave_out)
        shards = opened(split, column)
        if column == text_column:
            check_all(shards, leave_out)  # reading meets the damage itself
        return items(blocks(shards, order, reading, Cursor()), 0)

    shards = opened("train")
    if any(shard.packed for shard in shards):
        raise CodeparrotError(f"{corpus} holds windows already")
    if has_split(corpus, "valid"):
        if valid_fraction:
            raise CodeparrotError(f"{corpus} has a validation split of its own; leave out --valid_fraction")
        return {split: documents(split) for split in ("train", "valid")}, None
    if not valid_fraction:
        return {"train": documents("train")}, None
    named_in = repository_column(shards, text_column)

    def repositories() -> Iterator[tuple[str, Any]]:
        return documents("train", named_in) if named_in else iter(())

    by = division((name for name, _ in repositories()), valid_fraction)
    return {split: side_of(documents("train"), repositories(), by, split == "valid") for split in ("train", "valid")}, by


def _write_split(
    windows: Iterator[tuple[Any, Any]],
    split: str,
    num_ids: int,
    seq_length: int,
    file_windows: int,
    folder: Path,
) -> dict[str, Any]:
    """Write the windows of a split; return its entry in the manifest."""
    import numpy as np

    dtype = np.uint16 if num_ids <= 1 << 16 else np.uint32
    files: list[dict[str, Any]] = []
    first, tail, count = None, np.empty(0, dtype), 0
    with progress_bar(desc=f"tokenizing {split}", unit="token", unit_scale=True) as bar:
        for batch in _batches((window for window, _ in windows), file_windows):
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


def _batches(windows: Iterator[Any], size: int) -> Iterator[list[Any]]:
    batch: list[Any] = []
    for window in windows:
        batch.append(window.copy())
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
