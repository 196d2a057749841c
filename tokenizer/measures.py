"""The measures of a tokenizer. All of them treat text as text: special tokens are neither added nor recognised."""

import io
import json
import keyword
import re
import tokenize
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

KEYWORDS = (*keyword.kwlist, *keyword.softkwlist)
INDENTATIONS = (4, 8, 12, 16)
"""Spaces after a newline."""
NUM_LISTED = 10
"""Tokens in each list of examples."""
IDENTIFIER_BYTES = 1_000_000
"""This much of the sample is parsed for identifiers: Python's own tokenizer reads about 1 MB a second."""
BATCH_DOCUMENTS = 64


class Measures(NamedTuple):
    """One tokenizer on one sample."""

    vocab_size: int
    num_tokens: int
    """Tokens of the sample."""
    characters_per_token: float
    bytes_per_token: float
    lossless: float
    """Fraction of the documents that decoding restores exactly."""
    tokens_per_word: float
    """Fertility: mean over the occurrences of words, which are what lies between white space, each with the space before it."""
    tokens_per_identifier: float
    """Mean over the occurrences of identifiers, each with the space before it if there is one."""
    whole_identifiers: float
    """Fraction of those occurrences that are a single token."""
    indentation_tokens: dict[int, int]
    """Tokens by the number of spaces after a newline; the newline counts."""
    missing_keywords: list[str]
    """KEYWORDS, bare and after a space, that take more than one token."""
    unused: float
    """Fraction of the vocabulary, special tokens left out, that is no token of the sample: it grows as the sample shrinks."""
    first_merges: list[tuple[str, str]]
    """The two parts of the tokens that byte-pair encoding learned first, in its order; empty for other tokenizers."""
    last_merges: list[tuple[str, str]]
    """Those that it learned last, the last one first."""
    longest_tokens: list[str]
    last_tokens: list[str]
    """The tokens with the highest ids, which byte-pair encoding learned last."""


def measure(tokenizer: Any, texts: Sequence[str], names: Counter[str], words: Counter[str], progress: Any) -> Measures:
    """Measure a transformers tokenizer on documents and on the identifiers and words counted in them.

    Args:
        tokenizer: What AutoTokenizer returns.
        texts: At least one document with at least one character.
        names: Occurrences of identifiers, as `identifiers` counts them.
        words: Occurrences of words, as `words_of` counts them.
        progress: Its `update` is called with the number of bytes done.
    """
    num_tokens = num_bytes = num_restored = 0
    used: set[int] = set()
    for first in range(0, len(texts), BATCH_DOCUMENTS):
        batch = texts[first : first + BATCH_DOCUMENTS]
        encoded = encode(tokenizer, batch)
        num_tokens += sum(map(len, encoded))
        used.update(*encoded)
        num_restored += sum(decode(tokenizer, ids) == text for ids, text in zip(encoded, batch, strict=True))
        batch_bytes = sum(len(text.encode()) for text in batch)
        num_bytes += batch_bytes
        progress.update(batch_bytes)
    lengths = _lengths(tokenizer, list(names))
    learned = _learned(tokenizer)
    return Measures(
        vocab_size=len(tokenizer),
        num_tokens=num_tokens,
        characters_per_token=sum(map(len, texts)) / num_tokens,
        bytes_per_token=num_bytes / num_tokens,
        lossless=num_restored / len(texts),
        tokens_per_word=_mean(_lengths(tokenizer, list(words)), words),
        tokens_per_identifier=_mean(lengths, names),
        whole_identifiers=_mean({name: length == 1 for name, length in lengths.items()}, names),
        indentation_tokens=_indentation(tokenizer),
        missing_keywords=[word for word, length in _lengths(tokenizer, _keywords()).items() if length > 1],
        unused=1 - len(used.intersection(learned)) / max(1, len(learned)),
        **_merges(tokenizer),
        **_examples(tokenizer, learned),
    )


