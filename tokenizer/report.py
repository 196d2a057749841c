"""How well tokenizers fit a corpus, side by side.

Guarantees: every tokenizer is measured on the same documents. If the corpus has a validation split, no tokenizer of codeparrot
was trained on any of them. No code from the Hub is run.
Cost: each tokenizer encodes and decodes the text once, about 2 MB a second on two cores.
"""

import re
from collections.abc import Sequence
from typing import Any

from codeparrot.errors import CodeparrotError
from codeparrot.loading import corpus_here
from codeparrot.location import local_folder
from codeparrot.result import Result, progress_bar, say
from codeparrot.stream.readers.folder import find_data
from codeparrot.tokenizer.measures import INDENTATIONS, KEYWORDS, Measures, identifiers, measure
from codeparrot.tokenizer.sample import sample

LONGEST_NAME = 28
"""At most this many characters of a tokenizer's name head its column."""
LONGEST_TOKEN = 24
"""At most this many characters of a token are shown; a run of one character is shown as `x{count}`."""


def report(
    tokenizer: str,
    corpus: str,
    other: list[str] = [],  # noqa: B006 - the command line shows this default, and nothing changes it
    sample_bytes: int = 10_000_000,
    text_column: str = "content",
) -> Result:
    """Measure tokenizers on a corpus: bytes per token, keywords, identifiers, indentation, and what the vocabulary went into.

    Args:
        tokenizer: Folder of a tokenizer, or a name on the Hub.
        corpus: Folder made by codeparrot corpus build (its validation split is read), a Parquet or JSONL file, a glob, or a
            data set on the Hub.
        other: More tokenizers to compare it with, each a folder or a name on the Hub.
        sample_bytes: Bytes of text to measure on, spread evenly over the corpus.
        text_column: Column or key that holds the text of a document.
    """
    if sample_bytes < 1:
        raise CodeparrotError(f"--sample_bytes {sample_bytes} is not a sample size: give a number of bytes, such as 10000000")
    corpus = corpus_here(corpus)
    files = find_data(corpus)
    held_out = files.has("valid")
    texts = list(sample(files.of("valid" if held_out else "train"), text_column, sample_bytes))
    if not texts:
        raise CodeparrotError(f'every document of "{corpus}" is empty: give another corpus')
    tokenizers = {name: load(name) for name in dict.fromkeys([tokenizer, *other])}
    measures = _measure_all(tokenizers, texts)
    source = f"the validation split of {corpus}" if held_out else corpus
    num_bytes = sum(len(text.encode()) for text in texts)
    head = f"{len(texts):,} documents, {num_bytes:,} bytes of {source}"
    text = "\n\n".join([head, _table(measures), *map(_examples, measures, measures.values())])
    facts = {"corpus": corpus, "held_out": held_out, "documents": len(texts), "num_bytes": num_bytes}
    rows = [{"tokenizer": name, **measured._asdict()} for name, measured in measures.items()]
    return Result(text, facts | {"tokenizers": rows})


def load(name: str) -> Any:
    """Load a tokenizer from a folder or from the Hub.

    Raises:
        CodeparrotError: there is none, or it needs code or a library that is not installed.
    """
    folder = local_folder(name)
    say(f"loading the tokenizer {name}")
    from transformers import AutoTokenizer

    if folder is None:
        from codeparrot.hub import fetch

        folder = fetch.tokenizer(name)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:
        # Besides OSError, ValueError and ImportError, a damaged tokenizer.json raises Exception itself.
        raise CodeparrotError(f'no tokenizer can be loaded from the folder "{folder}" ({_first_line(error)})') from error
    if len(tokenizer) <= 1:  # if there is none, transformers makes an empty one
        raise CodeparrotError(f'"{name}" holds no tokenizer: name a folder with a tokenizer.json')
    return tokenizer


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0]


def _measure_all(tokenizers: dict[str, Any], texts: Sequence[str]) -> dict[str, Measures]:
    names = identifiers(texts)
    total = len(tokenizers) * sum(len(text.encode()) for text in texts)
    with progress_bar(total=total, desc="measure", unit="B", unit_scale=True) as bar:
        return {name: measure(tokenizer, texts, names, bar) for name, tokenizer in tokenizers.items()}


def _table(measures: dict[str, Measures]) -> str:
    columns = list(measures.values())
    rows = [
        ("", map(_short, measures)),
        ("vocabulary, tokens", (f"{column.vocab_size:,}" for column in columns)),
        ("bytes a token", (f"{column.bytes_per_token:.3f}" for column in columns)),
        ("characters a token", (f"{column.characters_per_token:.3f}" for column in columns)),
        ("documents restored exactly", (f"{column.lossless:.1%}" for column in columns)),
        ("tokens an identifier", (f"{column.tokens_per_identifier:.2f}" for column in columns)),
        ("identifiers of one token", (f"{column.whole_identifiers:.1%}" for column in columns)),
        *[
            (f"tokens for newline + {spaces} spaces", (str(column.indentation_tokens[spaces]) for column in columns))
            for spaces in INDENTATIONS
        ],
        ("keywords of several tokens", (f"{len(column.missing_keywords)} of {2 * len(KEYWORDS)}" for column in columns)),
    ]
    cells = [(label, list(values)) for label, values in rows]
    label_width = max(len(label) for label, _ in cells)
    widths = [max(len(values[index]) for _, values in cells) for index in range(len(columns))]
    return "\n".join(_line(label.ljust(label_width), values, widths) for label, values in cells)


def _line(label: str, values: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join([label, *(value.rjust(width) for value, width in zip(values, widths, strict=True))])


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else "..." + name[3 - LONGEST_NAME :]


def _examples(name: str, measured: Measures) -> str:
    lists = {
        "no token": measured.missing_keywords,
        "longest": measured.longest_tokens,
        "learned last": measured.last_tokens,
    }
    return "\n".join([name, *(f"  {label:<12}  {_printable(tokens)}" for label, tokens in lists.items() if tokens)])


def _printable(tokens: Sequence[str]) -> str:
    return "  ".join(_shown(token) for token in tokens)


def _shown(token: str) -> str:
    text = re.sub(r"(.)\1{7,}", lambda run: f"{run[1]}{{{len(run[0])}}}", token, flags=re.DOTALL)
    return repr(text) if len(text) <= LONGEST_TOKEN else f"{text[:LONGEST_TOKEN]!r}..."
