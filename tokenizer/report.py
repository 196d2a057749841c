"""How well tokenizers fit a corpus, side by side.

Guarantees: every tokenizer is measured on the same documents. If the corpus has a validation split, no tokenizer of codeparrot
was trained on any of them. No code from the Hub is run.
Cost: each tokenizer encodes and decodes the text once, about 2 MB a second on two cores.
"""

import re
from collections.abc import Sequence
from typing import Any

from codeparrot.errors import CodeparrotError
from codeparrot.location import local_folder
from codeparrot.result import Result, progress_bar, say
from codeparrot.stream.losses import Losses, OnError
from codeparrot.tokenizer.by_language import by_language, in_words, measure_languages
from codeparrot.tokenizer.measures import INDENTATIONS, KEYWORDS, Measures, identifiers, measure, num_tokens_of, words_of
from codeparrot.tokenizer.sample import find_corpus, sample

GPT2 = "openai-community/gpt2"
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
    baseline: str = GPT2,
    on_error: OnError = "stop",
) -> Result:
    """Measure tokenizers on a corpus: bytes per token, keywords, identifiers, indentation, and what the vocabulary went into;
    by language too, where a column says it.

    Args:
        tokenizer: Folder of a tokenizer, or a name on the Hub.
        corpus: Folder made by codeparrot corpus build (its validation split is read), Parquet or JSON lines files, a glob, or
            hub:NAME[:CONFIG][@REVISION] for a data set on the Hub, of which only the sample is fetched.
        other: More tokenizers to compare it with, each a folder or a name on the Hub.
        sample_bytes: Bytes of text to measure on, spread evenly over the corpus.
        text_column: Column or key that holds the text of a document.
        baseline: Tokenizer whose length stands for 100%, a folder or a name on the Hub; empty: none. Where GPT-2's cannot be
            loaded, the report says so.
        on_error: What becomes of damaged data: stop ends with their place, skip leaves them out and counts them.
    """
    if sample_bytes < 1:
        raise CodeparrotError(f"--sample_bytes {sample_bytes} is not a sample size: give a number of bytes, such as 10000000")
    files = find_corpus(corpus)
    held_out = files.has("valid")
    losses = Losses(on_error)
    chosen = sample(files.of("valid" if held_out else "train"), text_column, sample_bytes, losses, languages=True)
    documents = list(chosen.with_languages())
    texts = [text for _, text in documents]
    if not texts:
        raise CodeparrotError(f'every document of "{corpus}" is empty: give another corpus')
    tokenizers = {name: load(name) for name in dict.fromkeys([tokenizer, *other])}
    standard, problem = _baseline(baseline, tokenizers)
    measures = _measure_all(tokenizers, texts)
    length = num_tokens_of(standard, texts) if standard is not None else None
    source = f"the validation split of {corpus}" if held_out else corpus
    num_bytes = sum(len(text.encode()) for text in texts)
    head = f"{len(texts):,} documents, {num_bytes:,} bytes of {source}{losses}"
    notes = [f"no length against {baseline}: {problem}"] if problem else []
    languages = by_language((language, text) for language, text in documents if language)
    of_languages = {name: measure_languages(each, languages) for name, each in tokenizers.items() if languages}
    tables = [f"{_short(name)}\n{in_words(own, len(languages) - len(own))}" for name, own in of_languages.items()]
    text = "\n\n".join(
        [head, _table(measures, baseline, length), *tables, *notes, *map(_examples, measures, measures.values())]
    )
    facts = {"corpus": corpus, "held_out": held_out, "documents": len(texts), "num_bytes": num_bytes, **losses.facts}
    facts["baseline"] = {"tokenizer": baseline, "num_tokens": length} if length else None
    rows = [
        {
            "tokenizer": name,
            **measured._asdict(),
            "length_against_baseline": measured.num_tokens / length if length else None,
            "languages": [each._asdict() for each in of_languages.get(name, [])],
        }
        for name, measured in measures.items()
    ]
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


def _baseline(name: str, others: dict[str, Any]) -> tuple[Any, str]:
    """Return the tokenizer that lengths are compared with, or why there is none."""
    if not name or name in others:
        return others.get(name), ""
    try:
        return load(name), ""
    except CodeparrotError as error:
        if name != GPT2:
            raise
        return None, str(error)


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0]


def _measure_all(tokenizers: dict[str, Any], texts: Sequence[str]) -> dict[str, Measures]:
    names, words = identifiers(texts), words_of(texts)
    total = len(tokenizers) * sum(len(text.encode()) for text in texts)
    with progress_bar(total=total, desc="measuring", unit="B", unit_scale=True) as bar:
        return {name: measure(tokenizer, texts, names, words, bar) for name, tokenizer in tokenizers.items()}


def _table(measures: dict[str, Measures], baseline: str, length: int | None) -> str:
    columns = list(measures.values())
    against = (f"length against {_short(baseline)}", (f"{column.num_tokens / (length or 1):.1%}" for column in columns))
    rows = [
        ("", map(_short, measures)),
        ("vocabulary, tokens", (f"{column.vocab_size:,}" for column in columns)),
        ("bytes a token", (f"{column.bytes_per_token:.3f}" for column in columns)),
        ("characters a token", (f"{column.characters_per_token:.3f}" for column in columns)),
        *([against] if length else []),
        ("documents restored exactly", (f"{column.lossless:.1%}" for column in columns)),
        ("tokens a word", (f"{column.tokens_per_word:.2f}" for column in columns)),
        ("tokens an identifier", (f"{column.tokens_per_identifier:.2f}" for column in columns)),
        ("identifiers of one token", (f"{column.whole_identifiers:.1%}" for column in columns)),
        *[
            (f"tokens for newline + {spaces} spaces", (str(column.indentation_tokens[spaces]) for column in columns))
            for spaces in INDENTATIONS
        ],
        ("vocabulary unused in this sample", (f"{column.unused:.1%}" for column in columns)),
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
    merges = [
        [f"{_shown(left)}+{_shown(right)}" for left, right in pairs] for pairs in (measured.first_merges, measured.last_merges)
    ]
    lists = {
        "no token": measured.missing_keywords,
        "longest": measured.longest_tokens,
        "learned last": measured.last_tokens,
    }
    lines = {label: _printable(tokens) for label, tokens in lists.items() if tokens}
    lines |= {label: "  ".join(pairs) for label, pairs in zip(("merged first", "merged last"), merges, strict=True) if pairs}
    return "\n".join([name, *(f"  {label:<12}  {line}" for label, line in lines.items())])


def _printable(tokens: Sequence[str]) -> str:
    return "  ".join(_shown(token) for token in tokens)


def _shown(token: str) -> str:
    text = re.sub(r"(.)\1{7,}", lambda run: f"{run[1]}{{{len(run[0])}}}", token, flags=re.DOTALL)
    return repr(text) if len(text) <= LONGEST_TOKEN else f"{text[:LONGEST_TOKEN]!r}..."