def num_tokens_of(tokenizer: Any, texts: Sequence[str]) -> int:
    batches = (texts[first : first + BATCH_DOCUMENTS] for first in range(0, len(texts), BATCH_DOCUMENTS))
    return sum(len(ids) for batch in batches for ids in encode(tokenizer, batch))


def encode(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    options = {"add_special_tokens": False, "split_special_tokens": True, "return_attention_mask": False, "verbose": False}
    return tokenizer(list(texts), **options)["input_ids"]


def decode(tokenizer: Any, ids: Sequence[int]) -> str:
    return tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)


def identifiers(texts: Sequence[str]) -> Counter[str]:
    """Count the identifiers of Python sources, each with the space before it if there is one.

    A source that stops being Python counts up to that point. At most IDENTIFIER_BYTES are read, from documents spread evenly
    over `texts`.
    """
    stride = max(1, sum(map(len, texts)) // IDENTIFIER_BYTES)
    return Counter(name for text in texts[::stride] for name in _identifiers(text))


def words_of(texts: Sequence[str]) -> Counter[str]:
    """Count what lies between white space, each with the space before it if there is one, in as much text as `identifiers`."""
    stride = max(1, sum(map(len, texts)) // IDENTIFIER_BYTES)
    return Counter(word for text in texts[::stride] for word in re.findall(r" ?\S+", text))


def _identifiers(text: str) -> Iterator[str]:
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.NAME and not keyword.iskeyword(token.string):
                column = token.start[1]
                yield " " * (token.line[column - 1 : column] == " ") + token.string
    except (tokenize.TokenError, SyntaxError):
        return


def _keywords() -> list[str]:
    return [prefix + word for word in KEYWORDS for prefix in ("", " ")]


def _lengths(tokenizer: Any, texts: Sequence[str]) -> dict[str, int]:
    return dict(zip(texts, map(len, encode(tokenizer, texts)), strict=True)) if texts else {}


def _mean(values: dict[str, int], occurrences: Counter[str]) -> float:
    """Return the mean; not a number if there are no identifiers."""
    total = occurrences.total()
    return sum(values[name] * count for name, count in occurrences.items()) / total if total else float("nan")


def _indentation(tokenizer: Any) -> dict[int, int]:
    # GPT-2's splitting gives the last space to the word that follows, and this count does the same.
    word = _lengths(tokenizer, [" return"])[" return"]
    lengths = _lengths(tokenizer, ["\n" + " " * spaces + "return" for spaces in INDENTATIONS])
    return {spaces: length - word for spaces, length in zip(INDENTATIONS, lengths.values(), strict=True)}


def _learned(tokenizer: Any) -> list[int]:
    """Return the ids of the tokens that are not special."""
    special = set(tokenizer.added_tokens_decoder)
    return [index for index in sorted(set(tokenizer.get_vocab().values())) if index not in special]


def _merges(tokenizer: Any) -> dict[str, Any]:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    model = json.loads(backend.to_str())["model"] if backend is not None else {}
    # A pair, or both parts in one string in a tokenizer.json of older releases.
    pairs = [pair.split(" ", 1) if isinstance(pair, str) else pair for pair in model.get("merges") or []]

    def shown(some: Sequence[Sequence[str]]) -> list[tuple[str, str]]:
        return [(_text(tokenizer, left), _text(tokenizer, right)) for left, right in some]

    return {"first_merges": shown(pairs[:NUM_LISTED]), "last_merges": shown(pairs[-NUM_LISTED:][::-1])}


def _text(tokenizer: Any, token: str) -> str:
    return decode(tokenizer, [tokenizer.convert_tokens_to_ids(token)])


def _examples(tokenizer: Any, ids: Sequence[int]) -> dict[str, Any]:
    texts = [decode(tokenizer, [index]) for index in ids]
    return {"longest_tokens": sorted(texts, key=len, reverse=True)[:NUM_LISTED], "last_tokens": texts[-NUM_LISTED:][::-1]}
