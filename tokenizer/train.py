"""Train a byte-level BPE like GPT-2's on a sample of a corpus.

Guarantees: the same corpus and settings give the same tokenizer; any text is encoded and restored exactly, since all 256 bytes
are in the vocabulary; text that spells a special token, `<|endoftext|>` or one of stream/sentinels.py, is text like any
other and teaches nothing about it; the output folder is complete or absent.
Cost: about 13 s per 100 MB of sample on two cores, and memory for the sample's distinct words, not for its text.
"""

import json
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from codeparrot.errors import CodeparrotError, writing
from codeparrot.files import replaced_folder
from codeparrot.location import path_of
from codeparrot.result import Result, progress_bar
from codeparrot.stream.losses import Losses, OnError
from codeparrot.stream.readers.folder import DataFiles
from codeparrot.stream.sentinels import MASK, PAD, SENTINELS, tokens_of
from codeparrot.tokenizer.sample import Sample, find_corpus, sample

if TYPE_CHECKING:
    from tokenizers import Tokenizer

END_OF_TEXT = "<|endoftext|>"
"""GPT-2's only special token: it starts, ends and separates documents."""
NUM_BYTES = 256
LARGEST_VOCABULARY = 1 << 20
"""Several times that of any model; `tokenizers` reserves memory for all of it before it learns."""
MIN_FREQUENCY = 2
"""A pair seen once is an accident of the sample, not a word of the language."""
HELD_OUT_BYTES = 4_000_000
HELD_OUT_EVERY = 50
"""If the corpus has no validation split, one document in 50 is kept out of training to measure the fit."""
FILES = {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.json", "merges.txt", "added_tokens.json"}
"""The files a tokenizer folder may hold: nothing else is ever overwritten."""


@dataclass
class Tally:
    """Counts documents as they pass by."""

    documents: int = 0
    num_bytes: int = 0
    characters: int = 0

    def count(self, texts: Iterable[str]) -> Iterator[str]:
        for text in texts:
            self.documents += 1
            self.num_bytes += len(text.encode())
            self.characters += len(text)
            yield text


def train(
    corpus: str,
    output: str,
    vocab_size: int = 32768,
    sample_bytes: int = 200_000_000,
    text_column: str = "content",
    model_max_length: int = 1024,
    sentinels: bool = True,
    objectives: list[Literal["causal", "masked", "span"]] = ["causal"],  # noqa: B006 - read only
    on_error: OnError = "stop",
    overwrite: bool = False,
) -> Result:
    """Train a byte-level BPE tokenizer for code, GPT-2's in everything but the vocabulary and the sentinels.

    Args:
        corpus: Folder made by codeparrot corpus build, Parquet or JSON lines files (also .gz, .zst), a glob of them, the same
            at an address (s3://...), or hub:NAME[:CONFIG][@REVISION] for a data set on the Hub. Of what lies elsewhere, only
            the sample is fetched.
        output: Folder to write; AutoTokenizer.from_pretrained loads it.
        vocab_size: Tokens in the vocabulary, the 256 bytes and all special tokens included.
        sample_bytes: Bytes of text to train on, spread evenly over the corpus; a smaller corpus is used whole.
        text_column: Column or key that holds the text of a document.
        model_max_length: Tokens that fit the intended model; written into the tokenizer as a hint, nothing is cut here.
        sentinels: Add the six special tokens for fill-in-the-middle and repository context, such as <fim_prefix>, as ids 1
            to 6. A model cannot learn them later at no cost, so add them even if it is not needed yet.
        objectives: What models will be trained for: causal needs no tokens besides those above, masked <pad> and <mask>, span
            <pad> and the 100 tokens <extra_id_0> to <extra_id_99>. Their ids follow those of the sentinels.
        on_error: What becomes of damaged data: stop ends with their place, skip leaves them out and counts them.
        overwrite: Replace the tokenizer that is already at the output.
    """
    further = tokens_of(objectives)
    special = [END_OF_TEXT, *(SENTINELS if sentinels else ()), *further]
    if vocab_size < NUM_BYTES + len(special):
        parts = [END_OF_TEXT] + ["the sentinels"] * sentinels + [f"{len(further)} tokens of the objectives"] * bool(further)
        words = ", ".join(["the bytes", *parts[:-1]])
        least = f"at least {NUM_BYTES + len(special)} ({words} and {parts[-1]})"
        raise CodeparrotError(f"--vocab_size {vocab_size} is too small: {least}")
    if vocab_size > LARGEST_VOCABULARY:
        raise CodeparrotError(f"--vocab_size {vocab_size} is too large: at most {LARGEST_VOCABULARY}")
    if model_max_length < 1:
        raise CodeparrotError(f"--model_max_length {model_max_length} is too small: at least 1")
    if sample_bytes < 1:
        raise CodeparrotError(f"--sample_bytes {sample_bytes} is not a sample size: give a number of bytes, such as 200000000")
    folder = path_of(output)
    _check_output(folder, overwrite)
    files = find_corpus(corpus)
    losses = Losses(on_error)
    chosen = sample(files.of("train"), text_column, sample_bytes, losses)
    training, held_out = _split(files, chosen)
    tally = Tally()
    tokenizer = fit(tally.count(training), vocab_size, chosen.expected_bytes, special)
    if tokenizer.get_vocab_size() < vocab_size:
        raise CodeparrotError(_too_small(tokenizer.get_vocab_size(), vocab_size, tally, chosen))
    _save(tokenizer, folder, model_max_length, special[1:])
    result = _result(tokenizer, folder, corpus, tally, _bytes_per_token(tokenizer, held_out))
    return result._replace(text=f"{result.text}{losses}", data=result.data | losses.facts)


def fit(texts: Iterable[str], vocab_size: int, expected_bytes: int = 0, special: Sequence[str] = (END_OF_TEXT,)) -> "Tokenizer":
    """Return GPT-2's tokenizer with a vocabulary of at most `vocab_size` tokens learned from `texts`.

    Args:
        texts: Documents, read once.
        vocab_size: Tokens, including the bytes and the special ones.
        expected_bytes: Bytes of text to come, for the progress bar.
        special: Special tokens, in the order of their ids from 0 on.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=MIN_FREQUENCY,
        special_tokens=list(special),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,  # it prints to stdout, which belongs to the result
    )
    with progress_bar(total=expected_bytes or None, desc="counting words", unit="B", unit_scale=True) as bar:
        _interruptible(lambda stop: tokenizer.train_from_iterator(_with_progress(texts, bar, stop), trainer))
    return tokenizer


def _with_progress(texts: Iterable[str], bar: Any, stop: threading.Event) -> Iterator[str]:
    for text in texts:
        if stop.is_set():
            raise KeyboardInterrupt
        yield text
        bar.update(len(text.encode()))
    bar.set_description_str("learning merges")


def _interruptible(work: Callable[[threading.Event], None]) -> None:
    """Run `work` in its own thread: `tokenizers` blocks the thread that calls it until it is done, Ctrl-C or not.

    Ctrl-C ends it at the next document; while merges are learned after the documents, within seconds.
    """
    stop, done = threading.Event(), Future[None]()

    def run() -> None:
        try:
            done.set_result(work(stop))
        except BaseException as error:  # noqa: BLE001 - raised again by the caller's thread
            done.set_exception(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(0.1)  # Python sees a signal only between two waits if another thread received it
        done.result()
    except KeyboardInterrupt:
        stop.set()
        thread.join()  # the interpreter must not end while a thread may still call into it
        raise


def _split(files: DataFiles, chosen: Sample) -> tuple[Iterable[str], Iterable[str]]:
    """Return what to train on and what to measure the fit on; they share no document."""
    if files.has("valid"):
        return chosen, sample(files.of("valid"), chosen.text_column, HELD_OUT_BYTES, chosen.meet)
    training = (text for index, text in enumerate(chosen, start=1) if index % HELD_OUT_EVERY)
    return training, (text for index, text in enumerate(chosen, start=1) if index % HELD_OUT_EVERY == 0)


def _too_small(learned: int, asked: int, tally: Tally, chosen: Sample) -> str:
    more = "a larger corpus" if chosen.share == 1.0 else "a larger --sample_bytes"
    return (
        f"{tally.documents:,} documents of {tally.num_bytes:,} bytes yield {learned:,} of the {asked:,} tokens asked for: "
        f"give {more}, or ask for --vocab_size {learned} or less"
    )


def _bytes_per_token(tokenizer: "Tokenizer", texts: Iterable[str]) -> float | None:
    tokenizer.encode_special_tokens = True  # text is text: its <|endoftext|> is not a document's end
    tally = Tally()
    num_tokens = sum(len(tokenizer.encode(text).ids) for text in tally.count(texts))
    return tally.num_bytes / num_tokens if num_tokens else None


def _check_output(folder: Path, overwrite: bool) -> None:
    """Refuse an output that could not be written in the end, before minutes are spent."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        names = sorted(path.name for path in folder.iterdir()) if folder.exists() else []
    except OSError as error:
        raise CodeparrotError(f'--output "{folder}" cannot be a folder ({error.strerror}): name another') from error
    if not os.access(folder.parent, os.W_OK):
        raise CodeparrotError(f'--output "{folder}" is not writable: name a folder elsewhere')
    foreign = [name for name in names if name not in FILES]
    if foreign:
        raise CodeparrotError(f'--output "{folder}" holds {foreign[0]}, which is not part of a tokenizer: name another folder')
    if names and not overwrite:
        raise CodeparrotError(f'--output "{folder}" holds a tokenizer already: name another folder or add --overwrite true')


def _save(tokenizer: "Tokenizer", folder: Path, model_max_length: int, special: Sequence[str]) -> None:
    from transformers import AddedToken, GPT2Tokenizer

    model = json.loads(tokenizer.to_str())["model"]
    merges: Any = [tuple(pair) for pair in model["merges"]]
    roles: dict[str, Any] = {
        role: AddedToken(name, normalized=False, special=True)
        for role, name in (("pad_token", PAD), ("mask_token", MASK))
        if name in special
    }
    # The class of GPT-2's own tokenizer: every version of transformers, and every tool built on it, knows the name.
    options = {"post_processor": tokenizer.post_processor, "model_max_length": model_max_length}
    saved = GPT2Tokenizer(vocab=model["vocab"], merges=merges, **options, **roles)
    # Not as `extra_special_tokens`: versions of transformers below 5 cannot load a list of these.
    more: list[str | AddedToken] = [AddedToken(name, normalized=False, special=True) for name in special]
    saved.add_tokens(more, special_tokens=True)
    with writing(folder, "--output"), replaced_folder(folder.resolve()) as new:
        saved.save_pretrained(new)


def _result(tokenizer: "Tokenizer", folder: Path, corpus: str, tally: Tally, bytes_per_token: float | None) -> Result:
    fit = "not measured: it was trained on every document"
    if bytes_per_token is not None:
        fit = f"{bytes_per_token:.3f} bytes a token on text it was not trained on"
    text = [
        f"tokenizer   {folder} ({tokenizer.get_vocab_size():,} tokens)",
        f"trained on  {tally.num_bytes:,} bytes, {tally.characters:,} characters, {tally.documents:,} documents of {corpus}",
        f"fit         {fit}",
        f"next        codeparrot tokenizer report --tokenizer {folder} --corpus {corpus}",
    ]
    facts = {"output": str(folder), "vocab_size": tokenizer.get_vocab_size(), "bytes_per_token": bytes_per_token}
    return Result("\n".join(text), facts | asdict(tally))
