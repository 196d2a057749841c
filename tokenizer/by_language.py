"""How well tokenizers fit each language of a corpus, by the column of languages.

Cost: at most LANGUAGE_BYTES of each language are encoded once more, from documents spread evenly over its own in the sample.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from codeparrot.languages.keywords import KEYWORDS
from codeparrot.tokenizer.measures import encode, num_tokens_of, words_of

LANGUAGE_BYTES = 500_000
MOST_LANGUAGES = 20
"""So many languages are measured, those with the most bytes in the sample."""
KEYWORDS_SHOWN = 6
_IDENTIFIER = re.compile(r" ?[^\W\d]\w*")


class OfLanguage(NamedTuple):
    """One tokenizer on the documents of one language."""

    language: str
    documents: int
    """Of the sample."""
    num_bytes: int
    """Of the sample."""
    bytes_per_token: float
    tokens_per_word: float
    """Fertility: mean over the occurrences of words, which are what lies between white space, each with the space before it."""
    tokens_per_identifier: float
    """Mean over the occurrences of words of letters, digits and underscores that are no keywords, in comments and texts too."""
    missing_keywords: list[str] | None
    """Keywords, bare and after a space, that take more than one token; None: the language's keywords are not known."""


def measure_languages(tokenizer: Any, texts: Mapping[str, Sequence[str]]) -> list[OfLanguage]:
    """Measure a transformers tokenizer on the documents of each language, the largest first."""
    return [_measure(tokenizer, name, own) for name, own in _largest(texts)]


def by_language(documents: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Return texts by language, from pairs of both."""
    found: dict[str, list[str]] = {}
    for language, text in documents:
        found.setdefault(language, []).append(text)
    return found


def in_words(rows: Sequence[OfLanguage], left_out: int) -> str:
    """Return a table of one tokenizer's languages."""
    header = ("language", "documents", "bytes a token", "tokens a word", "tokens an identifier", "keywords not one token")
    cells = [header, *map(_cells, rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    return "\n".join([*lines, *([f"and {left_out} languages with less text"] if left_out else [])])


def _measure(tokenizer: Any, language: str, texts: Sequence[str]) -> OfLanguage:
    num_bytes = sum(len(text.encode()) for text in texts)
    some = texts[:: max(1, num_bytes // LANGUAGE_BYTES)]
    keywords = KEYWORDS.get(language)
    names = Counter(name for text in some for name in _IDENTIFIER.findall(text) if name.strip() not in (keywords or ()))
    return OfLanguage(
        language,
        len(texts),
        num_bytes,
        sum(len(text.encode()) for text in some) / num_tokens_of(tokenizer, some),
        _tokens_each(tokenizer, words_of(some)),
        _tokens_each(tokenizer, names),
        None if keywords is None else _missing(tokenizer, keywords),
    )


def _tokens_each(tokenizer: Any, occurrences: Counter[str]) -> float:
    """Return the mean number of tokens; not a number if there is nothing."""
    if not occurrences:
        return float("nan")
    lengths = map(len, encode(tokenizer, list(occurrences)))
    return sum(length * count for length, count in zip(lengths, occurrences.values(), strict=True)) / occurrences.total()


def _missing(tokenizer: Any, keywords: Sequence[str]) -> list[str]:
    forms = [prefix + word for word in keywords for prefix in ("", " ")]
    return [form for form, ids in zip(forms, encode(tokenizer, forms), strict=True) if len(ids) > 1]


def _largest(texts: Mapping[str, Sequence[str]]) -> list[tuple[str, Sequence[str]]]:
    return sorted(texts.items(), key=lambda item: (-sum(map(len, item[1])), item[0]))[:MOST_LANGUAGES]


def _cells(row: OfLanguage) -> tuple[str, ...]:
    numbers = f"{row.bytes_per_token:.3f}", f"{row.tokens_per_word:.2f}", f"{row.tokens_per_identifier:.2f}"
    if row.missing_keywords is None:
        return row.language, f"{row.documents:,}", *numbers, "keywords not known"
    missing = list(dict.fromkeys(word.strip() for word in row.missing_keywords))
    more = f" and {len(missing) - KEYWORDS_SHOWN} more" if len(missing) > KEYWORDS_SHOWN else ""
    shown = f": {' '.join(missing[:KEYWORDS_SHOWN])}{more}" if missing else ""
    return row.language, f"{row.documents:,}", *numbers, f"{len(missing)} of {len(KEYWORDS[row.language])}{shown}"
