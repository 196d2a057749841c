"""Every rule removes what it should, and keeps what it should, in every language that it knows."""

import dataclasses
from pathlib import Path

import pytest

from codeparrot.corpus import registry
from codeparrot.corpus.filters.rules import first_failing, not_judged, rules
from codeparrot.corpus.filters.text import Text
from codeparrot.corpus.filters.thresholds import Thresholds
from codeparrot.languages.names import LANGUAGES as NAMES
from codeparrot.languages.syntax import SYNTAXES
from tests.corpus.filters.planted_languages import BAD, LANGUAGES, File, good

FILES = 12
LIMITS = Thresholds(
    config_or_test_chance=1,
    no_keyword_chance=1,
    max_non_ascii_fraction=0.5,
    min_comment_fraction=0.01,
    max_comment_fraction=0.8,
    check_syntax=True,
)
"""Of --recipe stack, and without chance."""


def removed(rule: str, language: str, files: list[File]) -> int:
    passes = registry.filters()[rule].passes
    return sum(not passes(Text(each.content, language, each.path), LIMITS) for each in files)


def quality(rule: str, language: str) -> tuple[float, float]:
    """Return the precision and the recall of a rule."""
    wrong = removed(rule, language, [good(language, number) for number in range(FILES)])
    bad = [make(language, number) for make in BAD[rule] for number in range(FILES)]
    right = removed(rule, language, bad)
    return right / max(1, right + wrong), right / len(bad)
