"""Finds documents that hold a problem of a benchmark, so that a score measures what a model can do and not what it remembers.

A document is contaminated when it holds
- the description or the solution of a problem as a substring, both without case, white space, quotes and comment signs, or
- enough of the solution's 10-grams of tokens, without comments: as they are, or with every variable replaced by a placeholder,
  which finds a copy whose variables were renamed.

Short texts are not looked for (anybody may write `return a + b`); stage.py has the settings. Cost: about 0.6 ms for a document
of 15 kB.
"""

from collections import defaultdict
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, NamedTuple

from codeparrot.corpus.contamination.benchmark_texts import Sample, description, read_benchmark

if TYPE_CHECKING:
    from codeparrot.corpus.contamination.stage import Contamination

How = Literal["docstring", "solution", "ngram"]

_LEFT_OUT = b" \t\n\r\v\f\"'`#\\"
_EXCERPT_CHARACTERS = 120


class Hit(NamedTuple):
    """A problem that a document holds."""

    benchmark: str
    """The benchmark's name in the settings."""
    task_id: str
    how: How
    excerpt: str
    """The beginning of the text that was found, on one line."""


class Index:
    """The problems of the benchmarks, ready for the search."""

    def __init__(self, samples: list[Sample], settings: "Contamination") -> None:
        # Imported here: the command line loads the settings, and needs no search.
        from ahocorasick_rs import BytesAhoCorasick

        from codeparrot.corpus.contamination.ngrams import Ngrams

        self.samples = samples
        self._whole: dict[bytes, list[tuple[int, How, str]]] = defaultdict(list)
        for number, sample in enumerate(samples):
            for how, text in _wholes(sample, settings.min_characters):
                self._whole[normalised(text)].append((number, how, text))
        self._patterns = list(self._whole)
        self._search = BytesAhoCorasick(self._patterns)
        self._ngrams = Ngrams([sample.solution for sample in samples], settings) if settings.ngram else None

    @staticmethod
    def load(settings: "Contamination") -> "Index":
        """Return the index for these settings; each process makes it once.

        Raises:
            CodeparrotError: a benchmark cannot be read.
        """
        return _load(settings)

    def hits(self, content: str) -> list[Hit]:
        """Return every problem that a document holds, once for each way it was found."""
        found: dict[tuple[int, How], str] = {}
        matches = self._search.find_matches_as_indexes(normalised(content), overlapping=True) if self._patterns else ()
        for pattern, _, _ in matches:
            for number, how, text in self._whole[self._patterns[pattern]]:
                found.setdefault((number, how), " ".join(text.split())[:_EXCERPT_CHARACTERS])
        if self._ngrams:
            for number, excerpt in self._ngrams.held(content):
                found.setdefault((number, "ngram"), excerpt[:_EXCERPT_CHARACTERS])
        return [
            Hit(self.samples[number].benchmark, self.samples[number].task_id, how, excerpt)
            for (number, how), excerpt in sorted(found.items())
        ]


@lru_cache(maxsize=4)
def _load(settings: "Contamination") -> Index:
    return Index([sample for name in settings.benchmarks for sample in read_benchmark(name)], settings)


def normalised(text: str) -> bytes:
    """Return a text in lower case without white space, quotes, comment signs and backslashes, as UTF-8."""
    return text.lower().encode().translate(None, _LEFT_OUT)


def _wholes(sample: Sample, min_characters: int) -> list[tuple[How, str]]:
    """Return the texts of a sample to look for whole, without its examples if the description is long enough."""
    documentation: list[tuple[How, str]] = [
        ("docstring", description(sample.documentation)),
        ("docstring", sample.documentation),
    ]
    long_enough = [each for each in documentation if len(normalised(each[1])) >= min_characters][:1]
    solution = sample.solution
    return [*long_enough, *([("solution", solution)] if len(normalised(solution)) >= min_characters else [])]
