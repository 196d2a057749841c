"""Loss, perplexity and bits per byte over a whole validation set.

The loss is the mean over every predicted token of the set, over all processes: it does not depend on the number of processes or
the batch size (up to the rounding of a sum). Bits per byte divides the same sum by the bytes of the predicted tokens, so that
models with different tokenizers can be compared; tokens that stand for no text count no bytes.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

from codeparrot.errors import CodeparrotError
from codeparrot.location import is_address, path_of
from codeparrot.result import Result, progress_bar, say


class Score(NamedTuple):
    loss: float
    """Mean cross-entropy in nats a token."""
    perplexity: float
    bits_per_byte: float
    tokens: int
    """Predicted tokens."""
    languages: dict[str, dict[str, float]] | None = None
    """`loss`, `bits_per_byte` and `tokens` of each language, where the data name several. Losses weighted by tokens add up to
    the whole."""

    @property
    def facts(self) -> dict[str, Any]:
        """Return it ready for JSON."""
        return {name: value for name, value in self._asdict().items() if value is not None}

    @property
    def measures(self) -> dict[str, float]:
        """Return what follows from the loss, by the names in metrics.jsonl."""
        return {"perplexity": self.perplexity, "bits_per_byte": self.bits_per_byte}

    def __str__(self) -> str:
        return f"loss {self.loss:.4f} | perplexity {self.perplexity:.2f} | {self.bits_per_byte:.3f} bits/byte"


class MaskedScore(NamedTuple):
    """Of a masked model, which gives a text no likelihood: neither a perplexity of text nor bits a byte follow."""

    loss: float
    """Mean cross-entropy in nats a hidden token."""
    pseudo_perplexity: float
    """exp(loss): it compares runs with the same tokenizer, rate and unit, and is no perplexity."""
    tokens: int
    """Predicted tokens."""

    @property
    def facts(self) -> dict[str, Any]:
        """Return it ready for JSON."""
        return self._asdict()

    @property
    def measures(self) -> dict[str, float]:
        """Return what follows from the loss, by the names in metrics.jsonl."""
        return {"pseudo_perplexity": self.pseudo_perplexity}

    def __str__(self) -> str:
        return f"loss {self.loss:.4f} | pseudo-perplexity {self.pseudo_perplexity:.2f} (of {self.tokens:,} hidden tokens)"


def evaluate(
    model: Any,
    valid: Any,
    *,
    batch_size: int,
    token_bytes: Any,
    device: Any,
    add_up: Callable[[Any], Any] = lambda sums: sums,
    most: Callable[[int], int] = lambda count: count,
    predicted: Callable[[Any], Any] = lambda labels: labels[:, 1:],
    languages: Sequence[str] = (),
    progress: Callable[[], object] = lambda: None,
    broken_off: Callable[[], bool] = lambda: False,
) -> Score | None:
    """Return the score of a model on a ValidationSet, or None if it was broken off.

    Args:
        model: called as model(input_ids, labels, reduction="sum").
        valid: the windows of this process.
        batch_size: windows per forward pass.
        token_bytes: [vocabulary] tensor of the bytes that each token stands for.
        device: where to compute.
        add_up: sums a tensor over all processes.
        predicted: returns the part of labels, [windows, length], that the model predicts.
        languages: that `valid` names (stream/labels.py); each is measured too, of a causal model. The same on all processes.
        most: returns the largest count over all processes: each runs that many batches, or they would wait for each other.
        progress: called after each batch.
        broken_off: called after each batch; True, on all processes alike, ends the evaluation without a score.
    """
    import torch

    was_training = model.training
    model.eval()
    # float64: a sum over billions of tokens.
    sums = torch.zeros((max(1, len(languages)), 3), dtype=torch.float64, device=device)
    # Not inference_mode: the next training step could not use what a sharded model gathers in it.
    with torch.no_grad():
        for index in range(most(valid.num_batches(batch_size))):
            input_ids, labels = (torch.from_numpy(array).to(device) for array in valid.batch(index, batch_size))
            targets = predicted(labels)
            kept = targets >= 0
            if languages:
                places = torch.from_numpy(valid.language_batch(index, batch_size)).to(device)[:, 1:][kept]
                losses = model(input_ids, labels, reduction="tokens")[:, :-1][kept]
                of_tokens = torch.stack(
                    [losses.double(), torch.ones_like(losses).double(), token_bytes[targets[kept]].double()], 1
                )
                sums.index_add_(0, places, of_tokens)
            else:
                sums[0, 0] += model(input_ids, labels, reduction="sum").double()
                sums[0, 1] += kept.sum()
                sums[0, 2] += token_bytes[targets.clamp(min=0)].masked_fill(~kept, 0).sum()
            progress()
            if broken_off():
                model.train(was_training)
                return None
    model.train(was_training)
    found = add_up(sums if languages else sums[0]).view(-1, 3)
    loss, bits_per_byte, tokens = _means(*found.sum(0).tolist())
    by_language = dict(zip(languages, (_means(*each) for each in found.tolist()), strict=False))
    measured = {name: {"loss": a, "bits_per_byte": b, "tokens": c} for name, (a, b, c) in by_language.items() if c}
    return Score(loss, math.exp(min(loss, 700.0)), bits_per_byte, tokens, measured or None)


def _means(nats: float, tokens: float, num_bytes: float) -> tuple[float, float, int]:
    """Return the loss a token, the bits a byte and the tokens of sums."""
    bits_per_byte = nats / math.log(2) / num_bytes if num_bytes else math.nan
    return nats / tokens if tokens else math.nan, bits_per_byte, int(tokens)


def bytes_per_token(tokenizer: Any, size: int) -> Any:
    """Return a [size] tensor with the bytes of text that each token id stands for; 0 for special tokens and unused ids."""
    import torch

    from codeparrot.loading import special_ids

    counts = torch.zeros(size, dtype=torch.int64)
    byte_level = '"ByteLevel"' in tokenizer.backend_tokenizer.to_str()
    special = special_ids(tokenizer)
    for token, index in tokenizer.get_vocab().items():
        if index < size and index not in special:
            counts[index] = _num_bytes(token, byte_level)
    return counts


def _num_bytes(token: str, byte_level: bool) -> int:
    if byte_level:
        return len(token)  # one character of the byte alphabet a byte
    if len(token) == 6 and token.startswith("<0x"):
        return 1  # SentencePiece's byte fallback
    return len(token.replace("▁", " ").encode())


def perplexity(
    checkpoint: str,
    data: list[str],
    batch_size: int = 8,
    seq_length: int = 0,
    stride: int = 0,
    split: str = "valid",
    text_column: str = "content",
    on_error: Literal["stop", "skip"] = "stop",
    precision: Literal["fp32", "bf16"] = "fp32",
    device: str = "auto",
) -> Result:
    """Measure loss, perplexity and bits per byte of a checkpoint on documents; also by language where a column says it.

    Args:
        checkpoint: A run (its newest checkpoint), a checkpoint, a model folder, a .gguf file, or a name on the Hub.
        data: Documents: Parquet or JSONL files, folders, globs, hub:NAME.
        batch_size: Windows per forward pass.
        seq_length: Tokens per window; 0: the model's context.
        stride: Tokens from the start of one window to the next: windows overlap, and each token is predicted with at
            least seq_length - stride tokens before it. 0: windows side by side.
        split: Of data with several splits, the one to measure: train, valid (or test, if there is no other) or test; of a
            Hub data set also by its own name.
        text_column: Column that holds the text.
        on_error: What becomes of damaged data: stop ends with their place, skip leaves them out and counts them.
        precision: Compute type of the matrix products.
        device: Where to compute: cpu, cuda, cuda:1, mps; auto takes the first accelerator, if any.
    """
    from codeparrot.loading import find_model
    from codeparrot.stream.readers.folder import find_data
    from codeparrot.stream.readers.hub import is_on_hub

    if batch_size < 1:
        raise CodeparrotError(f"--batch_size {batch_size} is out of range: at least 1")
    place = find_model(checkpoint)
    # What is missing is said before a library is loaded.
    for name in data:
        if not is_on_hub(name) and not is_address(name) and not path_of(name).exists():
            find_data(name)
    say("loading PyTorch")
    import numpy as np
    import torch

    from codeparrot.config import StreamConfig
    from codeparrot.eval.sliding import SlidingWindows
    from codeparrot.loading import load_model, tokenizer_digest
    from codeparrot.model.language_model import LanguageModel
    from codeparrot.stream import load_validation_set, make_encoder
    from codeparrot.stream.labels import languages_to_measure
    from codeparrot.stream.losses import Losses
    from codeparrot.stream.readers.folder import NoSplit
    from codeparrot.stream.tokenized import check_tokenizer

    loaded, tokenizer = load_model(place, device, torch.float32)
    model = LanguageModel(loaded)
    length = _window_length(loaded, seq_length)
    embedding: Any = loaded.get_input_embeddings()
    encoder = make_encoder(tokenizer.backend_tokenizer.to_str(), tokenizer.eos_token_id)
    if not 0 <= stride < length:
        raise CodeparrotError(f"--stride {stride} is out of range: 1 to {length - 1}, or 0 for windows side by side")
    check_tokenizer(data, tokenizer.eos_token_id, tokenizer_digest(tokenizer))
    settings = StreamConfig(valid=data, seq_length=length, text_column=text_column, on_error=on_error)
    try:
        valid: Any = load_validation_set(settings, encoder, split=split, setting="--data", by_language=True)
    except NoSplit as error:
        raise CodeparrotError(f"{error}, or give --split {error.present[0]}") from error
    losses = Losses(on_error)
    for damaged in valid.damaged.values():
        losses(damaged)
    if not valid.num_predicted:
        raise CodeparrotError(f"{', '.join(data)}: no tokens to predict in the {split} split; name data that hold documents")
    valid = valid.named(languages := languages_to_measure([valid.tokens_by_language]))
    if stride:
        of_tokens = np.concatenate(valid.languages) if languages else None
        valid = SlidingWindows(np.concatenate(valid.windows), length, stride, of_tokens)
    batch_size = min(batch_size, valid.num_batches(1))  # the rest of a batch would be padding
    with progress_bar(total=valid.num_batches(batch_size), unit="batch", desc="perplexity") as bar:
        autocast = torch.autocast(loaded.device.type, torch.bfloat16, enabled=precision == "bf16")
        with autocast:
            score = evaluate(
                model,
                valid,
                batch_size=batch_size,
                token_bytes=bytes_per_token(tokenizer, embedding.num_embeddings).to(loaded.device),
                device=loaded.device,
                languages=languages,
                progress=bar.update,
            )
    assert score is not None  # nothing breaks it off
    facts = {"checkpoint": checkpoint, "model": place, "seq_length": length, **score.facts, **losses.facts}
    return Result("\n".join([f"{score} | {score.tokens:,} tokens{losses}", *_by_language(score)]), facts)


def _by_language(score: Score) -> Iterator[str]:
    """Yield a line for each language, the one with the most tokens first."""
    width = max(map(len, score.languages or [""]))
    for name, each in (score.languages or {}).items():
        yield f"{name:{width}}  loss {each['loss']:.4f} | {each['bits_per_byte']:.3f} bits/byte | {each['tokens']:,} tokens"


def _window_length(model: Any, asked: int) -> int:
    """Return the tokens of a window: those asked for, or the context of the model where that is 0.

    Raises:
        CodeparrotError: the model cannot read so many, or it has no longest context and none was asked for.
    """
    from codeparrot.generation.prompts import context_length

    context, family = context_length(model), model.config.model_type
    if not asked and context is None:
        raise CodeparrotError(f"{family} has no longest context that windows could have: give --seq_length, for example 1024")
    length = asked or int(context or 0)
    if length < 2:
        raise CodeparrotError(f"--seq_length {asked} is out of range: at least 2, one to read and one to predict")
    if context is not None and length > context:
        raise CodeparrotError(f"--seq_length {asked} is longer than the context of this {family}: at most {context}")
    return length
